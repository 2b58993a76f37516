"""Very much waits for one webhook, and somebody deletes, pauses or resumes it: no other waits."""

import threading
import time

import pytest

from tests.promises.crew import report
from tests.promises.machine import OVERLOADED, Machine
from tests.promises.sink import Sink
from tests.waiting import PATIENCE, until
from webhooks_app.rules.ids import id_time

# What each step may take is tried in every run, by tests/engine/test_very_many.py.
pytestmark = [pytest.mark.slow, pytest.mark.prove, pytest.mark.timeout(900)]

FILL = """
from webhooks_app import actions
from webhooks_app.models import Webhook
hook = Webhook.objects.get(pk={webhook!r})
for start in range(0, {count}, 10_000):
    actions.deliver_many([(hook, {{'n': n}}) for n in range(start, start + 10_000)])
"""
SEND = """
import time
from pathlib import Path
from webhooks_app import actions
from webhooks_app.models import Webhook
hook = Webhook.objects.get(pk={webhook!r})
n = 0
while not Path({until!r}).exists():
    actions.deliver(hook, {{'n': n}})
    n += 1
    time.sleep(0.05)
print(n)
"""
ASK = """
from webhooks_app import actions
from webhooks_app.models import Webhook
hook = Webhook.objects.get(pk={webhook!r})
{what}
"""
VERBS = {
    "deleted": "actions.delete_webhook(hook)",
    "paused": "actions.pause(hook)",
    "paused and resumed": "actions.pause(hook); actions.enable(hook)",
}
PENDING = "webhook_id = '{}' AND state = 'pending'"


@pytest.mark.parametrize("count", [300_000])
@pytest.mark.parametrize("what", VERBS)
def test_nobody_waits_for_a_webhook_for_which_very_much_waits(crew, tmp_path, what, count):
    """Another webhook's deliveries, one each 50 ms, wait for a second at the most."""
    with Sink(delay=lambda call: 0.2 if call.path == "/0" else 0) as sink:
        behind, other = crew.webhooks(2, sink)
        crew.site.shell(FILL.format(webhook=behind, count=count))
        crew.worker()
        until(lambda: len(sink.calls) > 100, "load")
        ended, sent = tmp_path / "ended", []
        code = SEND.format(webhook=other, until=str(ended))
        sending = threading.Thread(target=lambda: sent.extend(crew.site.shell(code)))
        sending.start()
        until(lambda: len(sink.by_path().get("/1", ())) > 20, "the other's")
        machine, asked = Machine(), time.monotonic()
        crew.site.shell(ASK.format(webhook=behind, what=VERBS[what]))
        answered = time.monotonic() - asked
        if what == "deleted":
            left = f"SELECT EXISTS(SELECT 1 FROM webhooks_app_delivery WHERE {PENDING})"
            until(lambda: not crew.value(left.format(behind)), "all that waited cancelled", 300)
        settled = time.monotonic() - asked
        time.sleep(2)
        ended.touch()
        sending.join(PATIENCE)
        until(lambda: len(sink.by_path()["/1"]) == int(sent[0]), "all of the other's")
        idle = machine.idle()
        to_real_time = time.time() - time.monotonic()
        waits = sorted(
            (call.began + to_real_time - id_time(call.ident).timestamp(), call.began - asked)
            for call in sink.by_path()["/1"]
        )
        report(
            f"{count} wait for a webhook that is {what}",
            database=crew.database,
            answered_after=round(answered, 2),
            settled_after=round(settled, 1),
            wait_p50=round(waits[len(waits) // 2][0], 3),
            wait_max=round(waits[-1][0], 3),
            at=round(waits[-1][1], 2),
            idle=round(idle, 2),
        )
        assert waits[len(waits) // 2][0] < 1
        assert waits[-1][0] < 1 or idle < OVERLOADED
