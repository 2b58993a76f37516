"""`manage.py webhooks deliver` as real processes, on SQLite and on PostgreSQL."""

import json
import os
import re
import signal
import subprocess
from functools import partial

import psycopg
import pytest
from django.core.management import call_command

from tests.commands.test_supervisor import gone
from tests.databases import new_postgres_database
from tests.processes import MANAGE
from tests.receivers import Answer, Each, Receiver
from tests.waiting import PATIENCE
from webhooks_app.engine.knobs import DEFAULT
from webhooks_app.management import deliver

pytestmark = pytest.mark.slow


def said(process, pattern):
    """The match in the first line that has it; fails when the output ends before."""
    seen = []
    for line in process.stdout:
        seen.append(line)
        found = re.search(pattern, line)
        if found:
            return found
    raise AssertionError("".join(seen))


def test_until_empty_sends_all_and_ends(site):
    with Receiver() as receiver:
        webhook = site.webhook(receiver.url)
        ident = site.manage("webhooks", "send", webhook, "--data", '{"n": 1}').strip()

        out = site.manage("webhooks", "deliver", "--until-empty")

        assert out.splitlines()[-1].endswith("stopped after 1 exchange")
        assert receiver.requests[-1].body == b'{"n": 1}'
    assert "is delivered since" in site.manage("webhooks", "explain", ident)


def test_once_tries_what_is_due_and_leaves_the_retry(site):
    site.environment["WEBHOOKS_RETRY_SCHEDULE"] = "600"
    with Receiver(answer=500) as receiver:
        site.manage("webhooks", "send", site.webhook(receiver.url))

        site.manage("webhooks", "deliver", "--once")

        assert len(receiver.requests) == 1
    counts = site.status()["deliveries"]
    assert (counts["due"], counts["later"], counts["failedLast24h"]) == (0, 1, 0)


@pytest.mark.once
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_worker_well(site, number):
    worker = site.start("webhooks", "deliver")
    said(worker, "ready")

    worker.send_signal(number)

    assert "stopped after 0 exchanges" in worker.stdout.read()
    assert worker.wait(PATIENCE) == 0


@pytest.mark.once
def test_what_flies_is_finished_when_the_terminal_is_closed(site):
    """All processes of the terminal are told, and there is nobody to read the output any more."""
    with Receiver(Answer(delay=1.5)) as receiver:
        webhook = site.webhook(receiver.url)
        site.manage("webhooks", "send", webhook)
        terminal, inside = os.openpty()
        worker = subprocess.Popen(
            [*MANAGE, "webhooks", "deliver"],
            env=site.environment,
            stdin=inside,
            stdout=inside,
            stderr=inside,
            preexec_fn=partial(os.login_tty, inside),  # it is the terminal's own
        )
        os.close(inside)
        receiver.wait()
        os.close(terminal)

        assert worker.wait(PATIENCE) == 0
        assert len(receiver.requests) == 1
    assert site.status()["deliveries"]["due"] == 0


@pytest.mark.once
def test_what_is_started_with_nohup_stays_when_the_terminal_is_closed(site):
    worker = site.start_program(
        "-c",
        "import signal, os, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN);"
        f"os.execv(sys.executable, [sys.executable, {MANAGE[1]!r}, 'webhooks', 'deliver'])",
    )
    said(worker, "ready")

    worker.send_signal(signal.SIGHUP)

    with Receiver() as receiver:
        site.manage("webhooks", "send", site.webhook(receiver.url))
        receiver.wait()
    assert worker.poll() is None


def test_waiting_for_a_delivery_that_arrives_at_the_second_try(site):
    with Receiver(answer=Each(500, 200)) as receiver:
        webhook = site.webhook(receiver.url)
        said(site.start("webhooks", "deliver"), "ready")

        shown = json.loads(site.manage("webhooks", "send", webhook, "--wait", "--json"))

    assert (shown["state"], shown["tries"]) == ("delivered", 2)


def test_waiting_for_a_delivery_that_dies_is_exit_code_1(site):
    with Receiver(answer=500) as receiver:
        webhook = site.webhook(receiver.url)
        said(site.start("webhooks", "deliver"), "ready")

        shown = json.loads(site.manage("webhooks", "send", webhook, "--wait", "--json", code=1))

    assert shown["state"] == "failed"
    assert shown["lastError"] == "Request failed with status code 500"


