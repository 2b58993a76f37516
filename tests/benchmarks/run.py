"""One measured run in a process of its own: `python -m tests.benchmarks.run PORT COUNT [bare]`.

Prints JSON. `bare` is our own sender without any database, the ceiling; otherwise COUNT deliveries
are stored for 100 webhooks and sent by a worker, everything durable, fairness on.
"""

import asyncio
import json
import resource
import sys
import time

import django

django.setup()

BODY = b'{"order": "' + b"x" * 1000 + b'"}'
WEBHOOKS = 100
CONCURRENCY = 100


def bare(port, count):
    from webhooks_app.engine.loop import new_event_loop
    from webhooks_app.engine.sender import Request, Sender

    head = (
        f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(BODY)}\r\n\r\n"
    ).encode()
    request = Request("POST", "http", "127.0.0.1", port, head, BODY)

    async def main():
        sender = Sender()
        left = iter(range(count))

        async def send():
            for _ in left:
                assert (await sender.send(request, timeout=10)).status == 200

        started = time.perf_counter()
        await asyncio.gather(*[send() for _ in range(CONCURRENCY)])
        seconds = time.perf_counter() - started
        await sender.close()
        return seconds

    loop = new_event_loop()
    return {"seconds": loop.run_until_complete(main())}


def durable(port, count):
    from django.core.management import call_command
    from django.utils import timezone

    from webhooks_app import actions
    from webhooks_app.engine import worker
    from webhooks_app.models import Account, Webhook, WebhookHealth

    call_command("migrate", verbosity=0)
    account, _ = Account.objects.get_or_create(name="bench")
    webhooks = []
    for number in range(WEBHOOKS):
        webhook = Webhook(account=account, name=f"{number}", url=f"http://127.0.0.1:{port}/")
        webhook.verified_at = timezone.now()
        webhook.save(force_insert=True)
        WebhookHealth.objects.create(webhook=webhook)
        webhooks.append(webhook)
    started = time.perf_counter()
    actions.deliver_many([(webhooks[n % WEBHOOKS], BODY) for n in range(count)])
    stored = time.perf_counter() - started
    cpu = time.process_time()
    begin = []
    sent = worker.run(until_empty=True, on_start=lambda: begin.append(time.perf_counter()))
    assert sent == count, sent
    # `until_empty` looks twice, 0.1 s apart, before it believes that nothing is left.
    return {
        "seconds": time.perf_counter() - begin[0] - 0.2,
        "stored_per_second": count / stored,
        "cpu_us": (time.process_time() - cpu) / count * 1e6,
    }


if __name__ == "__main__":
    measure = bare if sys.argv[3:] == ["bare"] else durable
    result = measure(int(sys.argv[1]), int(sys.argv[2]))
    result["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(result))
