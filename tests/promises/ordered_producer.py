"""Load in order: stores deliveries of some keys for the first webhook of a site, in transactions
that stay open for a while, until told to end (SIGTERM).

Prints a line of JSON for each once its transaction has committed: id, key, when it was begun and
when it was committed (monotonic seconds, the same for all processes of a host). The clock of its
host may be wrong by some seconds. `python -m tests.promises.ordered_producer PER_SECOND OPEN WRONG`
"""

import contextlib
import json
import random
import signal
import sys
import time
from datetime import timedelta

KEYS = [f"key-{n}" for n in range(10)]
PENDING_MOST = 15  # while more wait, nobody publishes: behind a long queue nothing comes too late


def main(per_second, open_most, wrong):
    import django

    django.setup()
    from django.db import DatabaseError, connection, transaction
    from django.utils import timezone

    from webhooks_app import actions
    from webhooks_app.models import Delivery, Webhook

    right = timezone.now
    timezone.now = lambda: right() + timedelta(seconds=wrong)
    ended = False

    def end(*_):
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, end)
    webhook = Webhook.objects.order_by("pk")[0]
    pending = Delivery.objects.pending().filter(webhook=webhook).order_by()
    while not ended:
        made = []
        try:
            if len(pending.values_list("pk")[: PENDING_MOST + 1]) > PENDING_MOST:
                time.sleep(0.02)
                continue
            with transaction.atomic():
                began = time.monotonic()
                for _ in range(random.randint(1, 3)):
                    key = random.choice(KEYS)
                    delivery = actions.deliver(webhook, {"key": key}, ordering_key=key)
                    made.append((delivery.pk, key))
                time.sleep(random.choice([0, 0, random.uniform(0, open_most)]))
            committed = time.monotonic()
            for ident, key in made:
                print(json.dumps([ident, key, began, committed]))
        except DatabaseError:
            with contextlib.suppress(DatabaseError):
                connection.close()
        time.sleep(random.expovariate(per_second / 2))


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
