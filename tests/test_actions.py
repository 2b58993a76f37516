"""The public Python API, with the fake receiver that host projects use."""

import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from tests.factories import AccountFactory, WebhookFactory
from tests.receivers import Answer, Receiver, closed_port
from webhooks_app import actions
from webhooks_app.engine import calls
from webhooks_app.models import Attempt, Delivery, Header, Webhook, WebhookError, WebhookHealth
from webhooks_app.rules import failures
from webhooks_app.testing import FakeReceiver, drain, make_due

pytestmark = pytest.mark.django_db


@pytest.fixture
def webhook(account):
    return WebhookFactory(account=account, token="k", headers=[("X-A", "1"), ("X-B", "2")])


def raw(model, column, pk):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {column} FROM {model._meta.db_table} WHERE id = %s", [pk])
        return cursor.fetchone()[0]


def test_secrets_are_ciphertext_in_the_database(account):
    webhook = actions.create_webhook(
        account,
        name="W",
        url="https://receiver.example.com",
        token="planted-token",
        headers=[("X-Key", "planted-value")],
        auth_username="bob",
        auth_password="planted-password",
    )
    header = webhook.headers.get()
    for model, column, pk in [
        (Webhook, "token", webhook.pk),
        (Webhook, "auth_password", webhook.pk),
        (Header, "value", header.pk),
    ]:
        assert "planted" not in raw(model, column, pk)
    webhook.refresh_from_db()
    assert (webhook.token, webhook.auth_password) == ("planted-token", "planted-password")
    assert header.value == "planted-value"


def test_an_update_of_equal_values_changes_nothing(webhook):
    before = Webhook.objects.get(pk=webhook.pk)
    after = actions.update_webhook(
        webhook, name=webhook.name, url=webhook.url, token="k", headers=[("X-A", "1"), ("X-B", "2")]
    )
    assert (after.version, after.updated_at) == (before.version, before.updated_at)
    assert after.verification_due_at is None


@pytest.mark.parametrize(
    ("changes", "asks", "keeps_verified"),
    [
        ({"name": "Other"}, False, True),
        ({"headers": [("X-B", "2"), ("X-A", "1")]}, False, True),
        ({"auth_username": "bob"}, False, True),
        ({"token": "other"}, True, True),
        ({"url": "https://receiver.example.com/other"}, True, False),
    ],
)
def test_verification_is_asked_for_by_a_new_url_or_token_only(
    webhook, changes, asks, keeps_verified
):
    after = actions.update_webhook(webhook, **changes)
    after.refresh_from_db()
    assert (after.verification_due_at is not None) == asks
    assert after.verified == keeps_verified
    assert after.version == webhook.version + 1


@pytest.mark.parametrize(
    ("changes", "begins_anew"),
    [({"url": "https://receiver.example.com/other"}, True), ({"token": "other"}, False)],
)
def test_what_another_url_failed_says_nothing_of_a_new_one(webhook, changes, begins_anew):
    """Else its first failure could stop it, for five days of failure that were not its own."""
    now = timezone.now()
    WebhookHealth.objects.filter(pk=webhook.pk).update(
        failures_in_row=50,
        failing_since=now - timedelta(days=6),
        breaker_until=now + timedelta(minutes=9),
        breaker_trips=4,
    )
    actions.update_webhook(webhook, **changes)
    health = WebhookHealth.objects.get(pk=webhook.pk)
    assert (health.failures_in_row == health.breaker_trips == 0) == begins_anew
    assert (health.failing_since is health.breaker_until is None) == begins_anew
    Webhook.objects.update(verified_at=now, verification_due_at=None)
    with FakeReceiver(503):
        actions.deliver(webhook, {})
        drain()
    webhook.refresh_from_db()
    assert webhook.stopped == ("" if begins_anew else "failing")


def test_an_invalid_update_changes_nothing(webhook):
    with pytest.raises(actions.Invalid) as refused:
        actions.update_webhook(webhook, name="", url="https://10.0.0.1/", max_in_flight=0)
    assert set(refused.value.details) == {"name", "url", "maxInFlight"}
    assert Webhook.objects.get(pk=webhook.pk).version == webhook.version


