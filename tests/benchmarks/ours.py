"""The parts of a run that need Django, each in a process of its own: `python -m …ours PART …`."""

import asyncio
import json
import random
import statistics
import sys
import time
from datetime import timedelta
from typing import Any

import django

django.setup()

from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from webhooks_app import __version__, actions
from webhooks_app.models import (
    AccessToken,
    Account,
    Attempt,
    Delivery,
    SigningKey,
    Subscription,
    Webhook,
    WebhookHealth,
    Worker,
)
from webhooks_app.rules import schedules, signing
from webhooks_app.rules.ids import first_id, first_key, new_id

from .load import BODY, CONCURRENCY, WEBHOOKS


def webhooks(urls, count=WEBHOOKS):
    """Verified webhooks at these addresses (spaces between), in turn."""
    account, _ = Account.objects.get_or_create(name="bench")
    made, urls = [], urls.split()
    for number in range(count):
        url = urls[number % len(urls)]
        webhook = Webhook(
            account=account,
            name=f"{number}",
            url=url,
            verified_at=timezone.now(),
            verification_due_at=None,
        )
        webhook.save(force_insert=True)
        WebhookHealth.objects.create(webhook=webhook)
        made.append(webhook)
    return made


def fill(urls, count, number=WEBHOOKS):
    """Store deliveries, turn by turn for each webhook."""
    made = webhooks(urls, int(number))
    started = time.perf_counter()
    actions.deliver_many([(made[n % len(made)], BODY) for n in range(int(count))])
    return {"stored_per_second": int(count) / (time.perf_counter() - started)}


def fill_in_order(url, count, number, top, keys):
    """Store deliveries, turn by turn for each webhook, which sends `top` at once; in order by these
    keys (commas between) in turn, or in none. What fails is tried again ten times a second."""
    made, keys = webhooks(url, int(number)), keys.split(",")
    for webhook in made:
        webhook.max_in_flight, webhook.order = int(top), "key" if keys[0] else ""
        webhook.retry_schedule = schedules.text((0.1,) * 30)
        webhook.save()
    deliveries = []
    for number in range(int(count)):
        key = keys[number // len(made) % len(keys)]
        body = b'{"key": "%b", %b' % (key.encode(), BODY[1:])
        deliveries.append((made[number % len(made)], body, {"ordering_key": key}))
    actions.deliver_many(deliveries)
    return {}


def orders(urls, count):
    """Store as many deliveries of 1 KiB each, of JSON as shops send it."""
    made = list(Webhook.objects.all()) or webhooks(urls)
    random.seed(4711)
    for start in range(0, int(count), 5000):
        numbers = range(start, min(start + 5000, int(count)))
        actions.deliver_many([(made[n % len(made)], order(n)) for n in numbers])
    return {}


def order(number):
    """1,024 bytes; some of it stands in every order, some in no other."""

    def code(digits):
        return f"{random.getrandbits(4 * digits):0{digits}x}"

    customer = {"id": code(24), "name": "Ada Lovelace", "email": f"{code(8)}@example.com"}
    items: list[dict[str, Any]] = []
    body = {
        "id": code(24),
        "number": number,
        "createdAt": f"2026-11-30T08:{number // 60 % 60:02}:{number % 60:02}.000Z",
        "currency": "EUR",
        "customer": customer,
        "items": items,
        "note": "",
    }
    while len(json.dumps(body)) < 900:
        price = f"{random.randrange(100, 99999) / 100:.2f}"
        items.append({"sku": code(10), "count": random.randrange(1, 9), "price": price})
    body["note"] = code(1024 - len(json.dumps(body)))
    return json.dumps(body).encode()


def produce(urls, pace, seconds, number=WEBHOOKS):
    """Store at an even pace, in batches of a few milliseconds; when each delivery committed.

    What will hang is stored but not told.
    """
    pace, seconds = float(pace), float(seconds)
    made, committed = webhooks(urls, int(number)), {}
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
            pairs = [(made[n % len(made)], BODY) for n in range(stored, stored + batch)]
            deliveries = actions.deliver_many(pairs)
        committed.update(
            (delivery.id, moment[0])
            for delivery, (webhook, _) in zip(deliveries, pairs, strict=True)
            if not webhook.url.endswith("/hang")
        )
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


def multiply(urls, finished, pending, number=WEBHOOKS):
    """A long history made quickly: by SQL, from one delivery that was really stored and sent."""
    from webhooks_app.engine import worker

    (model,) = actions.deliver_many([(webhooks(urls.split()[0], 1)[0], BODY)])
    worker.run(until_empty=True)
    made = webhooks(urls, int(number))
    attempt = Attempt.objects.get(delivery=model)
    first = timezone.now() - timedelta(days=1)
    # Ids that tell the same time as the rows: else the hourly purge would walk through all of them.
    later = first + timedelta(hours=1)
    for state, count, made_at in (("delivered", finished, first), ("pending", pending, later)):
        count, begin = int(count), first_id(made_at)[:8]
        delivery = Delivery.objects.get(pk=model.pk)
        delivery.state, delivery.created_at, delivery.due_at = state, first, first
        if state == "pending":
            delivery.tries, delivery.finished_at, delivery.last_status = 0, None, None
        _copy(delivery, count, made, id=begin)
        if state == "delivered":
            _copy(attempt, count, made, request_id=begin, delivery=begin)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")


def _copy(row, count, made, **idents):
    """Insert copies of a row: webhooks in turn, idents with the number of the copy behind them."""
    number = "lpad(to_hex(i), 16, '0')"
    if connection.vendor == "sqlite":
        number = "printf('%%016x', i)"
    turns = " ".join(f"WHEN {n} THEN '{webhook.pk}'" for n, webhook in enumerate(made))
    columns, values, parameters = [], [], []
    for field in row._meta.local_concrete_fields:
        if field.name in idents:
            values.append(f"'{idents[field.name]}' || {number}")
        elif field.name == "webhook":
            values.append(f"CASE i %% {len(made)} {turns} END")
        elif field.primary_key:
            values.append(f"{first_key(row.ended_at)} - i")
        else:
            values.append("%s")
            parameters.append(field.get_db_prep_save(getattr(row, field.attname), connection))
        columns.append(field.column)
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %s)"
    with connection.cursor() as cursor:
        cursor.execute(
            f"{numbers} INSERT INTO {row._meta.db_table} ({', '.join(columns)}) "
            f"SELECT {', '.join(values)} FROM n WHERE i <= %s",
            [count, *parameters, count],
        )


