"""The audit log: who changed what, by which door. Nobody changes it."""

from datetime import datetime
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ..models import AuditEntry
from ..models.delivery_filters import unfit
from ..presentation.formatting import moment
from .base import ReadOnlyAdmin
from .csv_columns import AUDIT
from .filters import (
    AccountFilter,
    BeforeFilter,
    ChipsFilter,
    ChoiceFilter,
    CreatedFilter,
    LinkFilter,
)


class DoorFilter(ChipsFilter):
    title, parameter_name = "door", "door"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            (value, f"{label[:1].upper()}{label[1:]}") for value, label in AuditEntry.Door.choices
        ]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(door=self.value()) if self.value() else queryset


# What was done, by the words that a line begins with.
DID = {
    "created": ("created", ("Created", "Declared")),
    "changed": ("changed", ("Changed", "Renamed", "Archived")),
    "url": ("changed the URL", ("Changed",)),
    "deleted": ("deleted or brought back", ("Deleted", "Removed", "Brought back")),
    "paused": ("paused", ("Paused", "Held")),
    "resumed": ("resumed", ("Resumed", "Released", "Closed the breaker")),
    "retried": ("retried or replayed", ("Asked for one more try", "Replayed", "Started: replay")),
    "cancelled": ("cancelled", ("Cancelled", "Started: cancel")),
    "called": ("tested or verified", ("Sent a ", "Asked for a verification")),
    "secrets": ("revealed or replaced a secret", ("Revealed", "Rotated", "Ended", "Revoked")),
    "took": ("took data along", ("Took",)),
    "noted": ("wrote a note", ("Noted", "Struck")),
}
URL = "URL"  # stands in the line of a change of it


class DidFilter(ChoiceFilter):
    """What was done. Lines are words, and no index holds their beginnings: of very many the newest
    are looked through."""

    title, parameter_name = "did", "did"
    sieves = True

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(key, words) for key, (words, _) in DID.items()]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        key = self.value()
        if not key:
            return queryset
        began = Q()
        for start in DID[key][1]:
            began |= Q(action__startswith=start)
        return (
            queryset.filter(began, action__contains=URL) if key == "url" else queryset.filter(began)
        )


class When(CreatedFilter):
    title = "when"

    def value(self) -> str:
        return super().value() if "created" in self.request.GET else "any"

    def since(self, queryset: Any, moment: datetime) -> Any:
        return queryset.filter(at__gte=moment)


class TargetFilter(LinkFilter):
    """Pages of a row lead here, to what was done to it."""

    title = parameter_name = "target"

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        value = self.value()
        if not value:
            return queryset
        return queryset.none() if unfit(value) else queryset.filter(target=value)


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_title = "Audit log"
    empty_words = ("Nothing was changed", "What people and programs change is listed here.")
    list_display = ["when_", "who_", "action_", "target_"]
    list_filter = [DoorFilter, DidFilter, When, AccountFilter, TargetFilter, BeforeFilter]
    csv_columns = AUDIT
    moment_field = "at"
    list_select_related = ["account"]
    search_fields = ["by"]
    search_help_text = "Search name of the user or token, or an id, as a whole"
    fields: ClassVar[Any] = ["when_", "who_", "did_", "target_", "id_"]
    readonly_fields = fields

    def page_context(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {"title": str(obj), "subtitle": None}

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        term = search_term.strip()
        if unfit(term):
            return queryset.none(), False
        if term:
            queryset = queryset.filter(by=term) | queryset.filter(target=term)
        return queryset, False

    @admin.display(description="When")
    def when_(self, entry: AuditEntry) -> Any:
        return moment(entry.at)

    @admin.display(description="Who")
    def who_(self, entry: AuditEntry) -> SafeString:
        return format_html(
            '<bdi>{}</bdi><span class="wh-sub">{}</span>', entry.by, entry.get_door_display()
        )

    @admin.display(description="Did")
    def action_(self, entry: AuditEntry) -> SafeString:
        page = reverse("admin:webhooks_app_auditentry_change", args=[entry.pk])
        return format_html('<a class="wh-name wh-row" href="{}">{}</a>', page, entry.did)

    @admin.display(description="Did")
    def did_(self, entry: AuditEntry) -> str:
        return entry.did

    @admin.display(description="Its id")
    def id_(self, entry: AuditEntry) -> SafeString | str:
        return format_html('<span class="wh-mono">{}</span>', entry.target) if entry.target else "–"

    @admin.display(description="To")
    def target_(self, entry: AuditEntry) -> SafeString:
        words = f"{entry.kind}, {entry.account.name}" if entry.account else entry.kind
        sub = format_html('<span class="wh-sub">{}</span>', words)
        try:
            page = reverse(f"admin:webhooks_app_{entry.kind}_change", args=[entry.target])
        except NoReverseMatch:
            return format_html("<bdi>{}</bdi>{}", entry.name, sub)
        link = '<a class="wh-plain wh-clamp" href="{}"><bdi>{}</bdi></a>{}'
        return format_html(link, page, entry.name, sub)
