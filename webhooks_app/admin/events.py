"""Events: what was published, who got it, and who did not and why."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ..actions import why_not
from ..models import Delivery, Event
from ..models.delivery import db_now
from ..models.delivery_filters import OF_EVENTS, unfit
from ..models.webhook import SECRETS_BESIDE
from ..presentation.formatting import moment
from ..presentation.looks import delivery_state
from ..presentation.why import VERDICTS
from ..rules.ids import is_id
from . import links
from .base import LiveUpdates, ReadOnlyAdmin
from .csv_columns import EVENTS
from .deliveries import body_text
from .delivery_list import first_with_last_attempts, last_answer
from .filters import AccountFilter, BeforeFilter, CreatedFilter, word
from .moments import for_field

DELIVERIES_SHOWN = 10
REASONS_SHOWN = 25
TYPED = ("type", "reference", "subject", "channel", "since", "until")


def search_of(request: HttpRequest) -> tuple[str, str]:
    """The term of a search, and what it is: id, reference, subject or the publisher's own id."""
    term = request.GET.get("q", "").strip()
    if not term or unfit(term):
        return "", ""
    if is_id(term) and Event.objects.filter(pk=term).exists():
        return term, "id"
    for by in ("reference", "subject"):
        if Event.objects.filter(OF_EVENTS[by](term, db_now())).order_by().exists():
            return term, by
    return term, "event_id"


class PublishedFilter(CreatedFilter):
    """Since when; what is searched is found at any time."""

    title = "published"

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if request.GET.get("q", "").strip():
            return queryset
        return super().queryset(request, queryset)


def _word(name: str, title: str = "", **more: Any) -> Any:
    return word(name, title, words=OF_EVENTS, **more)


@admin.register(Event)
class EventAdmin(LiveUpdates, ReadOnlyAdmin):
    list_title = "Events"
    empty_words = ("No events", "What is published is listed here, with whom it goes to.")
    list_display = ["event_", "account_", "got_", "about_", "published_"]
    csv_columns = EVENTS
    list_filter = [
        PublishedFilter,
        AccountFilter,
        _word("type", "event type", sieves=True),
        _word("reference"),
        _word("subject"),
        _word("channel", sieves=True),
        _word("since"),
        _word("until"),
        BeforeFilter,
    ]
    search_fields = ["id"]
    search_help_text = "Search id, your reference, subject or event id, as a whole"
    change_list_template = "admin/webhooks_app/event/change_list.html"
    change_form_template = "admin/webhooks_app/event/change_form.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Event]:
        return super().get_queryset(request).select_related("account").defer("payload")

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        term, by = search_of(request)
        if by == "id":
            return queryset.filter(pk=term), False
        return (queryset.filter(OF_EVENTS[by](term, db_now())) if by else queryset), False

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        typed = {name: request.GET.get(name, "") for name in TYPED}
        others = (*TYPED, "before", "p", "e")
        context = {
            "typed": typed | {name: for_field(typed[name]) for name in ("since", "until")},
            "kept": [(name, value) for name, value in request.GET.items() if name not in others],
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    # --- cells ----------------------------------------------------------------------------------

    @admin.display(description="Event")
    def event_(self, event: Event) -> SafeString:
        return format_html(
            '<a class="wh-mono wh-name wh-row" href="{}">{}</a><span class="wh-sub">{}</span>',
            reverse("admin:webhooks_app_event_change", args=[event.pk]),
            event.type,
            event.reference,
        )

    @admin.display(description="Account")
    def account_(self, event: Event) -> str:
        return event.account.name

    @admin.display(description="Goes to")
    def got_(self, event: Event) -> SafeString:
        more = "being handed out" if event.fan_out == "running" else ""
        if event.filtered:
            more = f"{event.filtered:,} filtered out"
        text = '<span class="wh-num">{}</span><span class="wh-sub">{}</span>'
        return format_html(text, f"{event.matched:,}", more)

    @admin.display(description="About")
    def about_(self, event: Event) -> SafeString:
        return format_html(
            '<bdi>{}</bdi><span class="wh-sub">{}</span>', event.subject, " ".join(event.channels)
        )

    @admin.display(description="Published")
    def published_(self, event: Event) -> SafeString:
        sub = format_html('<span class="wh-sub"><bdi>{}</bdi></span>', event.created_by)
        return format_html("{}{}", moment(event.created_at), sub)

    # --- the page of one ------------------------------------------------------------------------

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Event | None:
        if not is_id(object_id):
            return None
        return self.get_queryset(request).defer(None).filter(pk=object_id).first()

    def page_context(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        raw, payload = "raw" in request.GET, bytes(obj.payload)
        body, shown = body_text(payload, raw=raw)
        context: dict[str, Any] = {
            "title": f"{obj.type} {obj.pk}",
            "subtitle": None,
            "event": obj,
            "body": body,
            "body_size": len(payload),
            "body_cut": shown < len(payload),
            "raw": raw,
        }
        if request.user.has_perm("webhooks_app.view_delivery"):
            context |= self._deliveries(obj)
        if request.user.has_perm("webhooks_app.view_webhook"):
            context |= self._reasons(request, obj)
        return context

    @staticmethod
    def _deliveries(event: Event) -> dict[str, Any]:
        """The first ones, of more than are shown a link to all."""
        rows = Delivery.objects.of_event(event.pk).select_related("webhook__health")
        rows = rows.defer(*SECRETS_BESIDE).order_by("pk")
        found, now = first_with_last_attempts(rows, DELIVERIES_SHOWN + 1), db_now()
        shown = found[:DELIVERIES_SHOWN]
        return {
            "deliveries": [
                (row, delivery_state(row, now), last_answer(row, short=True)) for row in shown
            ],
            "all_deliveries": links.listing("delivery", event=event.pk, created="any"),
            "more_deliveries": len(found) > DELIVERIES_SHOWN,
        }

    @staticmethod
    def _reasons(request: HttpRequest, event: Event) -> dict[str, Any]:
        """Why webhooks of the account did not get it; a page of them, or the one that is asked
        for by name or id."""
        after, asked = request.GET.get("after", ""), request.GET.get("webhook", "").strip()
        found = why_not(
            event,
            after=after if is_id(after) else "",
            webhook="" if unfit(asked) else asked,
            limit=REASONS_SHOWN,
        )
        return {
            "reasons": [(line, VERDICTS[line.verdict]) for line in found.lines],
            "reasons_after": found.place,
            "reasons_of": asked,
        }
