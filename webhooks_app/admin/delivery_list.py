"""The list of the deliveries: filters that are a job's selection too, search, verbs, new ones."""

from contextlib import suppress
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Exists, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Concat
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString

from .. import actions
from ..models import Attempt, Delivery, Job, states
from ..models.delivery import db_now
from ..models.delivery_filters import LOOKED_THROUGH, condition
from ..models.statement_timeout import TooSlow, in_time
from ..models.states import HELD_FOR, delivery_hold_reason, hold_ends_at
from ..models.webhook import SECRETS_BESIDE
from ..presentation.counts import COUNT_LIMIT
from ..presentation.formatting import badge, lasting, moment, visible
from ..presentation.looks import DELIVERY_STATES, delivery_state
from ..rules import failures
from ..rules.ids import first_id, is_id, read_moment
from .assets import FOLLOW_LOOKS
from .attempts import KindFilter, WebhookFilter, typed_filters, webhook_cell, webhooks_named
from .base import LiveUpdates, ReadOnlyAdmin, named, typed_note
from .changelist import SIEVED, Page
from .csv_columns import DELIVERIES
from .filters import (
    SPANS,
    BeforeFilter,
    ChipsFilter,
    CreatedFilter,
    IdsFilter,
    LinkFilter,
    SelectionFilter,
    first_span,
    word,
)
from .job_outcome import skipped_by
from .jobs import add_url, open_jobs, stamp, words_of
from .outlook import kept_back
from .search import search_of
from .sorting import SortFilter
from .sorts import OF_DELIVERIES

VERBS_AT_ONCE = 100
ASKED = {
    "retry": (
        "Retry",
        "Each becomes due at once. One that ended begins its tries anew; what was delivered is "
        "sent to its receiver once more.",
    ),
    "cancel": (
        "Cancel",
        "Those that wait are given up and not sent; a cancelled one can be retried later.",
    ),
}
LOOKED_FOR = 0.1  # seconds, for whether very many wait
BEHIND_PENDING = ("pending", "due", "waiting", "retrying", "held")


class TypeFilter(SelectionFilter):
    title, parameter_name = "event type", "type"

    @property
    def sieves(self) -> bool:
        """Those of one webhook have an index."""
        return not self.request.GET.get("webhook")


class StateFilter(ChipsFilter):
    """`pending` and `due` have no chip of their own; numbers on other pages lead to them."""

    title, parameter_name = "state", "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        chips = [(state.key, state.word) for state in DELIVERY_STATES.values()]
        quiet = {"pending": "Not finished", "due": "Due now"}
        if (state := request.GET.get("state", "")) in quiet:
            chips.insert(0, (state, quiet[state]))
        return chips

    @property
    def scatters(self) -> bool:
        return self.value() in ("failed", "cancelled")

    @property
    def by_id(self) -> bool:
        return self.value() == "failed"

    @cached_property
    def sieves(self) -> bool:
        """What is delivered, which all others may lie before; and what waits, or was cancelled,
        where that is very much: no index holds those in the order of the list."""
        key = self.value()
        if key == Delivery.State.DELIVERED:
            return True
        if key == Delivery.State.CANCELLED and not self.request.GET.get("webhook"):
            many = Delivery.objects.filter(state=key).order_by("webhook")
        elif key in BEHIND_PENDING:
            many = self._among(Delivery.objects.pending()).order_by("due_at")
        else:
            return False
        beyond = many.values("webhook")[SIEVED : SIEVED + 1]
        try:
            return in_time(beyond.exists, LOOKED_FOR, using=beyond.db)
        except TooSlow:
            return True

    def _among(self, rows: Any) -> Any:
        webhook = self.request.GET.get("webhook", "")
        return rows.filter(webhook=webhook) if is_id(webhook) else rows

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        key = self.value()
        if not key:
            return queryset
        chosen = condition("state", key, db_now())
        of_one = request.GET.get("webhook") and key not in BEHIND_PENDING
        if key == "failed" or of_one or self.sieves:
            return queryset.filter(chosen)
        # The few of these states have indexes of their own; a walk through all by id would look
        # at every delivery where none of the newest is in the state.
        few = self._among(Delivery.objects.filter(chosen)).order_by()
        if {name for name, value in request.GET.items() if value} <= SIEVING | BY_MADE | {"state"}:
            # Nothing else chooses: no more of the newest than are shown, or looked through. By what
            # is no column, else the walk would be by it, through all that there is.
            oldest, newest = edges(request)
            few = few.annotate(key=Concat("pk", Value(""))).filter(key__gte=oldest, key__lt=newest)
            few = few.order_by("-key")[: SIEVED + 1]
        return queryset.filter(pk__in=few.values("pk"))


