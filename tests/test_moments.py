"""A moment without an offset is UTC, whoever reads it and whatever the site's time zone."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.test import RequestFactory
from django.utils import timezone

from tests.api.conftest import Api
from tests.commands.test_webhooks import run
from tests.factories import AttemptFactory, DeliveryFactory, WebhookFactory
from webhooks_app import actions
from webhooks_app.admin.filters import word
from webhooks_app.models import AuditEntry, Delivery, WebhookError
from webhooks_app.models.delivery_filters import OF_ATTEMPTS, select
from webhooks_app.rules.ids import first_id, read_moment

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
ONE_MINUTE = timedelta(minutes=1)

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Tokyo"]),
]


@pytest.fixture(autouse=True)
def the_zone_of_the_site(zone, settings):
    settings.TIME_ZONE = zone
    timezone.deactivate()
    with time_machine.travel(NOON + timedelta(hours=20)):
        yield


@pytest.fixture
def webhook(account):
    """With a delivery that failed just before noon, and one that failed just after."""
    webhook = WebhookFactory(account=account)
    for at in (NOON - ONE_MINUTE, NOON + ONE_MINUTE):
        delivery = DeliveryFactory(webhook=webhook, state="failed", finished_at=at, created_at=at)
        AttemptFactory(webhook=webhook, delivery=delivery, kind="reset", ended_at=at)
    return webhook


def test_of_a_command(webhook):
    assert "1 delivery would" in run("replay", "--since", "2026-11-29T12:00", "--dry-run")
    assert "2 deliveries would" in run("replay", "--since", "2026-11-29", "--dry-run")


def test_of_the_filters_and_bodies_of_the_api(webhook, secret):
    api, path = Api(secret), f"/webhooks/{webhook.pk}"
    for listed in ("deliveries", "errors"):
        for name in ("since", "until"):
            found = api.get(f"{path}/{listed}?{name}=2026-11-29T12:00").json()
            assert len(found) == 1, (listed, name)
    answer = api.post(f"{path}/replay", {"since": "2026-11-29T12:00"})
    assert answer.json() == {"replayed": 1}


def test_of_a_link_in_the_console(webhook):
    request = RequestFactory().get("/", {"since": "2026-11-29T12:00"})
    since = word("since", words=OF_ATTEMPTS)
    asked = since(request, {"since": ["2026-11-29T12:00"]}, WebhookError, None)
    assert asked.queryset(request, WebhookError.objects.all()).count() == 1


def test_of_a_selection(webhook):
    for name in ("since", "until", "failed_since"):
        assert select({name: "2026-11-29T12:00"}, timezone.now()).count() == 1


def test_what_is_noted_of_a_replay_is_utc_as_it_says(webhook):
    actions.replay(webhook, since=NOON.astimezone(ZoneInfo("Asia/Tokyo")), by="somebody")
    assert Delivery.objects.filter(state="pending").count() == 1
    assert AuditEntry.objects.get().did == "Replayed 1 failed since 2026-11-29 12:00 UTC"


@pytest.mark.parametrize(
    "text", ["", "noon", "2026-13-01", "1" * 100_000, "0001-01-01T00:00+14:00"]
)
def test_what_is_no_moment_is_an_error(text):
    with pytest.raises(ValueError, match=r".*"):
        read_moment(text)


def test_ids_begin_with_their_moment():
    assert first_id(NOON) == first_id(read_moment("2026-11-29T12:00"))
