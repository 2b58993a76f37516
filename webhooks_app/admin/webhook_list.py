"""The list of the webhooks: how each does, its calls of a day, its last error, what waits; and
verbs for a handful of them."""

from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import F, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from .. import actions, conf
from ..fields import Begins, NameStart
from ..models import Delivery, Webhook, WebhookHealth, states
from ..models.delivery import db_now
from ..models.delivery_filters import unfit
from ..models.statement_timeout import TooSlow, in_time
from ..models.states import hold_ends_at, hold_reason
from ..models.tally import Tally
from ..models.webhook import SECRETS
from ..presentation.charts import DAY, Chart, charts_of
from ..presentation.counts import BoundedCount, CountsAt, bounded, bounded_counts, in_states
from ..presentation.failed_calls import met
from ..presentation.formatting import (
    ago,
    badge,
    certificate_words,
    identity_words,
    moment,
    visible,
)
from ..presentation.looks import WEBHOOK_STATES, State, webhook_state
from ..presentation.recurrence import mark, newly_failing, note_recurrences
from ..presentation.workers import workers
from ..roles import may
from ..rules import failures
from ..rules.hosts import host_of
from ..rules.ids import is_id, read_moment
from . import links
from .attempts import KindFilter
from .base import named
from .changelist import SIEVED, Page, edge_of_newest
from .csv_columns import WEBHOOKS
from .filters import (
    AccountFilter,
    BeforeFilter,
    ChipsFilter,
    IdsFilter,
    LinkFilter,
    MomentFilter,
    OneLink,
    TextFilter,
)
from .mass_verbs import MassVerbs
from .moments import unread
from .outlook import NO_WORKER
from .sorting import SortFilter
from .sorts import OF_WEBHOOKS

DELETED = State("deleted", "Deleted", "off", "idle")
RARE = ("failing", "breaker", "rate", "unverified", "unsteady", "paused", "stopped")
COUNTED_IN = 0.15  # seconds
TESTS_AT_ONCE = 5  # each may take its whole timeout

# What is said of a verb; those that call out show the receiver's answer instead.
DONE = {
    "verify": "",
    "test": "",
    "pause": "Paused. Deliveries are kept and wait.",
    "enable": "Resumed.",
    "close-breaker": "The breaker is closed.",
    "clear-error": "The last error is cleared; the history stays.",
}
# And of what follows, where nothing keeps it back.
GOES_ON = {
    "enable": "What waits goes out, the oldest first.",
    "close-breaker": "It is called again at once.",
}


class HealthFilter(ChipsFilter):
    title, parameter_name = "health", "state"

    def value(self) -> str | None:
        asked = self.used_parameters.get("state")
        return "stopped" if asked == "disabled" else super().value()  # of links made before 0.2

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        chosen = request.GET.get("state")
        chips = [(state.key, state.word) for state in (*WEBHOOK_STATES.values(), DELETED)]
        if chosen != states.SITE.key and not states.SITE.asked():
            chips = [chip for chip in chips if chip[0] != states.SITE.key]
        if chosen == "silent":  # the home page leads there
            return [("silent", "Deliver nothing"), *chips]
        return chips

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        key = self.value()
        if not key or key == DELETED.key:  # the rows of the list are those already
            return queryset
        return queryset.filter(states.webhooks_in(key, db_now()))

    def choices(self, changelist: Any) -> Any:
        """With how many there are of each, where that is worth a look."""
        counts = self._counts(changelist)
        keys = ["", *(key for key, _ in self.lookup_choices)]
        for key, choice in zip(keys, super().choices(changelist), strict=True):
            count = counts.get(key)
            words = f"{choice['display']} {bounded(count)}" if count else choice["display"]
            yield {**choice, "display": words}

    def _counts(self, changelist: Any) -> dict[str, int]:
        """Of what the search and the other filters leave; none where that takes too long."""
        now = db_now()
        if not set(changelist.params) - {self.parameter_name, "before", "sort"}:
            return _chips(_COUNTS(now))
        narrowed = partial(changelist.narrowed, self.request)
        tally = Tally.at(now, narrowed(Webhook.objects.live()))
        count = partial(bounded_counts, tally=tally, deleted=narrowed(_deleted()))
        try:
            return _chips(in_time(count, COUNTED_IN))
        except TooSlow:
            return {}


def _deleted() -> QuerySet[Webhook]:
    return Webhook.objects.filter(deleted_at__isnull=False)


