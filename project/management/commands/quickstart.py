"""`manage.py quickstart` (`make run`): everything at once on SQLite, to look at and play with."""

import fcntl
import json
import os
import secrets
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser
from django.db import connection

from project.demo import HOST
from project.first_run import LOOPBACK
from project.server import GRANIAN
from webhooks_app import actions
from webhooks_app.engine import output
from webhooks_app.management.base import PlainCommand
from webhooks_app.management.supervisor import Child, Supervisor, manage
from webhooks_app.models import AccessToken, Account, Webhook

BASE_DIR = Path(__file__).resolve().parents[3]
NAME = "demo"  # of the account and of the user
VERIFIED_WITHIN = 15.0  # seconds of the web server after which the addresses are printed anyway
WEBHOOKS = {
    "good": "Greeter (answers)",
    "failing": "Broken (answers 500 on purpose)",
    "refused": "Switched off (refuses connections)",
}
ORDER = {"type": "order.created", "order": 4711, "total": "19.90"}


class Command(PlainCommand):
    help = (
        "Start console, API, worker and demo receivers on SQLite, with a demo account. "
        "For a look at it on your own machine, never for production."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="of 127.0.0.1 (default 8000)")

    def handle(self, *args: Any, **options: Any) -> None:
        port: int = options["port"]
        if not 1 <= port <= 65535:
            raise CommandError("--port must be from 1 to 65535.", returncode=2)
        if connection.vendor != "sqlite":
            raise CommandError(
                "quickstart is a demo: it makes a superuser and demo data. So that it never "
                f"touches a real database it runs on SQLite only, and DATABASE_URL is "
                f"{connection.vendor}. Elsewhere run an ASGI server and `webhooks deliver`.",
                returncode=2,
            )
        folder = Path(connection.settings_dict["NAME"]).resolve().parent / ".run"
        store = Store(folder / "quickstart.json")
        refuse_a_strangers_database(store)
        with only_one(folder):
            web_port = free_port(port, only=True)
            receivers = free_port(port + 1), free_port(port + 2)
            call_command("migrate", verbosity=0, interactive=False)
            demo = Demo(store, *receivers)
            demo.fill()
            raise SystemExit(self.serve(demo, web_port))

    def serve(self, demo: "Demo", port: int) -> int:
        python = sys.executable
        ports = [str(demo.port), str(demo.refused_port)]
        # Its main process would wait for whoever reads its log; how it ends, the supervisor tells.
        granian = [python, "-m", "granian", *GRANIAN]
        granian += ["--no-log", "--host", HOST, "--port", str(port)]
        children = [
            Child(
                "demo receivers",
                [python, "-m", "project.demo", *ports],
                {"DEMO_TOKEN": demo.store["receiver_token"]},
            ),
            Child("web server", [*granian, "project.asgi:application"]),
            Child("worker", manage("webhooks", "deliver")),
        ]
        output.never_block()
        os.chdir(BASE_DIR)
        served_since = 0.0

        def ready() -> bool:
            nonlocal served_since
            if not served_since:
                served_since = time.monotonic() if accepts(port) else 0.0
            late = served_since and time.monotonic() > served_since + VERIFIED_WITHIN
            if not served_since or not (late or demo.verified()):
                return False
            self.stdout.write(demo.welcome(port))
            self.stdout.flush()
            return True

        return Supervisor(children, self.stderr.write, give_up=5).run(ready=ready)


