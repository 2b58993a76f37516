"""The rows that the visited screens are about, and how their addresses are spelled."""

from datetime import timedelta
from functools import cached_property
from urllib.parse import urlencode

from django.urls import reverse
from django.utils import timezone

from webhooks_app.models import (
    AccessToken,
    Account,
    Attempt,
    AuditEntry,
    Delivery,
    Event,
    EventType,
    Job,
    Webhook,
    WebhookError,
)

from . import crowd
from .crowd_plan import DOWN, KINDS, MANY, QUIET

OURS = "webhooks_app_"
SPANS = ("1h", "24h", "7d", "30d", "any")
KINDS_MET = sorted({kind for kind, *_ in KINDS})
HOSTS = ("hooks41.example.com", MANY, DOWN, QUIET)
NOBODY = "nobody.example"


class Rows:
    """Asks the database for each when a case needs it."""

    def __init__(self):
        self.now = timezone.now()

    def moment(self, **ago):
        return (self.now - timedelta(**ago)).strftime("%Y-%m-%dT%H:%M:%SZ")

    @staticmethod
    def _webhook(number):
        return Webhook.objects.get(name=f"Webhook {number}").pk

    @staticmethod
    def _middle(model):
        return model.objects.order_by("pk")[model.objects.count() // 2].pk

    busy = cached_property(lambda self: self._webhook(0))
    failing = cached_property(lambda self: self._webhook(1))
    ordered = cached_property(lambda self: self._webhook(2))
    held = cached_property(lambda self: self._webhook(3))
    idle = cached_property(lambda self: self._webhook(5))
    blocked = cached_property(lambda self: self._webhook(12))
    down = cached_property(lambda self: self._webhook(52))
    deleted = cached_property(
        lambda self: Webhook.objects.filter(deleted_at__isnull=False).order_by("pk")[0].pk
    )
    big = cached_property(lambda self: Account.objects.order_by("pk")[0])
    quiet = cached_property(lambda self: Account.objects.order_by("pk")[1])
    small = cached_property(lambda self: Account.objects.order_by("-pk")[1])
    empty = cached_property(lambda self: Account.objects.order_by("-pk")[0])
    of_busy = cached_property(
        lambda self: Delivery.objects.filter(webhook=self.busy).order_by("-pk")
    )
    newest = cached_property(lambda self: Delivery.objects.order_by("-pk")[20].pk)
    middle = cached_property(lambda self: self._middle(Delivery))
    middle_attempt = cached_property(lambda self: self._middle(Attempt))
    middle_webhook = cached_property(lambda self: self._middle(Webhook))
    middle_event = cached_property(lambda self: self._middle(Event))
    middle_entry = cached_property(lambda self: self._middle(AuditEntry))
    night = cached_property(lambda self: Delivery.objects.filter(webhook=self.down).order_by("pk"))
    reference = cached_property(
        lambda self: (
            Delivery.objects.filter(pk__gte=self.middle)
            .exclude(reference="")
            .order_by("pk")[0]
            .reference
        )
    )
    job = cached_property(lambda self: Job.objects.order_by("pk")[0].pk)
    running = cached_property(lambda self: Job.objects.order_by("-pk")[0].pk)
    token = cached_property(lambda self: AccessToken.objects.order_by("pk")[0].pk)
    tokens = cached_property(
        lambda self: [*AccessToken.objects.order_by("-pk").values_list("pk", flat=True)[:50]]
    )
    entry = cached_property(lambda self: AuditEntry.objects.order_by("-pk")[0].pk)
    error = cached_property(lambda self: WebhookError.objects.order_by("-pk")[0].pk)
    published = cached_property(
        lambda self: Event.objects.with_reference(crowd.PUBLISHED["reference"])[0]
    )
    keyed = cached_property(lambda self: Event.objects.filter(key__isnull=False).order_by("-pk")[0])
    of_nobody = cached_property(
        lambda self: Event.objects.filter(pk__gte=self.keyed.pk, matched=0).order_by("-pk")[0].pk
    )
    unused = cached_property(lambda self: EventType.objects.get(name="never.sent").pk)
    declared = cached_property(lambda self: self._event_type(archived=False))
    archived = cached_property(lambda self: self._event_type(archived=True))
    webhooks = cached_property(
        lambda self: [
            *Webhook.objects.live().order_by("-pk").values_list("pk", flat=True)[:50],
        ]
    )
    downs = cached_property(
        lambda self: [
            *Webhook.objects.at_host(DOWN).order_by("pk").values_list("pk", flat=True)[:20]
        ]
    )
    deliveries = cached_property(lambda self: [*self.of_busy.values_list("pk", flat=True)[:100]])

    @staticmethod
    def _event_type(*, archived):
        rows = EventType.objects.filter(archived_at__isnull=not archived, seen=False)
        return rows.order_by("-pk")[1].pk


def page(name, *arguments, **words):
    """Label and address of a screen."""
    label = " ".join(f"{key}={str(value)[:24]}" for key, value in words.items()) or "plain"
    query = f"?{urlencode(words)}" if words else ""
    return label, reverse(f"admin:{name}", args=arguments) + query


def ours(name, *arguments, **words):
    return page(f"{OURS}{name}", *arguments, **words)


def listed(model, *choices):
    """A list, plain and with each of these filters."""
    return dict(ours(f"{model}_changelist", **words) for words in ({}, *choices))


def change(model, *idents, **words):
    """Pages of rows, by their labels."""
    return {label: ours(f"{model}_change", ident, **words)[1] for label, ident in idents}


def one(name, ident):
    return dict([ours(name, ident)])


def each(name, *choices):
    return dict(ours(name, **words) for words in choices)