_COUNTS = CountsAt(lambda now: {"tally": Tally.at(now), "deleted": _deleted()})


def _chips(found: dict[str, Any]) -> dict[str, int]:
    counts = in_states(found["tally"])
    return {key: counts[key] for key in RARE} | {DELETED.key: found["deleted"]}


class Certificate(OneLink):
    """Those with a certificate, theirs or ours, that ends within 14 days or has ended."""

    title = parameter_name = "certificate"
    choice = ("soon", "ends soon")

    def chosen(self, queryset: Any) -> Any:
        healths, now = WebhookHealth.objects, db_now()
        theirs, ours = healths.certificate_ends_soon(now), healths.identity_ends_soon(now)
        return queryset.filter(Q(pk__in=theirs.values("pk")) | Q(pk__in=ours.values("pk")))


class HostFilter(TextFilter):
    """Those whose URL names a host."""

    title = parameter_name = "host"

    def chosen(self, queryset: Any, value: str) -> Any:
        try:
            return queryset.at_host(value)
        except ValueError:
            self.problem = f"This cannot be read as host: “{value[:60]}”."
            return queryset.none()


class NewTrouble(OneLink):
    """Those that began to fail within the last hour."""

    title = parameter_name = "trouble"
    choice = ("new", "new in the last hour")

    def chosen(self, queryset: Any) -> Any:
        return queryset.filter(pk__in=newly_failing(db_now()).values("pk"))


class HadErrorFilter(LinkFilter):
    """Those of which a call failed with an error of this kind since `?since=`."""

    title, parameter_name = "met the error", "met"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        kind = self.used_parameters.get("met")
        return [(str(kind), failures.title(str(kind)) or str(kind))] if kind else []

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        kind = self.value()
        if not kind:
            return queryset
        try:
            since = read_moment(request.GET.get("since", ""))
        except ValueError:
            self.problem = unread(request.GET.get("since", ""))
            return queryset.none()
        return queryset.filter(met(kind, since))


class HadErrorSinceFilter(MomentFilter):
    """The moment that goes with `Met`."""

    title, parameter_name = "since", "since"

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset


class ErrorFilter(KindFilter):
    title = "last error"

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        kind = self.value()
        return queryset.filter(health__last_error_kind=kind) if kind else queryset


def searched_to(request: HttpRequest, rows: Any) -> str:
    """The oldest of the webhooks that a search of this request looks through, of those that it was
    asked for first; `""` where it looks through all of these."""
    edge: str | None = getattr(request, "_webhooks_edge", None)
    if edge is None:
        edge = edge_of_newest(rows, SIEVED) or ""
        request._webhooks_edge = edge  # type: ignore[attr-defined]
    return edge


def _named(term: str, edge: str) -> Q:
    """Whose name or host holds a term; of those before an edge, begins with it."""
    holds = Q(name__icontains=term) | Q(host__contains=term.lower())
    if not edge:
        return holds
    rows, start = Webhook.objects.order_by().values("pk"), term[: NameStart.LENGTH]
    begin = (Begins(NameStart(F("name")), start), Begins(F("host"), term.lower()))
    # Sets of keys: as conditions beside each other, SQLite would ask them of all webhooks.
    newest = rows.filter(pk__gte=edge).filter(holds)
    return Q(pk__in=newest.union(*(rows.filter(condition) for condition in begin)))


class Rows(Page):
    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> Any:
        rows = super().get_queryset(request, exclude_parameters)
        if edge := getattr(request, "_webhooks_edge", ""):
            self.looked_at, self.edge, self.looked_back = SIEVED, edge, self._moment(edge)
        return rows

    def narrowed(self, request: HttpRequest, rows: Any) -> Any:
        """Of some webhooks those that the search and the filters leave, the chips aside."""
        for spec in self.filter_specs:
            if not isinstance(spec, HealthFilter | BeforeFilter):
                rows = self._chosen(spec, request, rows)
        return self.model_admin.get_search_results(request, rows, self.query)[0]


def of_deleted(request: HttpRequest) -> bool:
    """Whether a request looks at the list of those that were deleted."""
    page = request.resolver_match
    lists = page is not None and page.url_name == "webhooks_app_webhook_changelist"
    return lists and request.GET.get("state") == DELETED.key