@pytest.mark.once
def test_several_processes_are_kept_running_and_stop_together(site):
    workers = site.start("webhooks", "deliver", "--processes", "2", "--concurrency", "5")
    first = int(said(workers, r"worker (\d+): ready")[1])

    os.kill(first, signal.SIGKILL)

    # Another takes over at once, whether that is read before the report or after it.
    lines = ""
    while "SIGKILL; starting it again in 0.5 s" not in lines or "ready" not in lines:
        lines += said(workers, r".+\n")[0]
    pids = map(int, re.findall(r"worker (\d+): ready", lines))
    with Receiver() as receiver:
        site.manage("webhooks", "send", site.webhook(receiver.url), "--wait", "--timeout", "90")
        assert len(receiver.requests) == 1
    workers.terminate()
    workers.stdout.read()
    assert workers.wait(PATIENCE) == 0
    assert all(gone(pid) for pid in pids)


def ended(site, *arguments):
    """Exit code of a command, and all that it said."""
    process = site.start("webhooks", *arguments)
    words = process.communicate(timeout=PATIENCE)[0]
    return process.returncode, words


def elsewhere(site, name):
    """The site with a database of this name that nobody made."""
    address, mark, query = site.environment["DATABASE_URL"].partition("?")
    site.environment["DATABASE_URL"] = f"{address.rpartition('/')[0]}/{name}{mark}{query}"
    return site


AWAY = r"unable to open database file|database \"?nowhere/?\w*\"? does not exist"


@pytest.mark.parametrize("ends", [[], ["--once"], ["--processes", "2"]])
def test_a_database_without_tables_is_refused_with_what_to_run(site, ends):
    if site.environment["DATABASE_URL"].startswith("sqlite"):
        elsewhere(site, "empty.sqlite3")
    else:
        site.environment["DATABASE_URL"] = new_postgres_database("template0")

    code, words = ended(site, "deliver", *ends)

    assert code == 2
    assert "Then run `manage.py migrate` first." in words
    assert "Traceback" not in words


@pytest.mark.parametrize("ends", ["--once", "--until-empty"])
def test_a_database_that_is_not_there_ends_a_worker_that_was_to_end(site, ends):
    code, words = ended(elsewhere(site, "nowhere/site"), "deliver", ends)

    assert code == 1
    assert "The database cannot be reached" in words
    assert re.search(AWAY, words)
    assert "Traceback" not in words


def test_a_database_that_is_not_there_is_waited_for_by_name_of_its_error(site):
    worker = elsewhere(site, "nowhere/site").start("webhooks", "deliver")
    said(worker, AWAY)
    said(worker, AWAY)

    worker.send_signal(signal.SIGTERM)

    assert worker.wait(PATIENCE) == 0


def test_a_database_that_only_reads_is_waited_for(site):
    """As PostgreSQL is while another server takes over."""
    url = site.environment["DATABASE_URL"]
    if url.startswith("sqlite"):
        pytest.skip("SQLite has no such state")
    name = re.search(r"site_\w+", url)[0]
    with psycopg.connect(os.environ["TEST_DATABASE_URL"], autocommit=True) as server:
        server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        worker = site.start("webhooks", "deliver")
        said(worker, "in a read-only transaction")
        server.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")

    said(worker, "ready")


def test_beside_a_worker_another_that_is_to_end_does_so(site):
    """On SQLite it owns nothing, on PostgreSQL its share."""
    worker = site.start("webhooks", "deliver")
    said(worker, "ready")

    for ends in ("--once", "--until-empty"):
        code, words = ended(site, "deliver", ends)
        assert code == 0
        if site.environment["DATABASE_URL"].startswith("sqlite"):
            assert "another worker of this database is running and sends what is due" in words


def test_what_comes_while_a_worker_ends_is_sent_by_the_next_one_that_is_to_end(site):
    with Receiver(Each(Answer(delay=1.5), 200)) as receiver:
        webhook = site.webhook(receiver.url)
        worker = site.start("webhooks", "deliver")
        said(worker, "ready")
        site.manage("webhooks", "send", webhook)
        receiver.wait()
        worker.send_signal(signal.SIGTERM)
        site.manage("webhooks", "send", webhook)

        site.manage("webhooks", "deliver", "--until-empty")

        assert len(receiver.requests) == 2
    assert worker.wait(PATIENCE) == 0
    assert site.status()["deliveries"]["due"] == 0


@pytest.mark.once
def test_several_processes_are_given_longer_to_end_than_one_may_take(monkeypatch):
    given = {}

    class Supervisor:
        def __init__(self, children, report, **options):
            given.update(options)

        def run(self):
            return 0

    monkeypatch.setattr(deliver, "Supervisor", Supervisor)
    call_command("webhooks", "deliver", "--processes", "2")
    assert given["grace"] > DEFAULT.landing_most > 60  # the longest timeout of a webhook


@pytest.mark.once
@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["deliver", "--processes", "many"],
        ["deliver", "--concurrency", "0"],
        ["replay", "--since", "999999d"],
        ["explain", b"\xff"],
    ],
)
def test_wrong_usage_is_exit_code_2(site, arguments):
    site.manage("webhooks", *arguments, code=2)
