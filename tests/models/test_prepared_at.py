"""A row of counts that is put together once tells what is so at each moment it is asked for."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import Count, IntegerField, Q, Value

from tests.factories import WebhookFactory
from webhooks_app.models import Webhook
from webhooks_app.models.prepared_at import PreparedAt
from webhooks_app.models.states import asked_about

NOW = datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC)
HOUR = timedelta(hours=1)
pytestmark = pytest.mark.django_db


def made_within(now):
    """Within the hour before a moment, of each account: of the first of them."""
    there = Q(created_at__gt=now - HOUR, created_at__lte=now)
    rows = Webhook.objects.order_by("account_id").values("account_id")
    return rows.annotate(many=Count("pk", filter=there)).values("many")


def prepared(rows):
    return PreparedAt(Webhook, rows, asked_about)


def test_it_is_asked_for_again_and_again_at_other_moments():
    counts = prepared(made_within)
    assert counts.first(NOW) == {"many": None}, "no row at all"
    first = WebhookFactory(created_at=NOW)
    WebhookFactory(created_at=NOW + HOUR / 2, account=first.account)
    moments = (NOW - HOUR, NOW, NOW + HOUR / 2, NOW + HOUR, NOW + 2 * HOUR)
    assert [counts.first(moment)["many"] for moment in moments] == [0, 1, 2, 1, 0]


def test_what_is_worded_by_the_moment_is_refused():
    def worded(now):
        wanted = Q(name="a") if now.year == 2001 else Q(name="a") | Q(name="b")
        return made_within(now).filter(wanted)

    with pytest.raises(ValueError, match="worded in another way"):
        prepared(worded).first(NOW)


def test_a_moment_that_is_not_as_far_away_always_is_refused():
    def since_the_minute(now):
        return Webhook.objects.filter(created_at__gt=now.replace(second=0)).values("pk")

    with pytest.raises(ValueError, match="by no fixed time"):
        prepared(since_the_minute).first(NOW)


def test_each_way_of_wording_is_put_together_for_itself():
    way = {"more": 1}
    counts = PreparedAt(
        Webhook,
        lambda now: Webhook.objects.annotate(n=Value(way["more"], IntegerField())).values("n"),
        lambda: way["more"],
    )
    WebhookFactory()
    assert counts.first(NOW) == {"n": 1}
    way["more"] = 2
    assert counts.first(NOW) == {"n": 2}
    way["more"] = 1
    assert counts.first(NOW) == {"n": 1}