class WebhookList(MassVerbs):
    """The half of WebhookAdmin that is the list."""

    list_title = "Webhooks"
    empty_words = ("No webhooks yet", "Add the first one; it is verified at once.")
    list_display = ["health_", "webhook_", "rate_", "latency_", "error_", "queue_"]
    sorts = OF_WEBHOOKS
    csv_columns = WEBHOOKS
    list_caption = (
        "Success and small charts: the last 24 hours, delivered above the line, failed below, each "
        "on its own scale. Latency: half of the answers came within the first time, 95 % within "
        "the second. In flight: deliveries under way when the workers last said so, which "
        "they do every few seconds."
    )
    list_filter = [
        *(
            HealthFilter,
            SortFilter,
            ErrorFilter,
            AccountFilter,
            HostFilter,
            NewTrouble,
            Certificate,
        ),
        *(HadErrorFilter, HadErrorSinceFilter, IdsFilter, BeforeFilter),
    ]
    search_fields = ["name"]
    search_help_text = "Search name, host or id"
    actions = [
        *("verify_", "test_", "pause_", "enable_"),
        *("replay_", "retry_", "cancel_"),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Webhook]:
        rows = Webhook.objects.filter(deleted_at__isnull=not of_deleted(request))
        rows = rows.select_related("account", "health").order_by("-pk")
        pending = Delivery.objects.queued().filter(webhook=OuterRef("pk"))
        rows = rows.annotate(waiting=BoundedCount.of(pending))
        return rows.defer(*SECRETS)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[Page]:
        return Rows

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> dict[str, Any]:
        return {} if of_deleted(request) else super().get_actions(request, action_location)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        changelist.result_list = self.prepared(request, list(changelist.result_list))
        return changelist

    def prepared(self, request: HttpRequest, rows: list[Any]) -> list[Any]:
        charts = charts_of([row.pk for row in rows], DAY, db_now())
        in_flight = workers(request).in_flight_of
        may_restore = may(request.user, "restore_webhook")
        for row in rows:
            row.may_restore = may_restore
            row.chart = charts[row.pk]
            row.in_flight = in_flight.get(row.pk, 0)
        note_recurrences(rows)
        return rows

    @transaction.non_atomic_requests
    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Not inside ATOMIC_REQUESTS: its action "Send test" calls out."""
        context = {"list_caption": self.list_caption, **(extra_context or {})}
        return super().changelist_view(request, context)

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        """By name, id or host, by a part of them among the newest SIEVED; path and query may hold
        secrets."""
        term = search_term.strip()
        if unfit(term):
            return queryset.none(), False
        if is_id(term):
            return queryset.filter(pk=term), False
        if term:
            queryset = queryset.filter(_named(term, searched_to(request, queryset)))
        return queryset, False

    @admin.display(description="Health")
    def health_(self, webhook: Webhook) -> SafeString:
        if webhook.deleted_at:
            until = webhook.deleted_at + conf.settings.retention
            kept = format_html("{}, kept until {}", moment(webhook.deleted_at), moment(until))
            return format_html('{}<span class="wh-sub">{}</span>', badge(DELETED), kept)
        now = db_now()
        state, health = webhook_state(webhook, now), webhook.health
        since = {
            "failing": health.failing_since,
            "breaker": health.failing_since,
            "unreadable": health.unreadable_since,
            "paused": webhook.stopped_at,
            "stopped": webhook.stopped_at,
            "unsteady": health.unsteady_since or health.failing_since,
        }.get(state.key)
        words = f"for {ago(since)}" if since else ""
        if state.key == "unverified" and webhook.verification == "waiting":
            words = "verification waits"
        ending = (certificate_words(health), identity_words(health))
        words = " · ".join(filter(None, [words, *ending]))
        rest: SafeString | str = ""
        reason = hold_reason(webhook, now)
        if ends := hold_ends_at(webhook, reason):
            word = "limited" if reason == "rate" and not health.rests else "rests"
            rest = format_html("{}{} until {}", " · " if words else "", word, moment(ends))
        elif state.key == "paused" and webhook.stopped_note:
            note = Truncator(webhook.stopped_note).chars(80)
            rest = format_html(", <bdi>“{}”</bdi>", note)
        return format_html(
            '{} {}<span class="wh-sub">{}{}</span>', badge(state), mark(webhook), words, rest
        )

    @admin.display(description="Webhook")
    def webhook_(self, webhook: Any) -> SafeString:
        host = host_of(webhook.url)
        if webhook.deleted_at:
            undo = reverse("admin:webhooks_app_webhook_restore", args=[webhook.pk])
            return format_html(
                '<bdi class="wh-clamp">{}</bdi><span class="wh-sub">{}</span>{}',
                webhook,
                webhook.account.name,
                format_html('<a class="wh-btn wh-btn-s" href="{}">Undo…</a>', undo)
                if webhook.may_restore
                else "",
            )
        return format_html(
            '<a class="wh-name wh-row wh-clamp" href="{}"><bdi>{}</bdi></a>'
            '<span class="wh-sub"><span class="wh-mono">{}</span> · {}</span>',
            reverse("admin:webhooks_app_webhook_change", args=[webhook.pk]),
            webhook.name if len(webhook.name) <= 160 else webhook.name[:159] + "…",
            host if len(host) <= 48 else f"{host[:22]}…{host[-24:]}",
            webhook.account.name,
        )

    @admin.display(description="Success, last 24 h")
    def rate_(self, webhook: Any) -> SafeString:
        chart: Chart = webhook.chart
        if not chart.calls:
            return format_html('<span class="wh-quiet">{}</span>', "no calls")
        return format_html(
            '<span class="wh-rate"><a class="wh-num wh-plain" href="{}">{}</a>{}'
            '<span class="wh-sub">of {}</span></span>',
            *(links.calls(webhook=webhook.pk, since=chart.start), chart.rate, chart.spark()),
            f"{chart.calls:,}",
        )

    @admin.display(description="Latency")
    def latency_(self, webhook: Any) -> SafeString:
        latency = webhook.chart.latency
        if latency is None:
            return format_html('<span class="wh-quiet">{}</span>', "no answers")
        words = '<span class="wh-nw">{}</span><span class="wh-sub wh-nw">95 % {}</span>'
        return format_html(words, *latency.short)

    @admin.display(description="Last error")
    def error_(self, webhook: Webhook) -> SafeString:
        health = webhook.health
        if not health.last_error_at:
            return format_html('<span class="wh-quiet">{}</span>', "none")
        return format_html(
            '<a class="wh-plain" href="{}" title="{}">{}</a><span class="wh-sub">{}</span>',
            links.listing("webhookerror", webhook=webhook.pk, kind=health.last_error_kind),
            visible(health.last_error_message[:300]),
            failures.title(health.last_error_kind) or "Error",
            moment(health.last_error_at),
        )

    @admin.display(description="Queue")
    def queue_(self, webhook: Any) -> SafeString:
        if not webhook.waiting:
            return format_html('<span class="wh-quiet">{}</span>', "empty")
        flying = f"{webhook.in_flight:,} in flight" if webhook.in_flight else ""
        return format_html(
            '<a class="wh-plain" href="{}">{} waiting</a><span class="wh-sub">{}</span>',
            links.listing("delivery", webhook=webhook.pk, state="pending"),
            bounded(webhook.waiting),
            flying,
        )

    @admin.action(description="Verify", permissions=["operate"])
    def verify_(self, request: HttpRequest, queryset: Any) -> None:
        rows = self.few(request, queryset)
        for webhook in rows:
            actions.request_verification(webhook, by=named(request))
        if rows:
            words = format_html(
                "The worker verifies {}; load this list anew to see what came of it."
                if workers(request).alive
                else f"To be verified: {{}}, {NO_WORKER}",
                self.linked(rows),
            )
            self.message_user(request, words, messages.SUCCESS)

    @admin.action(description="Send test", permissions=["operate"])
    def test_(self, request: HttpRequest, queryset: Any) -> None:
        good = []
        rows = self.few(request, queryset, TESTS_AT_ONCE)
        for webhook in rows:
            try:
                attempt = actions.test(webhook, by=named(request))
            except actions.ActionError as error:
                self.message_user(request, f"{webhook}: {error.message}", messages.ERROR)
                continue
            if attempt.ok:
                good.append(webhook)
                continue
            page = reverse("admin:webhooks_app_attempt_change", args=[attempt.pk])
            words = format_html(
                '<bdi>{}</bdi>: <a href="{}">{}</a>. {}',
                *(webhook, page, attempt.title or "failed", attempt.advice),
            )
            self.message_user(request, words, messages.ERROR)
        if good:
            words = format_html("Answered well: {} of {}.", self.linked(good), f"{len(rows):,}")
            self.message_user(request, words, messages.SUCCESS)
