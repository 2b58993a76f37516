"""A site of its own for tests that start real processes: `site.manage("webhooks", "status")`."""

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import environ
import pytest
from django.db import connections
from django.db.utils import load_backend
from django.test import override_settings

ROOT = Path(__file__).resolve().parents[2]
MANAGE = [sys.executable, str(ROOT / "manage.py")]


class Site:
    """Runs management commands as processes, on a database nobody else uses."""

    def __init__(self, database_url, folder=None):
        self.folder = folder  # where the files of the database are, if it has any
        self.environment = os.environ | {
            "DATABASE_URL": database_url,
            "WEBHOOKS_ALLOWED_NETWORKS": "127.0.0.0/8",
            "WEBHOOKS_VERIFICATION": "off",
            "WEBHOOKS_RETRY_SCHEDULE": "0.1",
        }
        self.started = []

    def manage(self, *arguments, code=0, or_code=None):
        """Standard output of a command that must end with this exit code (or the other)."""
        ended = self._run(*arguments)
        assert ended.returncode in (code, or_code), ended.stdout + ended.stderr
        return ended.stdout

    def _run(self, *arguments):
        return subprocess.run(
            [*MANAGE, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def failure(self, *arguments, code=1):
        """What a command that must fail so says on standard error."""
        ended = self._run(*arguments)
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended.stderr

    def shell(self, code):
        """The lines that some lines of Python print; in this process, which has Django already."""
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(self._shell, code).result()

    def _shell(self, code):
        printed = []
        config = environ.Env.db_url_config(self.environment["DATABASE_URL"])
        # Connections are a thread's own; nobody else sees this one under that name.
        connections["default"] = connection = own_connection("default", config)
        given = {
            "WEBHOOKS_ALLOWED_NETWORKS": [self.environment["WEBHOOKS_ALLOWED_NETWORKS"]],
            "WEBHOOKS_VERIFICATION": self.environment["WEBHOOKS_VERIFICATION"],
        }
        try:
            with override_settings(**given):
                exec(code, {"print": lambda *words: printed.append(" ".join(map(str, words)))})
        finally:
            connection.close()
        return printed

    def start(self, *arguments):
        return self.start_program(*MANAGE[1:], *arguments)

    def start_program(self, *arguments):
        """Of Python, as in `python -m granian`."""
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    def webhook(self, url):
        """The id of a new webhook."""
        code = (
            "from webhooks_app import actions; from webhooks_app.models import Account;"
            "account, _ = Account.objects.get_or_create(name='acme');"
            f"print(actions.create_webhook(account, name='Hook', url={url!r}).id)"
        )
        return self.shell(code)[-1]

    def status(self):
        # 1: no worker is alive.
        return json.loads(self.manage("webhooks", "status", "--json", or_code=1))

    def end(self):
        """End what was started."""
        for process in self.started:
            if process.poll() is None:
                process.terminate()
                process.wait(60)
            process.stdout.close()


def own_connection(alias, config):
    """To another database than that of the tests, which only they open."""
    settings = connections.configure_settings({alias: config})[alias]
    connection = load_backend(settings["ENGINE"]).DatabaseWrapper(settings, alias)
    connection.ensure_connection = lambda: connection.connection or connection.connect()
    return connection


@pytest.fixture(scope="session")
def empty_site(tmp_path_factory):
    """The URL of a migrated database that is only ever copied."""
    if os.environ["TEST_DATABASE_URL"].startswith("sqlite"):
        url = f"sqlite:///{tmp_path_factory.mktemp('site')}/empty.sqlite3"
    else:
        url = new_postgres_database("template0")
    Site(url).manage("migrate", "-v", "0")
    return url


def new_postgres_database(template):
    """The URL of a new database on the server of the tests; it goes when the server goes."""
    import psycopg

    url = os.environ["TEST_DATABASE_URL"]
    name = f"site_{uuid.uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    address, _, query = url.partition("?")
    return f"{address.rpartition('/')[0]}/{name}?{query}"


@pytest.fixture
def site(empty_site, tmp_path):
    if empty_site.startswith("sqlite"):
        shutil.copy(empty_site.removeprefix("sqlite:///"), tmp_path / "site.sqlite3")
        url = f"sqlite:///{tmp_path}/site.sqlite3"
    else:
        url = new_postgres_database(re.search(r"site_\w+", empty_site)[0])
    site = Site(url, tmp_path)
    yield site
    site.end()