def test_delete_wipes_secrets_at_once_and_cancels_what_waits(webhook):
    delivery = actions.deliver(webhook, {})
    actions.delete_webhook(webhook)
    webhook.refresh_from_db()
    delivery.refresh_from_db()
    assert webhook.token == ""
    assert not Header.objects.exists()
    assert delivery.state == "cancelled"
    with pytest.raises(actions.NotCallable):
        actions.deliver(webhook, {})
    with pytest.raises(actions.NotCallable):
        actions.retry(delivery)
    with pytest.raises(Webhook.DoesNotExist):
        actions.update_webhook(webhook, name="back")


def test_a_version_never_comes_twice_whatever_the_caller_last_saw(webhook):
    """Workers keep what they made of a version."""
    long_ago = Webhook.objects.get(pk=webhook.pk)
    for name in ("One", "Two"):
        last = actions.update_webhook(webhook, name=name).version
    actions.delete_webhook(long_ago)
    webhook.refresh_from_db()
    assert webhook.version == last + 1


def test_a_delivery_rolls_back_with_its_caller(webhook):
    with transaction.atomic():
        actions.deliver(webhook, {})
        actions.deliver_many([(webhook, {})] * 3)
        assert Delivery.objects.count() == 4
        transaction.set_rollback(True)
    assert not Delivery.objects.exists()


def test_a_delivery_is_stored_with_the_defaults_of_the_model(webhook):
    (made,) = actions.deliver_many([(webhook, {"a": 1})], by="Ann")
    made.refresh_from_db()
    by_name = Delivery(webhook=webhook, payload=b'{"a":1}', created_by="Ann")
    own = {"id", "due_at", "created_at", "retry_schedule"}
    for field in Delivery._meta.concrete_fields:
        if field.name not in own:
            assert getattr(made, field.attname) == getattr(by_name, field.attname), field.name
    assert made.due_at == made.created_at <= timezone.now()


def test_deliver_many_is_a_few_statements(webhook, django_assert_max_num_queries):
    with django_assert_max_num_queries(12):
        deliveries = actions.deliver_many([(webhook, {"n": n}) for n in range(2000)])
    assert len(deliveries) == Delivery.objects.count() == 2000


