"""What holds up the order of a webhook: the deliveries behind which others wait."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Case, OuterRef, Q, Subquery, When

from .counted import Counted
from .delivery import Attempt, Delivery
from .states import FAR_AHEAD, UNRECORDED
from .webhook import Webhook

HEADS_MOST = 10
BEHIND_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Head:
    """`delivery` holds `behind` others up, counted up to BEHIND_MOST, `since` its first try ended.
    `is_dead`: all its tries have failed, and the webhook is stopped for that, or will be when it is
    resumed."""

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
    dead: list[str] = []
    if webhook.stopped:
        gave_up = Delivery.objects.filter(webhook=webhook).holding_up().order_by("-finished_at")
        dead = list(gave_up.values_list("pk", flat=True)[:most])
    return _heads(webhook, [*dead, *_waiting(webhook, now, most)][:most], dead)


def _waiting(webhook: Webhook, now: datetime, most: int) -> list[str]:
    """Of each key the first that waits for its next try, or for a person."""
    rows = Delivery.objects.pending().filter(
        Q(tries__gt=0) | Q(reason=UNRECORDED),
        webhook=webhook,
        position__isnull=False,
        due_at__gt=now,
    )
    places: Any = rows.order_by("-due_at").values_list("pk", "ordering_key", "position")
    by_key: dict[str | None, tuple[int, str]] = {}
    for pk, key, position in places[: 10 * most]:
        by_key[key] = min(by_key.get(key, (position, pk)), (position, pk))
    return [pk for _, pk in by_key.values()][:most]


def _heads(webhook: Webhook, keys: list[str], dead: list[str]) -> list[Head]:
    """In the order of these keys, all in one statement."""
    pending = Delivery.objects.pending().filter(
        webhook=OuterRef("webhook"), position__isnull=False, position__gt=OuterRef("position")
    )
    own = pending.filter(ordering_key=OuterRef("ordering_key"))
    first = Attempt.objects.filter(delivery=OuterRef("pk")).order_by("pk").values("ended_at")
    rows: Any = Delivery.objects.filter(pk__in=keys).defer("payload")
    rows = rows.annotate(
        first_ended=Subquery(first[:1]),
        # A line beside the keys holds all of them up.
        held_up=Case(
            When(ordering_key__isnull=True, then=Counted.of(pending, BEHIND_MOST)),
            default=Counted.of(own, BEHIND_MOST),
        ),
    )
    found = {row.pk: row for row in rows.order_by()} if keys else {}
    for row in found.values():
        row.webhook = webhook
    return [
        Head(row, row.held_up, row.first_ended or row.created_at, row.pk in dead)
        for row in (found[key] for key in keys if key in found)
    ]
