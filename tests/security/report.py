"""What the tricks of `evil.py` cost a worker: `python -m tests.security.report [ROUNDS]`.

The receivers play in a process of their own; the worker of this one delivers to all of them at
once, on a SQLite file, again and again, together with an honest receiver. Printed as Markdown:
memory of the worker, what became of the honest deliveries, time to the verdict of each trick.
"""

import contextlib
import ctypes
import gc
import json
import multiprocessing
import os
import ssl
import sys
import time
from pathlib import Path

SHORT = 0.6  # seconds, the timeout of every webhook here
HONEST = 100  # deliveries of the honest receiver in each round
WARM = 3  # rounds before memory is looked at first


def receivers(pipe):
    """Plays until the other end of the pipe is closed."""
    from tests.certificates import authority
    from tests.receivers import Answer, Receiver
    from tests.security.evil import EVIL, playing

    with playing(EVIL) as urls, Receiver(Answer(200, "ok")) as honest:
        pipe.send((urls | {"honest": honest.url}, authority().cert_pem.bytes().decode()))
        pipe.poll(None)


def memory():
    """Resident memory of this process in MiB: now, and at its most.

    What Python and the C library keep for later is handed back first: it comes in steps that say
    nothing about a leak.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    status = Path("/proc/self/status").read_text()
    sizes = dict(line.split(":", 1) for line in status.splitlines())
    return [int(sizes[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM")]


def measure(rounds):
    """(memory after each round, {name: attempts}); Django is set up, the database is empty."""
    from tests.factories import AccountFactory, WebhookFactory
    from tests.receivers import StubResolver
    from tests.security.evil import EVIL
    from webhooks_app import actions
    from webhooks_app.engine import worker
    from webhooks_app.engine.http.sender import Sender
    from webhooks_app.models import Attempt, Delivery, WebhookHealth

    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=receivers, args=(theirs,))
    process.start()
    theirs.close()
    urls, trusted = ours.recv()
    context = ssl.create_default_context(cadata=trusted)
    account = AccountFactory(name="evil")
    tricks = [
        (WebhookFactory(account=account, name=t.name, url=urls[t.name], timeout=SHORT), t)
        for t in EVIL
    ]
    honest = WebhookFactory(account=account, name="honest", url=urls["honest"], max_in_flight=100)
    sizes, found = [], {}
    for _ in range(rounds):
        actions.deliver_many([(webhook, json.loads(trick.payload)) for webhook, trick in tricks])
        actions.deliver_many([(honest, {"n": n}) for n in range(HONEST)])
        sender = Sender(StubResolver({}), ssl_context=lambda **_: context)
        worker.run(until_empty=True, concurrency=400, sender=sender)
        for name, kind, ms in Attempt.objects.values_list("webhook__name", "kind", "duration_ms"):
            found.setdefault(name, []).append((kind, ms))
        Attempt.objects.all().delete()
        Delivery.objects.all().delete()
        WebhookHealth.objects.update(breaker_until=None, breaker_trips=0)
        sizes.append(memory())
        print(f"round {len(sizes)}: {sizes[-1][0]:.1f} MiB", file=sys.stderr)
    ours.close()
    process.terminate()
    process.join()
    return sizes, found


def prepare():
    """A site of its own in a temporary folder."""
    from tests.plugin import test_environment

    os.environ.pop("TEST_DATABASE_URL", None)  # a database of our own, also inside a test run
    test_environment("sqlite")
    os.environ["WEBHOOKS_ALLOWED_NETWORKS"] = "127.0.0.0/8"
    os.environ["WEBHOOKS_RETRY_SCHEDULE"] = "100000"
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def main():
    from tests.security.evil import EVIL

    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    prepare()
    began = time.monotonic()
    sizes, found = measure(rounds)
    took = time.monotonic() - began
    times = sorted(ms for _, ms in found["honest"])
    good = sum(kind == "" for kind, _ in found["honest"])
    print(f"{len(EVIL)} tricks, {rounds} rounds in {took:.0f} s, all at once in each round.\n")
    print(f"- Memory of the worker after round {WARM}: {sizes[WARM - 1][0]:.1f} MiB, after round")
    print(
        f"  {rounds}: {sizes[-1][0]:.1f} MiB; at its most {sizes[-1][1]:.1f} MiB, with everything"
    )
    print("  that Python and the C library keep for later.")
    print(f"- Honest deliveries beside them: {good:,} of {len(times):,} delivered, half within")
    print(f"  {times[len(times) // 2]} ms, all within {times[-1]} ms.")
    slow = [ms for t in EVIL if t.kind.endswith("timeout") for _, ms in found[t.name]]
    print(f"- Timeout of {SHORT * 1000:.0f} ms: verdicts after {min(slow)} to {max(slow)} ms.\n")
    print("| trick | what it does | recorded as | verdict, ms (median, longest) |")
    print("| --- | --- | --- | --- |")
    for trick in EVIL:
        kinds = " / ".join(sorted({kind or "success" for kind, _ in found[trick.name]}))
        ms = sorted(ms for _, ms in found[trick.name])
        print(f"| {trick.name} | {trick.why} | {kinds} | {ms[len(ms) // 2]}, {ms[-1]} |")
    wrong = {t.name for t in EVIL if {kind for kind, _ in found[t.name]} != {t.kind}}
    if wrong or good < len(times):
        sys.exit(f"not as expected: {', '.join(sorted(wrong)) or 'an honest delivery failed'}")


if __name__ == "__main__":
    main()
