"""How a webhook and a delivery do, in a word, a shape and a tone; and the same as a filter.

Precedence of a webhook: disabled, paused, unreadable, not verified, failing, breaker, unsteady,
working, nothing delivered yet. An open breaker is what becomes of one that fails, so it is no
answer to why.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from .. import conf
from ..models import Delivery, Webhook, WebhookHealth
from ..models.health import health_of
from ..models.holds import UNRECORDED, hold_reason
from ..models.selection import in_state
from ..models.webhook import FAILING_AFTER


@dataclass(frozen=True, slots=True)
class State:
    """`icon` names a symbol of symbols.html, `tone` is bad, warn, ok or idle."""

    key: str
    word: str
    icon: str
    tone: str


WEBHOOK_STATES = {
    state.key: state
    for state in (
        State("failing", "Failing", "bad", "bad"),
        State("breaker", "Resting", "pause", "warn"),
        State("unreadable", "Unreadable", "key", "bad"),
        State("unverified", "Not verified", "key", "warn"),
        State("unsteady", "Unsteady", "warn", "warn"),
        State("working", "Working", "ok", "ok"),
        State("paused", "Paused", "pause", "idle"),
        State("disabled", "Stopped", "off", "idle"),
        State("idle", "Nothing delivered yet", "idle", "idle"),
    )
}

# Those that deliver nothing, the worst first; each comes before all others in precedence.
SILENT = ("failing", "unreadable", "breaker", "unverified", "disabled", "paused")

DELIVERY_STATES = {
    state.key: state
    for state in (
        State("waiting", "Waiting", "idle", "idle"),
        State("retrying", "Retrying", "retry", "warn"),
        State("held", "Held", "pause", "warn"),
        State("delivered", "Delivered", "ok", "ok"),
        State("failed", "Gave up", "bad", "bad"),
        State("cancelled", "Cancelled", "off", "idle"),
    )
}


def webhook_state(webhook: Webhook, now: datetime) -> State:
    health = health_of(webhook)
    if webhook.stopped == Webhook.Stopped.PAUSED:
        key = "paused"
    elif webhook.stopped:
        key = "disabled"
    elif health.unreadable_since:
        key = "unreadable"
    elif conf.verification_required() and not webhook.verified:
        key = "unverified"
    elif health.failing:
        key = "failing"
    elif health.breaker_until and health.breaker_until > now:
        key = "breaker"
    elif health.failures_in_row or health.unsteady_since:
        key = "unsteady"
    elif health.last_success_at:
        key = "working"
    else:
        key = "idle"
    return WEBHOOK_STATES[key]


_UNREADABLE = Q(health__unreadable_since__isnull=False)


def _conditions(now: datetime) -> list[tuple[str, Q]]:
    """In order of precedence; each holds where none before it does."""
    conditions = [
        ("paused", Q(stopped=Webhook.Stopped.PAUSED)),
        ("disabled", Q(stopped__in=[Webhook.Stopped.GONE, Webhook.Stopped.FAILING])),
        ("unreadable", _UNREADABLE),
        ("unverified", Q(verified_at__isnull=True)),
        *_by_health(now, "health__"),
        ("working", Q(health__last_success_at__isnull=False)),
        ("idle", Q()),
    ]
    if not conf.verification_required():
        conditions = [pair for pair in conditions if pair[0] != "unverified"]
    return conditions


def _by_health(now: datetime, to_health: str = "") -> list[tuple[str, Q]]:
    """Those of these states that the health alone tells, in the same order."""

    def that(**lookups: Any) -> Q:
        return Q(**{f"{to_health}{lookup}": value for lookup, value in lookups.items()})

    return [
        ("failing", that(failures_in_row__gte=FAILING_AFTER)),
        ("breaker", that(breaker_until__isnull=False, breaker_until__gt=now)),
        ("unsteady", that(failures_in_row__gte=1) | that(unsteady_since__isnull=False)),
    ]


def _few(key: str, now: datetime) -> list[QuerySet[Any]]:
    """For a state that few webhooks are in: more than those, by indexes that hold few others."""
    health, webhooks = WebhookHealth.objects.order_by(), Webhook.objects.order_by()
    match key:
        case "paused" | "disabled":
            return [webhooks.exclude(stopped="")]
        case "unverified":
            return [webhooks.filter(verified_at__isnull=True)]
        case "breaker":
            return [health.filter(breaker_until__isnull=False, breaker_until__gt=now)]
        case "unreadable":
            return [health.filter(unreadable_since__isnull=False)]
        case "failing":
            return [health.filter(failures_in_row__gte=FAILING_AFTER)]
        case "unsteady":
            unsteady = health.filter(unsteady_since__isnull=False)
            return [health.filter(failures_in_row__gte=1), unsteady]
    return []


def among(keys: Iterable[str], now: datetime) -> Q:
    """What the webhooks in some states have in common, where few are in them: an index each, so
    that nobody reads all webhooks to find them. The states themselves are to be asked for too."""
    few = [_few(key, now) for key in keys]
    sets = [rows.values("pk") for part in few for rows in part]
    if not all(few) or not sets:
        return Q()
    return Q(pk__in=sets[0].union(*sets[1:]) if sets[1:] else sets[0])


def webhooks_that_are(key: str, now: datetime) -> Q:
    """The filter for a state; `silent` are all that deliver nothing."""
    higher = Q()
    if key == "silent":
        of_these = Q()
        for name, condition in _conditions(now):
            of_these |= condition if name in SILENT else Q()
        return among(SILENT, now) & of_these
    for name, condition in _conditions(now):
        if name == key:
            return among([key], now) & condition & higher
        higher &= ~condition
    return Q(pk__in=[])


def to_be_counted(key: str, now: datetime) -> QuerySet[Any]:
    """The live webhooks in a state, a row each: of a state that the health tells its row, because
    joined with the webhooks PostgreSQL would read all of those."""
    rows: QuerySet[Any] = WebhookHealth.objects.filter(among([key], now))
    rows = rows.filter(unreadable_since__isnull=True)
    for name, condition in _by_health(now):
        if name == key:
            own = Webhook.objects.filter(pk=OuterRef("pk"))
            others = [own.exclude(stopped=""), own.filter(deleted_at__isnull=False)]
            if conf.verification_required():
                others.append(own.filter(verified_at__isnull=True))
            return rows.filter(condition, *(~Exists(other) for other in others))
        rows = rows.exclude(condition)
    return Webhook.objects.live().filter(webhooks_that_are(key, now))


def delivery_state(delivery: Delivery, now: datetime) -> State:
    if delivery.state != Delivery.State.PENDING:
        return DELIVERY_STATES[delivery.state]
    if hold_reason(delivery.webhook, now) or delivery.reason == UNRECORDED:
        return DELIVERY_STATES["held"]
    return DELIVERY_STATES["retrying" if delivery.tries else "waiting"]


def deliveries_that_are(key: str, now: datetime) -> Q:
    """The filter for a state, as lists and jobs have it; `pending` is the stored state behind
    waiting, retrying and held, `due` are those of waiting and retrying whose time has come."""
    return in_state(key, now)
