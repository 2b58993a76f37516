"""Webhooks that deliver nothing, by the host that they call and what is the matter there: one line
tells an outage, however many customers it hits."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Case, IntegerField, OuterRef, Q, Value, When

from ..models import Delivery, Webhook, WebhookHealth, states
from ..rules import failures
from ..rules.hosts import NO_HOST, host_of
from .counts import BoundedCount, bounded
from .formatting import duration
from .looks import State, webhook_state

READ = 200  # webhooks in trouble that a page looks at
TODAY = timedelta(hours=24)
STOPPED_TODAY = "stopped_today"
ATTENTION = ("failing", "unreadable", "breaker", "unverified", STOPPED_TODAY)  # in this order
WELL = ("working", "idle", "rate")  # of which nothing says since when
AT_ONCE = timedelta(minutes=2)  # what begins within is one event
# What a page says of a webhook; no secret is read.
TOLD = (
    *("id", "name", "url", "stopped", "stopped_at", "verified_at", "verification_due_at"),
    *("timeout", "created_at", "deleted_at", "account__name", "account__contact_email"),
    *("health__webhook", "health__failures_in_row", "health__failing_since"),
    *("health__last_error_at", "health__last_error_kind", "health__last_error_message"),
    *("health__last_success_at", "health__breaker_until", "health__unreadable_since"),
    *("health__unsteady_since", "health__rests_until", "health__told"),
)


@dataclass(slots=True)
class Outage:
    """Webhooks of one host with the same trouble, the one since when first."""

    host: str
    state: State
    kind: str
    webhooks: list[Any]

    @property
    def first(self) -> Any:
        return self.webhooks[0]

    @property
    def alone(self) -> bool:
        return len(self.webhooks) == 1

    @property
    def since(self) -> datetime:
        return since_when(self.first)

    @property
    def within(self) -> str:
        """ "all within 4 s" where they began together, or since when the last has it."""
        if self.alone:
            return ""
        length = since_when(self.webhooks[-1]) - self.since
        return f"all within {duration(max(length, timedelta(seconds=1)))}"

    @property
    def at_once(self) -> bool:
        """Whether they began together: then it is the host, and not one customer's settings."""
        return not self.alone and since_when(self.webhooks[-1]) - self.since <= AT_ONCE

    @property
    def customers(self) -> int:
        return len({webhook.account_id for webhook in self.webhooks})

    @property
    def why(self) -> str:
        return why_of(self.first, self.state)

    @property
    def advice(self) -> str:
        return failures.advice(self.kind)

    @property
    def recorded(self) -> str:
        """The message of the last of them that failed."""
        last = max(self.webhooks, key=lambda each: each.health.last_error_at or each.created_at)
        return str(last.health.last_error_message) if self.kind else ""

    @property
    def stuck(self) -> int:
        """Deliveries that wait or gave up, of each webhook no more than are counted."""
        return sum(map(stuck, self.webhooks))


def with_stuck(rows: Any) -> Any:
    """Webhooks with what waits for each and what gave up, counted so far as anything is."""
    deliveries = Delivery.objects.filter(webhook=OuterRef("pk"))
    gave_up = deliveries.filter(state=Delivery.State.FAILED)
    return rows.annotate(
        waiting=BoundedCount.of(deliveries.queued()), gave_up=BoundedCount.of(gave_up)
    )


def stuck(webhook: Any) -> int:
    """How much waits or gave up, of a row of `with_stuck`."""
    return (webhook.waiting or 0) + (webhook.gave_up or 0)


def worst_first(live: Any, now: datetime, most: int) -> list[Any]:
    """Of some live webhooks those that deliver nothing, then the newest; one more than `most` says
    that there are more. Neither is sorted out of all of them."""
    silent = live.filter(states.webhooks_in("silent", now)).order_by("-pk")
    ends = (rows.values("pk")[: most + 1] for rows in (silent, live.order_by("-pk")))
    some, newest = (live.order_by().filter(pk__in=end).values("pk") for end in ends)
    rows = Webhook.objects.filter(pk__in=some.union(newest))
    found = list(with_stuck(rows.select_related("account", "health").only(*TOLD)).order_by("-pk"))
    rank = {key: place for place, key in enumerate(states.SILENT)}
    found.sort(key=lambda row: rank.get(states.of_webhook(row, now).key, len(rank)))
    return found[: most + 1]


