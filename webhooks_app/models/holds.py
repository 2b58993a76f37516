"""Why a webhook is not called: every reason, in order; the first that applies is the reason.

The one table behind the worker's claim, the API, the console, the commands and the metrics: what
Python asks of a row, and which rows a query finds, stand side by side.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from .. import conf
from .delivery import Delivery
from .health import WebhookHealth, health_of
from .webhook import Webhook


@dataclass(frozen=True, slots=True)
class Hold:
    """`told`: noted by the worker that found it, and no reason for another not to call."""

    reason: str
    sentence: str
    applies: Callable[[Webhook, datetime], bool]
    few: Callable[[datetime], "QuerySet[Any]"]  # the rows, by an index that holds few others
    told: bool = False

    def keys(self, now: datetime) -> "QuerySet[Any]":
        """Of the webhooks that it applies to; of deleted ones too."""
        return self.few(now).order_by().values("pk")


def _stopped(reason: str, sentence: str) -> Hold:
    return Hold(
        reason,
        sentence,
        lambda webhook, now: webhook.stopped == reason,
        lambda now: Webhook.objects.filter(stopped=reason).exclude(stopped=""),
    )


def _is_open(webhook: Webhook, now: datetime) -> bool:
    until = health_of(webhook).breaker_until
    return until is not None and until > now


HOLDS = (
    _stopped("paused", "The webhook is paused."),
    _stopped("gone", "The webhook is stopped: the receiver says it is gone (410)."),
    _stopped("failing", "The webhook is stopped: nothing but failure for 5 days."),
    Hold(
        "unreadable",
        "A stored secret of the webhook cannot be read: the key that it was encrypted with is "
        "missing in WEBHOOKS_ENCRYPTION_KEYS. Give the key back, or send token, headers and auth "
        "anew and rotate the signing secret.",
        lambda webhook, now: health_of(webhook).unreadable_since is not None,
        lambda now: WebhookHealth.objects.filter(unreadable_since__isnull=False),
        told=True,
    ),
    Hold(
        "unverified",
        "The webhook is not verified: its URL has not passed the challenge.",
        lambda webhook, now: conf.verification_required() and not webhook.verified,
        lambda now: Webhook.objects.filter(verified_at__isnull=True),
    ),
    Hold(
        "breaker",
        "The webhook's breaker is open after many failures in a row.",
        _is_open,
        lambda now: WebhookHealth.objects.filter(
            breaker_until__isnull=False, breaker_until__gt=now
        ),
    ),
)
# The one reason that is a delivery's own and not its webhook's, and stands in its row.
UNRECORDED = "unrecorded"
SENTENCES = {hold.reason: hold.sentence for hold in HOLDS} | {
    UNRECORDED: "What became of its last try could not be written down, so it is not sent again by "
    "itself. Retry it when the cause is mended."
}


def present() -> list[Hold]:
    """Those that are asked about as the site is set up."""
    required = conf.verification_required()
    return [hold for hold in HOLDS if required or hold.reason != "unverified"]


def hold_reason(webhook: Webhook, now: datetime, *, told: bool = True) -> str:
    """Why it is not called now, one of SENTENCES; `""` when it is. Without `told`: why it may not.

    Of the row as it was read, with its health: no secret is read for it.
    """
    for hold in HOLDS:
        if (told or not hold.told) and hold.applies(webhook, now):
            return hold.reason
    return ""


def held(now: datetime) -> Q:
    """The deliveries whose webhook is not called now. The webhooks are chosen once, not for each
    delivery, each reason by the index of the few that it holds for."""
    condition = Q()
    for hold in present():
        condition |= Q(webhook__in=hold.keys(now))
    return condition


def held_webhooks(now: datetime) -> "dict[str, QuerySet[Any]]":
    """The live webhooks that are not called, by the reason."""
    found: dict[str, QuerySet[Any]] = {}
    earlier = Q()
    for hold in present():
        found[hold.reason] = Webhook.objects.live().filter(~earlier, pk__in=hold.keys(now))
        earlier |= Q(pk__in=hold.keys(now))
    return found


def held_deliveries(now: datetime) -> "dict[str, QuerySet[Any]]":
    """The deliveries that wait for a webhook, by the reason why that is not called."""
    found: dict[str, QuerySet[Any]] = {}
    earlier = Q()
    for hold in present():
        own = Q(webhook__in=hold.keys(now))
        found[hold.reason] = Delivery.objects.pending().filter(own, ~earlier)
        earlier |= own
    return found
