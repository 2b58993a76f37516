"""The list of the webhooks: how each does, its last error, and verbs for a handful of them."""

import re
from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from .. import actions
from ..models import Webhook
from ..rules import failures
from ..rules.ids import is_id
from ..rules.validators import parse_url
from ..templatetags.webhooks_console import ago, badge, moment
from .attempts import KindFilter
from .console import AccountFilter, Before, Chips, ConsoleAdmin, named
from .states import WEBHOOK_STATES, health_of, webhook_state, webhooks_that_are

TESTS_AT_ONCE = 5  # each may take its whole timeout

# verb: (what is logged, what is said); the verbs that call out show the receiver's answer instead
DONE = {
    "verify": ("Sent a verification.", ""),
    "test": ("Sent a test.", ""),
    "pause": ("Paused.", "Paused. Deliveries are kept and wait."),
    "enable": ("Enabled.", "Enabled. What waits goes out, the oldest first."),
    "close-breaker": ("Closed the breaker.", "The breaker is closed; it is called again at once."),
    "clear-error": ("Cleared the last error.", "The last error is cleared; the history stays."),
}


class HealthFilter(Chips):
    title, parameter_name = "health", "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state.key, state.word) for state in WEBHOOK_STATES.values()]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        key = self.value()
        return queryset.filter(webhooks_that_are(key, timezone.now())) if key else queryset


class ErrorFilter(KindFilter):
    title = "last error"

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        kind = self.value()
        return queryset.filter(health__last_error_kind=kind) if kind else queryset


def host_of(url: str) -> str:
    try:
        return parse_url(url).authority
    except ValueError:
        return "(URL not usable)"


class WebhookList(ConsoleAdmin):
    """The half of WebhookAdmin that is the list."""

    list_title = "Webhooks"
    empty_words = ("No webhooks yet", "Add the first one; it is verified at once.")
    list_display = ["health_", "webhook_", "error_", "success_"]
    list_filter = [HealthFilter, ErrorFilter, AccountFilter, Before]
    search_fields = ["name"]
    search_help_text = "Search name, host or id"
    actions = ["verify_", "test_", "enable_", "disable_"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Webhook]:
        rows = Webhook.objects.live().select_related("account", "health").order_by("-pk")
        return rows.defer("token", "auth_password")

    @transaction.non_atomic_requests
    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Not inside ATOMIC_REQUESTS: its action "Send test" calls out."""
        return super().changelist_view(request, extra_context)

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        """By name, id or a part of the host; path and query may hold secrets."""
        term = search_term.strip()
        if is_id(term):
            return queryset.filter(pk=term), False
        if term:
            by_host = queryset.filter(url__iregex=r"^https?://[^/?#]*" + re.escape(term))
            queryset = queryset.filter(name__icontains=term) | by_host
        return queryset, False

    @admin.display(description="Health")
    def health_(self, webhook: Webhook) -> SafeString:
        now = timezone.now()
        state, health = webhook_state(webhook, now), health_of(webhook)
        since = {
            "failing": health.failing_since,
            "paused": webhook.stopped_at,
            "disabled": webhook.stopped_at,
        }.get(state.key)
        words = f"for {ago(since)}" if since else ""
        if state.key == "unverified" and webhook.verification == "waiting":
            words = "verification waits"
        return format_html('{}<span class="wh-sub">{}</span>', badge(state), words)

    @admin.display(description="Webhook")
    def webhook_(self, webhook: Webhook) -> SafeString:
        host = host_of(webhook.url)
        return format_html(
            '<a class="wh-name wh-row wh-clamp" href="{}"><bdi>{}</bdi></a>'
            '<span class="wh-sub"><span class="wh-mono">{}</span> · {}</span>',
            reverse("admin:webhooks_app_webhook_change", args=[webhook.pk]),
            webhook.name if len(webhook.name) <= 160 else webhook.name[:159] + "…",
            host if len(host) <= 48 else f"{host[:22]}…{host[-24:]}",
            webhook.account.name,
        )

    @admin.display(description="Last error")
    def error_(self, webhook: Webhook) -> SafeString:
        health = health_of(webhook)
        if not health.last_error_at:
            return format_html('<span class="wh-quiet">{}</span>', "none")
        return format_html(
            '<span class="wh-err"><a class="wh-plain" href="{}?webhook={}">{}</a>'
            '<span class="wh-mono">{}</span></span><span class="wh-sub">{}</span>',
            reverse("admin:webhooks_app_webhookerror_changelist"),
            webhook.pk,
            failures.title(health.last_error_kind) or "Error",
            health.last_error_message[:300],
            moment(health.last_error_at),
        )

    @admin.display(description="Last success")
    def success_(self, webhook: Webhook) -> SafeString | str:
        at = health_of(webhook).last_success_at
        return moment(at) if at else format_html('<span class="wh-quiet">{}</span>', "none")

    @admin.action(description="Verify", permissions=["operate"])
    def verify_(self, request: HttpRequest, queryset: Any) -> None:
        rows = self.few(request, queryset)
        for webhook in rows:
            actions.request_verification(webhook)
            self.log_change(request, webhook, "Asked for a verification.")
        if rows:
            words = f"The worker verifies {counted(rows)}; the outcome stands in the column Health."
            self.message_user(request, words, messages.SUCCESS)

    @admin.action(description="Send test", permissions=["operate"])
    def test_(self, request: HttpRequest, queryset: Any) -> None:
        good = 0
        rows = self.few(request, queryset, TESTS_AT_ONCE)
        for webhook in rows:
            try:
                attempt = actions.test(webhook, by=named(request))
            except actions.ActionError as error:
                self.message_user(request, f"{webhook}: {error.message}", messages.ERROR)
                continue
            self.log_change(request, webhook, DONE["test"][0])
            good += attempt.ok
            if not attempt.ok:
                words = f"{webhook}: {attempt.title or 'failed'}. {attempt.advice}"
                self.message_user(request, words, messages.ERROR)
        if good:
            self.message_user(
                request, f"{good} of {counted(rows)} answered well.", messages.SUCCESS
            )

    @admin.action(description="Enable", permissions=["operate"])
    def enable_(self, request: HttpRequest, queryset: Any) -> None:
        rows = self.few(request, queryset)
        for webhook in rows:
            actions.enable(webhook, by=named(request))
            self.log_change(request, webhook, DONE["enable"][0])
        if rows:
            self.message_user(request, f"Enabled: {counted(rows)}.", messages.SUCCESS)

    @admin.action(description="Disable (pause)", permissions=["operate"])
    def disable_(self, request: HttpRequest, queryset: Any) -> None:
        rows = self.few(request, queryset)
        for webhook in rows:
            actions.pause(webhook, by=named(request))
            self.log_change(request, webhook, DONE["pause"][0])
        if rows:
            words = f"Paused: {counted(rows)}. Their deliveries are kept and wait."
            self.message_user(request, words, messages.SUCCESS)


def counted(rows: list[Any]) -> str:
    return f"{len(rows):,} webhook{'' if len(rows) == 1 else 's'}"
