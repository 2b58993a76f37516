"""Whether a trouble is new, or one that was over and came back: from what was stored, never from
what a page has seen.

A run of failures begins after a success (or with what somebody cleared), so a call that failed in
the same way before the run means that the same was there already and went away.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import BigIntegerField, Case, OuterRef, QuerySet, Subquery, Value, When
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ..models import Attempt, Webhook, WebhookHealth
from ..models.webhook import FAILING_AFTER
from ..rules.ids import first_key
from .formatting import moment
from .latency import CALLS

NEW_WITHIN = timedelta(hours=1)
BACK_WITHIN = timedelta(days=30)


def newly_failing(now: datetime) -> "QuerySet[WebhookHealth]":
    """The health of the webhooks that are failing, and did not an hour ago."""
    failing = WebhookHealth.objects.filter(failures_in_row__gte=FAILING_AFTER)
    return failing.filter(failing_since__gte=now - NEW_WITHIN)


def note_recurrences(webhooks: Sequence[Any]) -> None:
    """Gives each `failed_before`: when a call of it failed in the same way before its present run
    of failures, within 30 days; None where none did, or where it does not fail. One statement for
    all of them, a step in the index for each."""
    failing = [row for row in webhooks if row.health.failing and row.health.failing_since]
    found = _before(failing) if failing else {}
    for row in webhooks:
        row.failed_before = found.get(row.pk)


def _before(failing: Sequence[Any]) -> dict[str, datetime | None]:
    runs = [
        When(pk=row.pk, then=Value(first_key(row.health.failing_since))) for row in failing
    ]  # the keys at which the runs begin
    same = Attempt.objects.failed().filter(
        webhook=OuterRef("pk"),
        kind=OuterRef("health__last_error_kind"),
        exchange__in=CALLS,
        pk__lt=OuterRef("run"),
        pk__gte=first_key(timezone.now() - BACK_WITHIN),
    )
    rows = Webhook.objects.filter(pk__in=[row.pk for row in failing]).annotate(
        run=Case(*runs, output_field=BigIntegerField()),
        before=Subquery(same.order_by("-pk").values("ended_at")[:1]),
    )
    return dict(rows.values_list("pk", "before"))


def mark(webhook: Any) -> SafeString | str:
    """Beside the state of one that fails: that it is new, or back again and from when."""
    since = webhook.health.failing_since
    if not webhook.health.failing or since is None:
        return ""
    if before := webhook.failed_before:
        text = (
            '<span class="wh-tag wh-warn">back again</span> '
            '<span class="wh-sub">was there {}</span>'
        )
        return format_html(text, moment(before))
    new = timezone.now() - since <= NEW_WITHIN
    return format_html('<span class="wh-tag wh-badtext">{}</span>', "new") if new else ""
