"""Why a webhook got an event or did not, exactly, for any past event; and who would get one that
is not published. Reads only.

Subscriptions are never changed in place, so those that held when the event was judged are still
there to be asked.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from django.db.models import Count, Exists, Min, OuterRef, Q, Subquery

from ..engine.hearing import Hearing
from ..models import Account, Delivery, Event, Subscription, Webhook, states
from ..models.delivery import DeliveryQuerySet
from ..models.primary import clock
from ..models.subscription import SubscriptionQuerySet
from ..models.webhook import SECRETS
from ..rules import filters, subscriptions
from ..rules.ids import is_id, timestamp
from .base import db_alias
from .errors import Invalid
from .intake import encode

Verdict = Literal[
    "delivered",
    "pending",
    "held",
    "failed",
    "cancelled",
    "filtered",
    "not-subscribed",
    "too-late",
    "not-kept",
    "matches",
]
WEBHOOKS_AT_ONCE = 100
LOOKED_AT = 1000  # webhooks, for those without an event
VISITS_AT_ONCE = 2_000_000  # elements of a payload that the filters of one answer look at
AT_THAT_MOMENT = timedelta(seconds=1)
TOO_COSTLY = "filter-too-costly"
_MOST = f"more than {filters.VISITS:,}"
NAMED = 3  # conditions, or channels, that a sentence names


@dataclass(frozen=True, slots=True)
class Line:
    """How it stands with one webhook.

    `delivery` is the one that was made for it. `verdict`: with a delivery `delivered`, `pending`,
    `held`, `failed` or `cancelled`; without one `filtered`, `not-subscribed`, `too-late` (the
    webhook or its subscription is younger than the event), `pending` (the event is still being
    handed out), `cancelled` (the event was, before it was handed out to this one), `not-kept` (it
    matched, and its delivery is kept no longer). Of `match`: `matches`, `held` (it would get it,
    and that would wait), `filtered`, `not-subscribed`. `because` is a sentence for people.
    """

    webhook: Webhook
    delivery: Delivery | None
    verdict: Verdict
    because: str


def why(event: Event, *, after: str = "", limit: int = WEBHOOKS_AT_ONCE) -> tuple[list[Line], str]:
    """For the webhooks of the account, in the order of their ids: who got an event, who did not,
    and why.

    `after`: the id of the webhook to begin behind. Returns the lines and the id to go on behind,
    `""` at the end. Where filters cost very much, fewer than `limit` lines are made, one at least.
    """
    webhooks, more = _page(event.account_id, _then(event), after, limit)
    made = _deliveries(event, [webhook.pk for webhook in webhooks]).defer("payload")
    deliveries = {row.webhook_id: row for row in made}
    return _with_place(_why(event, webhooks, deliveries), webhooks, more)


def match(
    account: Account,
    type: str,
    payload: Any,
    *,
    channels: Iterable[str] = (),
    after: str = "",
    limit: int = WEBHOOKS_AT_ONCE,
) -> tuple[list[Line], str]:
    """Who would get an event that was published now, and why the others would not; as `why`.

    Raises Invalid for a type or a channel that is none, and for a payload what `encode` raises.
    """
    asked = Asked.of(type, channels, encode(payload))
    present = Subscription.objects.present()
    webhooks, more = _page(account.pk, present, after, limit)
    covering = _covering(present, [webhook.pk for webhook in webhooks], asked.type)
    lines: list[Line] = []
    now = clock(db_alias())
    for webhook in webhooks:
        if asked.is_tired:
            break
        verdict, because = asked.judged(webhook, covering.get(webhook.pk, []))
        held = states.hold_reason(webhook, now) if verdict == "matches" else ""
        if held:
            verdict, because = (
                "held",
                f"{because} It would wait: {states.hold_sentence(webhook, held)}",
            )
        lines.append(Line(webhook, None, verdict, because))
    return _with_place(lines, webhooks, more)


@dataclass(frozen=True, slots=True)
class WithoutIt:
    """Webhooks that did not get an event. `place`: the id to go on behind, `""` at the end."""

    lines: list[Line]
    place: str


def why_not(
    event: Event, *, webhook: str = "", after: str = "", limit: int = WEBHOOKS_AT_ONCE
) -> WithoutIt:
    """Why webhooks of the account did not get an event, in the order of their ids: those behind
    `after`, or those whose name or id is `webhook`. Looks at LOOKED_AT webhooks at most."""
    rows = _webhooks(event.account_id, _then(event))
    if webhook:
        rows = rows.filter(pk=webhook) if is_id(webhook) else rows.named(webhook)
    ids = list(rows.filter(pk__gt=after).values_list("pk", flat=True)[: LOOKED_AT + 1])
    got = set(_deliveries(event, ids).values_list("webhook", flat=True)) if ids else set()
    without = [ident for ident in ids[:LOOKED_AT] if ident not in got]
    lines = _why(event, list(rows.filter(pk__in=without[:limit])) if without else [], {})
    if lines and len(lines) < len(without):
        return WithoutIt(lines, lines[-1].webhook.pk)
    return WithoutIt(lines, ids[LOOKED_AT - 1] if len(ids) > LOOKED_AT else "")


def _why(
    event: Event, webhooks: Sequence[Webhook], deliveries: Mapping[str, Delivery]
) -> list[Line]:
    """Fewer where filters cost very much, one at least."""
    others = [webhook.pk for webhook in webhooks if webhook.pk not in deliveries]
    asked = Asked(event.type, event.channels, event)
    covering, changes = _covering(_then(event), others, event.type), _changes(event, others)
    lines: list[Line] = []
    now = clock(db_alias())
    for webhook in webhooks:
        if asked.is_tired:
            break
        if delivery := deliveries.get(webhook.pk):
            delivery.webhook = webhook
            lines.append(Line(webhook, delivery, *_of_delivery(delivery, now)))
            continue
        later, near = changes.get(webhook.pk, (None, 0))
        verdict, because = asked.judged(webhook, covering.get(webhook.pk, []))
        if verdict == "matches":
            verdict, because = _matched_without_delivery(event, webhook)
        elif webhook.created_at > event.judged_at:
            verdict, because = "too-late", "The webhook was made after the event."
        elif verdict == "not-subscribed" and later is not None:
            verdict, because = "too-late", f"It subscribed after the event, at {timestamp(later)}."
        if near:
            because += " Its subscriptions changed at that moment."
        lines.append(Line(webhook, None, verdict, because))
    return lines


# --- one event, asked of many subscriptions ------------------------------------------------------


class Asked(Hearing):
    """An event and what subscriptions say of it, in sentences."""

    def __init__(self, type: str, channels: Sequence[str], of: Event | bytes) -> None:
        super().__init__(type, channels, of)
        self._found: dict[str, list[str]] = {}  # by a filter, where it does not hold

    @classmethod
    def of(cls, type: str, channels: Iterable[str], payload: bytes) -> "Asked":
        """Raises Invalid."""
        problems: dict[str, list[str]] = {}
        heard = list(channels)
        for field, read, values in (
            ("type", subscriptions.event_type, [type]),
            ("channels", subscriptions.channel, heard),
        ):
            try:
                for value in values:
                    read(value)
            except ValueError as error:
                problems[field] = [str(error)]
        if problems:
            raise Invalid(problems)
        return cls(type, heard, payload)

    @property
    def is_tired(self) -> bool:
        """Whether filters have looked at as many elements as one answer may cost."""
        return self.visits >= VISITS_AT_ONCE

    def judged(self, webhook: Any, rows: Sequence[Subscription]) -> tuple[Verdict, str]:
        """What a webhook's subscriptions whose patterns cover the type make of it."""
        if not rows:
            none = f"None of its subscriptions covers {self.type}."
            return "not-subscribed", none if webhook.subscribed else "It has no subscriptions."
        heard = [row for row in rows if self.hears(row.channels)]
        if not heard:
            wanted = sorted({channel for row in rows for channel in row.channels})
            return "not-subscribed", f"It subscribed to other channels: {_some(wanted)}."
        refusals = []
        for row in heard:
            said = self.refusal(row.filter) if row.filter else ""
            if not said:
                return "matches", f"Subscription {row.number + 1} covers it, by {row.pattern}."
            refusals.append(f"{said} (subscription {row.number + 1})")
        return "filtered", " ".join(f"{said}." for said in dict.fromkeys(refusals[:NAMED]))

    def refusal(self, text: str) -> str:
        """Why a filter does not take the payload, `""` where it does."""
        match self.says(text):
            case "takes":
                return ""
            case "too-costly":
                return f"{TOO_COSTLY}: its filter would look at {_MOST} elements of the payload"
            case "unreadable":
                return "Its filter cannot be read by this version"
        places = [place or "the root" for place in self._refusals(text)]
        return f"Its filter does not hold at {_some(places)}"

    def _refusals(self, text: str) -> list[str]:
        if text not in self._found:
            budget = filters.Budget()
            self._found[text] = filters.compiled(text).refusals(self.payload, budget)
            self.visits += budget.spent
        return self._found[text]


