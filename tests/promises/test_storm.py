"""Very many webhooks fail at once and come back, while a healthy one goes on."""

import threading
import time
from math import ceil

import pytest

from tests.promises.crew import report
from tests.promises.sink import Sink
from tests.waiting import PATIENCE, until
from webhooks_app.engine.knobs import DEFAULT
from webhooks_app.rules.ids import id_time

pytestmark = [pytest.mark.slow, pytest.mark.prove, pytest.mark.timeout(3600)]

# All but the last are called at /0, /1 …; the last one, at /fresh, is made while they fail.
MAKE = """
from django.utils import timezone
from webhooks_app import actions
from webhooks_app.models import Account, SigningKey, Webhook, WebhookHealth
account, _ = Account.objects.get_or_create(name='acme')
hooks = [
    Webhook(account=account, name=f'W{{n}}', url=f'{url}{{n}}', verified_at=timezone.now(),
            verification_due_at=None)
    for n in range({count})
]
Webhook.objects.bulk_create(hooks, batch_size=1000)
ids = [hook.pk for hook in hooks]
for start in range(0, len(ids), 500):
    WebhookHealth.objects.begin(ids[start:start + 500])
    SigningKey.objects.of(ids[start:start + 500])
actions.deliver_many([(hook, {{'n': n}}) for n in range(2) for hook in hooks])
"""
SEND = """
import time
from webhooks_app import actions, models
account = models.Account.objects.get(name='acme')
hook = actions.create_webhook(account, name='fresh', url='{url}fresh')
until = time.monotonic() + {seconds}
n = 0
while time.monotonic() < until:
    actions.deliver(hook, {{'n': n}})
    n += 1
    time.sleep(0.1)
print(n)
"""


def all_called(sink, count):
    # To sort the calls costs more than all that is proved, and takes it from the sink.
    return len(sink.calls) >= count and len(sink.by_path()) == count


def drained(crew, sink):
    """Wait until nothing is pending; how long it took. A breaker that opened again and again probes
    minutes later: something is wrong when nobody is called for longer than one may stay open."""
    started = time.monotonic()
    while crew.pending():
        silent = time.monotonic() - max(sink.calls[-1].began, started)
        assert silent < DEFAULT.breaker_longest + PATIENCE, f"{crew.pending()} pending"
        time.sleep(1)
    return time.monotonic() - started


def quantile(values, share):
    return sorted(values)[ceil(share * len(values)) - 1]


@pytest.mark.parametrize("count", [10_000])
def test_ten_thousand_fail_for_a_minute_and_come_back_and_a_fresh_one_does_not_wait(crew, count):
    """Its deliveries wait for a second at the most, 99 of 100, in every part of the storm."""
    crew.site.environment["WEBHOOKS_RETRY_SCHEDULE"] = "1,2,4,8,15,30,30,30,30"
    with Sink() as sink:
        back_at = float("inf")
        sink.status = lambda call: (
            200 if call.path == "/fresh" or time.monotonic() > back_at else 500
        )
        url = sink.url("/")
        crew.site.shell(MAKE.format(url=url, count=count))
        crew.worker(concurrency=100)
        began = time.monotonic()
        until(lambda: all_called(sink, count), "that all have failed", 1200)
        all_failed = time.monotonic() - began
        sent = []
        code = SEND.format(url=url, seconds=100)
        sending = threading.Thread(target=lambda: sent.extend(crew.site.shell(code)))
        sending.start()
        time.sleep(60)
        back_at = time.monotonic()
        sending.join(PATIENCE)
        until(lambda: len(sink.by_path()["/fresh"]) == int(sent[0]), "all of the fresh one's")
        to_real_time = time.time() - time.monotonic()
        fresh = sink.by_path()["/fresh"]
        waits = [
            (call.began, call.began + to_real_time - id_time(call.ident).timestamp())
            for call in fresh
        ]
        parts = {
            "while they fail": [wait for at, wait in waits if at <= back_at],
            "when they are back": [wait for at, wait in waits if at > back_at],
        }
        for part, found in parts.items():
            report(
                f"{count} webhooks fail and come back, a fresh one {part}",
                database=crew.database,
                deliveries=len(found),
                p50=round(quantile(found, 0.5), 3),
                p90=round(quantile(found, 0.9), 3),
                p99=round(quantile(found, 0.99), 3),
                longest=round(max(found), 3),
            )
        drained_after = drained(crew, sink)
        calls = list(sink.calls)
        report(
            "the storm",
            database=crew.database,
            calls_while_failing=sum(call.began <= back_at for call in calls),
            calls=len(calls),
            all_failed_after=round(all_failed, 1),
            drained_after=round(drained_after, 1),
        )
        assert len(sink.by_ident()) == 2 * count + len(fresh)
        assert all(quantile(found, 0.99) <= 1 for found in parts.values())