class MetFilter(KindFilter):
    """Deliveries that met an error of this kind at one of their tries.

    An index holds them in the order of the list. Beside filters that choose by another order it
    sieves what those chose.
    """

    @cached_property
    def sieves(self) -> bool:
        return not {name for name, value in self.request.GET.items() if value} <= BY_MADE

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        kind = self.value()
        if not kind:
            return queryset
        met = Attempt.objects.failed().filter(kind=kind, delivery__isnull=False)
        if self.sieves:
            return queryset.filter(Exists(met.filter(delivery=OuterRef("pk"))))
        oldest, newest = edges(request)
        met = met.filter(delivery__gte=oldest, delivery__lt=newest).order_by("-delivery")
        return queryset.filter(pk__in=met.values("delivery").distinct()[: COUNT_LIMIT + 1])


SIEVING = {"account", "host", "status", "payload", "job", "skipped"}
BY_MADE = {"kind", "created", "since", "until", "before", "after", "sort", "p", "e"}


def edges(request: HttpRequest) -> tuple[str, str]:
    """Between which ids a list is that only says when its rows were made: from the first on, below
    the second. What cannot be read limits nothing here: its own filter has said so."""
    words = words_of(request.GET)
    span = request.GET.get("created") or first_span(request.GET)
    oldest, newest = ["0"], ["g"]  # before and behind all ids
    if span in SPANS:
        oldest.append(first_id(db_now() - SPANS[span]))
    for name, found in (("since", oldest), ("until", newest)):
        with suppress(KeyError, ValueError):
            found.append(first_id(read_moment(words[name])))
    if is_id(before := request.GET.get("before", "")):
        newest.append(before)
    return max(oldest), min(newest)


class MadeFilter(CreatedFilter):
    """Since when; what is searched by id or reference is found at any time."""

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if search_of(request).everywhere:
            return queryset
        return super().queryset(request, queryset)


class OfJob(LinkFilter):
    """The deliveries that a job changed."""

    title = parameter_name = "job"
    sieves = True

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        value = self.value()
        if not value:
            return queryset
        job = Job.objects.filter(pk=value).first() if is_id(value) else None
        return self.of(job, queryset) if job else queryset.none()

    def of(self, job: Job, queryset: Any) -> Any:
        return queryset.filter(job.touched())


class SkippedBy(OfJob):
    """The deliveries that a job looked at and left as they were."""

    title, parameter_name = "skipped by the job", "skipped"

    def of(self, job: Job, queryset: Any) -> Any:
        return skipped_by(job, queryset)


def with_last_attempts(rows: list[Any]) -> None:
    """Each delivery with how its last attempt went: one query for all of them."""
    attempts = Attempt.objects.filter(delivery__in=[row.pk for row in rows]).order_by("pk")
    attempts = attempts.only("delivery_id", "kind", "status", "duration_ms")
    last = {attempt.delivery_id: attempt for attempt in attempts} if rows else {}
    for row in rows:
        row.last_attempt = last.get(row.pk)


