"""The promise of an order: what had been committed before another was made comes before it, whoever
is killed meanwhile. The queue is kept near empty: a long one would hide what is seen too late."""

import json
import random
import signal
import sys
import time
from collections import defaultdict

import pytest

from tests.promises.crew import report
from tests.promises.sink import Halt, Sink
from tests.waiting import until

pytestmark = pytest.mark.slow

PER_SECOND = 20  # of each of four who publish


def ordered(crew, sink, order, **options):
    (ident,) = crew.webhooks(1, sink, **options)
    crew.change(f"UPDATE webhooks_app_webhook SET \"order\" = '{order}' WHERE id = '{ident}'")
    return ident


def producers(crew):
    # One host has one clock, and on SQLite whoever publishes keeps all others waiting.
    wrong = [-5, 0, 0, 5] if crew.postgres else [0] * 4
    most = 0.15 if crew.postgres else 0.02
    module = [sys.executable, "-m", "tests.promises.ordered_producer"]
    return [
        crew._start([*module, f"{PER_SECOND}", f"{most}", f"{each}"], PYTHONUNBUFFERED="1")
        for each in wrong
    ]


def stored(running):
    """End the load; id, key, begun and committed of all that was stored."""
    made = []
    for producer in running:
        producer.stop()
        assert producer.poll() == 0, producer.output[-2000:]
        made += [json.loads(line) for line in producer.output.splitlines() if line[:1] == "["]
    return made


def broken(made, first):
    """The pairs of one key of which the first was committed before the other was begun, and came
    later."""
    by_key = defaultdict(list)
    for ident, key, began, committed in made:
        by_key[key].append((began, committed, first[ident], ident))
    return [
        (one, other)
        for rows in by_key.values()
        for one in rows
        for other in rows
        if one[1] < other[0] and one[2] > other[2]
    ]


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.prove)])
@pytest.mark.parametrize("order", ["key", pytest.param("webhook", marks=pytest.mark.prove)])
@pytest.mark.timeout(900)
def test_killed_workers_break_no_order(crew, kills, order):
    chance = random.Random()

    def status(call):
        return 500 if chance.random() < 0.1 else 200

    with Sink(delay=0.003, status=status) as sink:
        crew.site.environment["WEBHOOKS_RETRY_SCHEDULE"] = ",".join(["0.05"] * 30)
        ordered(crew, sink, order)
        workers = crew.workers({}, {})
        running = producers(crew)
        past = []
        for _ in range(kills):
            until(lambda: senders(workers, sink), "a worker that sends")
            time.sleep(random.uniform(0.1, 1.0))
            victim = random.choice(senders(workers, sink))
            victim.signal(signal.SIGSTOP)
            lines = set(sink.lines_of(victim.pid))
            past.append(Halt(sink, victim.kill(), lines))
            workers.remove(victim)
            workers.append(crew.worker())
        made = stored(running)
        crew.drained()
    first = {}
    for call in sink.calls:
        first.setdefault(call.ident, call.began)
    lost = {ident for ident, *_ in made} - first.keys()
    if order == "webhook":
        made = [(ident, "", *moments) for ident, _, *moments in made]
    wrong = [] if lost else broken(made, first)
    report(
        f"order by {order}, {kills} kills",
        database=crew.database,
        stored=len(made),
        lost=len(lost),
        broken=len(wrong),
        duplicates=sink.duplicates(),
    )
    assert not lost
    assert not wrong
    assert crew.recorded_twice() == 0


def senders(workers, sink):
    return [worker for worker in workers if sink.lines_of(worker.pid)]
