"""Our side: healthy or not, in one sentence, with what a customer's operators ask."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from tests.admin.conftest import log_in
from tests.admin.pages import text_of, url
from tests.admin.test_home import links, plain, shown
from tests.factories import AttemptFactory, DeliveryFactory, WebhookFactory, WorkerFactory
from webhooks_app import actions
from webhooks_app.models import Delivery, HourlyLag
from webhooks_app.models.health import hour_of
from webhooks_app.models.states import FAR_AHEAD, UNRECORDED
from webhooks_app.presentation.our_side import LOOKED_AT, rate_of

PAGE = url("worker")


@pytest.fixture
def staff(db):
    return log_in("view_worker", "view_webhook", "view_delivery")


@pytest.fixture
def workers(db):
    WorkerFactory(host="app-1", version="0.2.0", in_flight=4, sent=210)
    WorkerFactory(host="app-2", version="0.1.0", standby=True)
    WorkerFactory(host="gone", seen_at=timezone.now() - timedelta(hours=2))


def verdict(client):
    return plain(text_of(client.get(PAGE)).split('id="verdict"')[1].split("</h2>")[0])[1:].strip()


def ago(**span):
    return timezone.now() - timedelta(**span)


def test_healthy_while_nothing_waits_for_us(staff, workers):
    assert verdict(staff) == "Healthy: 2 workers alive, nothing is late"
    DeliveryFactory(due_at=ago(seconds=30))
    assert re.match(r"Healthy: 2 workers alive, the oldest due since [3-5]\d", verdict(staff))
    assert "wh-t-ok" in text_of(staff.get(PAGE))


def test_red_above_a_minutes_lag(staff, workers):
    DeliveryFactory(due_at=ago(minutes=4))
    assert verdict(staff) == "Late: the oldest due waits 4 min, 2 workers alive"
    assert "wh-t-bad" in text_of(staff.get(PAGE))


@pytest.mark.once
def test_red_without_a_worker_and_while_the_site_is_held(staff, db):
    assert verdict(staff).startswith("No worker is alive: nothing is sent")
    WorkerFactory()
    actions.hold_all(by="mira")
    assert verdict(staff) == "The whole site is held: nothing is sent"


def test_the_workers_and_their_versions(staff, workers):
    says = plain(text_of(staff.get(PAGE)).split('id="workers"')[1].split("</section>")[0])
    assert "app-1:1 Alive 0.2.0" in says
    assert "app-2:1 Stands by 0.1.0" in says
    assert "gone:1 Silent before 0.2" in says
    assert "2 versions are alive (0.1.0, 0.2.0)" in says


def test_the_worst_moment_of_the_day(staff, workers):
    at = ago(hours=2)
    HourlyLag.objects.create(hour=hour_of(at), seconds=41.2, at=at)
    assert "at most 41 s in 24 h" in plain(text_of(staff.get(PAGE)))


def test_from_accepted_to_the_first_call(staff, workers):
    now = timezone.now()
    webhook = WebhookFactory()
    for place in range(20):
        made = now - timedelta(minutes=5, seconds=place)
        row = DeliveryFactory(
            webhook=webhook, created_at=made, due_at=made, state="delivered", finished_at=now
        )
        late = timedelta(seconds=30 if place == 0 else 0.4)
        AttemptFactory(webhook=webhook, delivery=row, number=1, ended_at=made + late, duration_ms=0)
    # Due a day later, and called in time: the wait was asked for.
    row = DeliveryFactory(webhook=webhook, created_at=ago(days=1), due_at=ago(seconds=9))
    AttemptFactory(webhook=webhook, delivery=row, number=1, ended_at=ago(seconds=9), duration_ms=0)
    says = plain(text_of(staff.get(PAGE)))
    assert "first call 400 ms half of them" in says


def test_held_by_reason_with_lists(staff, workers):
    for stopped, count in (("paused", 2), ("gone", 1)):
        DeliveryFactory.create_batch(count, webhook=WebhookFactory(stopped=stopped))
    text = text_of(staff.get(PAGE))
    assert "Held 3 paused 2 · stopped: gone 1" in plain(text)
    found = links(text)
    assert shown(staff, found["3"]) == 3
    assert shown(staff, found["paused"]) == 1


def test_what_waits_behind_another_is_held_too(staff, workers):
    ordered = WebhookFactory(order="webhook")
    head, *_ = actions.deliver_many([(ordered, {})] * 3)
    later = timezone.now() + timedelta(hours=1)
    Delivery.objects.filter(pk=head.pk).update(tries=1, due_at=later)
    DeliveryFactory(webhook=WebhookFactory(stopped="paused"))
    text = text_of(staff.get(PAGE))
    assert "Held 3 paused 1 · behind another 2" in plain(text)
    assert shown(staff, links(text)["3"]) == 3


def test_what_could_not_be_recorded_is_held_once(staff, workers):
    lost = {"reason": UNRECORDED, "due_at": FAR_AHEAD}
    DeliveryFactory(webhook=WebhookFactory(stopped="paused"), **lost)
    DeliveryFactory(webhook=WebhookFactory(), **lost)
    text = text_of(staff.get(PAGE))
    assert "Held 2 paused 1 · not recorded 1" in plain(text)
    assert shown(staff, links(text)["2"]) == 2


def test_what_a_customers_operators_ask(staff, workers, settings):
    settings.WEBHOOKS_EGRESS_ADDRESSES = ["203.0.113.7"]
    settings.WEBHOOKS_RETRY_SCHEDULE = [5, 300, 7200]
    says = plain(text_of(staff.get(PAGE)))
    assert "203.0.113.7" in says
    assert "tried again after 5 s, 5 min, 2 h" in says
    assert "up to 100 KiB" in says


@pytest.mark.once
def test_home_leads_there_whoever_may_see_it(staff, workers):
    WebhookFactory()
    assert PAGE in text_of(staff.get("/admin/"))
    stranger = log_in("view_webhook")
    assert PAGE not in text_of(stranger.get("/admin/"))
    assert stranger.get(PAGE).status_code == 403


def test_takes_at_most_twelve_queries(staff, workers, django_assert_max_num_queries):
    DeliveryFactory()
    with django_assert_max_num_queries(12):
        staff.get(PAGE)


def test_a_rate_is_counted_or_worked_out_of_the_newest():
    now = timezone.now()
    few = [now - timedelta(seconds=20 * place) for place in range(6)]
    assert str(rate_of(few, now)) == "3"
    many = [now - timedelta(milliseconds=10 * place) for place in range(LOOKED_AT)]
    assert str(rate_of(many, now)) == "about 6,006"
