"""The worker and its queue against real receivers, on the database of the run."""

import json
import threading
from collections import Counter
from datetime import timedelta

import pytest
from django.db import OperationalError, connections
from django.utils import timezone

from tests.factories import AccountFactory, WebhookFactory
from tests.receivers import Answer, Each, Receiver
from tests.waiting import PATIENCE, until
from webhooks_app import actions
from webhooks_app.engine import store, worker
from webhooks_app.engine.http import bridge
from webhooks_app.engine.http.bridge import EngineLoop
from webhooks_app.engine.http.sender import Sender
from webhooks_app.engine.reader import Reader
from webhooks_app.engine.writer import Writer
from webhooks_app.models import Attempt, Delivery, Webhook, WebhookError, WebhookHealth

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_delivery_arrives_byte_for_byte_with_token_headers_and_auth(drain):
    with Receiver() as receiver:
        webhook = WebhookFactory(
            url=receiver.url + "/hook?shop=7",
            token="t!? =k",
            auth_username="bob",
            auth_password="p:w",
            headers=[("X-One", "1"), ("X-Two", "zwei"), ("X-One", "again")],
        )
        delivery = actions.deliver(webhook, b'{ "order" : 4711 }', type="order.created")
        assert drain() == 1
        [request] = receiver.requests
    assert request.body == b'{ "order" : 4711 }'
    assert request.method == "POST"
    assert request.query == {"shop": ["7"], "token": ["t!? =k"]}
    assert request.header("Authorization") == "Basic Ym9iOnA6dw=="
    assert [value for name, value in request.headers if name.lower() == "x-one"] == ["1", "again"]
    assert request.header("webhook-id") == request.header("X-Request-Id") == delivery.id
    assert request.header("Content-Type") == "application/json"
    delivery.refresh_from_db()
    assert (delivery.state, delivery.tries, delivery.last_status) == ("delivered", 1, 200)
    attempt = delivery.attempts.get()
    assert attempt.ok
    assert attempt.url == receiver.url + "/hook?shop=7"
    assert "t!" not in json.dumps([attempt.url, attempt.address, attempt.answer])


def test_a_failure_is_noted_and_tried_again_by_the_schedule(drain, settings):
    settings.WEBHOOKS_RETRY_SCHEDULE = "100,200"
    with Receiver(503) as receiver:
        webhook = WebhookFactory(url=receiver.url)
        delivery = actions.deliver(webhook, {"n": 1})
        before = timezone.now()
        drain()
        after = timezone.now()
        delivery.refresh_from_db()
        assert (delivery.state, delivery.tries) == ("pending", 1)
        # 100 s, give or take a fifth, from the end of the call on
        second = timedelta(seconds=1)
        assert before + 79 * second < delivery.due_at < after + 121 * second
        webhook.health.refresh_from_db()
        assert webhook.health.last_error_message == "Request failed with status code 503"
        for _ in range(2):
            Delivery.objects.update(due_at=timezone.now())
            drain()
        delivery.refresh_from_db()
    assert (delivery.state, delivery.tries) == ("failed", 3)
    assert [a.number for a in delivery.attempts.order_by("id")] == [1, 2, 3]
    assert len({r.header("webhook-id") for r in receiver.requests}) == 1
    assert len({r.body for r in receiver.requests}) == 1
    assert WebhookError.objects.count() == 3
    webhook.health.refresh_from_db()
    assert webhook.health.failures_in_row == 3


@pytest.mark.parametrize("more", [-1, 0, 1, 100_000])
def test_a_large_payload_is_read_when_it_is_sent(drain, more):
    with Receiver(Each(503, 200)) as receiver:
        webhook = WebhookFactory(url=receiver.url)
        delivery = actions.deliver(webhook, {"text": "x" * (store.CARRIED_MOST - 11 + more)})
        (claimed,) = store.open("default").claim([store.Want(webhook.pk, 1, None)], timezone.now())
        assert (claimed.body is None) == (more > 0)
        drain()
        Delivery.objects.update(due_at=timezone.now())
        drain()
    assert len(bytes(delivery.payload)) == store.CARRIED_MOST + more
    assert [request.body for request in receiver.requests] == [bytes(delivery.payload)] * 2


