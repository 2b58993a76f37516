"""A killed worker leaves counts and health as the attempts tell them."""

import json
import signal
import time

import pytest

from tests.receivers import Answer, Receiver
from tests.waiting import PATIENCE

FILL = (
    "from webhooks_app import actions; from webhooks_app.models import Webhook;"
    "hooks = list(Webhook.objects.all());"
    "actions.deliver_many([(hooks[n % len(hooks)], {{'n': n}}) for n in range({count})])"
)
GIVE_UP = ";from webhooks_app.models import Delivery; Delivery.objects.update(retry_schedule='')"

WRITTEN = """
import json
from django.core.serializers import serialize
from webhooks_app.engine.maintenance import recount
from webhooks_app.engine.maintenance import accepted
from webhooks_app.models import Attempt, Counter, Delivery, HourlyCount, WebhookHealth
def written():
    return [list(rows.order_by("webhook").values())
            for rows in (HourlyCount.objects, WebhookHealth.objects)]
before = written()
HourlyCount.objects.all().delete()
WebhookHealth.objects.update(failures_in_row=0, failing_since=None, last_error_message="")
for _ in recount.rebuild():
    pass
counted = sum(row["delivered"] + row["failed"] for row in before[0])
def total(**which):
    return sum(Counter.objects.filter(**which).values_list("count", flat=True))
place = Counter.objects.filter(name="accepted").values_list("place", flat=True)
print(json.dumps({"same": before == written(), "counted": counted,
                  "attempts": Attempt.objects.count(), "total": total(name="delivery"),
                  "ok": [Attempt.objects.filter(kind="").count(), total(name="delivery", kind="")],
                  "given up": [Delivery.objects.filter(state="failed").count(),
                               total(name="given_up")],
                  "accepted": total(name="accepted") + accepted.behind(place[0] if place else "")}))
"""


def often_well(request):
    return Answer(500 if request.json["n"] // 2 % 3 == 0 else 200, delay=0.01)


@pytest.mark.slow
def test_counts_agree_with_the_attempts_after_a_kill(site):
    """A third of the answers are failures, and the worker dies in the middle of its batches."""
    with Receiver(often_well) as receiver:
        site.webhook(f"{receiver.url}/a")
        site.webhook(f"{receiver.url}/b")
        site.shell(FILL.format(count=200) + GIVE_UP)
        worker = site.start("webhooks", "deliver", "--concurrency", "20")
        deadline = time.monotonic() + 20
        while len(receiver.requests) < 50 and time.monotonic() < deadline:
            time.sleep(0.005)
        worker.send_signal(signal.SIGKILL)
        worker.wait(PATIENCE)
        site.manage("webhooks", "deliver", "--until-empty")

    shown = json.loads(site.shell(WRITTEN)[-1])

    assert shown["attempts"] >= 200
    assert shown["same"]
    assert shown["counted"] == shown["total"] == shown["attempts"]
    assert shown["accepted"] == 200
    for attempted, total in (shown["ok"], shown["given up"]):
        assert attempted == total > 0
