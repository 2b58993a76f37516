"""The history of exchanges: all attempts, and the errors (those that failed). Nobody changes it."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ..models import Attempt, Delivery, Webhook, WebhookError
from ..models.delivery_filters import OF_ATTEMPTS, unfit
from ..models.webhook import SECRETS_BESIDE
from ..presentation.counts import COUNT_LIMIT
from ..presentation.formatting import icon, lasting, moment, visible
from ..rules import failures
from ..rules.fingerprint import pattern, start
from ..rules.ids import is_id
from . import links
from .assets import FOLLOW_LOOKS
from .autocomplete import accounts_url, webhooks_url
from .base import LiveUpdates, ReadOnlyAdmin, named
from .csv_columns import ATTEMPTS
from .filters import (
    BeforeFilter,
    ChipsFilter,
    ChoiceFilter,
    CreatedFilter,
    LinkFilter,
    TextFilter,
    is_place,
    word,
)
from .moments import for_field
from .sorting import SortFilter
from .sorts import OF_ATTEMPTS as ATTEMPT_SORTS


def webhook_cell(webhook: Webhook) -> SafeString:
    """A webhook in the row of a list: its name, a link while it exists, and its account."""
    sub = format_html('<span class="wh-sub">{}</span>', webhook.account.name)
    if webhook.deleted_at:
        return format_html("<bdi>{}</bdi> (deleted){}", webhook, sub)
    page = reverse("admin:webhooks_app_webhook_change", args=[webhook.pk])
    link = '<a class="wh-plain wh-clamp" href="{}"><bdi>{}</bdi></a>{}'
    return format_html(link, page, webhook, sub)


# Words of these lists that mean the same in the list of the deliveries.
SHARED_WORDS = ("kind", "webhook", "account", "host", "type", "created")
TYPED = ("webhook", "account", "type", "status", "since", "until")
CALLS = [Attempt.Exchange.DELIVERY, Attempt.Exchange.INTERACTION]  # what rates and charts count


def webhooks_named(name: str) -> list[str]:
    """The ids of the webhooks of a name; names are no keys."""
    found = Webhook.objects.live().named(name).order_by().values_list("pk", flat=True)
    return list(found[:COUNT_LIMIT])


class Exchange(ChipsFilter):
    title, parameter_name = "exchange", "exchange"
    sieves = True

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        chips = [(value, str(label).capitalize()) for value, label in Attempt.Exchange.choices]
        if request.GET.get("exchange") == "calls":
            chips.insert(0, ("calls", "Deliveries and interactions"))
        return chips

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        value = self.value()
        if value == "calls":
            return queryset.filter(exchange__in=CALLS)
        return queryset.filter(exchange=value) if value else queryset


class KindFilter(ChoiceFilter):
    title, parameter_name = "error", "kind"
    scatters = True

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(key, kind.title) for key, kind in failures.KINDS.items()]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        kind = self.value()
        return queryset.filter(kind=kind).exclude(kind="") if kind else queryset


class WebhookFilter(TextFilter):
    """By id, or by the whole name as it was typed."""

    title = parameter_name = "webhook"
    scatters = True

    def chosen(self, queryset: Any, value: str) -> Any:
        if is_id(value):
            return queryset.filter(webhook=value)
        return queryset.filter(webhook__in=webhooks_named(value))

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The chip says the name."""
        value = (self.used_parameters.get("webhook") or "").strip()
        webhook = Webhook.objects.filter(pk=value).only("name").first() if is_id(value) else None
        return [(value, str(webhook or value))] if value else []


def asked_for(request: HttpRequest) -> Attempt | None:
    """The attempt that `?attempt=` names, as far as it is for these eyes: who may not see all of
    them sees the tests that they sent themselves."""
    shown = request.GET.get("attempt", "")
    if not is_place(Attempt, shown):
        return None
    found = Attempt.objects.filter(pk=shown).select_related("webhook").first()
    if found is None or request.user.has_perm("webhooks_app.view_attempt"):
        return found
    own = found.exchange == Attempt.Exchange.TEST and found.requested_by == named(request)[:150]
    return found if own else None


def typed_filters(request: HttpRequest) -> dict[str, Any]:
    """For the form of the filters that are typed: what they hold, and what else stays."""
    others = (*TYPED, "before", "p", "e")
    typed = {name: request.GET.get(name, "") for name in TYPED}
    return {
        "typed": typed | {name: for_field(typed[name]) for name in ("since", "until")},
        "kept": [(name, value) for name, value in request.GET.items() if name not in others],
        "webhooks_url": webhooks_url(),
        "accounts_url": accounts_url(),
    }


class Ended(CreatedFilter):
    title = "ended"

    def since(self, queryset: Any, moment: datetime) -> Any:
        return queryset.ended(since=moment)