def test_large_payloads_of_a_webhook_that_hangs_do_not_fill_the_memory(drain):
    """Nor do they keep those of others from being sent, which go on once four hang, and until all
    of them were sent those hang."""
    called, meanwhile = Counter(), []
    hang, sent = threading.Event(), threading.Event()

    def answer(request):
        name = request.path.rpartition("/")[2]
        called[name] += 1
        if called["bad"] == 4:
            hang.set()
        if name == "bad":
            sent.wait(PATIENCE)
        else:
            hang.wait(PATIENCE)
        if called["good"] == 5:
            meanwhile.append(called["bad"])
            sent.set()
        return 200

    with Receiver(answer) as receiver:
        bad, good = (
            WebhookFactory(url=f"{receiver.url}/{name}", max_in_flight=100, timeout=60)
            for name in ("bad", "good")
        )
        large = {"text": "x" * store.CARRIED_MOST}
        actions.deliver_many([(webhook, large) for webhook in (bad, good) for _ in range(5)])
        drain()
    assert meanwhile[0] == 4
    assert called == {"bad": 5, "good": 5}


class Faulty:
    """A resolver with a bug, or out of file descriptors, for so many questions."""

    def __init__(self, error, times):
        self.error, self.times = error, times

    async def resolve(self, host):
        self.times -= 1
        if self.times >= 0:
            raise self.error
        return ["127.0.0.1"]


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError(24, "Too many open files")])
def test_a_fault_of_our_own_leaves_the_delivery_due_and_the_receivers_history_alone(
    drain, account, error, loopback
):
    with Receiver() as receiver:
        webhook = WebhookFactory(url=f"http://hook.example.com:{receiver.port}/")
        delivery = actions.deliver(webhook, {})
        drain(sender=Sender(Faulty(error, times=99)))
        delivery.refresh_from_db()
        assert (delivery.state, delivery.tries, delivery.last_error) == ("pending", 0, "")
        assert delivery.due_at <= timezone.now()
        assert not Attempt.objects.exists()
        assert WebhookError.objects.count() == 0
        webhook.health.refresh_from_db()
        assert (webhook.health.failures_in_row, webhook.health.last_error_at) == (0, None)
        drain(sender=Sender(Faulty(error, times=0)))
    delivery.refresh_from_db()
    assert (delivery.state, delivery.tries) == ("delivered", 1)


def test_whoever_waits_is_told_that_the_fault_is_ours(account, loopback):
    own = EngineLoop(lambda: Sender(Faulty(RuntimeError("a bug"), times=99)))
    before = bridge.replace(own)
    try:
        webhook = WebhookFactory(url="http://hook.example.com/")
        with pytest.raises(actions.Busy, match="inside this application"):
            actions.interact(webhook, {})
        with pytest.raises(actions.Busy):
            actions.verify(webhook)
    finally:
        bridge.replace(before)
        own.close()
    webhook.refresh_from_db()
    assert webhook.verified
    assert not Attempt.objects.exists()


def test_410_stops_the_webhook_and_the_delivery(drain):
    with Receiver(410) as receiver:
        webhook = WebhookFactory(url=receiver.url)
        delivery = actions.deliver(webhook, {})
        drain()
    delivery.refresh_from_db()
    webhook.refresh_from_db()
    assert delivery.state == "failed"
    assert webhook.stopped == "gone"


