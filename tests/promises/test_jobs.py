"""A job goes on after a kill exactly where it was: nothing skipped, nothing asked for twice."""

import random
import time

import pytest

from tests.promises.crew import report
from tests.promises.sink import Sink
from tests.waiting import until

WEBHOOKS, EACH, PACE, CONCURRENCY = 4, 150, 100, 20
START = (
    "from webhooks_app import actions;"
    "print(actions.create_job('retry', {}, delivered_too=True, pace=%d, by='mira').pk)"
)

DONE = "SELECT done FROM webhooks_app_job"
ATTEMPTS = (
    "SELECT number, count(*) FROM (SELECT count(*) AS number FROM webhooks_app_attempt "
    "GROUP BY delivery_id) AS of_each GROUP BY number"
)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.prove)])
def test_a_killed_worker_leaves_its_job_to_the_next(crew, kills):
    everything, pace = WEBHOOKS * EACH, max(PACE // kills, 20)
    with Sink() as sink:
        ids = crew.webhooks(WEBHOOKS, sink)
        worker = crew.worker(concurrency=CONCURRENCY)
        crew.deliver(ids, EACH)
        crew.drained()
        crew.site.shell(START % pace)
        for _ in range(kills):
            done = crew.value(DONE)
            until(lambda done=done: crew.value(DONE) > done, "a step of the job")
            time.sleep(random.uniform(0.0, 1.0))
            worker.kill()
            worker = crew.worker(concurrency=CONCURRENCY)
        until(lambda: crew.value("SELECT state FROM webhooks_app_job") == "done", "its end")
        crew.drained()
        arrived = sink.by_ident()

    done, skipped = crew.rows("SELECT done, skipped FROM webhooks_app_job")[0]
    calls = [len(calls) for calls in arrived.values() if len(calls) > 1]
    report(f"{kills} kills in a job", database=crew.database, done=done, skipped=skipped)
    assert (done, skipped) == (everything, 0)
    assert len(calls) == everything
    assert crew.rows(ATTEMPTS) == [(2, everything)]
    # What was not written down yet at a kill came once more: the last step's at the most.
    assert sum(calls) <= 2 * everything + kills * (pace + CONCURRENCY)
