"""The catalogue of event types: declared, changed, archived; and those that were only seen."""

import json
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from .. import actions
from ..models import EventType
from ..presentation.formatting import badge, moment
from ..presentation.looks import State
from ..roles import may
from ..rules import strictjson
from ..rules.subscriptions import event_type
from . import links
from .account_field import AccountField
from .base import ConsoleAdmin, named, url_of
from .filters import AccountFilter, BeforeFilter, ChipsFilter
from .secret_fields import AsTyped
from .stale import StaleForm

STATES = {
    "declared": State("declared", "Declared", "ok", "ok"),
    "seen": State("seen", "Seen only", "idle", "idle"),
    "archived": State("archived", "Archived", "off", "idle"),
}


def state_of(row: EventType) -> State:
    if row.archived_at:
        return STATES["archived"]
    return STATES["seen" if row.seen else "declared"]


class StateFilter(ChipsFilter):
    title, parameter_name = "state", "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(key, state.word) for key, state in STATES.items()]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        key = self.value()
        if key == "archived":
            return queryset.filter(archived_at__isnull=False)
        return queryset.filter(archived_at__isnull=True, seen=key == "seen") if key else queryset


class EventTypeForm(StaleForm):
    account = AccountField(required=False)
    name = AsTyped(help_text="Words with dots between: order.paid. It is never changed.")
    description = forms.CharField(
        required=False,
        max_length=4000,
        widget=forms.Textarea(attrs={"rows": 4, "class": "vLargeTextField"}),
        help_text="What happened when it is sent, at most 4,000 characters.",
    )
    example = forms.CharField(
        required=False,
        max_length=actions.EXAMPLE_LIMIT,
        widget=forms.Textarea(attrs={"rows": 10, "class": "vLargeTextField wh-mono"}),
        help_text="A payload, JSON of at most 64 KiB.",
    )

    class Meta:
        model = EventType
        fields = ["account", "name", "group", "description", "example"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            del self.fields["account"], self.fields["name"]
        else:
            self.fields["account"].help_text = "Its name; empty for a type of the whole site."
        if self.instance.example:
            value = json.loads(self.instance.example)
            self.initial["example"] = json.dumps(value, indent=2, ensure_ascii=False)

    def clean_name(self) -> str:
        try:
            return event_type(self.cleaned_data["name"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def clean_example(self) -> Any:
        text = self.cleaned_data["example"].strip()
        try:
            return strictjson.loads(text.encode()) if text else None
        except ValueError as error:
            raise forms.ValidationError(f"This is no JSON: {error}.") from None

    def _post_clean(self) -> None:
        """The verbs store it."""


@admin.register(EventType)
class EventTypeAdmin(ConsoleAdmin):
    form = EventTypeForm
    list_title = "Event types"
    empty_words = ("No event types", "Those of published events are noted here by a worker.")
    list_display = ["type_", "account_", "state_", "created_"]
    list_filter = [StateFilter, AccountFilter, BeforeFilter]
    list_select_related = ["account"]
    search_fields = ["name"]
    search_help_text = "Search name"
    change_form_template = "admin/webhooks_app/eventtype/change_form.html"

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [*([] if obj else ["account", "name"]), "group", "description", "example"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[EventType]:
        return super().get_queryset(request).select_related("account")

    # --- cells ----------------------------------------------------------------------------------

    @admin.display(description="Event type")
    def type_(self, row: EventType) -> SafeString:
        page = reverse("admin:webhooks_app_eventtype_change", args=[row.pk])
        link = format_html('<a class="wh-mono wh-name wh-row" href="{}">{}</a>', page, row.name)
        return format_html('{}<span class="wh-sub wh-clamp">{}</span>', link, row.description[:200])

    @admin.display(description="Account")
    def account_(self, row: EventType) -> Any:
        whole = format_html('<span class="wh-quiet">{}</span>', "the whole site")
        return row.account.name if row.account else whole

    @admin.display(description="State")
    def state_(self, row: EventType) -> SafeString:
        return format_html('{}<span class="wh-sub">{}</span>', badge(state_of(row)), row.group)

    @admin.display(description="Noted")
    def created_(self, row: EventType) -> Any:
        return moment(row.created_at)

    # --- the page of one ------------------------------------------------------------------------

    def page_context(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        state = state_of(obj)
        account = obj.account.name if obj.account else ""
        return {
            "title": obj.name,
            "subtitle": None,
            "page_state": state.word,
            "event_type": obj,
            "state": state,
            "events": links.listing("event", type=obj.name, account=account, created="any"),
            "may_archive": may(request.user, "update_event_type"),
        }

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        given = {name: form.cleaned_data[name] for name in ("group", "description", "example")}
        if not change:
            account, name = form.cleaned_data["account"], form.cleaned_data["name"]
            made = actions.declare_event_type(account, name, **given, by=named(request))
            obj.pk, obj.name = made.pk, made.name
        elif form.has_changed() or obj.seen:
            actions.update_event_type(obj, **given, by=named(request))

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: Any) -> None:
        """There is nothing beside it."""

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        actions.expunge_event_type(obj, by=named(request))

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        try:
            return super().delete_view(request, object_id, extra_context)
        except actions.ActionError as error:
            words = f"Not removed: {error.message} It can be archived instead."
            self.message_user(request, words, messages.ERROR)
            return HttpResponseRedirect(url_of(self, "change", object_id))

    def get_urls(self) -> list[URLPattern]:
        verbs = [
            self.post_view(verb, verb, self.archive, archived=verb == "archive")
            for verb in ("archive", "unarchive")
        ]
        return [*verbs, *super().get_urls()]

    def archive(self, request: HttpRequest, row: EventType, archived: bool) -> HttpResponse:
        if not may(request.user, "update_event_type"):
            raise PermissionDenied
        actions.update_event_type(row, archived=archived, by=named(request))
        words = "Archived: it is no longer offered." if archived else "It is offered again."
        self.message_user(request, words, messages.SUCCESS)
        return self.to_page(row)
