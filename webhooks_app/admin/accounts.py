"""The accounts (tenants)."""

from typing import Any

from django.contrib import admin
from django.db.models import CharField, Exists, OuterRef
from django.db.models.functions import Cast
from django.http import HttpRequest
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ..models import Account, AuditEntry, Note, Webhook
from ..presentation.formatting import moment
from .account_board import AccountBoard
from .base import named
from .csv_columns import ACCOUNTS
from .filters import BeforeFilter, is_place
from .notes import Noting, notes_in, notes_of
from .sorting import SortFilter
from .sorts import OF_ACCOUNTS
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
class AccountAdmin(Noting):
    form = AccountForm
    list_title = "Accounts"
    empty_words = ("No accounts yet", "An account owns webhooks and access tokens.")
    list_display = ["name_", "contact_", "created_"]
    list_filter = [SortFilter, BeforeFilter]
    sorts = OF_ACCOUNTS
    csv_columns = ACCOUNTS
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

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Account | None:
        if not is_place(Account, object_id):
            return None
        key = Cast(OuterRef("pk"), CharField())
        rows = self.get_queryset(request).annotate(noted=notes_of(Note.Kind.ACCOUNT, key))
        found: Account | None = rows.filter(pk=object_id).first()
        return found

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
            **self.notes_context(request, obj, notes_in(obj.noted)),
        }

    def get_urls(self) -> list[URLPattern]:
        return [*self.note_urls(), *super().get_urls()]

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        fields = ", ".join(field.replace("_", " ") for field in form.changed_data)
        words = f"Changed {fields}." if change else "Created."
        if form.changed_data:
            AuditEntry.objects.note(named(request), words, form.instance)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        AuditEntry.objects.note(named(request), "Deleted.", obj)
        Note.objects.about(obj).delete()
        super().delete_model(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only an account that never had a webhook: deleting takes all that belongs to it along."""
        if not super().has_delete_permission(request, obj):
            return False
        return obj is None or not getattr(obj, "has_webhooks", False)
