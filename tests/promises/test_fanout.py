"""An event reaches all of its receivers or does not exist, whoever is killed meanwhile."""

import random
import re
import signal
import sys
import time
from functools import partial

import pytest

from tests.promises.crew import report
from tests.promises.sink import Sink
from tests.waiting import until

WEBHOOKS, STEP = 30, 8
SUBSCRIBE = """
from webhooks_app import actions
from webhooks_app.models import Webhook
for webhook in Webhook.objects.all():
    actions.set_subscriptions(webhook, [{"types": ["order.*"]}])
"""
EACH = """
    SELECT e.id, e.matched, e.fanned_out_to IS NULL, count(d.id), count(DISTINCT d.webhook_id)
    FROM webhooks_app_event e LEFT JOIN webhooks_app_delivery d ON d.event_id = e.id
    GROUP BY e.id, e.matched, e.fanned_out_to
"""

pytestmark = pytest.mark.slow


def published_by(publisher):
    return set(re.findall(r"^[0-9a-f]{24}$", publisher.output, re.MULTILINE))


@pytest.mark.parametrize("kills", [1, pytest.param(50, marks=pytest.mark.prove)])
@pytest.mark.timeout(900)
def test_publishers_and_workers_killed_leave_no_event_half_fanned_out(crew, kills):
    published = set()
    with Sink() as sink:
        crew.webhooks(WEBHOOKS, sink)
        crew.site.shell(SUBSCRIBE)
        options = {"oddities": {"upkeep_every": 0.05}}
        command = [sys.executable, "-m", "tests.promises.publisher", str(STEP)]
        worker, publisher = crew.worker(**options), crew._start(command)
        lines = set()
        for _ in range(kills):
            until(partial(published_by, publisher), "an event")
            time.sleep(random.uniform(0.0, 0.3))
            worker.signal(signal.SIGSTOP)  # so that it opens no line while they are counted
            lines |= set(sink.lines_of(worker.pid))
            publisher.kill()
            worker.kill()
            published |= published_by(publisher)
            worker, publisher = crew.worker(**options), crew._start(command)
        publisher.stop()
        published |= published_by(publisher)
        until(lambda: all(row[2] for row in crew.rows(EACH)), "events that are fanned out")
        crew.drained()
        rows = crew.rows(EACH)
        arrived = sink.by_ident()
        deliveries = {ident for (ident,) in crew.rows("SELECT id FROM webhooks_app_delivery")}
    report(
        f"{kills} kills of publisher and worker, {WEBHOOKS} receivers an event",
        database=crew.database,
        events=len(rows),
        lost=len(published - {row[0] for row in rows}),
        duplicates=sink.duplicates(),
    )
    assert published <= {row[0] for row in rows}
    assert {row[1:] for row in rows} == {(WEBHOOKS, True, WEBHOOKS, WEBHOOKS)}
    assert deliveries == arrived.keys()
    for calls in arrived.values():  # twice only what flew when its worker was killed
        assert sum(call.line not in lines for call in calls) <= 1
