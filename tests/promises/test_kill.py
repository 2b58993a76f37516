"""At least once: a worker killed at any moment loses nothing, and another takes over at once."""

import random
import time

import pytest

from tests.promises.crew import acknowledged, report, until
from tests.promises.sink import Halt, Sink

CONCURRENCY = 20
WEBHOOKS = 16
PER_SECOND = 300

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.prove)])
@pytest.mark.timeout(900)
def test_killed_workers_lose_nothing_and_another_sends_at_once(crew, kills):
    with Sink(delay=0.05) as sink:
        crew.webhooks(WEBHOOKS, sink)
        workers = crew.workers(*[{"concurrency": CONCURRENCY}] * 2)
        producer = crew.producer(PER_SECOND)
        past = []
        for _ in range(kills):
            # On SQLite one sends, the other stands by.
            until(lambda: len(senders(workers, sink)) == 1 + crew.postgres, 30, "workers that send")
            time.sleep(random.uniform(0.0, 1.0))
            victim = random.choice(senders(workers, sink))
            lines = set(sink.lines_of(victim.pid))
            past.append(Halt(sink, victim.kill(), lines))
            workers.remove(victim)
            workers.append(crew.worker(concurrency=CONCURRENCY))
            until(lambda: max(past[-1].takeovers()) < 99, 30, "somebody who takes over")
        stored = acknowledged(producer)
        crew.drained()

        takeovers = sorted(time for kill in past for time in kill.takeovers())
        arrived = sink.by_ident()
        again = {ident: len(calls) - 1 for ident, calls in arrived.items() if len(calls) > 1}
        report(
            f"{kills} kills, two workers",
            database=crew.database,
            stored=len(stored),
            lost=len(stored - arrived.keys()),
            in_flight=sum(len(kill.in_flight) for kill in past),
            duplicates=sink.duplicates(),
            takeover_p50=round(takeovers[len(takeovers) // 2], 2),
            takeover_max=round(takeovers[-1], 2),
        )
        assert not stored - arrived.keys()
        assert all(len({call.body for call in calls}) == 1 for calls in arrived.values())
        # What came twice had flown, or was not written yet, when its worker was killed.
        for ident, times in again.items():
            assert times <= sum(ident in kill.in_flight for kill in past)
        assert crew.recorded_twice() == 0
        assert takeovers[-1] < 2


def senders(workers, sink):
    return [worker for worker in workers if sink.lines_of(worker.pid)]
