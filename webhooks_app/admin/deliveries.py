"""The deliveries: the list, and the read-only page with every attempt, newest first."""

import json
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from .. import actions
from ..models import Delivery
from ..rules.ids import is_id
from ..templatetags.webhooks_console import badge, moment
from .attempts import AccountOfAttempt, WebhookFilter, webhook_cell
from .board import delivery_banner
from .console import Before, Chips, Created, ReadOnlyAdmin, named
from .states import DELIVERY_STATES, deliveries_that_are, delivery_state

ATTEMPTS_SHOWN = 100
BODY_SHOWN = 64 * 1024  # bytes
VERBS_AT_ONCE = 100


class StateFilter(Chips):
    """`pending` and `due` have no chip of their own; numbers on other pages lead to them."""

    title, parameter_name = "state", "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        chips = [(state.key, state.word) for state in DELIVERY_STATES.values()]
        quiet = {"pending": "Not finished", "due": "Due now"}
        if (state := request.GET.get("state", "")) in quiet:
            chips.insert(0, (state, quiet[state]))
        return chips

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        key = self.value()
        return queryset.filter(deliveries_that_are(key, timezone.now())) if key else queryset


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    list_title = "Deliveries"
    empty_words = ("No deliveries", "What is sent to webhooks is listed here.")
    list_display = ["state_", "webhook_", "event_", "tries_", "last_", "next_"]
    list_filter = [StateFilter, Created, AccountOfAttempt, WebhookFilter, Before]
    search_fields = ["id"]
    search_help_text = "Search id, reference or event type, as a whole"
    change_form_template = "admin/webhooks_app/delivery/change_form.html"
    actions = ["retry_", "cancel_"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        rows = super().get_queryset(request)
        rows = rows.select_related("webhook__account", "webhook__health")
        return rows.defer("payload", "webhook__token", "webhook__auth_password")

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        term = search_term.strip()
        if is_id(term):
            return queryset.filter(pk=term), False
        if term:
            queryset = queryset.filter(reference=term) | queryset.filter(type=term)
        return queryset, False

    @admin.display(description="State")
    def state_(self, delivery: Delivery) -> SafeString:
        state = badge(delivery_state(delivery, timezone.now()))
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
    def last_(self, delivery: Delivery) -> SafeString:
        if delivery.state != Delivery.State.DELIVERED and delivery.last_error:
            return format_html(
                '<span class="wh-err"><span class="wh-mono">{}</span></span>',
                delivery.last_error[:300],
            )
        words = f"HTTP {delivery.last_status}" if delivery.last_status else "none yet"
        return format_html("<span>{}</span>", words)

    @admin.display(description="Next try")
    def next_(self, delivery: Delivery) -> Any:
        if delivery.state != Delivery.State.PENDING:
            return format_html('<span class="wh-dash">{}</span>', "–")
        if delivery_state(delivery, timezone.now()).key == "held":
            return "when the webhook may be called"
        return moment(delivery.due_at)

    @admin.action(description="Retry now", permissions=["operate"])
    def retry_(self, request: HttpRequest, queryset: Any) -> None:
        self._each(request, queryset, "retry", "Due now")

    @admin.action(description="Cancel", permissions=["operate"])
    def cancel_(self, request: HttpRequest, queryset: Any) -> None:
        self._each(request, queryset, "cancel", "Cancelled")

    def _each(self, request: HttpRequest, queryset: Any, verb: str, words: str) -> None:
        done = refused = 0
        for delivery in self.few(request, queryset, VERBS_AT_ONCE):
            try:
                self._do(request, delivery, verb)
                done += 1
            except actions.ActionError:
                refused += 1
        if done:
            self.message_user(request, f"{words}: {done:,}.", messages.SUCCESS)
        if refused:
            reason = "only pending ones can be cancelled" if verb == "cancel" else "deleted webhook"
            self.message_user(request, f"Not changed: {refused:,} ({reason}).", messages.WARNING)

    def _do(self, request: HttpRequest, delivery: Delivery, verb: str) -> None:
        if verb == "retry":
            actions.retry(delivery, by=named(request))
            self.log_change(request, delivery, "Asked for one more try.")
        else:
            actions.cancel(delivery, by=named(request))
            self.log_change(request, delivery, "Cancelled.")

    # --- the page -------------------------------------------------------------------------------

    def page_context(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        now = timezone.now()
        attempts = list(obj.attempts.order_by("-id")[: ATTEMPTS_SHOWN + 1])
        banner = delivery_banner(obj, attempts[0].kind if attempts else "", now)
        operate = self.has_operate_permission(request)
        body, shown = body_text(bytes(obj.payload))
        return {
            "title": f"{obj.type or obj.pk} to {obj.webhook}",
            "subtitle": None,
            "page_state": banner.state.word,
            "delivery": obj,
            "banner": banner,
            "buttons": [(button, "") for button in banner.buttons if operate],
            "attempts": attempts[:ATTEMPTS_SHOWN],
            "more_attempts": len(attempts) > ATTEMPTS_SHOWN,
            "scale": max([attempt.duration_ms for attempt in attempts], default=1),
            "body": body,
            "body_size": len(obj.payload),
            "body_cut": shown < len(obj.payload),
        }

    def get_urls(self) -> list[URLPattern]:
        verbs = [
            self.post_view(verb, verb, self.operate, verb=verb) for verb in ("retry", "cancel")
        ]
        return [*verbs, *super().get_urls()]

    def operate(self, request: HttpRequest, delivery: Delivery, verb: str) -> HttpResponse:
        if not self.has_operate_permission(request):
            raise PermissionDenied
        try:
            self._do(request, delivery, verb)
        except actions.ActionError as error:
            self.message_user(request, error.message, messages.ERROR)
        else:
            words = "It is due now." if verb == "retry" else "Cancelled; it will not be sent."
            self.message_user(request, words, messages.SUCCESS)
        return self.to_page(delivery)


def body_text(payload: bytes) -> tuple[str, int]:
    """The payload for reading, and how many of its bytes that shows."""
    shown = payload[:BODY_SHOWN]
    if len(shown) == len(payload):
        try:
            return json.dumps(json.loads(payload), indent=2, ensure_ascii=False), len(payload)
        except (ValueError, RecursionError):
            pass
    return shown.decode("utf-8", "replace"), len(shown)
