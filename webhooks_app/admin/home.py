"""The home page: one sentence that says how things are, four numbers, who needs attention, why."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from django.db.models import Case, IntegerField, OuterRef, Q, Subquery, Value, When
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ..models import (
    AuditEntry,
    Delivery,
    Webhook,
    WebhookError,
    WebhookHealth,
    Worker,
)
from ..models.health import (
    LATENCY_COLUMNS,
    WORKER_SILENT_AFTER,
    health_of,
    percentile,
    totals_since,
)
from ..rules import failures
from ..templatetags.webhooks_console import duration, moment
from . import links
from .attempts import CALLS
from .charts import DAY, SPANS, Chart, Span, chart, rate, span_of
from .console import LOOKS, BoundedCount, bounded, bounded_counts
from .states import (
    WEBHOOK_STATES,
    State,
    among,
    deliveries_that_are,
    to_be_counted,
    webhook_state,
    webhooks_that_are,
)

ATTENTION = ("failing", "breaker", "unverified")  # in this order
ATTENTION_SHOWN = 10
CERTIFICATES_SHOWN = 5
KINDS_SHOWN = 10
FAILURES_READ = 10_000
LOG_SHOWN = 6
LOGGED = ("webhook", "delivery", "account", "accesstoken")
KEEPS_UP = timedelta(minutes=1)  # how long the oldest due delivery may wait


@dataclass(frozen=True, slots=True)
class Workers:
    alive: int
    last_sign: datetime | None
    in_flight: int
    in_flight_of: Mapping[str, int]  # by webhook, as the workers said it last


def workers(request: HttpRequest) -> Workers:
    """Who sends. Asked once a request: the alarm on every page needs it too."""
    seen: Workers | None = getattr(request, "_webhooks_workers", None)
    if seen is None:
        now = timezone.now()
        rows = list(Worker.objects.order_by("-seen_at")[:200])
        alive = [worker for worker in rows if worker.seen_at > now - WORKER_SILENT_AFTER]
        by_webhook: Counter[str] = Counter()
        for worker in alive:
            by_webhook.update(worker.in_flight_of)
        seen = Workers(
            len(alive),
            rows[0].seen_at if rows else None,
            sum(worker.in_flight for worker in alive),
            by_webhook,
        )
        request._webhooks_workers = seen  # type: ignore[attr-defined]
    return seen


@dataclass(frozen=True, slots=True)
class Trouble:
    """A webhook that needs attention."""

    webhook: Webhook
    state: State
    why: str
    recorded: str
    since: datetime
    waiting: str
    next_try: SafeString | str


@dataclass(frozen=True, slots=True)
class Kind:
    kind: str
    title: str
    calls: int
    webhooks: int
    link: str
    webhooks_link: str


@dataclass(frozen=True, slots=True)
class Verdict:
    state: State
    headline: SafeString
    more: SafeString


class Home:
    """What the home page says; every part is read when the template comes to it."""

    spans = tuple(SPANS.values())
    media = LOOKS

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self.now = timezone.now()
        self.span: Span = span_of(request)
        self.start = self.span.start(self.now)

    # --- what is read ---------------------------------------------------------------------------

    @cached_property
    def _hours(self) -> list[dict[str, Any]]:
        """Counts of all webhooks, hour by hour; with the day before where it is compared."""
        earlier = self.span.step * self.span.steps if self.span is DAY else timedelta(0)
        return totals_since(self.start - earlier, self.now)

    @cached_property
    def counts(self) -> dict[str, Any]:
        """How many webhooks and deliveries are in the states that matter (1,001 is "more"), and
        since when the oldest delivery is due."""
        states = ("failing", "breaker", "unverified", "unsteady", "working")
        due = Delivery.objects.filter(deliveries_that_are("due", self.now))
        return bounded_counts(
            any=Webhook.objects.live(),
            **{key: to_be_counted(key, self.now) for key in states},
            due=due,
            due_since=Subquery(due.order_by("due_at").values("due_at")[:1]),
            retrying=Delivery.objects.filter(deliveries_that_are("retrying", self.now)),
        )

    @property
    def oldest_due(self) -> datetime | None:
        return self.counts["due_since"] or None

    # --- what is said ---------------------------------------------------------------------------

    @cached_property
    def verdict(self) -> Verdict:
        counts = self.counts
        if not counts["any"]:
            more = "Add the first one; it is verified at once."
            return Verdict(WEBHOOK_STATES["idle"], _plain("No webhooks yet"), _plain(more))
        parts = [_some(key, counts[key]) for key in ATTENTION if counts[key]]
        if not parts:
            called = counts["working"] + counts["unsteady"]
            words = "No webhook has been called yet"
            if counts["unsteady"]:
                words = "No webhook is failing"
            elif called == 1:
                words = "The only webhook with calls works"
            elif called:
                words = f"All {bounded(called)} webhooks with calls work"
            headline, state = _plain(words), WEBHOOK_STATES["working"]
            others = ""
        else:
            worst = next(key for key in ATTENTION if counts[key])
            state = WEBHOOK_STATES[worst]
            headline, *parts = parts
            if worst == "failing" and self.attention:
                headline = format_html("{}, the first since {}", headline, self._first())
            others = "All others work" if counts["working"] else ""
        if counts["unsteady"]:
            parts.append(_some("unsteady", counts["unsteady"]))
        sentences = [_joined(parts)] if parts else []
        keeps_up = self._queue()
        sentences.append(format_html("{}; {}.", others, keeps_up) if others else _start(keeps_up))
        return Verdict(state, headline, _sentences(sentences))

    def _first(self) -> SafeString | str:
        return moment(self.attention[0].since)

    def _queue(self) -> str:
        if self.oldest_due and self.now - self.oldest_due > KEEPS_UP:
            return f"the oldest due delivery waits for {duration(self.now - self.oldest_due)}"
        return "the queue keeps up"

    @cached_property
    def chart(self) -> Chart:
        return chart(self.span, self.now, self._hours)

    @property
    def drawing(self) -> SafeString:
        return self.chart.drawing(links.calls_of_bar)

    @property
    def before(self) -> str:
        """The rate of the day before, `""` where it is not compared."""
        if self.span is not DAY:
            return ""
        rows = [row for row in self._hours if row["hour"] < self.start]
        return rate(sum(row["delivered"] for row in rows), sum(row["failed"] for row in rows))

    @cached_property
    def latency(self) -> dict[str, str]:
        rows = [row for row in self._hours if row["hour"] >= self.start]
        histogram = [sum(row[name] for row in rows) for name, _ in LATENCY_COLUMNS]
        if not sum(histogram):
            return {}
        return {
            "median": _within(percentile(histogram, 0.5)),
            "most": _within(percentile(histogram, 0.95)),
        }

    @property
    def workers(self) -> Workers:
        return workers(self.request)

    @cached_property
    def attention(self) -> list[Trouble]:
        """Failing first, then the breaker's, then the unverified; the longest first."""
        keys: list[str] = []
        for key in ATTENTION:  # no more of them than fill the table
            if self.counts[key] and sum(self.counts[key] for key in keys) < ATTENTION_SHOWN:
                keys.append(key)
        if not keys:
            return []
        wanted, rank = Q(), []
        for place, key in enumerate(keys):
            condition = webhooks_that_are(key, self.now)
            wanted |= condition
            rank.append(When(condition, then=Value(place)))
        pending = Delivery.objects.pending().filter(webhook=OuterRef("pk")).order_by()
        rows = (
            Webhook.objects.live()
            .filter(wanted)
            .select_related("account", "health")
            .defer("token", "auth_password")
            .annotate(
                waiting=BoundedCount.of(pending),
                next_due=Subquery(pending.order_by("due_at").values("due_at")[:1]),
            )
        )
        if keys == ["failing"]:  # by the index of those
            rows = rows.order_by("health__failing_since")
        else:
            ranked = rows.filter(among(keys, self.now))
            ranked = ranked.annotate(rank=Case(*rank, output_field=IntegerField()))
            rows = ranked.order_by("rank", "health__failing_since", "pk")
        return [self._trouble(row) for row in rows[:ATTENTION_SHOWN]]

    def _trouble(self, webhook: Any) -> Trouble:
        health, state = health_of(webhook), webhook_state(webhook, self.now)
        since = health.failing_since or health.last_error_at or webhook.created_at
        why = failures.why(health.last_error_kind)
        next_try: SafeString | str = ""
        if state.key == "unverified":
            next_try = "after verification"
            why = why or "It has not passed the verification yet."
        elif health.breaker_until and health.breaker_until > self.now:
            next_try = moment(health.breaker_until)
        elif webhook.next_due:
            next_try = moment(max(webhook.next_due, self.now))
        return Trouble(
            webhook,
            state,
            why,
            health.last_error_message,
            since,
            bounded(webhook.waiting or 0),
            next_try,
        )

    @property
    def more_attention(self) -> bool:
        return sum(self.counts[key] for key in ATTENTION) > ATTENTION_SHOWN

    @cached_property
    def kinds(self) -> list[Kind]:
        """Why calls failed in the span; of very many failures the newest 10,000 are counted."""
        calls: Counter[str] = Counter()
        live: dict[str, set[str]] = {}
        # Not in SQL, which would see the newest only as ids to join every failure with.
        newest = newest_failures(self.start)
        for kind, webhook, deleted_at in newest.values_list(
            "kind", "webhook_id", "webhook__deleted_at"
        ):
            calls[kind] += 1
            live.setdefault(kind, set()).update(() if deleted_at else (webhook,))
        return [
            Kind(
                kind,
                failures.title(kind) or kind,
                calls[kind],
                len(live[kind]),
                links.calls("webhookerror", kind=kind, since=self.start),
                links.listing("webhook", met=kind, since=self.start),
            )
            for kind in sorted(calls, key=lambda kind: (-calls[kind], kind))[:KINDS_SHOWN]
        ]

    @cached_property
    def certificates(self) -> list[WebhookHealth]:
        """The health of those whose receiver's certificate ends first, if that is soon; one more
        than is shown says that there are more."""
        soon = WebhookHealth.objects.live().certificate_ends_soon(self.now)
        rows = soon.select_related("webhook__account")
        rows = rows.defer("webhook__token", "webhook__auth_password")
        return list(rows.order_by("certificate_ends_at")[: CERTIFICATES_SHOWN + 1])

    @property
    def certificates_link(self) -> str:
        return links.listing("webhook", certificate="soon")

    @property
    def kinds_cut(self) -> bool:
        return self.chart.failed > FAILURES_READ

    @cached_property
    def log(self) -> list[tuple[AuditEntry, str]]:
        """What staff did last with our things, with the page of the thing."""
        user = self.request.user
        kinds = [kind for kind in LOGGED if user.has_perm(f"webhooks_app.view_{kind}")]
        entries = AuditEntry.objects.filter(kind__in=kinds, door=AuditEntry.Door.ADMIN)
        return [(entry, _page_of(entry)) for entry in entries.order_by("-id")[:LOG_SHOWN]]

    # --- where the numbers lead -----------------------------------------------------------------

    @property
    def calls_link(self) -> str:
        return links.calls(since=self.start)

    @property
    def failed_link(self) -> str:
        return links.calls("webhookerror", since=self.start)

    @property
    def due(self) -> tuple[str, str]:
        return bounded(self.counts["due"]), links.listing("delivery", state="due", created="any")

    @property
    def retrying(self) -> tuple[str, str]:
        link = links.listing("delivery", state="retrying", created="any")
        return bounded(self.counts["retrying"]), link

    @property
    def table(self) -> list[tuple[Any, str, str]]:
        """The bars as rows, the newest first, with the lists of their calls and failures."""
        return [
            (bar, links.calls_of_bar(bar), links.failures_of_bar(bar))
            for bar in reversed(self.chart.bars)
        ]


