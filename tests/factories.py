"""Fixtures, built by factory-boy. Headers: `WebhookFactory(headers=[("X-Api-Key", "k")])`."""

import factory
from django.contrib.auth import get_user_model
from django.utils import timezone

from webhooks_app import models
from webhooks_app.models.health import hour_of
from webhooks_app.rules.ids import first_key, new_id


class UserFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = get_user_model()
        skip_postgeneration_save = True

    username = factory.Sequence(lambda n: f"user-{n}")
    is_staff = True
    password = factory.django.Password("secret-of-the-tests")


class AccountFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = models.Account

    name = factory.Sequence(lambda n: f"account-{n}")


class WebhookFactory(factory.django.DjangoModelFactory):
    """A verified webhook with its health row, as `actions.create_webhook` leaves one."""

    class Meta:
        model = models.Webhook
        skip_postgeneration_save = True

    account = factory.SubFactory(AccountFactory)
    name = factory.Sequence(lambda n: f"Webhook {n}")
    url = "https://receiver.example.com/hook"
    verified_at = factory.LazyFunction(timezone.now)
    verification_due_at = None

    @factory.post_generation
    def headers(self, create, extracted, **kwargs):
        for position, (name, value) in enumerate(extracted or []):
            models.Header.objects.create(webhook=self, position=position, name=name, value=value)
        if extracted:
            self.refresh_from_db(fields=["version"])

    @factory.post_generation
    def health(self, create, extracted, **kwargs):
        models.WebhookHealth.objects.create(webhook=self, **(extracted or {}))


class DeliveryFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = models.Delivery

    # Ids begin with the time they were made, and nothing ends before it was made.
    id = factory.LazyAttribute(lambda made: new_id(made.created_at.timestamp()))
    created_at = factory.LazyAttribute(lambda made: made.finished_at or timezone.now())
    finished_at = None
    webhook = factory.SubFactory(WebhookFactory)
    payload = b'{"order": 4711}'
    retry_schedule = "5,300,1800,7200,18000,36000,36000"


class AttemptFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = models.Attempt

    webhook = factory.SubFactory(WebhookFactory)
    exchange = "delivery"
    request_id = factory.LazyAttribute(lambda a: a.delivery.id if a.delivery else "0" * 24)
    delivery = None
    # Keys begin with the time at which the exchange ended, also where a test makes the last first.
    id = factory.LazyAttributeSequence(lambda made, n: first_key(made.ended_at) + n)
    ended_at = factory.LazyFunction(timezone.now)
    duration_ms = 12
    url = factory.LazyAttribute(lambda a: a.webhook.url)


class HourlyCountFactory(factory.django.DjangoModelFactory):
    """What came of a webhook's calls in the hour of a moment."""

    class Meta:
        model = models.HourlyCount
        exclude = ["at"]

    webhook = factory.SubFactory(WebhookFactory)
    at = factory.LazyFunction(timezone.now)
    hour = factory.LazyAttribute(lambda count: hour_of(count.at))


class CounterFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = models.Counter

    slot = 0


class WorkerFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = models.Worker

    id = factory.Sequence(lambda n: f"worker-{n}")
    host = "here"
    pid = 1
    slots = 64
