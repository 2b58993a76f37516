"""The parts of a run that need Django, each in a process of its own: `python -m …ours PART …`."""

import asyncio
import json
import sys
import time

import django

django.setup()

from django.db import transaction
from django.utils import timezone

from webhooks_app import actions
from webhooks_app.models import AccessToken, Account, Webhook, WebhookHealth
from webhooks_app.rules.ids import new_id

from .load import BODY, CONCURRENCY, WEBHOOKS


def webhooks(url, count=WEBHOOKS):
    """Verified webhooks, all at one address."""
    account, _ = Account.objects.get_or_create(name="bench")
    made = []
    for number in range(count):
        webhook = Webhook(account=account, name=f"{number}", url=url, verified_at=timezone.now())
        webhook.save(force_insert=True)
        WebhookHealth.objects.create(webhook=webhook)
        made.append(webhook)
    return made


def fill(url, count):
    """Store deliveries, turn by turn for each webhook."""
    made = webhooks(url)
    started = time.perf_counter()
    actions.deliver_many([(made[n % len(made)], BODY) for n in range(int(count))])
    return {"stored_per_second": int(count) / (time.perf_counter() - started)}


def produce(url, pace, seconds):
    """Store at an even pace, in batches of a few milliseconds; when each delivery committed."""
    pace, seconds = float(pace), float(seconds)
    made, committed = webhooks(url), {}
    started, stored = time.perf_counter(), 0
    while (passed := time.perf_counter() - started) < seconds:
        batch = int(pace * passed) - stored
        if not batch:
            time.sleep(0.002)
            continue
        moment = []
        with transaction.atomic():
            # Asked for first, so it is noted before anybody is told of the commit.
            transaction.on_commit(lambda moment=moment: moment.append(time.time()))
            pairs = [(made[n % WEBHOOKS], BODY) for n in range(stored, stored + batch)]
            deliveries = actions.deliver_many(pairs)
        committed.update((delivery.id, moment[0]) for delivery in deliveries)
        stored += batch
        time.sleep(0.002)
    return committed


def enqueue(url, count):
    """How fast Python code stores deliveries: one by one, and many at once."""
    made, count, rates = webhooks(url), int(count), {}
    started = time.perf_counter()
    for number in range(count):
        actions.deliver(made[number % WEBHOOKS], BODY)
    rates["deliver"] = count / (time.perf_counter() - started)
    many = count * 10
    started = time.perf_counter()
    actions.deliver_many([(made[number % WEBHOOKS], BODY) for number in range(many)])
    rates["deliver_many"] = many / (time.perf_counter() - started)
    return rates


def account(url):
    """A webhook, and an access token that may store deliveries for it."""
    webhook = webhooks(url, 1)[0]
    return {"webhook": webhook.pk, "token": AccessToken.issue(webhook.account)[1]}


def alone(url, count):
    """Our own sender without a database, the ceiling: what a delivery costs on the wire."""
    from webhooks_app.engine import message
    from webhooks_app.engine.loop import new_event_loop
    from webhooks_app.engine.sender import Sender

    head = message.head(Webhook(url=url), headers=[])
    left = iter(range(int(count)))

    async def main():
        sender = Sender()

        async def send():
            for _ in left:
                request = message.post(head, request_id=new_id(), now=time.time(), body=BODY)
                assert (await sender.send(request, timeout=10)).status == 200

        await asyncio.gather(*[send() for _ in range(CONCURRENCY)])
        await sender.close()

    new_event_loop().run_until_complete(main())


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
