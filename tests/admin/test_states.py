"""A state in Python and the same state as a filter never disagree."""

from datetime import timedelta
from itertools import product

import pytest
from django.utils import timezone

from tests.factories import AccountFactory, DeliveryFactory, WebhookFactory
from webhooks_app.admin import states
from webhooks_app.models import Delivery, Webhook, WebhookHealth, holds

NOW = timezone.now()


@pytest.fixture
def every_kind_of_webhook(db):
    account = AccountFactory()
    stopped = ("", "paused", "gone", "failing")
    verified = (None, NOW)
    breaker = (None, NOW - timedelta(hours=1), NOW + timedelta(hours=1))
    failures = (0, 1, 4, 5)
    success = (None, NOW)
    share = (None, NOW)
    for s, v, b, f, ok, u in product(stopped, verified, breaker, failures, success, share):
        health = {"breaker_until": b, "failures_in_row": f, "last_success_at": ok}
        health["unsteady_since"] = u
        WebhookFactory(account=account, stopped=s, verified_at=v, health=health)
    for s, v, f in product(stopped, verified, failures):
        health = {"unreadable_since": NOW, "failures_in_row": f, "last_success_at": NOW}
        WebhookFactory(account=account, stopped=s, verified_at=v, health=health)
    WebhookHealth.objects.filter(webhook=WebhookFactory(account=account)).delete()


@pytest.mark.parametrize("verification", ["required", "off"])
def test_word_and_filter_agree_for_webhooks(every_kind_of_webhook, settings, verification):
    settings.WEBHOOKS_VERIFICATION = verification
    by_word: dict[str, set] = {key: set() for key in states.WEBHOOK_STATES}
    for webhook in Webhook.objects.select_related("health"):
        by_word[states.webhook_state(webhook, NOW).key].add(webhook.pk)
    for key, expected in by_word.items():
        found = Webhook.objects.filter(states.webhooks_that_are(key, NOW))
        assert set(found.values_list("pk", flat=True)) == expected, key
    silent = Webhook.objects.filter(states.webhooks_that_are("silent", NOW))
    expected = set().union(*(by_word[key] for key in states.SILENT))
    assert set(silent.values_list("pk", flat=True)) == expected
    deleted = {min(each) for each in by_word.values() if each}
    Webhook.objects.filter(pk__in=deleted).update(deleted_at=NOW)
    for key, expected in by_word.items():
        found = states.to_be_counted(key, NOW)
        assert set(found.values_list("pk", flat=True)) == expected - deleted, key


def test_word_and_filter_agree_for_deliveries(every_kind_of_webhook):
    for webhook in Webhook.objects.all():
        for tries in (0, 2):
            DeliveryFactory(webhook=webhook, tries=tries)
    for state in ("delivered", "failed", "cancelled"):
        DeliveryFactory(webhook=webhook, state=state, finished_at=NOW)
    by_word: dict[str, set] = {key: set() for key in states.DELIVERY_STATES}
    for delivery in Delivery.objects.select_related("webhook__health"):
        by_word[states.delivery_state(delivery, NOW).key].add(delivery.pk)
    for key, expected in by_word.items():
        found = Delivery.objects.filter(states.deliveries_that_are(key, NOW))
        assert set(found.values_list("pk", flat=True)) == expected, key


@pytest.mark.parametrize("verification", ["required", "off"])
def test_reason_and_rows_agree_for_what_is_held(every_kind_of_webhook, settings, verification):
    settings.WEBHOOKS_VERIFICATION = verification
    by_reason = {hold.reason: set() for hold in holds.HOLDS}
    for webhook in Webhook.objects.select_related("health"):
        DeliveryFactory(webhook=webhook)
        if reason := holds.hold_reason(webhook, NOW):
            by_reason[reason].add(webhook.pk)
    found = holds.held_webhooks(NOW)
    waiting = holds.held_deliveries(NOW)
    for reason, expected in by_reason.items():
        rows, deliveries = found.get(reason), waiting.get(reason)
        assert set(rows.values_list("pk", flat=True) if rows is not None else ()) == expected
        held = deliveries.values_list("webhook", flat=True) if deliveries is not None else ()
        assert set(held) == expected, reason
    every = Delivery.objects.filter(holds.held(NOW)).values_list("webhook", flat=True)
    assert set(every) == set().union(*by_reason.values())
