"""What is put into the queue."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from tests.factories import WebhookFactory
from webhooks_app.engine import store
from webhooks_app.models import Delivery

pytestmark = pytest.mark.django_db


@pytest.fixture
def new():
    webhook = WebhookFactory()

    def new(**fields):
        words = {"type": "order.created", "reference": "r\\1", "created_by": "mira"}
        delivery = Delivery.new(webhook.pk, b'{"a": "\xc3\xa4"}', retry_schedule="5,300", **words)
        for name, value in fields.items():
            setattr(delivery, name, value)
        return delivery

    return new


def test_a_new_delivery_has_all_of_its_fields(new):
    assert new().get_deferred_fields() == set()


def put(how, *deliveries):
    queue = store.open("default")
    if how == "many":
        queue.put(deliveries)
    else:
        for delivery in deliveries:
            queue.put_one(delivery)


@pytest.mark.parametrize("how", ["one", "many"])
@pytest.mark.parametrize("later", [timedelta(0), timedelta(hours=1)])
def test_what_is_stored_is_what_was_made(new, how, later):
    made = [new() for _ in range(12)]
    for delivery in made:
        delivery.due_at += later
    put(how, *made)
    for delivery in made:
        there = Delivery.objects.get(pk=delivery.pk)
        for field in Delivery._meta.concrete_fields:
            stored, meant = getattr(there, field.attname), getattr(delivery, field.attname)
            assert (bytes(stored) if field.name == "payload" else stored) == meant, field.name
        assert there.due_at - there.created_at == later
        assert not delivery._state.adding


@pytest.mark.parametrize("how", ["one", "many"])
def test_what_is_due_at_once_is_due_by_the_clock_that_decides(new, how):
    wrong = timezone.now() - timedelta(days=1)
    put(how, delivery := new(due_at=wrong, created_at=wrong))
    assert abs(timezone.now() - delivery.due_at) < timedelta(minutes=5)
    assert delivery.due_at == delivery.created_at


@pytest.mark.parametrize("how", ["one", "many"])
def test_a_key_that_is_taken_stores_nothing(new, how):
    put("one", new(idempotency_key="k"))
    with pytest.raises(IntegrityError), transaction.atomic():
        put(how, new(), new(idempotency_key="k"))
    assert Delivery.objects.count() == 1


def test_a_batch_goes_with_the_callers_transaction(new):
    with transaction.atomic():
        put("many", new(), new())
        transaction.set_rollback(True)
    assert not Delivery.objects.exists()
