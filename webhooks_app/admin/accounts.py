"""The accounts (tenants)."""

from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ..models import Account, AuditEntry, Webhook
from ..presentation.formatting import moment
from .account_board import AccountBoard
from .base import ConsoleAdmin, named
from .filters import BeforeFilter
from .stale import StaleForm

BELONGINGS = (
    ("Webhooks", "webhook"),
    ("Deliveries", "delivery"),
    ("Errors", "webhookerror"),
    ("Access tokens", "accesstoken"),
    ("Audit log", "auditentry"),
)


class AccountForm(StaleForm):
    class Meta:
        model = Account
        fields = ["name", "contact_email", "members"]


@admin.register(Account)
class AccountAdmin(ConsoleAdmin):
    form = AccountForm
    list_title = "Accounts"
    empty_words = ("No accounts yet", "An account owns webhooks and access tokens.")
    list_display = ["name_", "contact_", "created_"]
    list_filter = [BeforeFilter]
    search_fields = ["name"]
    search_help_text = "Search name"
    fields = ["name", "contact_email", "members"]
    raw_id_fields = ["members"]  # users may be many, and a host may not have them in its admin

    def get_queryset(self, request: HttpRequest) -> Any:
        ever = Webhook.objects.filter(account=OuterRef("pk"))
        return super().get_queryset(request).annotate(has_webhooks=Exists(ever))

    @admin.display(description="Account")
    def name_(self, account: Account) -> SafeString:
        page = reverse("admin:webhooks_app_account_change", args=[account.pk])
        return format_html('<a class="wh-name wh-row" href="{}">{}</a>', page, account.name)

    @admin.display(description="Contact")
    def contact_(self, account: Account) -> Any:
        return account.contact_email or format_html('<span class="wh-quiet">{}</span>', "none")

    @admin.display(description="Created")
    def created_(self, account: Account) -> Any:
        return moment(account.created_at)

    def page_context(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        may = request.user.has_perm
        shown = [(words, name) for words, name in BELONGINGS if may(f"webhooks_app.view_{name}")]
        board = AccountBoard(request, obj)
        return {
            "title": obj.name,
            "subtitle": None,
            "account": obj,
            "belongings": shown,
            "board": board,
            "page_state": board.verdict.word if board.verdict else "",
        }

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        fields = ", ".join(field.replace("_", " ") for field in form.changed_data)
        words = f"Changed {fields}." if change else "Created."
        if form.changed_data:
            AuditEntry.objects.note(named(request), words, form.instance)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        AuditEntry.objects.note(named(request), "Deleted.", obj)
        super().delete_model(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only an account that never had a webhook: deleting takes all that belongs to it along."""
        if not super().has_delete_permission(request, obj):
            return False
        return obj is None or not getattr(obj, "has_webhooks", False)