class Message(LinkFilter):
    """Those whose messages are alike: numbers and addresses are blanks (`rules.fingerprint`)."""

    title = parameter_name = "message"
    sieves = True

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        value = self.value()
        if not value:
            return queryset
        try:
            alike = Q(message__regex=pattern(value))
        except ValueError:
            return queryset.none()
        # Before the expression, which SQLite asks Python for, row by row.
        return queryset.filter(Q(message__startswith=start(value)) & alike)


class ExchangeAdmin(LiveUpdates, ReadOnlyAdmin):
    """What attempts and errors have in common."""

    list_display = ["outcome_", "webhook_", "event_", "answer_"]
    sorts = ATTEMPT_SORTS
    csv_columns = ATTEMPTS
    moment_field = "ended_at"
    sieved = 3_000
    list_filter = [
        *(Exchange, Ended, SortFilter, KindFilter, WebhookFilter),
        word("account", words=OF_ATTEMPTS, sieves=True),
        word("host", words=OF_ATTEMPTS, sieves=True),
        word("type", "event type", words=OF_ATTEMPTS, sieves=True),
        word("status", words=OF_ATTEMPTS, sieves=True),
        *(Message, word("since", words=OF_ATTEMPTS), word("until", words=OF_ATTEMPTS)),
        BeforeFilter,
    ]
    search_fields = ["request_id"]
    search_help_text = "Search id or your reference"
    change_form_template = "admin/webhooks_app/attempt/change_form.html"
    change_list_template = "admin/webhooks_app/attempt/change_list.html"

    @property
    def media(self) -> forms.Media:
        return super().media + FOLLOW_LOOKS

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        given = {name: value for name, value in request.GET.items() if value}
        context = typed_filters(request)
        if given.get("kind") in failures.KINDS and "message" not in given:
            words = {name: given[name] for name in SHARED_WORDS if name in given}
            context["deliveries"] = links.listing("delivery", **words)
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def get_queryset(self, request: HttpRequest) -> QuerySet[Attempt]:
        rows = super().get_queryset(request).select_related("webhook__account", "delivery")
        return rows.defer(*SECRETS_BESIDE, "delivery__payload", "answer")

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        if not is_id(term):
            if unfit(term):
                return queryset.none(), False
            found = Delivery.objects.with_reference(term)
            return queryset.filter(delivery__in=found.order_by().values("pk")), False
        of_delivery = queryset.filter(delivery=term, delivery__isnull=False)
        return (of_delivery if of_delivery.exists() else queryset.filter(webhook=term)), False

    @admin.display(description="Outcome")
    def outcome_(self, attempt: Attempt) -> SafeString:
        page = reverse(f"admin:webhooks_app_{self.opts.model_name}_change", args=[attempt.pk])
        words = f"HTTP {attempt.status}" if attempt.ok else attempt.title or "Failed"
        tone = "ok" if attempt.ok else "bad"
        return format_html(
            '<span class="wh-outcome">{}<a class="wh-name wh-row" href="{}">{}</a></span>'
            '<span class="wh-sub">{}</span>',
            *(icon(tone, tone), page, words, moment(attempt.ended_at)),
        )

    @admin.display(description="Webhook")
    def webhook_(self, attempt: Attempt) -> SafeString:
        return webhook_cell(attempt.webhook)

    @admin.display(description="Event")
    def event_(self, attempt: Attempt) -> SafeString | str:
        delivery = attempt.delivery
        if delivery is None:
            return str(attempt.get_exchange_display()).capitalize()
        page = reverse("admin:webhooks_app_delivery_change", args=[delivery.pk])
        words = " · ".join(filter(None, [f"try {attempt.number}", delivery.reference]))
        link = '<a class="wh-mono wh-plain" href="{}">{}</a><span class="wh-sub">{}</span>'
        return format_html(link, page, delivery.type or delivery.pk, words)

    @admin.display(description="Answer")
    def answer_(self, attempt: Attempt) -> SafeString:
        took = lasting(attempt.duration_ms)
        if attempt.ok:
            return format_html('<span class="wh-num">in {}</span>', took)
        return format_html(
            '<span class="wh-err"><span class="wh-mono">{}</span></span>'
            '<span class="wh-sub">after {}</span>',
            visible(attempt.message[:300]),
            took,
        )

    def page_context(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        outcome = "answered" if obj.ok else obj.title or "failed"
        return {
            "attempt": obj,
            "title": f"{obj.get_exchange_display().capitalize()}: {outcome}",
            "subtitle": None,
        }


@admin.register(Attempt)
class AttemptAdmin(ExchangeAdmin):
    list_title = "Attempts"
    empty_words = ("No attempts", "Every call to a receiver is kept here as it went.")


@admin.register(WebhookError)
class WebhookErrorAdmin(ExchangeAdmin):
    list_title = "Errors"
    empty_words = ("No errors", "Every call that failed is kept here as it went.")