@pytest.mark.parametrize("cap", [1, 5])
def test_after_a_410_nothing_more_is_sent(drain, cap):
    with Receiver(410) as receiver:
        webhook = WebhookFactory(url=receiver.url, max_in_flight=cap)
        actions.deliver_many([(webhook, {"n": n}) for n in range(60)])
        drain()
        assert len(receiver.requests) <= cap
    states = list(Delivery.objects.values_list("state", flat=True))
    assert states.count("failed") == len(receiver.requests)
    assert states.count("pending") == 60 - len(receiver.requests)


def test_many_webhooks_and_deliveries_each_arrive_once(drain):
    with Receiver() as receiver:
        webhooks = [WebhookFactory(url=f"{receiver.url}/{n}") for n in range(20)]
        pairs = [(webhook, {"n": n}) for n in range(30) for webhook in webhooks]
        actions.deliver_many(pairs)
        assert drain() == 600
        assert len({r.header("webhook-id") for r in receiver.requests}) == 600
    assert Delivery.objects.filter(state="delivered").count() == 600
    assert Attempt.objects.count() == 600


@pytest.mark.parametrize("reason", ["paused", "unverified"])
def test_held_deliveries_wait_and_go_out_when_the_webhook_is_back(drain, reason):
    with Receiver() as receiver:
        webhook = WebhookFactory(url=receiver.url)
        if reason == "paused":
            actions.pause(webhook, note="moving house", by="mira")
        else:
            type(webhook).objects.update(verified_at=None)
        delivery = actions.deliver(webhook, {})
        drain()
        delivery.refresh_from_db()
        assert delivery.state == "pending"
        assert receiver.requests == []
        if reason == "paused":
            actions.enable(webhook)
        else:
            type(webhook).objects.update(verified_at=timezone.now())
        drain()
        delivery.refresh_from_db()
        assert delivery.state == "delivered"


def test_the_worker_verifies_a_new_webhook(drain, account):
    with Receiver(challenge=True) as receiver:
        webhook = actions.create_webhook(account, name="W", url=receiver.url, token="tok")
        assert webhook.verification == "waiting"
        delivery = actions.deliver(webhook, {})
        drain()
        drain()
    webhook.refresh_from_db()
    delivery.refresh_from_db()
    assert webhook.verification == "passed"
    assert delivery.state == "delivered"
    assert receiver.requests[0].method == "GET"
    assert receiver.requests[0].query["token"] == ["tok"]


def test_verifications_that_hang_hold_up_nobodys(drain):
    """More than one look begins with. They hang until the other one's receiver is asked."""
    asked = threading.Event()

    def answer(request):
        if "hangs" in request.target:
            asked.wait(PATIENCE)
        else:
            asked.set()
        return Answer(body=request.query["challenge"][0])

    with Receiver(answer) as receiver:
        hanging, other = AccountFactory(), AccountFactory()
        for _ in range(60):
            actions.create_webhook(hanging, name="W", url=f"{receiver.url}/hangs", timeout=60)
        actions.create_webhook(other, name="W", url=receiver.url)
        drain()
    assert not WebhookError.objects.exists(), "a timeout was waited for"
    assert not Webhook.objects.filter(verified_at=None).exists()


def test_a_receiver_that_does_not_echo_the_challenge_fails_verification(drain, account):
    with Receiver("<h1>hello</h1>") as receiver:
        webhook = actions.create_webhook(account, name="W", url=receiver.url)
        drain()
    webhook.refresh_from_db()
    assert webhook.verification == "failed"
    error = WebhookError.objects.get()
    assert (error.exchange, error.kind) == ("verification", "v_body")
    assert webhook.health.failures_in_row == 0


def test_a_blocked_address_is_refused_at_send_time(transactional_db, settings):

    with Receiver() as receiver:
        delivery = actions.deliver(WebhookFactory(url=receiver.url), {})
        worker.run(until_empty=True)
        assert receiver.requests == []
    delivery.refresh_from_db()
    assert delivery.attempts.get().kind == "blocked"
    assert "WEBHOOKS_ALLOWED_NETWORKS" in delivery.last_error


