"""The database goes away, or the way to it: workers stop, come back by themselves, lose nothing."""

import os
import random
import re
import signal
import time
from functools import partial
from urllib.parse import unquote

import psycopg
import pytest

from tests import databases
from tests.commands.conftest import Site
from tests.postgres import Server, dump
from tests.promises.crew import Crew, acknowledged, late_of, report, sends
from tests.promises.forwarder import Forwarder
from tests.promises.sink import Halt, Sink, disorder, overlap
from tests.waiting import until

pytestmark = pytest.mark.slow

# The short forms wait less; the whole forms run the engine's own values.
SHORT = {"idle_most": 3.0, "answer_most": 5.0}
PLACES = (20, 20)  # of two workers
HELD = 3600.0  # seconds after which nothing is answered: the test does it
BEHIND_ANOTHER = """SELECT count(*) FROM (
    SELECT webhook_id FROM webhooks_app_delivery WHERE state = 'pending'
    GROUP BY webhook_id HAVING count(*) > 1
    ) AS webhooks"""


@pytest.fixture
def own_server(postgres, tmp_path, pytestconfig):
    # What the system has taken outlives a server that crashes, also where nobody waits for a disk.
    with Server(durable=pytestconfig.getoption("--run-prove")) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(dump(databases.new(None)))
        crew = Crew(Site(server.url), tmp_path)
        crew.server = server
        yield crew
        crew.stop()
        crew.tell()


