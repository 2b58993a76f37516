"""The parts of a run that need Django, each in a process of its own: `python -m …ours PART …`."""

import asyncio
import json
import sys
import time

import django

django.setup()

from django.utils import timezone

from webhooks_app import actions
from webhooks_app.models import Account, Webhook, WebhookHealth
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