def first_with_last_attempts(deliveries: Any, most: int) -> list[Any]:
    """The first of some deliveries, without payload, each with how its last attempt went: in one
    statement, for the few that another page shows."""
    last = Attempt.objects.filter(delivery=OuterRef("pk")).order_by("-pk")
    found = deliveries.defer("payload").annotate(
        last_kind=Subquery(last.values("kind")[:1]),
        last_ms=Subquery(last.values("duration_ms")[:1]),
    )
    rows = list(found[:most])
    for row in rows:
        tried = row.last_ms is not None
        row.last_attempt = Attempt(kind=row.last_kind, duration_ms=row.last_ms) if tried else None
    return rows


def last_answer(delivery: Any, *, short: bool = False) -> SafeString:
    """How its last attempt went, in a cell; short: without the message where the kind is known."""
    attempt = delivery.last_attempt
    if delivery.state != Delivery.State.DELIVERED and delivery.last_error:
        title = failures.title(attempt.kind) if attempt else ""
        if short and title:
            took = f"after {lasting(attempt.duration_ms)}"
            return format_html('{} <span class="wh-quiet wh-nw">{}</span>', title, took)
        return format_html(
            '<span class="wh-err"><b>{}</b> <span class="wh-mono">{}</span></span>',
            title,
            visible(delivery.last_error[:300]),
        )
    if delivery.last_status is None:
        return format_html('<span class="wh-quiet">{}</span>', "none yet")
    took = f" in {lasting(attempt.duration_ms)}" if attempt else ""
    return format_html("<span>HTTP {}{}</span>", delivery.last_status, took)


class Rows(Page):
    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: Any = self.result_list
        with_last_attempts(rows)


