"""A site of its own for tests that start real processes: `site.manage("webhooks", "status")`."""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import environ
import pytest
from django.db import connections
from django.db.utils import load_backend
from django.test import override_settings

from tests import databases, processes
from tests.processes import MANAGE, ROOT
from tests.waiting import PATIENCE


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
        return processes.run(
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
        # As the site has it: a transaction that came to write has the lock from its beginning.
        options = connections["default"].settings_dict["OPTIONS"]
        config["OPTIONS"] = options | config.get("OPTIONS", {})
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
        process = processes.start(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.environment,
            stdout=processes.PIPE,
            stderr=processes.STDOUT,
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
                process.wait(PATIENCE)
            process.stdout.close()


def own_connection(alias, config):
    """To another database than that of the tests, which only they open."""
    settings = connections.configure_settings({alias: config})[alias]
    connection = load_backend(settings["ENGINE"]).DatabaseWrapper(settings, alias)
    connection.ensure_connection = lambda: connection.connection or connection.connect()
    return connection


@pytest.fixture
def site(tmp_path):
    site = Site(databases.new(tmp_path / "site.sqlite3"), tmp_path)
    yield site
    site.end()