def test_once_leaves_what_becomes_due_later(drain, settings):
    settings.WEBHOOKS_RETRY_SCHEDULE = "0,0,0,0"
    with Receiver(500) as receiver:
        delivery = actions.deliver(WebhookFactory(url=receiver.url), {})
        drain(once=True)
        delivery.refresh_from_db()
        assert delivery.tries == 1
        drain()
        delivery.refresh_from_db()
    assert (delivery.state, delivery.tries) == ("failed", 5)


@pytest.mark.parametrize("once", [True, False])
def test_whoever_drains_the_queue_does_not_wait_for_an_open_breaker(drain, once):
    with Receiver(200) as receiver:
        webhook = WebhookFactory(url=receiver.url)
        delivery = actions.deliver(webhook, {})
        until = timezone.now() + timedelta(minutes=10)
        WebhookHealth.objects.filter(pk=webhook.pk).update(breaker_until=until, breaker_trips=1)
        assert drain(once=once) == 0
        actions.close_breaker(webhook)
        assert drain(once=once) == 1
    delivery.refresh_from_db()
    assert delivery.state == "delivered"


def test_secrets_that_a_receiver_sends_back_are_masked_before_they_are_stored(drain):
    def echo(request):
        return Answer(500, {"url": request.target, "headers": dict(request.headers)})

    secrets = ["tök?/+ 1", "p:w-4711", "k-0815-x"]
    with Receiver(echo) as receiver:
        webhook = WebhookFactory(
            url=receiver.url,
            token=secrets[0],
            auth_username="bob",
            auth_password=secrets[1],
            headers=[("X-Key", secrets[2])],
        )
        actions.deliver(webhook, {})
        actions.test(webhook)
        drain()
    basic = receiver.requests[0].header("Authorization").removeprefix("Basic ")
    for attempt in Attempt.objects.all():
        assert '"X-Key": "••••••••"' in attempt.answer
        for secret in (*secrets, basic, receiver.requests[0].target.partition("token=")[2]):
            assert secret not in attempt.answer
            assert secret not in json.dumps(attempt.answer)
    assert Attempt.objects.count() == 2


def test_an_outage_after_the_outcome_was_written_does_not_strand_the_delivery(
    drain, settings, monkeypatch
):
    settings.WEBHOOKS_RETRY_SCHEDULE = "0,0"
    broken = []
    write = Writer.write

    def breaks_once(writer, *batch, **options):
        written = write(writer, *batch, **options)
        if not broken:
            broken.append(True)
            raise OperationalError
        return written

    monkeypatch.setattr(Writer, "write", breaks_once)
    with Receiver(Each(503, 200)) as receiver:
        delivery = actions.deliver(WebhookFactory(url=receiver.url), {})
        drain()
    delivery.refresh_from_db()
    assert broken
    assert (delivery.state, delivery.tries) == ("delivered", 2)
    assert delivery.attempts.count() == len(receiver.requests) == 2


def removing(rows):
    """An answer that comes after these rows were removed."""

    def answer(request):
        if "last" in request.json:
            rows().delete()
        return 200

    return answer


def test_a_webhook_that_was_stored_past_us_is_served(drain):
    with Receiver(Each({}, 503, 200)) as receiver:
        webhook, other = (WebhookFactory(url=receiver.url) for _ in range(2))
        WebhookHealth.objects.all().delete()
        webhook = Webhook.objects.get(pk=webhook.pk)
        actions.interact(other, {})
        deliveries = actions.deliver_many([(webhook, {"n": n}) for n in range(2)])
        assert actions.hold_reason(webhook) == ""
        drain()
    assert Delivery.objects.filter(state="delivered").count() == 1
    assert Attempt.objects.filter(delivery__in=deliveries).count() == 2
    health = WebhookHealth.objects.get(webhook=webhook)
    assert health.last_error_message == "Request failed with status code 503"
    assert WebhookHealth.objects.get(webhook=other).last_success_at is not None