FILTERS = (
    {"total": {"$gte": 1000}},
    {"customer": {"country": {"$in": ["DE", "FR", "IT"]}}},
    {"items": {"sku": {"$startsWith": "X-"}}},
    {"$or": [{"status": "paid"}, {"priority": {"$gt": 5}}]},
    {"customer": {"id": "nobody"}},
)
EVENT = {  # 1 KiB that none of these takes
    "total": 12.5,
    "status": "open",
    "priority": 1,
    "customer": {"id": "c-4711", "country": "US", "name": "Ada"},
    "items": [{"sku": f"A-{n}", "text": "x" * 60} for n in range(10)],
}


def subscribe(count, filtered):
    """An account with so many webhooks, each subscribed to order.*, by filters or to everything."""
    account = Account.objects.create(name="bench")
    # Before any of this version was there, each delivery has a copy of the payload.
    Worker.objects.create(id="bench", host="bench", pid=1, version=__version__)
    now = timezone.now()
    made = Webhook.objects.bulk_create(
        Webhook(account=account, name=f"{n}", url="http://127.0.0.1:9/", verified_at=now)
        for n in range(count)
    )
    Subscription.objects.bulk_create(
        Subscription(
            account=account,
            webhook=webhook,
            number=0,
            pattern="order.*",
            filter=json.dumps(FILTERS[n % len(FILTERS)]) if filtered else "",
            valid_from=now,
        )
        for n, webhook in enumerate(made)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return account


def judge(subscriptions, events=200):
    """Milliseconds for an event that the filters of all these subscriptions refuse: the storing of
    deliveries left out."""
    account, took = subscribe(int(subscriptions), filtered=True), []
    cpu = time.process_time()
    for _ in range(int(events)):
        started = time.perf_counter()
        event = actions.publish(account, "order.created", EVENT)
        took.append((time.perf_counter() - started) * 1000)
        assert (event.matched, event.filtered) == (0, int(subscriptions))
    return {
        "p50_ms": statistics.median(took),
        "p95_ms": statistics.quantiles(took, n=20)[-1],
        "cpu_ms": (time.process_time() - cpu) * 1000 / int(events),
    }


def spread(receivers, events=50):
    """Events of 1 KiB to so many receivers: deliveries stored a second, and bytes of disk for each,
    their indexes included."""
    account = subscribe(int(receivers), filtered=False)
    before, started = _bytes_on_disk(), time.perf_counter()
    for _ in range(int(events)):
        event = actions.publish(account, "order.created", EVENT)
        assert event.matched == int(receivers)
    seconds, stored = time.perf_counter() - started, int(receivers) * int(events)
    return {
        "stored_per_second": stored / seconds,
        "ms_an_event": seconds / int(events) * 1000,
        "bytes_a_delivery": (_bytes_on_disk() - before) / stored,
    }


def _bytes_on_disk():
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("CHECKPOINT")
            cursor.execute("SELECT pg_database_size(current_database())")
        else:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            cursor.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
        return cursor.fetchone()[0]


def move(url, path):
    """All webhooks to another address."""
    Webhook.objects.update(url=f"{url}{path}", version=F("version") + 1)


def without_counts():
    """A worker that keeps no hourly counts, to see what they cost."""
    from django.core.management import call_command

    from webhooks_app.engine.store import record

    record._count_rows = lambda entries: []
    call_command("webhooks", "deliver")


def unsigned():
    """A worker that signs no call, and has no secret to look for in an answer."""
    from django.core.management import call_command

    from webhooks_app.engine.http import message

    head = message.head
    message.head = lambda webhook, headers=None, keys=None: head(webhook, headers, [])
    call_command("webhooks", "deliver")


def account(url):
    """A webhook that gets all orders, and an access token of its account."""
    webhook = webhooks(url, 1)[0]
    webhook.max_in_flight = CONCURRENCY
    webhook.save()
    actions.set_subscriptions(webhook, [{"types": ["order.*"]}])
    return {"webhook": webhook.pk, "token": AccessToken.issue(webhook.account)[1]}


def alone(url, count):
    """Our own sender without a database, the ceiling: what a delivery costs on the wire."""
    from webhooks_app.engine.http import message
    from webhooks_app.engine.http.bridge import new_event_loop
    from webhooks_app.engine.http.sender import Sender

    key = SigningKey(secret=signing.new_secret())
    head = message.head(Webhook(url=url), headers=[], keys=[key])
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