@pytest.mark.parametrize(
    "events",
    [
        ["immediate", "read-only"],
        pytest.param(
            ["fast", "immediate", "crash", "read-only"] * 4, marks=pytest.mark.prove, id="all"
        ),
    ],
)
def test_a_restart_or_crash_of_postgresql_in_mid_run_loses_nothing(own_server, events):
    crew = own_server
    per_second = 300 if len(events) > 2 else 100
    with Sink(delay=15 / per_second) as sink:
        crew.webhooks(16, sink)
        workers = crew.workers(*({"concurrency": places} for places in PLACES))
        producer = crew.producer(per_second)
        until(lambda: len(sink.calls) > 100, "load")
        back = []
        for happens in events:
            if happens == "crash":
                crew.server.crash(
                    crew.value(
                        "SELECT max(pid) FROM pg_stat_activity "
                        "WHERE application_name = 'webhooks deliver'"
                    )
                )
                until(lambda: is_there(crew), "the server")
            elif happens == "read-only":
                # As after a failover, until somebody promotes the standby.
                read_only(crew, "on")
                time.sleep(6)  # a heartbeat is among what fails
                read_only(crew, "off")
            else:
                crew.server.restart(happens)
            up_at = time.monotonic()
            back.append(until(partial(all_send, workers, sink, up_at), "both workers send"))
            time.sleep(random.uniform(0, 1))
        stored = acknowledged(producer)
        crew.drained()

        arrived = sink.by_ident()
        report(
            f"PostgreSQL restarted, crashed or read-only, {len(events)} times",
            stored=len(stored),
            lost=len(stored - arrived.keys()),
            duplicates=sink.duplicates(),
            back_p50=round(sorted(back)[len(back) // 2], 2),
            back_max=round(max(back), 2),
        )
        assert not stored - arrived.keys()
        assert all(len({call.body for call in calls}) == 1 for calls in arrived.values())
        # What was answered and not yet written down when the sessions ended is sent again where a
        # machine is so busy that it is not written before another worker looks.
        assert crew.recorded_twice() <= (0 if len(events) > 2 else sum(PLACES))
        assert all(worker.poll() is None for worker in workers)


def read_only(crew, value):
    with crew.connect() as connection:
        connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        connection.execute("SELECT pg_reload_conf()")


def all_send(workers, sink, since):
    return all(sends(worker, sink, since) for worker in workers)


def is_there(crew):
    try:
        return crew.value("SELECT 1") == 1
    except psycopg.OperationalError:
        return False


@pytest.mark.parametrize("oddities", [SHORT, pytest.param({}, marks=pytest.mark.prove)])
def test_a_worker_cut_from_its_database_stops_sending_and_comes_back(postgres, oddities):
    """Its buffer would last for longer than the server keeps its session, and nobody tells it
    that the session has ended."""
    crew = postgres
    address, name, folder = re.match(r"(.*@)/(\w+)\?host=(.*)", crew.url).groups()
    with (
        Sink(delay=0.4) as sink,
        Forwarder(f"{unquote(folder)}/.s.PGSQL.5432") as forwarder,
    ):
        hooks = crew.webhooks(64, sink, cap=1)
        count = 30 if oddities else 100
        crew.deliver(hooks, count)
        far = f"{address}127.0.0.1:{forwarder.port}/{name}"
        cut_off, other = crew.workers(
            {"concurrency": 3, "oddities": oddities, "DATABASE_URL": far},
            {"concurrency": 40, "oddities": oddities},
        )
        until(lambda: sends(cut_off, sink) and sends(other, sink), "both send")
        until(lambda: crew.shares() == [32, 32], "even shares")
        time.sleep(1)
        lines = set(sink.lines_of(cut_off.pid))

        # In the middle of writing what receivers have answered: the transaction stays open.
        forwarder.cut(before=b"COMMIT")
        until(lambda: forwarder.is_cut, "a commit")
        cut_at = time.monotonic()
        until(lambda: crew.shares() == [64], "the other has all")
        taken_after = time.monotonic() - cut_at
        theirs = {call.path for call in sink.calls if call.line in lines and call.began < cut_at}
        until(
            lambda: (
                theirs
                <= {
                    call.path
                    for call in list(sink.calls)
                    if call.line not in lines and call.began > cut_at + taken_after
                }
            ),
            "the other sends for all of them",
        )
        lines |= set(sink.lines_of(cut_off.pid))
        stopped_after = max(call.began for call in sink.calls if call.line in lines) - cut_at

        forwarder.heal()
        healed_at = time.monotonic()
        until(lambda: crew.shares() == [32, 32], "it comes back")
        until(lambda: sends(cut_off, sink, healed_at), "and sends again")
        back_after = time.monotonic() - healed_at
        sink.delay = 0.01
        crew.drained()

        report(
            "cut from the database, not from the receivers",
            short=bool(oddities),
            stopped_after=round(stopped_after, 2),
            taken_over_after=round(taken_after, 2),
            back_after=round(back_after, 2),
            duplicates=sink.duplicates(),
        )
        assert stopped_after < taken_after
        assert stopped_after < (60 if oddities else 15)
        assert len(sink.by_ident()) == 64 * count
        for calls in sink.by_path().values():
            assert overlap(calls) == 1
            assert not disorder(calls)


@pytest.mark.parametrize("oddities", [SHORT, pytest.param({}, marks=pytest.mark.prove)])
def test_a_frozen_worker_loses_its_webhooks_and_sends_nothing_when_it_thaws(postgres, oddities):
    crew = postgres
    with Sink(delay=0.1) as sink:
        hooks = crew.webhooks(32, sink, cap=1, timeout=60)
        frozen, _ = crew.workers({"concurrency": 3, "oddities": oddities}, {"oddities": oddities})
        producer = crew.producer(60)
        until(lambda: sends(frozen, sink), "it sends")
        until(lambda: crew.shares() == [32, 32], "even shares")
        # Frozen between two calls: of one that it is about to make it has asked already.
        sink.delay = HELD
        until(lambda: len({c.path for c in list(sink.calls) if not c.answered}) == 32, "all hang")
        until(lambda: crew.value(BEHIND_ANOTHER) == 32, "one waits behind each")

        os.kill(frozen.pid, signal.SIGSTOP)
        halt = Halt(sink, time.monotonic(), set(sink.lines_of(frozen.pid)))
        unwritten = crew.pending_ids()
        sink.delay = 0.1
        sink.answer()
        until(lambda: crew.shares() == [64], "the other has all")
        taken_after = time.monotonic() - halt.at
        time.sleep(1.5)
        thaws_at = time.monotonic()
        os.kill(frozen.pid, signal.SIGCONT)
        thawed_at = time.monotonic()
        back_after = until(lambda: crew.shares() == [32, 32], "it comes back")
        until(lambda: sends(frozen, sink, thawed_at), "and sends again")
        stored = acknowledged(producer)
        crew.drained()

        again = {ident for ident, calls in sink.by_ident().items() if len(calls) > 1}
        report(
            "frozen and thawed",
            short=bool(oddities),
            taken_over_after=round(taken_after, 2),
            back_after=round(back_after, 2),
            duplicates=sink.duplicates(),
        )
        assert not stored - sink.by_ident().keys()
        assert again <= unwritten
        # Nothing of what waited in it when it froze is sent when it thaws.
        taken = {c.ident for c in sink.calls if c.line not in halt.lines and c.began < thaws_at}
        stale = [c for c in sink.calls if c.line in halt.lines and c.began > thaws_at]
        assert not taken.intersection(call.ident for call in stale)
        assert len(hooks) == len(sink.by_path())
        for calls in sink.by_path().values():
            assert not disorder(calls, late_of(producer))


@pytest.mark.parametrize(
    ("times", "per_second"), [(3, 100), pytest.param(40, 300, marks=pytest.mark.prove)]
)
def test_sessions_that_end_while_their_worker_lives(postgres, times, per_second):
    """Ended by the server under load, again and again: nothing is lost, and no webhook is sent
    for by two at once."""
    crew = postgres
    with Sink(delay=6 / per_second) as sink:
        crew.webhooks(32, sink, cap=1)
        crew.workers({}, {})
        producer = crew.producer(per_second)
        until(lambda: len(sink.calls) > 100, "load")
        for _ in range(times):
            time.sleep(random.uniform(0.3, 1.2))
            crew.rows(
                "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE "
                "application_name = 'webhooks deliver' AND datname = current_database() "
                "ORDER BY random() LIMIT 1) AS one"
            )
        until(lambda: crew.shares() == [32, 32], "even shares")
        stored = acknowledged(producer)
        crew.drained()

        report(
            f"{times} sessions ended under load",
            stored=len(stored),
            lost=len(stored - sink.by_ident().keys()),
            duplicates=sink.duplicates(),
            most_at_once=max(overlap(calls) for calls in sink.by_path().values()),
        )
        assert not stored - sink.by_ident().keys()
        # What was answered is written by the worker that lives on, not sent again.
        assert sink.duplicates() == 0
        for calls in sink.by_path().values():
            assert overlap(calls) == 1
            assert not disorder(calls, late_of(producer))
