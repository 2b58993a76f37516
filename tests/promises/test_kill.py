"""At least once: a worker killed at any moment loses nothing, and another takes over at once."""

import random
import signal
import time
from math import inf

import pytest

from tests.promises.crew import acknowledged, report
from tests.promises.sink import Halt, Sink
from tests.waiting import until

CONCURRENCY = 20
WEBHOOKS = 16
FLYING = 15  # at any moment

pytestmark = pytest.mark.slow


# 2 s are promised on a quiet machine. The short form waits for whoever takes over.
@pytest.mark.parametrize(
    ("kills", "takeover", "per_second"),
    [(2, inf, 100), pytest.param(50, 2, 300, marks=pytest.mark.prove)],
)
@pytest.mark.timeout(900)
def test_killed_workers_lose_nothing_and_another_sends_at_once(crew, kills, takeover, per_second):
    with Sink(delay=FLYING / per_second) as sink:
        crew.webhooks(WEBHOOKS, sink)
        workers = crew.workers(*[{"concurrency": CONCURRENCY}] * 2)
        producer = crew.producer(per_second)
        past, unwritten = [], 0
        for _ in range(kills):
            # On SQLite one sends, the other stands by.
            until(lambda: len(senders(workers, sink)) == 1 + crew.postgres, "workers that send")
            time.sleep(random.uniform(0.0, 1.0))
            victim = random.choice(senders(workers, sink))
            victim.signal(signal.SIGSTOP)  # so that it opens no line while they are counted
            lines = set(sink.lines_of(victim.pid))
            past.append(Halt(sink, victim.kill(), lines))
            called = {call.ident for call in list(sink.calls) if call.line in lines}
            unwritten += len(called & crew.pending_ids())
            workers.remove(victim)
            workers.append(crew.worker(concurrency=CONCURRENCY))
            until(lambda: max(past[-1].takeovers()) < 99, "somebody who takes over")
        stored = acknowledged(producer)
        crew.drained()

        takeovers = sorted(time for kill in past for time in kill.takeovers())
        arrived = sink.by_ident()
        victims = set().union(*(kill.lines for kill in past))
        report(
            f"{kills} kills, two workers",
            database=crew.database,
            stored=len(stored),
            lost=len(stored - arrived.keys()),
            in_flight=unwritten,
            duplicates=sink.duplicates(),
            takeover_p50=round(takeovers[len(takeovers) // 2], 2),
            takeover_max=round(takeovers[-1], 2),
        )
        assert not stored - arrived.keys()
        assert all(len({call.body for call in calls}) == 1 for calls in arrived.values())
        # What came twice had been called by somebody who was killed before it was written down.
        for calls in arrived.values():
            assert sum(call.line not in victims for call in calls) <= 1
            assert all(sum(call.line in kill.lines for call in calls) <= 1 for kill in past)
        assert crew.recorded_twice() == 0
        assert takeovers[-1] < takeover


def senders(workers, sink):
    return [worker for worker in workers if sink.lines_of(worker.pid)]
