"""Webhooks by name, and what waits for a person: by indexes, however many webhooks there are and
however much waits."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from tests.factories import DeliveryFactory, WebhookFactory
from webhooks_app.models import Webhook, states
from webhooks_app.models.delivery_filters import select
from webhooks_app.rules.ids import new_id

LONG = "Orders of a customer whose name goes on for longer than an index looks at it, "


def plan(rows):
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")  # there are a few rows only
    return rows.explain()


@pytest.mark.parametrize("name", ["Orders", "orders", "ÄMTER", LONG + "A", "1 % _"])
def test_a_name_is_found_letter_by_letter(account, name):
    for other in (
        "Orders",
        "orders",
        "Orders 2",
        "ÄMTER",
        "ämter",
        LONG + "A",
        LONG + "B",
        "1 % _",
    ):
        WebhookFactory(account=account, name=other)
    assert [webhook.name for webhook in account.webhooks.all().named(name)] == [name]
    assert Webhook.objects.named(name.upper() + "?").count() == 0


def test_a_name_is_found_by_an_index(db):
    rows = Webhook.objects.named("Orders").order_by().values("pk")
    assert "webhook_name" in plan(rows)


def test_what_no_outcome_could_be_recorded_of_is_found_among_all_that_waits(account):
    webhook = WebhookFactory(account=account)
    DeliveryFactory(webhook=webhook)
    kept = DeliveryFactory(webhook=webhook, reason=states.UNRECORDED, due_at=states.FAR_AHEAD)
    assert list(states.unrecorded()) == [kept]
    assert "delivery_pending_webhook" not in plan(states.unrecorded().order_by().values("webhook"))


def test_what_gave_up_before_a_moment_was_made_before_it_as_far_as_clocks_agree(account):
    then = timezone.now() - timedelta(days=9)
    ahead = DeliveryFactory(
        id=new_id(then.timestamp() + 1800), created_at=then, state="failed", finished_at=then
    )
    DeliveryFactory(state="failed", finished_at=then + timedelta(hours=2))
    until = (then + timedelta(minutes=1)).isoformat()
    rows = select({"failed_until": until}, timezone.now())
    assert list(rows) == [ahead]
    assert "(id<?)" in plan(rows.order_by("-pk").values("pk")) or connection.vendor != "sqlite"
    for end in ("9999-12-31T23:59:59", "0001-01-01"):
        assert select({"failed_until": end}, timezone.now()).count() == 2 * end.startswith("9")
