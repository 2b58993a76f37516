"""Makes the databases of the present version: `python -m tests.upgrade.make VERSION`.

Run once, on the commit that is released; what it made is never made again. `VERSION.sqlite3.gz` is
the file, `VERSION.postgres.sql.gz` a plain dump. Secrets in it are encrypted with the key of the
tests, `TOKEN` is an access token of its account.
"""

import gzip
import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from datetime import timedelta
from pathlib import Path

FOLDER = Path(__file__).parent
TOKEN = "whk_of-the-released-database"


def main(version: str) -> None:
    if "TEST_DATABASE_URL" in os.environ:
        fill()
        return
    from tests import plugin, postgres

    with tempfile.TemporaryDirectory() as folder, postgres.Server(durable=False) as server:
        file = Path(folder) / "db.sqlite3"
        for url in (f"sqlite:///{file}", server.url):
            os.environ["TEST_DATABASE_URL"] = url
            plugin.test_environment("sqlite")
            again = [sys.executable, "-m", "tests.upgrade.make", version]
            subprocess.run(again, check=True)
            del os.environ["TEST_DATABASE_URL"]
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")  # all of it in the one file
            connection.create_function("REGEXP", 2, lambda pattern, text: True)  # of a CHECK
            connection.execute("VACUUM")
        keep(f"{version}.sqlite3.gz", file.read_bytes())
        keep(f"{version}.postgres.sql.gz", postgres.dump(server.url))


def keep(name: str, content: bytes) -> None:
    (FOLDER / name).write_bytes(gzip.compress(content, mtime=0))


def fill() -> None:
    """One row of everything, and a few of what there are many of."""
    import django

    django.setup()
    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from django.utils import timezone

    from tests import factories
    from webhooks_app import actions, models
    from webhooks_app.models.account import digest

    call_command("migrate", verbosity=0)
    now = timezone.now()
    boss = get_user_model().objects.create_superuser("boss", password="secret-of-the-tests")
    account = factories.AccountFactory(name="acme", contact_email="acme@example.com")
    account.members.add(boss)
    token, _ = models.AccessToken.issue(account, name="released")
    models.AccessToken.objects.filter(pk=token.pk).update(digest=digest(TOKEN))
    healthy = factories.WebhookFactory(
        account=account,
        name="Healthy",
        url="http://127.0.0.1:9/hook?x=1",
        token="a token",
        auth_username="user",
        auth_password="a password",
        headers=[("X-Api-Key", "a header"), ("X-Api-Key", "a second")],
    )
    failing = factories.WebhookFactory(
        account=account,
        name="Failing",
        url="http://127.0.0.1:9/other",
        health={
            "failures_in_row": 7,
            "failing_since": now - timedelta(hours=2),
            "last_error_at": now,
            "last_error_message": "Request failed with status code 503",
            "last_error_kind": "http_503",
        },
    )
    paused = factories.WebhookFactory(account=account, name="Paused")
    actions.pause(paused, note="on holiday", by="boss")
    actions.create_webhook(
        account, name="New", url="https://receiver.example.com/new", token="", headers=[]
    )
    for number in range(5):
        actions.deliver(healthy, {"order": number}, type="order.created", reference=str(number))
    actions.deliver(paused, {"order": 99})
    for state, webhook in (("delivered", healthy), ("failed", failing), ("cancelled", failing)):
        ended = factories.DeliveryFactory(
            webhook=webhook, state=state, tries=1, finished_at=now - timedelta(minutes=5)
        )
        if state != "cancelled":
            wrong = state == "failed"
            factories.AttemptFactory(
                webhook=webhook,
                delivery=ended,
                status=503 if wrong else 200,
                kind="http_503" if wrong else "",
                message="Request failed with status code 503" if wrong else "",
            )
            factories.HourlyCountFactory(webhook=webhook, delivered=not wrong, failed=wrong)
    models.AuditEntry.objects.note("boss", "paused", paused)
    models.Notice.objects.create(
        webhook=failing, recipients=["a@example.com"], subject="s", text="t"
    )


if __name__ == "__main__":
    main(sys.argv[1])
