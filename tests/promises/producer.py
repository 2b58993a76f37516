"""Load: stores deliveries for all webhooks of a site, at a pace, until told to end (SIGTERM).

Prints the id of each delivery once its transaction has committed; a failed commit is nobody's
promise. `python -m tests.promises.producer PER_SECOND`
"""

import contextlib
import signal
import sys
import time

BATCH_EVERY = 0.05  # seconds


def main(per_second):
    import django

    django.setup()
    from django.db import DatabaseError, connection

    from webhooks_app import actions
    from webhooks_app.models import Webhook

    ended = False

    def end(*_):
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, end)
    webhooks = list(Webhook.objects.order_by("pk"))
    numbers = [0] * len(webhooks)
    place = 0
    due = time.monotonic()
    while not ended:
        batch = []
        for _ in range(max(1, round(per_second * BATCH_EVERY))):
            batch.append((webhooks[place], {"n": numbers[place]}))
            numbers[place] += 1
            place = (place + 1) % len(webhooks)
        try:
            for delivery in actions.deliver_many(batch):
                print(delivery.id)
        except DatabaseError:
            with contextlib.suppress(DatabaseError):
                connection.close()
        due = max(due + BATCH_EVERY, time.monotonic() - 0.5)
        time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main(float(sys.argv[1]))
