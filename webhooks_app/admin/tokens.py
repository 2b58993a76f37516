"""Access tokens: made here, shown once, revoked; never readable again."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.debug import sensitive_variables

from .. import actions
from ..models import AccessToken, AuditEntry
from ..models.delivery import db_now
from ..presentation.formatting import badge, moment
from ..presentation.looks import State
from ..roles import may
from .account_field import WithAccount, may_create_account, only_account, stored_account
from .base import ConsoleAdmin, named
from .csv_columns import TOKENS
from .filters import AccountFilter, BeforeFilter, ChipsFilter, IdsFilter
from .moments import MomentField
from .sorting import SortFilter
from .sorts import OF_TOKENS
from .stale import StaleForm

USABLE = State("usable", "Usable", "ok", "ok")
EXPIRED = State("expired", "Expired", "off", "idle")
REVOKED = State("revoked", "Revoked", "off", "idle")


def token_state(token: AccessToken) -> State:
    if token.revoked_at:
        return REVOKED
    expired = token.expires_at is not None and token.expires_at <= db_now()
    return EXPIRED if expired else USABLE


class StateFilter(ChipsFilter):
    title, parameter_name = "state", "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state.key, state.word) for state in (USABLE, EXPIRED, REVOKED)]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        key, now = self.value(), db_now()
        if key == "usable":
            return queryset.filter(
                Q(expires_at__isnull=True) | Q(expires_at__gt=now), revoked_at__isnull=True
            )
        if key == "expired":
            return queryset.filter(revoked_at__isnull=True, expires_at__lte=now)
        return queryset.filter(revoked_at__isnull=False) if key == "revoked" else queryset


class TokenForm(WithAccount, StaleForm):
    expires_at = MomentField(required=False, help_text="Empty: it never expires.")
    full = staticmethod(actions.tokens_problem)

    class Meta:
        model = AccessToken
        fields = ["account", "name", "scope", "expires_at"]

    def clean_expires_at(self) -> Any:
        moment = self.cleaned_data["expires_at"]
        if moment is not None and moment <= db_now():
            raise forms.ValidationError("This moment has passed already.")
        return moment


@admin.register(AccessToken)
class AccessTokenAdmin(ConsoleAdmin):
    form = TokenForm
    list_title = "Access tokens"
    empty_words = ("No access tokens yet", "A client of the API shows one with every request.")
    list_display = ["state_", "token_", "account_", "scope_", "expires_", "used_"]
    list_filter = [StateFilter, AccountFilter, SortFilter, IdsFilter, BeforeFilter]
    sorts = OF_TOKENS
    csv_columns = TOKENS
    adds_another = False  # the page that shows the secret comes next, whatever was pressed
    list_select_related = ["account"]
    search_fields = ["name", "hint"]
    search_help_text = "Search name or first characters"
    change_form_template = "admin/webhooks_app/accesstoken/change_form.html"
    actions = ["revoke_"]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = ["account", "name", "scope"]
        if obj is None:
            new = ["new_account"] if may_create_account(request) else []
            return ["account", *new, "name", "scope", "expires_at"]
        return [*fields, "expires_", "hint", "created_", "used_", "revoked_"]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {**only_account(), **super().get_changeform_initial_data(request)}

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, *args, **kwargs)
        form.may_create = may_create_account(request)
        return form

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """A token that exists is never made wider or longer: it can be renamed and revoked."""
        fixed = ["account", "scope", "expires_", "hint", "created_", "used_", "revoked_"]
        return fixed if obj else []

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Tokens are revoked: that one existed stays known."""
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return may(request.user, "revoke_token")

    @admin.display(description="State")
    def state_(self, token: AccessToken) -> SafeString:
        return badge(token_state(token))

    @admin.display(description="Token")
    def token_(self, token: AccessToken) -> SafeString:
        return format_html(
            '<a class="wh-name wh-row" href="{}"><bdi>{}</bdi></a>'
            '<span class="wh-sub wh-mono">{}…</span>',
            reverse("admin:webhooks_app_accesstoken_change", args=[token.pk]),
            token.name or "(no name)",
            token.hint,
        )

    @admin.display(description="Account")
    def account_(self, token: AccessToken) -> str:
        return token.account.name

    @admin.display(description="Scope")
    def scope_(self, token: AccessToken) -> str:
        return token.scope

    @admin.display(description="Expires")
    def expires_(self, token: AccessToken) -> Any:
        return moment(token.expires_at) or quiet("never")

    @admin.display(description="Last used")
    def used_(self, token: AccessToken) -> Any:
        return moment(token.last_used_at) or quiet("never")

    @admin.display(description="Created")
    def created_(self, token: AccessToken) -> Any:
        return moment(token.created_at)

    @admin.display(description="Revoked")
    def revoked_(self, token: AccessToken) -> Any:
        return moment(token.revoked_at) or quiet("no")

    @admin.action(description="Revoke", permissions=["revoke"])
    def revoke_(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        rows = [token for token in self.few(request, queryset) if not token.revoked_at]
        ask = "They are refused from then on; nobody can undo that."
        if rows and (page := self.asked_first(request, rows, "Revoke", "access token", ask)):
            return page
        for token in rows:
            actions.revoke_token(token, by=named(request))
        if rows:
            words = format_html("Revoked: {}.", self.linked(rows))
            self.message_user(request, words, messages.SUCCESS)
        else:
            self.message_user(request, "Nothing was revoked.", messages.WARNING)
        return None

    # --- made and shown once --------------------------------------------------------------------

    @sensitive_variables()
    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        if change:
            obj.save(update_fields=["name"])
            if form.has_changed():
                AuditEntry.objects.note(named(request), "Renamed.", obj)
            return
        obj.account = stored_account(form.cleaned_data["account"], named(request))
        token, obj.secret = actions.issue_token(
            obj.account,
            name=obj.name,
            scope=obj.scope,
            expires_at=obj.expires_at,
            by=named(request),
        )
        obj.pk, obj.hint, obj.created_at = token.pk, token.hint, token.created_at

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: Any = None
    ) -> HttpResponse:
        """The page with the secret itself: no message, no redirect, no cookie carries it."""
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": "Access token created",
            "token": obj,
            "secret": obj.secret,
            "origin": f"{request.scheme}://{request.get_host()}",
            "may_revoke": self.has_revoke_permission(request),
        }
        page = "admin/webhooks_app/accesstoken/created.html"
        response = TemplateResponse(request, page, context)
        response["Cache-Control"] = "no-store"
        return response

    def page_context(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {
            "title": obj.name or f"{obj.hint}…",
            "subtitle": None,
            "state": token_state(obj),
            "may_revoke": self.has_revoke_permission(request) and not obj.revoked_at,
        }

    def get_urls(self) -> list[URLPattern]:
        return [self.post_view("revoke", "revoke", self.revoke), *super().get_urls()]

    def revoke(self, request: HttpRequest, token: AccessToken) -> HttpResponse:
        if not self.has_revoke_permission(request):
            raise PermissionDenied
        actions.revoke_token(token, by=named(request))
        words = "Revoked. It is refused from now on."
        self.message_user(request, words, messages.SUCCESS)
        return self.to_page(token)


def quiet(word: str) -> SafeString:
    return format_html('<span class="wh-quiet">{}</span>', word)
