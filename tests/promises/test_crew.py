"""Several workers on one database: they join, leave, disagree about the time."""

import random
import signal
import time
from itertools import pairwise
from math import inf

import pytest

from tests.promises.crew import acknowledged, late_of, report, sends
from tests.promises.sink import Sink, disorder, overlap
from tests.waiting import PATIENCE, until
from webhooks_app.models.webhook import SLOTS, slot_of
from webhooks_app.rules.ids import id_time

pytestmark = pytest.mark.slow


# The short forms have looser bounds: they run beside other tests, on machines of any speed.


@pytest.mark.parametrize(
    ("changes", "silence", "per_second"),
    [(2, 60, 100), pytest.param(10, 5, 250, marks=pytest.mark.prove)],
)
def test_workers_join_and_leave_under_load(crew, changes, silence, per_second):
    """One call at a time is each webhook's cap: two owners would show at once, at the sink."""
    with Sink(delay=5 / per_second) as sink:
        crew.webhooks(64, sink, cap=1)
        workers = crew.workers({}, {})
        producer = crew.producer(per_second)
        until(lambda: len(sink.calls) > 100, "load")
        began = time.monotonic()
        even = []
        for number in range(changes):
            change = ("start", "SIGTERM", "start", "SIGKILL", "start")[number % 5]
            changed_at = time.monotonic()
            if change == "start":
                workers.append(crew.worker())
                changed_at = time.monotonic()
            else:
                leaves = workers.pop(random.randrange(len(workers)))
                leaves.signal(signal.Signals[change])
            if crew.postgres:
                until(lambda: evenly_shared(crew, workers), "even shares")
            even.append(time.monotonic() - changed_at)
            time.sleep(random.uniform(0.5, 1.5))
        ended = time.monotonic()
        stored = acknowledged(producer)
        crew.drained()

        silent = max(
            longest_silence([call for call in calls if call.began < ended], began, ended)
            for calls in sink.by_path().values()
        )
        report(
            f"{changes} workers joined or left",
            database=crew.database,
            stored=len(stored),
            lost=len(stored - sink.by_ident().keys()),
            duplicates=sink.duplicates(),
            most_at_once=max(overlap(calls) for calls in sink.by_path().values()),
            even_p50=round(sorted(even)[len(even) // 2], 2),
            even_max=round(max(even), 2),
            longest_silence=round(silent, 2),
        )
        assert not stored - sink.by_ident().keys()
        assert len(sink.by_path()) == 64
        for calls in sink.by_path().values():
            assert overlap(calls) == 1
            assert not disorder(calls, late_of(producer))
        assert silent < silence


def evenly_shared(crew, workers):
    shares, share = crew.shares(), -(-SLOTS // len(workers))
    return len(shares) == len(workers) and sum(shares) == SLOTS and shares[-1] <= share


def longest_silence(calls, began, ended):
    moments = [began, *(call.began for call in calls), ended]
    return max(later - earlier for earlier, later in pairwise(moments))


HELD = 3600.0  # seconds after which nothing is answered: the test does it


# The short form holds what flies until the worker has obeyed and the other has taken over.
@pytest.mark.parametrize(
    ("slow", "obeyed", "taken_over", "per_second"),
    [(HELD, inf, inf, 80), pytest.param(2.0, 0.5, 2, 200, marks=pytest.mark.prove)],
)
def test_a_worker_told_to_end_finishes_what_flies_and_gives_the_rest_away_at_once(
    crew, slow, obeyed, taken_over, per_second
):
    with Sink(delay=4 / per_second) as sink:
        hooks = crew.webhooks(16, sink, timeout=60)
        first = crew.worker()
        producer = crew.producer(per_second)
        until(lambda: sends(first, sink), "load")
        second = crew.worker()
        if crew.postgres:
            until(lambda: crew.shares() == [32, 32], "even shares")
            until(lambda: sends(first, sink) and sends(second, sink), "both send")
        sink.delay = lambda call: slow if call.path == "/0" else 4 / per_second
        # Whoever sends for the slow one ends, soon after a call has begun.
        slow_call = fresh_slow_call(sink, time.monotonic())
        ends, stays = sorted([first, second], key=lambda w: slow_call.line in lines(w, sink))[::-1]
        theirs = lines(ends, sink)
        flies = [call for call in list(sink.calls) if call.line in theirs and not call.answered]
        # Webhooks that share a slot with the slow one wait for it too.
        apart = [n for n, hook in enumerate(hooks) if slot_of(hook) != slot_of(hooks[0])]

        def late(since):
            """After how long the other has sent for each."""
            return [takeover(sink, f"/{n}", theirs, since) for n in apart]

        ends.signal(signal.SIGTERM)
        told_at = obeyed_at = time.monotonic()
        if slow == HELD:
            until(
                lambda: last_began(sink, theirs) < time.monotonic() - 1, "it begins no more calls"
            )
            obeyed_at = time.monotonic()
            if crew.postgres:
                until(lambda: max(late(told_at)) < inf, "the other sends all but what is held")
            assert ends.poll() is None, "it waits for what flies"
            sink.delay = 4 / per_second
            sink.answer()
        code = ends.wait(PATIENCE)
        took = time.monotonic() - told_at
        until(lambda: sends(stays, sink, told_at + took), "the other sends")
        time.sleep(1)
        stored = acknowledged(producer)
        sink.delay = 0.01
        crew.drained()

        # On SQLite one worker has all; the other follows when what flew has landed.
        taken_after = max(late(told_at if crew.postgres else told_at + took))
        report(
            "told to end",
            database=crew.database,
            in_flight=len(flies),
            ended_after=round(took, 2),
            takeover_max=round(taken_after, 2),
            duplicates=sink.duplicates(),
        )
        assert code == 0
        assert all(call.answered for call in sink.calls)
        assert last_began(sink, theirs) < obeyed_at + obeyed
        assert taken_after <= taken_over
        assert sink.duplicates() == 0
        assert not stored - sink.by_ident().keys()
        assert crew.recorded_twice() == 0


def lines(worker, sink):
    return set(sink.lines_of(worker.pid))


def last_began(sink, lines):
    return max(call.began for call in list(sink.calls) if call.line in lines)


def fresh_slow_call(sink, since):
    """One that has begun just now."""
    found = []

    def fresh():
        calls = [call for call in list(sink.calls) if call.path == "/0" and call.began > since]
        found[:] = calls[-1:]
        return calls and time.monotonic() - calls[-1].began < 1

    until(fresh, "a slow call")
    return found[0]


def takeover(sink, path, theirs, since):
    moments = [
        call.began
        for call in sink.calls
        if call.path == path and call.began > since and call.line not in theirs
    ]
    return min(moments, default=float("inf")) - since


@pytest.mark.parametrize("taken_over", [PATIENCE, pytest.param(2, marks=pytest.mark.prove)])
def test_on_sqlite_the_second_worker_stands_by(crew, taken_over):
    if crew.postgres:
        pytest.skip("SQLite only")
    with Sink() as sink:
        hooks = crew.webhooks(4, sink)
        first = crew.worker()
        until(lambda: "ready" in first.output, "the first owns all")
        second = crew.worker()
        crew.deliver(hooks, 100)
        until(lambda: len(sink.calls) == 400, "all sent")
        assert not sink.lines_of(second.pid)
        assert "ready" not in second.output
        assert {worker["standby"] for worker in crew.site.status()["workers"]} == {True, False}

        first.stop()
        told_at = time.monotonic()
        until(lambda: "ready" in second.output, "the second takes over", taken_over)
        report("stand-by on SQLite", takeover=round(time.monotonic() - told_at, 2))
        assert sink.duplicates() == 0


@pytest.mark.parametrize(
    ("seconds", "late"), [(2, 10), pytest.param(60, 3, marks=pytest.mark.prove)]
)
def test_clocks_five_minutes_off_neither_storm_nor_starve(postgres, seconds, late):
    crew = postgres
    crew.site.environment["WEBHOOKS_RETRY_SCHEDULE"] = "1,100"
    with Sink(delay=0.02) as sink:
        crew.webhooks(32, sink)
        # On odd webhooks the first try of each delivery fails.
        tried = set()
        sink.status = lambda call: (
            503
            if int(call.path[1:]) % 2 and not (call.ident in tried or tried.add(call.ident))
            else 200
        )
        workers = crew.workers({"oddities": {"clock": 300}}, {"oddities": {"clock": -300}})
        producer = crew.producer(100)
        until(lambda: all(sends(worker, sink) for worker in workers), "both send")
        time.sleep(seconds)
        stored = acknowledged(producer)
        crew.drained()

        to_real_time = time.time() - time.monotonic()
        firsts, retries, stamps, tries = [], [], [], []
        for ident, calls in sink.by_ident().items():
            firsts.append(calls[0].began + to_real_time - id_time(ident).timestamp())
            stamps += [abs(call.stamp - call.began - to_real_time) for call in calls]
            tries.append((int(calls[0].path[1:]) % 2 + 1, len(calls)))
            if len(calls) == 2:
                retries.append(calls[1].began - calls[0].ended)
        report(
            "clocks at +300 and -300 s",
            stored=len(stored),
            lost=len(stored - sink.by_ident().keys()),
            first_try_max=round(max(firsts), 2),
            retry_after=[round(min(retries), 2), round(max(retries), 2)],
            timestamp_off=round(max(stamps), 2),
        )
        assert not stored - sink.by_ident().keys()
        assert all(wanted == made for wanted, made in tries)
        assert max(firsts) < late
        # 1 s ± 20 %
        assert min(retries) > 0.75
        assert max(retries) < late
        assert max(stamps) < late