def _some(words: Sequence[str]) -> str:
    """A few of them, and that there are more."""
    return ", ".join(words[:NAMED]) + (" …" if len(words) > NAMED else "")


# --- the sentences -------------------------------------------------------------------------------


def _matched_without_delivery(event: Event, webhook: Webhook) -> tuple[Verdict, str]:
    if event.fanned_out_to is not None and webhook.pk > event.fanned_out_to:
        return "pending", "The event is still being handed out to very many webhooks."
    if event.cancelled_after is not None and webhook.pk > event.cancelled_after:
        return "cancelled", "The event was cancelled before it was handed out to this one."
    return "not-kept", "It matched; its delivery is kept no longer."


def _of_delivery(delivery: Delivery, now: datetime) -> tuple[Verdict, str]:
    tried = f"{delivery.tries} of {delivery.max_tries} tries failed"
    match states.of_delivery(delivery, now):
        case "delivered":
            at = timestamp(delivery.finished_at)
            return "delivered", f"Delivered at {at}, at try {max(delivery.tries, 1)}."
        case "held":
            held = states.delivery_hold_reason(delivery, now)
            return "held", states.hold_sentence(delivery.webhook, held)
        case "waiting":
            return "pending", f"It is due at {timestamp(delivery.due_at)}."
        case "retrying":
            due = timestamp(delivery.due_at)
            return "pending", f"{tried}, the next is due at {due}: {delivery.last_error}"
        case "failed":
            said = "; ".join(filter(None, (delivery.last_error, delivery.reason)))
            return "failed", f"It was given up, {tried}: {said}"
    return "cancelled", delivery.reason or "It was cancelled."