@pytest.mark.parametrize("model", [Delivery, Webhook])
def test_what_is_removed_while_it_is_sent_leaves_nothing_and_stops_nobody(drain, model):
    with Receiver() as receiver:
        doomed, other = (WebhookFactory(url=receiver.url) for _ in range(2))
        removed = actions.deliver(doomed, {"last": "words"})
        stay = {actions.deliver(other, {"n": n}).pk for n in range(3)}
        ident = removed.pk if model is Delivery else doomed.pk
        receiver.answer = removing(lambda: model.objects.filter(pk=ident))
        drain()
    assert len(receiver.requests) == 4
    assert set(Attempt.objects.values_list("delivery", flat=True)) == stay
    assert set(Delivery.objects.filter(state="delivered").values_list("pk", flat=True)) == stay


# What people do while the first of five deliveries of a webhook with cap 1 is under way, the second
# and third being in the worker's memory; and how many are sent after that.
WHILE_IT_WAITS = {
    "cancel one": (lambda webhook, waiting: actions.cancel(waiting[0]), 3),
    "pause": (lambda webhook, waiting: actions.pause(webhook), 0),
    "another header": (lambda webhook, waiting: set_header(webhook, "new"), 4),
}


def set_header(webhook, value):
    actions.update_webhook(webhook, headers=[("X-Key", value)])


@pytest.fixture
def until_it_knows(monkeypatch):
    """Waits until a worker has looked at what was decided before, and what it found has come to
    what waits in its memory: a look is over when the next one begins, and passes by what was
    claimed just before it."""
    begun, changes = [], Reader.changes

    def noted(reader, memory):
        begun.append(memory)
        return changes(reader, memory)

    def until_it_knows():
        before = len(begun)
        until(lambda: len(begun) >= before + 3, "looks of the worker")

    monkeypatch.setattr(Reader, "changes", noted)
    return until_it_knows


@pytest.mark.parametrize("what", WHILE_IT_WAITS)
@pytest.mark.knobs(ownership_every=0.1)
def test_what_people_decide_holds_for_what_waits_in_memory_too(drain, until_it_knows, what):
    decide, sent = WHILE_IT_WAITS[what]

    def answer(request):
        if len(receiver.requests) == 1:
            decide(Webhook.objects.get(pk=webhook.pk), deliveries[1:])
            until_it_knows()
        return 200

    with Receiver(answer) as receiver:
        webhook = WebhookFactory(
            url=receiver.url, headers=[("X-Key", "old")], max_in_flight=1, timeout=60
        )
        deliveries = actions.deliver_many([(webhook, {"n": n}) for n in range(5)])
        drain()
        after = receiver.requests[1:]
    assert len(after) == sent
    if what == "another header":
        assert {request.header("X-Key") for request in after} == {"new"}
    if what == "cancel one":
        assert deliveries[1].pk not in {request.header("webhook-id") for request in after}


@pytest.mark.knobs(loaded_most=0.0)
def test_a_url_that_was_changed_past_the_models_is_not_called_for_ever(drain, settings):
    settings.WEBHOOKS_RETRY_SCHEDULE = "0"

    def answer(request):
        with connections["default"].cursor() as cursor:
            table = Webhook._meta.db_table
            cursor.execute(f"UPDATE {table} SET url = %s", [new.url])
        return 503

    with Receiver(answer) as old, Receiver() as new:
        webhook = WebhookFactory(url=old.url)
        actions.deliver(webhook, {"n": 1})
        drain()
    assert (len(old.requests), len(new.requests)) == (1, 1)


def test_a_webhook_that_is_removed_while_it_is_called_has_no_history(account, loopback):
    with Receiver(removing(Webhook.objects.all)) as receiver:
        webhook = WebhookFactory(account=account, url=receiver.url)
        with pytest.raises(actions.NotCallable):
            actions.interact(webhook, {"last": "words"})
    assert not Attempt.objects.exists()