class Store:
    """What only this machine knows of the demo: password, token, ids. A file of mode 600."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def get(self, name: str) -> Any:
        return self.values.get(name)

    def set(self, name: str, value: Any) -> Any:
        self.values[name] = value
        fresh = self.path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(self.values, file, indent=2)
        fresh.replace(self.path)
        return value


class Demo:
    """The demo's rows: made where they are missing, kept where they are."""

    def __init__(self, store: Store, port: int, refused_port: int) -> None:
        self.store = store
        self.port = port
        self.refused_port = refused_port

    def fill(self) -> None:
        account, _ = Account.objects.get_or_create(name=NAME)
        account.members.add(self.user())
        token = self.store.get("token")
        if not token or AccessToken.objects.for_secret(token) is None:
            self.store.set("token", AccessToken.issue(account, name="quickstart")[1])
        if not self.store.get("receiver_token"):
            self.store.set("receiver_token", secrets.token_urlsafe(16))
        urls = {
            "good": f"http://{HOST}:{self.port}/good",
            "failing": f"http://{HOST}:{self.port}/failing",
            "refused": f"http://{HOST}:{self.refused_port}/",
        }
        for key, url in urls.items():
            self.webhook(account, key, url)

    def user(self) -> Any:
        users = get_user_model().objects
        user = users.filter(username=NAME).first()
        if user is None:
            password = self.store.set("password", secrets.token_urlsafe(12))
            user = users.create_superuser(NAME, "", password)
        return user

    def webhook(self, account: Account, key: str, url: str) -> None:
        """The webhook `key`, at the address its receiver has this time."""
        ident = self.store.get(key)
        webhook = Webhook.objects.for_account(account).filter(pk=ident or "").first()
        if webhook is not None:
            actions.update_webhook(webhook, url=url, by="quickstart")
            return
        webhook = actions.create_webhook(
            account,
            name=WEBHOOKS[key],
            url=url,
            token=self.store["receiver_token"],
            headers=[("X-Demo", key)],
            by="quickstart",
        )
        self.store.set(key, webhook.id)
        for _ in range(3 if key == "good" else 1):
            actions.deliver(webhook, ORDER, type="order.created", by="quickstart")

    def verified(self) -> bool:
        return Webhook.objects.filter(pk=self.store["good"], verified_at__isnull=False).exists()

    def password(self) -> str:
        password = self.store.get("password") or ""
        if password and self.user().check_password(password):
            return str(password)
        return f"as you set it (manage.py changepassword {NAME})"

    def secret(self) -> str:
        return actions.reveal_secret(Webhook.objects.get(pk=self.store["good"]))

    def welcome(self, port: int) -> str:
        site = f"http://{HOST}:{port}"
        token = self.store["token"]
        curl = (
            f"curl -sS {site}/webhooks/{self.store['good']}/interactions "
            f"-H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' "
            """-d '{"userAttributes": {"default_name": "Ada"}}'"""
        )
        receivers = f"http://{HOST}:{self.port}"
        manage = f"{_short(sys.executable)} {_short(BASE_DIR / 'manage.py')}"
        return f"""
Webhooks is running; Ctrl-C stops it.

  Console   {site}/admin/
  User      {NAME}
  Password  {self.password()}
  API       {site}/webhooks
  Token     {token}
  Pages     {site}/docs (every call, with a form to try it)
  Secret    {self.secret()}
            (calls of the greeter are signed with it: docs/receivers.md)

  Receivers {receivers}/any takes what comes; /good wants its token; /failing answers 500;
            {HOST}:{self.refused_port} refuses connections. Yours may listen on {HOST}, too.
  Commands  {manage} webhooks status
            (before those that call a receiver: WEBHOOKS_ALLOWED_NETWORKS={LOOPBACK})
  Data      {_short(self.database())}, kept for the next start. To start over, stop this and
            rm -r {_short(self.database())}* {_short(self.store.path.parent)}

An interaction with a demo receiver:

{curl}
"""

    @staticmethod
    def database() -> Path:
        return Path(connection.settings_dict["NAME"])


def _short(path: str | Path) -> str:
    """A path as one types it here."""
    path = Path(path)
    return str(path.relative_to(BASE_DIR)) if path.is_relative_to(BASE_DIR) else str(path)


def refuse_a_strangers_database(store: Store) -> None:
    """Users or accounts that no quickstart made: this is somebody's real database."""
    if store.values:
        return
    tables = connection.introspection.table_names()
    for model in (get_user_model(), Account):
        if model._meta.db_table in tables and model._default_manager.exists():
            raise CommandError(
                f"{connection.settings_dict['NAME']} has users or accounts that quickstart did "
                "not make; it leaves such a database alone. Choose another file for the demo, "
                "for example DATABASE_URL=sqlite:////tmp/demo/db.sqlite3.",
                returncode=2,
            )


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """One quickstart at a time for a database; the lock ends with the process."""
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError("quickstart is running already with this database.") from None
        yield


def free_port(wanted: int, *, only: bool = False) -> int:
    """`wanted`, or where that is taken any other; `only`: raises CommandError instead."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except (OSError, OverflowError) as error:
            if only:
                raise CommandError(
                    f"Port {wanted} of {HOST} cannot be used ({reason(error)}). "
                    "Choose another: make run PORT=8123"
                ) from error
            probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def reason(error: Exception) -> str:
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)


def accepts(port: int) -> bool:
    """Whether something listens there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0