# --- what is read --------------------------------------------------------------------------------


def _then(event: Event) -> SubscriptionQuerySet:
    """The subscriptions that held when the event was judged."""
    return Subscription.objects.at(event.judged_at)


def _webhooks(account: int, held: SubscriptionQuerySet) -> Any:
    """In the order of their ids, with their health, and whether they had any subscription."""
    rows = Webhook.objects.for_account(account).select_related("health")
    rows = rows.defer(*SECRETS).order_by("pk")
    return rows.annotate(subscribed=Exists(held.filter(webhook=OuterRef("pk"))))


def _page(
    account: int, held: SubscriptionQuerySet, after: str, limit: int
) -> tuple[list[Webhook], bool]:
    found = list(_webhooks(account, held).filter(pk__gt=after)[: limit + 1])
    return found[:limit], len(found) > limit


def _deliveries(event: Event, webhooks: Sequence[str]) -> DeliveryQuerySet:
    """They were made one behind the other: of a webhook with very many deliveries those that were
    made meanwhile are read, and not all."""
    every = Delivery.objects.of_event(event.pk)
    first, last = (Subquery(every.order_by(end).values("pk")[:1]) for end in ("pk", "-pk"))
    return every.filter(webhook__in=webhooks, pk__gte=first, pk__lte=last)


def _with_place(
    lines: list[Line], webhooks: Sequence[Webhook], more: bool
) -> tuple[list[Line], str]:
    more = more or len(lines) < len(webhooks)
    return lines, lines[-1].webhook.pk if more else ""


def _covering(
    held: SubscriptionQuerySet, webhooks: Sequence[str], type: str
) -> dict[str, list[Subscription]]:
    """By webhook, those whose patterns cover a type."""
    found: dict[str, list[Subscription]] = {}
    if webhooks:
        rows = held.filter(webhook__in=webhooks, pattern__in=subscriptions.lookups(type))
        for row in rows:
            found.setdefault(row.webhook_id, []).append(row)
    return found


def _changes(event: Event, webhooks: Sequence[str]) -> dict[str, tuple[datetime | None, int]]:
    """By webhook: when a subscription to the type first began after the event, and how many began
    or ended within a second of it."""
    if not webhooks:
        return {}
    moment = event.judged_at
    span = (moment - AT_THAT_MOMENT, moment + AT_THAT_MOMENT)
    patterns = subscriptions.lookups(event.type)
    rows = Subscription.objects.filter(webhook__in=webhooks, pattern__in=patterns).order_by()
    found = rows.values_list("webhook").annotate(
        later=Min("valid_from", filter=Q(valid_from__gt=moment)),
        near=Count("pk", filter=Q(valid_from__range=span) | Q(valid_until__range=span)),
    )
    return {webhook: (later, near) for webhook, later, near in found}