def newest_failures(since: datetime) -> Any:
    """The newest calls that failed since a moment."""
    failed = WebhookError.objects.filter(started_at__gte=since, exchange__in=CALLS)
    return failed.order_by("-started_at")[:FAILURES_READ]


def _page_of(entry: AuditEntry) -> str:
    return reverse(f"admin:webhooks_app_{entry.kind}_change", args=[entry.target])


def _plain(words: str) -> SafeString:
    return format_html("{}", words)


def _start(words: str) -> SafeString:
    return format_html("{}{}.", words[:1].upper(), words[1:])


WORDS = {
    "failing": ("is failing", "are failing"),
    "breaker": ("is paused by its breaker", "are paused by their breakers"),
    "unverified": ("is not verified", "are not verified"),
    "unsteady": ("is unsteady", "are unsteady"),
}


def _some(key: str, count: int) -> SafeString:
    """ "3 webhooks are failing", linked to the list of just those."""
    one, many = WORDS[key]
    noun, verb = ("webhook", one) if count == 1 else ("webhooks", many)
    link = links.listing("webhook", state=key)
    return format_html('<a href="{}">{} {} {}</a>', link, bounded(count), noun, verb)


def _joined(parts: list[SafeString]) -> SafeString:
    joined = parts[0]
    for part in parts[1:]:
        joined = format_html("{}, {}", joined, part)
    return format_html("{}.", joined)


def _sentences(sentences: list[SafeString]) -> SafeString:
    whole = sentences[0]
    for sentence in sentences[1:]:
        whole = format_html("{} {}", whole, sentence)
    return whole


def _within(bound: int | None) -> str:
    return f"within {bound:,} ms" if bound is not None else "over 10 s"
