"""Load: stores deliveries for all webhooks of a site, at a pace, until told to end (SIGTERM).

Prints the id of each delivery once its transaction has committed; a failed commit is nobody's
promise. `late` stands beside those that may have become visible after looks had gone past their
moment, on a machine that let the transaction wait: a scan finds them, after what was stored later.
`python -m tests.promises.producer PER_SECOND`
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
    from webhooks_app.engine.knobs import DEFAULT
    from webhooks_app.models import Webhook

    reach = DEFAULT.overlap.total_seconds() / 2  # the other half for what clocks differ by
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
        began = time.monotonic()
        try:
            stored = actions.deliver_many(batch)
            late = " late" if time.monotonic() - began > reach else ""
            for delivery in stored:
                print(f"{delivery.id}{late}")
        except DatabaseError:
            with contextlib.suppress(DatabaseError):
                connection.close()
        due = max(due + BATCH_EVERY, time.monotonic() - 0.5)
        time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main(float(sys.argv[1]))
