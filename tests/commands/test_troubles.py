"""However a command ends, it ends with a sentence and an exit code: without its database, without
its tables, interrupted, unread, on a terminal that cannot write what it has to say."""

import json
import os
import signal
import subprocess

import pytest
from django.utils import timezone

from tests import processes
from tests.databases import new_postgres_database
from tests.factories import AttemptFactory, DeliveryFactory, WebhookFactory
from tests.ports import free_port
from tests.processes import DEVNULL, MANAGE, PIPE, PROGRAM, ROOT
from tests.waiting import PATIENCE
from webhooks_app.management.commands import webhooks

SOME = "0" * 24
ARGUMENTS = {
    "create-token": ["acme"],
    "send": [SOME],
    "test": [SOME],
    "rotate-secret": [SOME],
    "delete-account": ["acme"],
    "explain": [SOME],
    "verify": ["--all"],
    "deliver": ["--once"],
    "publish": ["acme", "order.created"],
    "match": ["acme", "order.created", "--data", "{}"],
}
# Every verb in one process, as `manage.py` runs them; prints what each ended with.
EACH = """
import json, sys, django
from django.core.management import ManagementUtility
for line in json.load(sys.stdin):
    code = 0
    try:
        ManagementUtility(["manage.py", *line]).execute()
    except SystemExit as ended:
        code = ended.code
    print("=" * 9, code, file=sys.stderr, flush=True)
"""


def verbs():
    parser = webhooks.Command().create_parser("manage.py", "webhooks")
    [choices] = [action.choices for action in parser._actions if action.dest == "==SUPPRESS=="]
    return sorted(choices)


def lines():
    return [["webhooks", verb, *ARGUMENTS.get(verb, [])] for verb in verbs()]


def ended(lines, **environment):
    """The exit code of each command line and what it said."""
    process = processes.run(
        [*PROGRAM, EACH],
        cwd=ROOT,
        env=os.environ | environment,
        input=json.dumps(lines),
        stdout=DEVNULL,
        stderr=PIPE,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    said = process.stderr.split("=" * 9)
    codes = [int(part.split("\n")[0]) for part in said[1:]]
    words = [said[0], *(part.partition("\n")[2] for part in said[1:-1])]
    return list(zip(codes, words, strict=True))


@pytest.mark.once
class TestWithoutItsDatabase:
    def check(self, wanted, code, url, more=()):
        asked = [*lines(), *more]
        for line, (found, said) in zip(asked, ended(asked, DATABASE_URL=url), strict=True):
            assert found == code, (line, said)
            assert "Traceback" not in said, said
            assert wanted in said, (line, said)
            # `deliver` tries a few times, and logs it.
            assert "deliver" in line or len(said.splitlines()) == 1, said

    def test_postgresql_that_is_away(self):
        self.check("Connection refused", 1, f"postgres://me@127.0.0.1:{free_port()}/hooks")

    def test_a_file_that_is_no_database(self, tmp_path):
        file = tmp_path / "hooks.sqlite3"
        file.write_bytes(b"no database" * 1000)
        self.check("file is not a database", 1, f"sqlite:///{file}", [["quickstart"]])

    def test_a_folder_that_is_missing(self, tmp_path):
        self.check("unable to open database file", 1, f"sqlite:///{tmp_path}/no/hooks.sqlite3")

    def test_a_database_without_tables(self, tmp_path):
        self.check("manage.py migrate", 2, f"sqlite:///{tmp_path}/new.sqlite3")


@pytest.mark.skipif("not config.getoption('--db') == 'postgres'")
def test_a_postgresql_without_tables():
    url = new_postgres_database("template0")
    for line, (code, said) in zip(lines(), ended(lines(), DATABASE_URL=url), strict=True):
        assert (code, "Traceback" in said) == (2, False), (line, said)
        assert "manage.py migrate" in said


@pytest.mark.once
@pytest.mark.django_db(transaction=True)
class TestOnATerminalOfAscii:
    @pytest.mark.parametrize("verb", ["explain", "verify", "replay"])
    def test_a_name_with_an_emoji_is_an_escape(self, verb):
        webhook = WebhookFactory(name="Shop 🛒", url="http://10.0.0.1/")
        delivery = DeliveryFactory(webhook=webhook, state="failed", finished_at=timezone.now())
        AttemptFactory(webhook=webhook, delivery=delivery, message="nein – ✗", kind="reset")
        arguments = {"explain": [delivery.id], "replay": ["--since", "2020-01-01"]}
        process = subprocess.run(
            [*MANAGE, "webhooks", verb, *arguments.get(verb, [webhook.id])],
            env=os.environ | {"PYTHONIOENCODING": "ascii", "DATABASE_URL": database_url()},
            capture_output=True,
            timeout=300,
        )
        assert b"Traceback" not in process.stderr, process.stderr.decode()
        assert rb"Shop \U0001f6d2" in process.stdout


def database_url():
    """That of the test, for a process of its own."""
    from django.db import connection

    settings = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{settings['NAME']}"
    address, _, query = os.environ["DATABASE_URL"].partition("?")
    return f"{address.rpartition('/')[0]}/{settings['NAME']}?{query}"


class TestOfOnesOwnAccord:
    def test_ctrl_c_is_a_word_and_not_a_traceback(self, site):
        send = [*MANAGE, "webhooks", "send", site.webhook("http://127.0.0.1:9/"), "--wait"]
        process = processes.start(send, env=site.environment, stderr=PIPE, stdout=PIPE, text=True)
        assert "no worker is alive" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=PATIENCE)[1] == "Interrupted.\n"
        assert process.returncode == 130

    def test_who_reads_no_more_gets_no_more(self, site):
        reads, unread = os.pipe()
        os.close(reads)
        purge = [*MANAGE, "webhooks", "purge"]
        process = processes.start(
            purge, env=site.environment, stderr=PIPE, stdout=unread, text=True
        )
        os.close(unread)
        assert process.stderr.read() == ""
        process.stderr.close()
        assert process.wait(PATIENCE) == 1

    @pytest.mark.once
    @pytest.mark.parametrize(
        ("streams", "code", "words"),
        [
            (">/dev/full", 1, "No space left on device"),
            ("<&-", 2, "The body cannot be sent"),
            (">&-", 0, ""),
        ],
    )
    def test_streams_that_are_full_closed_or_none_are_told_in_a_line(
        self, site, streams, code, words
    ):
        body = "-" if streams.startswith("<") else "1"
        webhook = site.webhook("http://127.0.0.1:9/")
        command = [*MANAGE, "webhooks", "send", webhook, "--data", body]
        ended = subprocess.run(
            ["sh", "-c", f'exec "$@" {streams}', "sh", *command],
            env=site.environment,
            stderr=PIPE,
            text=True,
            timeout=PATIENCE,
        )
        assert (ended.returncode, "Traceback" in ended.stderr) == (code, False), ended.stderr
        assert words in ended.stderr
