"""The page of a delivery: what became of it, each attempt, request and answer of the chosen one."""

import json
from dataclasses import dataclass
from datetime import timedelta
from itertools import zip_longest
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from .. import actions
from ..models import Attempt, Delivery
from ..models.delivery import db_now
from ..models.webhook import SECRETS_BESIDE
from ..presentation.banner import delivery_banner
from ..presentation.formatting import duration
from ..presentation.sent_request import Sent, sent
from ..roles import may
from ..rules.ids import is_id
from .delivery_list import DeliveryList
from .outlook import kept_back
from .record import Recording
from .webhooks import is_set

ATTEMPTS_SHOWN = 100
SOON = timedelta(minutes=1)  # what is due until then is waited for
BODY_SHOWN = 64 * 1024  # bytes
PRETTY = 8 * BODY_SHOWN  # characters of a payload with its lines and spaces


@dataclass(frozen=True, slots=True)
class Try:
    """An attempt, why it was made, and whether it is the one that is looked at."""

    attempt: Attempt
    trigger: SafeString | str
    chosen: bool
    round_ends: bool  # the one before it belongs to an earlier round, with tries of its own


@admin.register(Delivery)
class DeliveryAdmin(Recording, DeliveryList):
    change_form_template = "admin/webhooks_app/delivery/change_form.html"

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Delivery | None:
        if not is_id(object_id):
            return None
        rows = self.get_queryset(request).defer(None)
        rows = rows.defer(*SECRETS_BESIDE)
        return (
            rows.annotate(
                token_set=is_set("webhook__token"),
                oauth_set=is_set("webhook__oauth"),
                identity_set=is_set("webhook__identity"),
            )
            .filter(pk=object_id)
            .first()
        )

    def page_context(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        now = db_now()
        attempts = list(obj.attempts.order_by("-id")[: ATTEMPTS_SHOWN + 1])
        page = reverse("admin:webhooks_app_webhook_change", args=[obj.webhook_id])
        banner = delivery_banner(obj, attempts[0].kind if attempts else "", now, page)
        operate = self.has_operate_permission(request)
        content_type, payload = obj.body()
        raw = "raw" in request.GET
        body, shown = body_text(payload, raw=raw)
        chosen = _chosen(attempts, request.GET.get("attempt", ""))
        made = self._request_of(obj, chosen, len(payload), content_type)
        older, newer = failures_beside(obj)
        query = f"attempt={chosen.pk}&" if chosen else ""
        return {
            "title": f"{obj.type or obj.pk} to {obj.webhook}",
            "subtitle": None,
            "page_state": banner.state.word,
            "delivery": obj,
            "banner": banner,
            "mark": f"{banner.state.key} {obj.tries} {attempts[0].pk if attempts else 0}",
            "changes_soon": banner.state.key in ("waiting", "retrying") and obj.due_at < now + SOON,
            "buttons": [(button, "") for button in banner.buttons if operate],
            "tries": tries_of(attempts[:ATTEMPTS_SHOWN], chosen),
            "more_attempts": len(attempts) > ATTEMPTS_SHOWN,
            "scale": max([attempt.duration_ms for attempt in attempts], default=1),
            "chosen": chosen,
            "made": made,
            "changed_since": chosen and obj.webhook.updated_at > chosen.started_at,
            "curl": made.curl(payload[:BODY_SHOWN].decode("utf-8", "replace")),
            "body": body,
            "body_size": len(payload),
            "body_cut": shown < len(payload),
            "raw": raw,
            "query_pretty": "?" + query.rstrip("&"),
            "query_raw": f"?{query}raw=1",
            "older_failure": older,
            "newer_failure": newer,
        }

    def _request_of(
        self, delivery: Any, chosen: Attempt | None, size: int, content_type: str
    ) -> Sent:
        names = delivery.webhook.headers.order_by("position", "id")
        return sent(
            delivery,
            url=chosen.url if chosen else delivery.webhook.url,
            at=chosen.started_at if chosen else db_now(),
            size=size,
            content_type=content_type,
            token_set=delivery.token_set,
            oauth_set=delivery.oauth_set,
            identity_set=delivery.identity_set,
            header_names=list(names.values_list("name", flat=True)),
        )

    def get_urls(self) -> list[URLPattern]:
        verbs = [
            self.post_view(verb, verb, self.operate, verb=verb) for verb in ("retry", "cancel")
        ]
        return [*verbs, *self.record_urls(), *super().get_urls()]

    def operate(self, request: HttpRequest, delivery: Delivery, verb: str) -> HttpResponse:
        if not may(request.user, verb):
            raise PermissionDenied
        skips = verb == "cancel" and delivery.state == Delivery.State.FAILED
        try:
            self.do(request, delivery, verb)
        except actions.ActionError as error:
            self.message_user(request, error.message, messages.ERROR)
        else:
            why = kept_back(request, [delivery.webhook_id])
            words = "is due now; the attempt shows below as soon as it was made."
            if skips:
                words = "is skipped: those behind it wait for it no longer."
            elif verb == "cancel":
                words = "is cancelled and will not be sent."
            elif why:
                words = f"is due now, and waits. {why}"
            page = reverse("admin:webhooks_app_webhook_change", args=[delivery.webhook_id])
            text = 'Delivery {} to <a href="{}"><bdi>{}</bdi></a> {}'
            said = format_html(text, delivery.type or delivery.pk, page, delivery.webhook, words)
            self.message_user(request, said, messages.SUCCESS)
        return self.to_page(delivery)


def _chosen(attempts: list[Attempt], wanted: str) -> Attempt | None:
    """The attempt that was asked for, else the newest."""
    for attempt in attempts:
        if str(attempt.pk) == wanted:
            return attempt
    return attempts[0] if attempts else None


def tries_of(attempts: list[Attempt], chosen: Attempt | None) -> list[Try]:
    """Newest first, as they come."""
    return [
        Try(
            attempt,
            trigger(attempt, earlier),
            attempt is chosen,
            earlier is not None and earlier.number >= attempt.number,
        )
        for attempt, earlier in zip_longest(attempts, attempts[1:])
    ]


def trigger(attempt: Attempt, earlier: Attempt | None) -> SafeString | str:
    """Why an attempt was made: the first, a retry by the schedule, or somebody's wish."""
    by, of_job, job = attempt.requested_by.rpartition(", job ")
    if of_job and is_id(job):
        page = reverse("admin:webhooks_app_job_change", args=[job])
        text = 'replayed by <bdi>{}</bdi> in a <a href="{}">job</a>'
        return format_html(text, by or "somebody", page)
    if attempt.requested_by:
        return format_html("retried by <bdi>{}</bdi>", attempt.requested_by)
    if attempt.number == 1:
        return "first try"
    if earlier is None:
        return "retry"
    return f"retry after {duration(attempt.started_at - earlier.ended_at)}"


def failures_beside(delivery: Delivery) -> tuple[str, str]:
    """The ids of the last delivery before and the first after it of the webhook whose last
    attempt failed, `""` for none."""
    failed = Delivery.objects.filter(webhook=delivery.webhook_id, last_error__gt="")
    ids = failed.values_list("pk", flat=True)
    older = ids.filter(pk__lt=delivery.pk).order_by("-pk").first()
    newer = ids.filter(pk__gt=delivery.pk).order_by("pk").first()
    return older or "", newer or ""


def body_text(payload: bytes, *, raw: bool = False) -> tuple[str, int]:
    """The payload for reading, and how many of its bytes that shows."""
    shown = payload[:BODY_SHOWN]
    if len(shown) == len(payload) and not raw:
        try:
            pretty = json.dumps(json.loads(payload), indent=2, ensure_ascii=False)
        except (ValueError, RecursionError):
            pretty = ""
        if pretty and len(pretty) <= PRETTY:  # deep in brackets a line is mostly spaces
            return pretty, len(payload)
    return shown.decode("utf-8", "replace"), len(shown)