def stopped_today(now: datetime) -> Q:
    return states.stopped_since(now - TODAY, now)


def in_trouble(counts: Mapping[str, int], now: datetime) -> list[Any]:
    """The webhooks that somebody should look at; `counts` are how many there are of ATTENTION.

    Where more than READ are failing, those for the longest time and those that began last.
    """
    keys: list[str] = []
    for key in ATTENTION:
        if counts[key] and sum(counts[key] for key in keys) < READ:
            keys.append(key)
    if not keys:
        return []
    rows: Any = Webhook.objects.live().select_related("account", "health").only(*TOLD)
    if keys == ["failing"]:  # by the index of those, of which it reads no more
        failing = states.counted("failing", now)
        ends = (failing.order_by(order) for order in ("failing_since", "-failing_since"))
        healths = WebhookHealth.objects.values("pk")
        oldest, newest = (healths.filter(pk__in=end[: READ // 2]) for end in ends)
        return list(with_stuck(rows.filter(pk__in=oldest.union(newest)))[:READ])
    wanted, rank = Q(), []
    for place, key in enumerate(keys):
        today = key == STOPPED_TODAY
        condition = stopped_today(now) if today else states.webhooks_in(key, now)
        wanted |= condition
        rank.append(When(condition, then=Value(place)))
    few = ["stopped" if key == STOPPED_TODAY else key for key in keys]
    rows = rows.filter(wanted).filter(states.among(few, now))
    rows = rows.annotate(rank=Case(*rank, output_field=IntegerField()))
    return list(with_stuck(rows.order_by("rank", "health__failing_since", "pk"))[:READ])


def outages(webhooks: Iterable[Any], now: datetime, *, oldest_first: bool = False) -> list[Outage]:
    """These webhooks in groups: those with most deliveries that wait or gave up first, or those
    that began first."""
    groups: dict[tuple[str, str, str, str], list[Any]] = defaultdict(list)
    looks: dict[str, State] = {}
    for webhook in webhooks:
        state, host = webhook_state(webhook, now), host_of(webhook.url)
        looks[state.key] = state
        apart = webhook.pk if host == NO_HOST else ""
        groups[host, state.key, kind_of(webhook, state), apart].append(webhook)
    found = [
        Outage(host, looks[key], kind, sorted(rows, key=since_when))
        for (host, key, kind, _), rows in groups.items()
    ]
    found.sort(key=lambda outage: outage.since)
    return found if oldest_first else sorted(found, key=lambda outage: -outage.stuck)


def kind_of(webhook: Any, state: State) -> str:
    """The kind of error that tells its trouble apart, `""` where no call is to blame."""
    if state.key in ("unreadable", "paused", "site"):
        return ""
    return str(webhook.health.last_error_kind)


def since_when(webhook: Any) -> datetime:
    """Since when a webhook is as it is, as far as anything says."""
    health = webhook.health
    if webhook.stopped:
        since = webhook.stopped_at
    else:
        since = health.failing_since or health.unreadable_since or health.last_error_at
    found: datetime = since or webhook.created_at
    return found


def trouble_since(webhook: Any, state: State) -> datetime | None:
    """`since_when`, of states of which that says anything."""
    return None if state.key in WELL else since_when(webhook)


def why_of(webhook: Any, state: State) -> str:
    if state.key in ("unreadable", "paused", "site"):
        return states.SENTENCES[state.key]
    if state.key == "stopped":
        return states.SENTENCES.get(webhook.stopped, states.SENTENCES[states.UNKNOWN])
    why = failures.why(webhook.health.last_error_kind)
    return why or ("It has not passed the verification yet." if state.key == "unverified" else "")


def number(rows: Iterable[Any], column: str) -> str:
    """The sum of what `with_stuck` counted, in words."""
    return bounded(sum(getattr(row, column) or 0 for row in rows))
