"""Load: publishes events of the account acme until told to end (SIGTERM), and goes on with them as
a worker does, in small steps.

Prints the id of each event once its transaction has committed.
`python -m tests.promises.publisher STEP`: receivers of a step.
"""

import signal
import sys
import time


def main(step):
    import django

    django.setup()
    from webhooks_app import actions
    from webhooks_app.engine import fanout, subscribers
    from webhooks_app.models import Account

    subscribers.STEP = step
    ended = False

    def end(*_):
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, end)
    account = Account.objects.get(name="acme")
    number = 0
    while not ended:
        event = actions.publish(account, "order.created", {"n": number})
        print(event.pk, flush=True)
        number += 1
        fanout.turn()
        time.sleep(0.02)


if __name__ == "__main__":
    main(int(sys.argv[1]))