class DeliveryList(LiveUpdates, ReadOnlyAdmin):
    """The half of DeliveryAdmin that is the list."""

    list_title = "Deliveries"
    empty_words = ("No deliveries", "What is sent to webhooks is listed here.")
    list_display = ["state_", "webhook_", "event_", "tries_", "last_", "next_"]
    sorts = OF_DELIVERIES
    csv_columns = DELIVERIES
    list_filter = [
        StateFilter,
        MadeFilter,
        SortFilter,
        MetFilter,
        WebhookFilter,
        word("account", words=LOOKED_THROUGH, sieves=True),
        word("host", words=LOOKED_THROUGH, sieves=True),
        TypeFilter,
        word("reference"),
        word("event"),
        word("status", sieves=True),
        word("payload", "payload holds", sieves=True),
        word("failed_since", "gave up since", sieves=True),
        word("failed_until", "gave up before", sieves=True),
        word("since"),
        word("until"),
        OfJob,
        SkippedBy,
        IdsFilter,
        BeforeFilter,
    ]
    search_fields = ["id"]
    search_help_text = "Search id, your reference, or a text in the payload"
    change_list_template = "admin/webhooks_app/delivery/change_list.html"
    actions = ["retry_", "cancel_"]

    @property
    def media(self) -> forms.Media:
        return super().media + FOLLOW_LOOKS

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        rows = super().get_queryset(request)
        rows = rows.select_related("webhook__account", "webhook__health")
        rows = states.with_behind(rows, db_now())
        return rows.defer("payload", *SECRETS_BESIDE)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[Page]:
        return Rows

    def reads_payloads(self, request: HttpRequest) -> bool:
        return bool(request.GET.get("payload")) or search_of(request).by == "payload"

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        return search_of(request).rows(queryset), False

    def selected(self, request: HttpRequest) -> dict[str, str]:
        """What the list shows, all pages of it, as the words of a selection."""
        words, search = words_of(request.GET), search_of(request)
        webhook = words.get("webhook", "")
        if webhook and not is_id(webhook) and "\0" not in webhook:  # PostgreSQL raises on it
            found = webhooks_named(webhook)
            words["webhook"] = found[0] if len(found) == 1 else webhook
        if search.by in ("reference", "payload"):
            words[search.by] = search.term
        # The list's own window, where nothing else says since when.
        if not search.everywhere and not {"since", "webhook"} & set(words):
            span = request.GET.get("created") or "24h"
            if span in SPANS:
                words["since"] = stamp(SPANS[span])
        return words

    def tells_all(self, request: HttpRequest) -> bool:
        """Whether the words of a selection hold just what the list shows, so that a job may take
        "all that match"."""
        chosen = {"id", "job", "skipped"} & {name for name, value in request.GET.items() if value}
        return not chosen and search_of(request).by not in ("id", "event", "webhook")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        search, operate = search_of(request), self.has_operate_permission(request)
        words = self.selected(request)
        context = {
            "search": search,
            "jobs": open_jobs(),
            "may_operate": operate,
            **typed_filters(request),
        }
        if operate and self.tells_all(request):
            context["all_retry"], context["all_cancel"] = (
                add_url("retry", words),
                add_url("cancel", words),
            )
        return super().changelist_view(request, {**context, **(extra_context or {})})

    # --- cells ----------------------------------------------------------------------------------

    @admin.display(description="State")
    def state_(self, delivery: Delivery) -> SafeString:
        state = badge(delivery_state(delivery, db_now()))
        return format_html('{}<span class="wh-sub">{}</span>', state, moment(delivery.created_at))

    @admin.display(description="Webhook")
    def webhook_(self, delivery: Delivery) -> SafeString:
        return webhook_cell(delivery.webhook)

    @admin.display(description="Event")
    def event_(self, delivery: Delivery) -> SafeString:
        return format_html(
            '<a class="wh-mono wh-name wh-row" href="{}">{}</a><span class="wh-sub">{}</span>',
            reverse("admin:webhooks_app_delivery_change", args=[delivery.pk]),
            delivery.type or delivery.pk,
            delivery.reference,
        )

    @admin.display(description="Tries")
    def tries_(self, delivery: Delivery) -> SafeString:
        words = f"{delivery.tries} of {delivery.max_tries}"
        return format_html('<span class="wh-num">{}</span>', words)

    @admin.display(description="Last answer")
    def last_(self, delivery: Any) -> SafeString:
        return last_answer(delivery)

    @admin.display(description="Next try")
    def next_(self, delivery: Delivery) -> Any:
        if delivery.state != Delivery.State.PENDING:
            return format_html('<span class="wh-dash">{}</span>', "–")
        if reason := delivery_hold_reason(delivery, db_now()):
            until = hold_ends_at(delivery.webhook, reason)
            words = HELD_FOR[reason]
            return format_html("{} until {}", words, moment(until)) if until else words
        return moment(delivery.due_at)

    # --- verbs ----------------------------------------------------------------------------------

    @admin.action(description="Retry…", permissions=["operate"])
    def retry_(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return self._each(request, queryset, "retry")

    @admin.action(description="Cancel…", permissions=["operate"])
    def cancel_(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return self._each(request, queryset, "cancel")

    def _each(self, request: HttpRequest, queryset: Any, verb: str) -> HttpResponse | None:
        if request.POST.get("select_across") == "1" and self.tells_all(request):
            return HttpResponseRedirect(add_url(verb, self.selected(request)))
        done: list[Delivery] = []
        refused = 0
        rows = self.few(request, queryset, VERBS_AT_ONCE)
        word, ask = ASKED[verb]
        if rows and (page := self.asked_first(request, rows, word, "delivery", ask, note=True)):
            return page
        for delivery in rows:
            try:
                self.do(request, delivery, verb)
                done.append(delivery)
            except actions.ActionError:
                refused += 1
        if done:
            said = "{} cancelled; nothing of it is sent." if verb == "cancel" else "Due now: {}. {}"
            later = kept_back(request, [row.webhook_id for row in done]) if verb == "retry" else ""
            words = format_html(said, self.linked(done), later)
            self.message_user(request, words, messages.SUCCESS)
        if refused:
            reason = "only pending ones can be cancelled" if verb == "cancel" else "deleted webhook"
            self.message_user(request, f"Not changed: {refused:,} ({reason}).", messages.WARNING)
        return None

    def do(self, request: HttpRequest, delivery: Delivery, verb: str) -> None:
        """One verb for one delivery. Raises ActionError."""
        act = actions.cancel if verb == "cancel" else actions.retry
        act(delivery, note=typed_note(request), by=named(request))
