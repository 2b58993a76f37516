"""What holds up the order of a webhook: the deliveries behind which others wait."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Min, Q, QuerySet

from .delivery import Delivery
from .states import FAR_AHEAD, UNRECORDED
from .webhook import Webhook

HEADS_MOST = 10
BEHIND_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Head:
    """`delivery` holds `behind` others up, counted up to BEHIND_MOST, `since` its first try ended.
    `is_dead`: all its tries have failed, and the webhook is stopped for that."""

    delivery: Delivery
    behind: int
    since: datetime
    is_dead: bool = False

    @property
    def is_many(self) -> bool:
        """Whether more wait than were counted."""
        return self.behind >= BEHIND_MOST

    @property
    def next_at(self) -> datetime | None:
        """When it is tried again; None: a person must decide."""
        ends = self.is_dead or self.delivery.due_at >= FAR_AHEAD
        return None if ends else self.delivery.due_at


def heads(webhook: Webhook, now: datetime, most: int = HEADS_MOST) -> list[Head]:
    """Those that hold others up, the ones that are tried again last first."""
    if not webhook.order:
        return []
    found = [_head(webhook, row) for row in _waiting(webhook, now, most)]
    if webhook.stopped == Webhook.Stopped.BLOCKED:
        dead = Delivery.objects.filter(webhook=webhook).blocking().order_by("-finished_at")[:1]
        found = [*(_head(webhook, row, is_dead=True) for row in dead), *found]
    return found[:most]


def _waiting(webhook: Webhook, now: datetime, most: int) -> list[Delivery]:
    """Of each key the first that waits for its next try, or for a person."""
    rows = Delivery.objects.pending().filter(
        Q(tries__gt=0) | Q(reason=UNRECORDED),
        webhook=webhook,
        position__isnull=False,
        due_at__gt=now,
    )
    by_key: dict[str | None, Delivery] = {}
    for row in rows.defer("payload").order_by("-due_at")[: 10 * most]:
        first = by_key.setdefault(row.ordering_key, row)
        if (row.position or 0) < (first.position or 0):
            by_key[row.ordering_key] = row
    return list(by_key.values())[:most]


def _head(webhook: Webhook, delivery: Delivery, *, is_dead: bool = False) -> Head:
    delivery.webhook = webhook
    since = delivery.attempts.aggregate(first=Min("ended_at"))["first"]
    behind = 0 if delivery.position is None else _behind(webhook, delivery).count()
    return Head(delivery, behind, since or delivery.created_at, is_dead)


def _behind(webhook: Webhook, delivery: Delivery) -> "QuerySet[Delivery]":
    rows = Delivery.objects.pending().filter(webhook=webhook, position__gt=delivery.position)
    # A line beside the keys holds all of them up.
    if delivery.ordering_key is not None:
        rows = rows.filter(ordering_key=delivery.ordering_key)
    return rows.filter(position__isnull=False)[:BEHIND_MOST]