def nested(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


NO_JSON = {
    "nothing": b"",
    "half of it": b"{",
    "no UTF-8": b"\xff",
    "a key twice": b'{"a":1,"a":2}',
    "NaN": float("nan"),
    "a NUL": {"a": "x\0"},
    "half a pair of surrogates": {"a": "\ud800"},
    "65 levels": nested(65),
    "5,000 levels": nested(5000),
}


@pytest.mark.parametrize("payload", NO_JSON.values(), ids=NO_JSON)
def test_a_payload_that_is_no_json_is_refused_whatever_it_comes_as(webhook, payload):
    with pytest.raises(ValueError, match=r"\w"):
        actions.deliver(webhook, payload)
    with pytest.raises(ValueError, match=r"\w"):
        actions.deliver_many([(webhook, payload)])
    with pytest.raises(actions.Invalid):
        actions.publish(webhook.account, "a", payload)
    assert not Delivery.objects.exists()


def test_a_payload_of_64_levels_and_one_that_writes_of_nul_are_json(webhook):
    for payload in (nested(64), {"a": "\\u0000 is NUL"}):
        actions.deliver(webhook, payload)
    assert Delivery.objects.count() == 2


def test_a_payload_is_kept_byte_for_byte(webhook):
    body = b'{ "a" :\t1.0 }\n'
    assert bytes(Delivery.objects.get(pk=actions.deliver(webhook, body).pk).payload) == body


def test_an_idempotency_key_makes_one_delivery(webhook):
    first = actions.deliver(webhook, b'{"n":1}', idempotency_key="a")
    again = actions.deliver(webhook, b'{"n":1}', idempotency_key="a")
    other = actions.deliver(webhook, b'{"n":1}', idempotency_key="b")
    elsewhere = actions.deliver(WebhookFactory(), b'{"n":1}', idempotency_key="a")
    assert (first.replayed, again.replayed) == (False, True)
    assert again.pk == first.pk
    assert len({first.pk, other.pk, elsewhere.pk}) == 3
    with pytest.raises(actions.Conflict):
        actions.deliver(webhook, b'{"n":2}', idempotency_key="a")


def test_an_idempotency_key_is_free_again_after_a_day(webhook):
    first = actions.deliver(webhook, b'{"n":1}', idempotency_key="a")
    Delivery.objects.filter(pk=first.pk).update(created_at=timezone.now() - timedelta(hours=25))
    second = actions.deliver(webhook, b'{"n":2}', idempotency_key="a")
    assert second.pk != first.pk
    assert not second.replayed


@pytest.mark.django_db(transaction=True)
def test_twins_with_one_idempotency_key_get_one_delivery():
    webhook = WebhookFactory()
    start = threading.Barrier(4)
    made = []

    def twin():
        start.wait()
        made.append(actions.deliver(webhook, b"{}", idempotency_key="twin"))
        connection.close()

    threads = [threading.Thread(target=twin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({delivery.pk for delivery in made}) == 1
    assert sorted(delivery.replayed for delivery in made) == [False, True, True, True]


def test_an_interaction_is_completed_and_answered(webhook):
    answer = {"responses": [{"type": "text", "message": "Hi"}], "parameters": {"a": "b"}}
    with FakeReceiver(answer) as receiver:
        result = actions.interact(webhook, {"chatId": "c", "node": {"name": "n"}, "own": 1})
    assert result == {"responses": answer["responses"], "attributes": {"a": "b"}}
    sent = receiver.requests[0].json
    assert sent["node"] == {
        "name": "n",
        "type": "WEBHOOK",
        "webhookId": webhook.pk,
        "webhookName": webhook.name,
    }
    assert (sent["attributes"], sent["userAttributes"], sent["own"]) == ({}, {}, 1)
    assert len(sent["messageId"]) == 36
    attempt = Attempt.objects.get()
    assert (attempt.exchange, attempt.ok) == ("interaction", True)


def test_an_interaction_of_the_first_generation_is_sent_as_such(webhook):
    with FakeReceiver() as receiver:
        actions.interact(webhook, {"result": {"source": "app"}, "sessionId": "1"})
    sent = receiver.requests[0].json
    assert set(sent) == {"result", "sessionId", "timestamp", "status"}
    assert sent["status"] == {"code": 200, "type": "success"}


@pytest.mark.parametrize("body", [{"attributes": []}, {"node": 1}, {"chatId": 7}, [], None])
def test_an_interaction_of_a_wrong_shape_is_refused(webhook, body):
    with FakeReceiver() as receiver, pytest.raises(actions.Invalid):
        actions.interact(webhook, body)
    assert receiver.requests == []


def test_a_failed_interaction_is_raised_and_recorded(webhook):
    with FakeReceiver(b"no json"), pytest.raises(actions.ExchangeFailed) as failed:
        actions.interact(webhook, {})
    assert failed.value.failure.kind == "bad_json"
    error = WebhookError.objects.get()
    assert error.message == failed.value.message
    webhook.health.refresh_from_db()
    assert webhook.health.last_error_message == error.message
    assert webhook.health.failures_in_row == 1


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"stopped": "paused"}, "paused"),
        ({"stopped": "gone"}, "gone"),
        ({"verified_at": None}, "unverified"),
        ({"deleted_at": timezone.now()}, "deleted"),
        ({"health": {"breaker_until": timezone.now() + timedelta(hours=9)}}, "breaker"),
    ],
)
def test_a_webhook_that_may_not_be_called_is_not_called(values, reason):
    webhook = WebhookFactory(**values)
    with FakeReceiver() as receiver, pytest.raises(actions.NotCallable) as refused:
        actions.interact(webhook, {})
    assert refused.value.reason == reason
    assert receiver.requests == []
    assert (refused.value.retry_after is not None) == (reason == "breaker")


@pytest.mark.parametrize("values", [{"stopped": "paused"}, {"verified_at": None}])
def test_a_test_goes_past_pause_and_missing_verification(values, monkeypatch):
    monkeypatch.setattr(calls, "MANUAL_CALLS_APART", timedelta(minutes=1))
    webhook = WebhookFactory(**values)
    with FakeReceiver(500):
        attempt = actions.test(webhook)
        assert (attempt.exchange, attempt.ok, attempt.status) == ("test", False, 500)
        with pytest.raises(actions.TooSoon):
            actions.test(webhook)
    webhook.health.refresh_from_db()
    assert webhook.health.failures_in_row == 0
    assert webhook.health.last_error_kind == "http_500"


