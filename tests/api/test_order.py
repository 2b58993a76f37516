"""Order over the API: the settings, the key of a delivery, and who holds up whom."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.api.conftest import problem
from tests.factories import AttemptFactory, DeliveryFactory, WebhookFactory, WorkerFactory
from webhooks_app import __version__, actions
from webhooks_app.models import Delivery

LATER = timedelta(hours=1)


@pytest.fixture
def webhook(account):
    return WebhookFactory(account=account, order="key")


def settings_of(webhook):
    return f"/webhooks/{webhook.pk}/settings"


def test_an_order_is_chosen_and_given_up_again(api, account):
    webhook = WebhookFactory(account=account)
    WorkerFactory(version=__version__)
    chosen = api.patch(settings_of(webhook), {"order": "webhook", "onDead": "stop"}).json()
    assert (chosen["order"], chosen["onDead"]) == ("webhook", "stop")
    version = webhook.version
    webhook.refresh_from_db()
    assert webhook.version > version  # whoever sends learns of it
    assert api.patch(settings_of(webhook), {"order": ""}).json()["order"] == ""


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"order": "type"}, "order"),
        ({"order": None}, "order"),
        ({"order": ["key"]}, "order"),
        ({"onDead": ""}, "onDead"),
        ({"onDead": 1}, "onDead"),
    ],
)
def test_no_other_order_is_there(api, webhook, sent, field):
    error = problem(api.patch(settings_of(webhook), sent), 400)
    assert error["details"].keys() == {field}


def test_an_order_waits_for_the_last_worker_that_knows_none(api, account):
    webhook = WebhookFactory(account=account)
    older = WorkerFactory(version="0.1.0")
    error = problem(api.patch(settings_of(webhook), {"order": "key"}), 409)
    assert "older version" in error["message"]
    assert api.patch(settings_of(webhook), {"onDead": "stop"}).status_code == 200
    older.delete()
    assert api.patch(settings_of(webhook), {"order": "key"}).status_code == 200


def test_deliveries_have_the_key_that_they_were_given_and_a_place(api, webhook):
    path = f"/webhooks/{webhook.pk}/deliveries"
    one = api.post(f"{path}?orderingKey=4711", {"n": 1}).json()
    bulk = {"deliveries": [{"payload": {"n": n}, "orderingKey": "4711"} for n in range(3)]}
    many = api.post(f"{path}/bulk", bulk).json()
    none = api.post(path, {"n": 5}).json()
    assert [each["orderingKey"] for each in (one, *many, none)] == ["4711"] * 4 + [""]
    places = [each["sequence"] for each in (one, *many, none)]
    assert places == sorted(set(places))
    plain = api.post(f"/webhooks/{WebhookFactory(account=webhook.account).pk}/deliveries", {})
    assert (plain.json()["orderingKey"], plain.json()["sequence"]) == (None, None)


def test_a_key_has_at_most_128_characters(api, webhook):
    path = f"/webhooks/{webhook.pk}/deliveries"
    assert api.post(f"{path}?orderingKey={'k' * 128}", {}).status_code == 202
    error = problem(api.post(f"{path}?orderingKey={'k' * 129}", {}), 400)
    assert error["details"].keys() == {"orderingKey"}
    bulk = {"deliveries": [{"payload": 1, "orderingKey": "k" * 129}]}
    error = problem(api.post(f"{path}/bulk", bulk), 400)
    assert error["details"]["deliveries"]["0"].keys() == {"orderingKey"}


@pytest.fixture
def held_up(webhook):
    """A head that failed an hour ago, and one behind it."""
    now = timezone.now()
    head, behind = actions.deliver_many(
        [(webhook, {"n": n}, {"ordering_key": "a"}) for n in range(2)]
    )
    changes = {"tries": 1, "due_at": now + LATER, "last_error": "Request failed"}
    Delivery.objects.filter(pk=head.pk).update(**changes)
    AttemptFactory(webhook=webhook, delivery=head, ended_at=now - LATER, kind="http_5xx")
    head.refresh_from_db()
    return head, behind


def test_who_holds_up_whom_is_told(api, webhook, held_up):
    head, behind = held_up
    health = api.get(settings_of(webhook)).json()["health"]
    [told] = health["heads"]
    assert told["deliveryId"] == head.pk
    assert (told["orderingKey"], told["behind"], told["error"]) == ("a", 1, "Request failed")
    assert told["since"] < told["nextAt"]
    assert api.get(f"/deliveries/{behind.pk}").json()["reason"] == "order"
    listed = api.get(f"/webhooks/{webhook.pk}/deliveries").json()
    assert [each["reason"] for each in listed] == ["order", ""]
    api.post(f"/deliveries/{head.pk}/cancel")
    assert api.get(settings_of(webhook)).json()["health"]["heads"] == []
    assert api.get(f"/deliveries/{behind.pk}").json()["reason"] == ""


def skipped_head(api, account, *, stopped, then):
    """A webhook with one that gave up and is skipped, once: how it is stopped before and `then`."""
    now = timezone.now()
    stop = {"stopped": stopped, "stopped_at": now, "on_dead": "stop"}
    webhook = WebhookFactory(account=account, order="webhook", **stop)
    ended = {"state": "failed", "finished_at": now, "tries": 1}
    dead = DeliveryFactory(webhook=webhook, position=1, last_error="Request failed", **ended)
    DeliveryFactory(webhook=webhook, position=2)
    [told] = api.get(settings_of(webhook)).json()["health"]["heads"]
    assert (told["deliveryId"], told["behind"], told["nextAt"]) == (dead.pk, 1, None)
    assert api.post(f"/deliveries/{dead.pk}/cancel").json()["state"] == "failed"
    body = api.get(settings_of(webhook)).json()
    assert (body["stopped"], body["health"]["heads"]) == (then, [])
    problem(api.post(f"/deliveries/{dead.pk}/cancel"), 409)
    return webhook


def test_what_gave_up_and_blocks_is_skipped_by_cancelling_it(api, account):
    skipped_head(api, account, stopped="blocked", then="")


def test_what_gave_up_while_its_webhook_was_paused_is_skipped_before_that_is_resumed(api, account):
    webhook = skipped_head(api, account, stopped="paused", then="paused")
    assert api.patch(settings_of(webhook), {"enabled": True}).json()["stopped"] == ""


def test_what_gave_up_in_an_order_that_goes_on_is_nothing_to_skip(api, account):
    now = timezone.now()
    webhook = WebhookFactory(account=account, order="webhook", stopped="paused", stopped_at=now)
    ended = {"state": "failed", "finished_at": now, "tries": 1}
    dead = DeliveryFactory(webhook=webhook, position=1, **ended)
    problem(api.post(f"/deliveries/{dead.pk}/cancel"), 409)


def test_events_bring_their_key_along(api, account, webhook):
    actions.set_subscriptions(webhook, [{"types": ["*"]}])
    sent = {"type": "order.paid", "payload": {}, "orderingKey": "4711"}
    event = api.post("/events", sent).json()
    [made] = api.get(f"/webhooks/{webhook.pk}/deliveries?eventId={event['id']}").json()
    assert made["orderingKey"] == "4711"
    assert made["sequence"] > 0


def test_what_a_taken_key_sent_back_draws_its_positions_anew(api, account):
    """A bulk of which one key is taken goes back as a whole, positions and all."""
    webhook = WebhookFactory(account=account, order="webhook", stopped="paused")
    path = f"/webhooks/{webhook.pk}/deliveries"

    def store(*keys):
        items = [{"payload": {"n": key}, "idempotencyKey": key} for key in keys]
        assert api.post(f"{path}/bulk", {"deliveries": items}).status_code == 202

    store("a")
    store("a", "b", "c")
    for _ in range(3):
        assert api.post(path, {}).status_code == 202
    rows = Delivery.objects.order_by("position").values_list("idempotency_key", "position")
    keys, positions = zip(*rows, strict=True)
    assert keys == ("a", "b", "c", None, None, None)
    assert len(set(positions)) == 6


def test_the_same_key_twice_in_a_bulk_is_the_same_delivery_twice(api, account):
    webhook = WebhookFactory(account=account, order="webhook", stopped="paused")
    items = [{"payload": {"n": 1}, "idempotencyKey": "a"}] * 2
    first, again = api.post(f"/webhooks/{webhook.pk}/deliveries/bulk", {"deliveries": items}).json()
    assert first == again == api.get(f"/deliveries/{first['id']}").json()
    assert first["sequence"] > 0
