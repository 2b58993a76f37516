"""Subscription: which events a webhook gets."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Self

from django.db import models
from django.db.models import Q

from ..fields import WordsField
from .account import Account
from .primary import PrimaryModel, PrimaryQuerySet
from .webhook import Webhook


class SubscriptionQuerySet(PrimaryQuerySet["Subscription"]):
    def present(self) -> Self:
        return self.filter(valid_until__isnull=True)

    def at(self, moment: datetime) -> Self:
        """Those that held at a moment, the present ones among them."""
        ended = Q(valid_until__isnull=True) | Q(valid_until__gt=moment)
        return self.filter(ended, valid_from__lte=moment)


class Subscription(PrimaryModel):
    """One pattern of event types that a webhook gets, while it holds.

    Never changed in place: what changes ends, and something new begins, so that "why was this not
    sent?" has an exact answer for every past event. Rows of the same `number` are one subscription
    with several patterns; they share its channels and filter.
    """

    # No constraints in the database: a process of an older version may remove the webhook.
    account = models.ForeignKey(
        Account, on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    webhook = models.ForeignKey(
        Webhook,
        on_delete=models.CASCADE,
        related_name="subscriptions",
        db_index=False,
        db_constraint=False,
    )
    number = models.PositiveSmallIntegerField()
    pattern = models.CharField(max_length=130)
    channels = WordsField(max_length=1400, blank=True, default=())  # empty: any
    filter = models.TextField(blank=True, default="")  # JSON; empty: everything
    valid_from = models.DateTimeField()  # both by the database's clock
    valid_until = models.DateTimeField(null=True, blank=True)

    objects = SubscriptionQuerySet.as_manager()

    class Meta:
        ordering = ["number", "id"]
        default_permissions = ()
        indexes = [
            models.Index(
                fields=["account", "pattern"],
                condition=Q(valid_until__isnull=True),
                name="subscription_present",
            ),
            models.Index(fields=["webhook", "number"], name="subscription_webhook"),
            models.Index(
                fields=["account", "valid_until"],
                condition=Q(valid_until__isnull=False),
                name="subscription_ended",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.pattern} to {self.webhook_id}"


def grouped(rows: Iterable[Subscription]) -> list[dict[str, Any]]:
    """Rows of one webhook, in their order, as `types`, `channels` and `filter` (the JSON text, ""
    for none) of each subscription."""
    found: dict[int, dict[str, Any]] = {}
    for row in rows:
        one = found.setdefault(
            row.number, {"types": [], "channels": list(row.channels), "filter": row.filter}
        )
        one["types"].append(row.pattern)
    return [found[number] for number in sorted(found)]
