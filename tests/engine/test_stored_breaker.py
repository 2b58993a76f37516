"""The breaker in the health of a webhook, as interactions feed and ask it, and a worker that hears
of it."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.factories import WebhookFactory
from webhooks_app import actions
from webhooks_app.engine import calls
from webhooks_app.engine.handover import Memory
from webhooks_app.engine.http.sender import Outcome
from webhooks_app.engine.lanes import Lanes
from webhooks_app.models import Webhook, WebhookHealth
from webhooks_app.models.webhook import BREAKER_AFTER, slot_of
from webhooks_app.rules import failures
from webhooks_app.testing import FakeReceiver, drain

pytestmark = pytest.mark.django_db

AWAY = failures.hang_up()


@pytest.fixture
def webhook(db, monkeypatch):
    monkeypatch.setattr(calls, "MANUAL_CALLS_APART", timedelta(0))
    return WebhookFactory(timeout=5)


def interact(webhook):
    """The kind of failure, the reason of a refusal, `""` for an answer."""
    try:
        actions.interact(webhook, {})
    except actions.ExchangeFailed as failed:
        return failed.failure.kind
    except actions.NotCallable as refused:
        return f"{refused.reason} {refused.retry_after:.0f}"
    return ""


def fail(webhook, times=BREAKER_AFTER):
    with FakeReceiver(AWAY):
        assert [interact(webhook) for _ in range(times)] == ["reset"] * times


def breaker(webhook):
    """For how many seconds it is open, None when it is closed, and how often it opened."""
    health = WebhookHealth.objects.get(pk=webhook.pk)
    until = health.breaker_until
    left = None if until is None else round((until - timezone.now()).total_seconds())
    return left, health.breaker_trips


def let_time_pass(webhook):
    past = timezone.now() - timedelta(seconds=1)
    WebhookHealth.objects.filter(pk=webhook.pk).update(breaker_until=past)


def near(found, left, trips):
    return found[1] == trips and left - 20 < found[0] <= left


def test_ten_interactions_that_nobody_answers_open_it_and_the_next_is_not_sent(webhook):
    fail(webhook, 9)
    assert breaker(webhook) == (None, 0)
    fail(webhook, 1)
    assert near(breaker(webhook), 30, 1)
    with FakeReceiver(200) as receiver:
        reason, seconds = interact(webhook).split()
        assert reason == "breaker"
        assert 1 <= int(seconds) <= 30
        assert receiver.requests == []


def test_many_that_were_under_way_together_open_it_once(webhook):
    under_way = [calls.Interaction(webhook, {}) for _ in range(40)]
    for call in under_way:
        calls.finish(call, Outcome(timezone.now(), failure=AWAY))
    assert near(breaker(webhook), 30, 1)


def test_whoever_answers_is_there_even_with_a_refusal(webhook):
    for answer in (401, b"no json", 200):
        fail(webhook, 9)
        with FakeReceiver(answer):
            interact(webhook)
    fail(webhook, 9)
    assert breaker(webhook) == (None, 0)


def test_deliveries_and_interactions_fail_in_the_same_row(webhook):
    with FakeReceiver(AWAY):
        for _ in range(5):
            actions.deliver(webhook, {})
        drain()
    fail(webhook, 5)
    assert near(breaker(webhook), 30, 1)


def test_tests_and_verifications_open_nothing(webhook):
    fail(webhook, 9)
    with FakeReceiver(AWAY, verifies=False):
        actions.test(webhook)
        actions.verify(webhook)
    assert breaker(webhook) == (None, 0)


def test_one_interaction_is_the_probe_and_the_others_wait_for_it(webhook):
    fail(webhook)
    let_time_pass(webhook)
    meanwhile = []

    def answer(received):
        meanwhile.append(interact(webhook))
        return 200

    with FakeReceiver(answer) as receiver:
        assert interact(webhook) == ""
        assert len(receiver.requests) == 1
    assert meanwhile[0].startswith("breaker ")
    assert breaker(webhook) == (None, 0)
    fail(webhook, 9)
    assert breaker(webhook) == (None, 0)


def test_a_probe_that_fails_opens_it_for_longer(webhook):
    fail(webhook)
    for seconds, trips in ((60, 2), (120, 3), (240, 4), (480, 5), (600, 6), (600, 7)):
        let_time_pass(webhook)
        fail(webhook, 1)
        assert near(breaker(webhook), seconds, trips)


def test_bad_input_is_never_the_probe(webhook):
    fail(webhook)
    let_time_pass(webhook)
    with FakeReceiver(200):
        with pytest.raises(actions.Invalid):
            actions.interact(webhook, {"attributes": []})
        assert interact(webhook) == ""


def test_a_test_that_is_answered_closes_it_and_a_verification_does_not(webhook):
    fail(webhook)
    with FakeReceiver(200):
        actions.verify(webhook)
        assert breaker(webhook)[1] == 1
        actions.test(webhook)
    assert breaker(webhook) == (None, 0)


def test_a_new_run_begins_with_a_new_url(webhook):
    fail(webhook, 9)
    actions.update_webhook(webhook, url="https://elsewhere.example.com/hook")
    Webhook.objects.update(verified_at=timezone.now())
    fail(webhook, 9)
    assert breaker(webhook) == (None, 0)


@pytest.mark.parametrize(
    ("call", "stopped"),
    [
        (interact, "gone"),
        (lambda webhook: (actions.deliver(webhook, {}), drain()), "gone"),
        (actions.test, ""),
        (actions.verify, ""),
    ],
    ids=["interaction", "delivery", "test", "verification"],
)
def test_a_410_stops_the_webhook_when_a_call_of_its_own_hears_it(webhook, call, stopped):
    with FakeReceiver(410, verifies=False):
        call(webhook)
    row = Webhook.objects.get(pk=webhook.pk)
    assert row.stopped == stopped
    assert "calls were stopped" not in failures.KINDS["gone"].why
    health = WebhookHealth.objects.get(pk=webhook.pk)
    assert health.last_error_kind == "gone"
    if stopped:
        with FakeReceiver(200) as receiver:
            assert actions.hold_reason(row) == "gone"
            with pytest.raises(actions.NotCallable):
                actions.interact(webhook, {})
            assert receiver.requests == []


@pytest.mark.knobs(webhooks_asked=2)
def test_the_worker_reads_the_open_breakers_of_its_webhooks_some_in_turn(reader):
    until = timezone.now() + timedelta(seconds=100)
    hooks = [
        WebhookFactory(
            health={"breaker_until": until + timedelta(seconds=n), "breaker_trips": n + 1}
        )
        for n in range(3)
    ]
    past = timezone.now() - timedelta(seconds=1)
    WebhookFactory(health={"breaker_until": past, "breaker_trips": 1})
    WebhookFactory()
    looks = [reader.changes(Memory()).opened for _ in range(3)]
    assert [set(look) for look in looks] == [
        {hooks[0].pk, hooks[1].pk},
        {hooks[2].pk},
        {hooks[0].pk, hooks[1].pk},
    ]
    left, trips = looks[1][hooks[2].pk]
    assert trips == 3
    assert 60 < left <= 102


@pytest.mark.once
def test_a_breaker_that_interactions_opened_holds_what_waits_in_the_workers_memory():
    ident = "0" * 24
    lanes = Lanes()
    lanes.own(frozenset(range(64)))
    lanes.meet([ident])
    lane = lanes.get(ident)
    lanes.open_breaker(ident, 130.0, 1, now=100.0)
    assert lane.breaker.until == 0  # not loaded yet: what is loaded says it
    lane.version = 1
    assert slot_of(ident) in lanes.owned
    lanes.open_breaker(ident, 130.0, 1, now=100.0)
    assert (lane.breaker.until, lane.breaker.trips, lane.cap) == (130.0, 1, 1)
    assert lanes.some_open() == [ident]
    lanes.open_breaker(ident, 130.2, 1, now=100.0)
    assert lane.breaker.until == 130.0  # the same, read again
    lane.in_flight = 1
    assert lanes.landed(lane, ok=False, away=True, now=131.0) == "opened"
    assert (lane.breaker.until, lane.breaker.trips) == (191.0, 2)