def test_verify_now_marks_the_url_that_was_sent(webhook):
    Webhook.objects.filter(pk=webhook.pk).update(verified_at=None)
    with FakeReceiver() as receiver:
        assert actions.verify(webhook).ok
    webhook.refresh_from_db()
    assert webhook.verified
    assert receiver.requests[0].url.endswith("&token=k")


def test_a_verification_of_a_url_that_changed_meanwhile_counts_for_nothing(account):
    webhook = actions.create_webhook(account, name="W", url="https://receiver.example.com/old")

    def change(request):
        actions.update_webhook(webhook, url="https://receiver.example.com/new")
        return b"whatever"

    with FakeReceiver(change, verifies=False):
        actions.verify(webhook)
    webhook.refresh_from_db()
    assert webhook.verification == "waiting"


def test_a_new_token_keeps_verified_unless_an_answer_refuses_it(webhook):
    actions.update_webhook(webhook, token="new")
    with FakeReceiver(failures.timeout(10000, connecting=True), verifies=False):
        actions.verify(webhook)
    webhook.refresh_from_db()
    assert webhook.verified
    type(webhook.health).objects.update(verify_asked_at=None)
    with FakeReceiver(401, verifies=False):
        actions.verify(webhook)
    webhook.refresh_from_db()
    assert not webhook.verified


def test_calls_that_go_out_are_refused_inside_a_transaction(webhook):
    with FakeReceiver(), transaction.atomic(), pytest.raises(RuntimeError):
        actions.interact(webhook, {})


def test_drain_sends_no_challenge_where_no_verification_is_required(account, settings):
    settings.WEBHOOKS_VERIFICATION = "off"
    webhook = actions.create_webhook(account, name="W", url="https://receiver.example.com")
    with FakeReceiver() as receiver:
        actions.deliver(webhook, {"order": 4711})
        assert drain() == 1
    (request,) = receiver.requests
    assert request.json == {"order": 4711}


def test_drain_delivers_retries_and_verifies(account):
    webhook = actions.create_webhook(account, name="W", url="https://receiver.example.com")
    delivery = actions.deliver(webhook, {"order": 4711})
    with FakeReceiver(500) as receiver:
        assert drain() == 1
        assert make_due() == 1
        receiver.answer = 200
        assert drain() == 1
    delivery.refresh_from_db()
    assert (delivery.state, delivery.tries) == ("delivered", 2)
    assert [r.method for r in receiver.requests] == ["GET", "POST", "POST"]


def test_accounts_are_apart():
    one, two = AccountFactory(), AccountFactory()
    WebhookFactory(account=one)
    assert Webhook.objects.for_account(two).count() == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (400, "http_400", "Request failed with status code 400"),
        (503, "http_502", "Request failed with status code 503"),
        (Answer(301, headers=(("Location", "/x"),)), "redirect", "status code 301"),
        ("no json", "bad_json", "invalid JSON"),
        (Answer(200, delay=1.5), "timeout", "timeout of 500ms exceeded"),
    ],
)
def test_real_failures_read_as_one_line(loopback, settings, answer, kind, message):
    if kind == "timeout":
        settings.WEBHOOKS_TIMEOUT = 0.5
    with Receiver(answer) as receiver, pytest.raises(actions.ExchangeFailed) as failed:
        actions.interact(WebhookFactory(url=receiver.url), {})
    assert failed.value.failure.kind == kind
    assert message in failed.value.message
    assert "\n" not in failed.value.message


@pytest.mark.django_db(transaction=True)
def test_a_closed_port_reads_as_econnrefused(loopback):
    with closed_port() as port, pytest.raises(actions.ExchangeFailed) as failed:
        actions.interact(WebhookFactory(url=f"http://127.0.0.1:{port}/"), {})
    assert failed.value.message == f"connect ECONNREFUSED 127.0.0.1:{port}"


def test_bad_input_says_all_that_is_wrong_with_it_in_one_line(account):
    with pytest.raises(actions.Invalid) as refused:
        actions.create_webhook(account, name="", url="ftp://example.com/", headers=[("a b", "x")])
    sentence = str(refused.value)
    assert sentence == refused.value.message
    assert "\n" not in sentence
    for path in ("name: ", "url: ", "headers.0.name: "):
        assert path in sentence
    with pytest.raises(actions.Invalid, match=r"^Must be an object\.$"):
        actions.interact(WebhookFactory(account=account), [])
