"""Whether a trouble is new, or one that was over and came back: from what was stored, never from
what a page has seen.

A run of failures begins after a success (or with what somebody cleared), so a call that failed in
the same way before the run means that the same was there already and went away.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import BigIntegerField, Func, OuterRef, QuerySet, Subquery
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ..models import Attempt, Webhook, WebhookHealth
from ..models.delivery import db_now
from ..models.webhook import FAILING_AFTER
from ..rules.ids import KEY_BITS, KEYS_BEGIN, first_key
from .formatting import moment
from .latency import CALLS

NEW_WITHIN = timedelta(hours=1)
BACK_WITHIN = timedelta(days=30)


def newly_failing(now: datetime) -> "QuerySet[WebhookHealth]":
    """The health of the webhooks that are failing, and did not an hour ago."""
    failing = WebhookHealth.objects.filter(failures_in_row__gte=FAILING_AFTER)
    return failing.filter(failing_since__gte=now - NEW_WITHIN)


class BeginOfKeys(Func):
    """`ids.first_key` of a column, of its whole second: what fails within the second in which a run
    began is of that run."""

    arity = 1
    output_field = BigIntegerField()
    _key = f"((%s - {KEYS_BEGIN // 1000}) * 1000 << {KEY_BITS})"

    def as_sqlite(self, compiler: Any, connection: Any, **more: Any) -> Any:
        seconds = "CAST(strftime('%%%%s', substr(%(expressions)s, 1, 19)) AS INTEGER)"
        return self.as_sql(compiler, connection, template=self._key % seconds, **more)

    def as_postgresql(self, compiler: Any, connection: Any, **more: Any) -> Any:
        seconds = "floor(extract(epoch FROM %(expressions)s))::bigint"
        return self.as_sql(compiler, connection, template=self._key % seconds, **more)


def failed_before() -> Subquery:
    """Of a webhook that fails: when a call of it failed in the same way before its present run of
    failures, within 30 days; null where none did. A step in the index for each."""
    same = Attempt.objects.failed().filter(
        webhook=OuterRef("pk"),
        kind=OuterRef("health__last_error_kind"),
        exchange__in=CALLS,
        pk__lt=BeginOfKeys(OuterRef("health__failing_since")),
        pk__gte=first_key(db_now() - BACK_WITHIN),
    )
    return Subquery(same.order_by("-pk").values("ended_at")[:1])


def note_recurrences(webhooks: Sequence[Any]) -> None:
    """Gives each its `failed_before`, None where it does not fail: one statement for all."""
    failing = [row.pk for row in webhooks if row.health.failing and row.health.failing_since]
    rows = Webhook.objects.filter(pk__in=failing).annotate(before=failed_before())
    found = dict(rows.values_list("pk", "before")) if failing else {}
    for row in webhooks:
        row.failed_before = found.get(row.pk)


def mark(webhook: Any) -> SafeString | str:
    """Beside the state of one that fails: that it is new, or back again and from when."""
    if not webhook.health.failing:
        return ""
    if before := webhook.failed_before:
        text = (
            '<span class="wh-tag wh-warn">back again</span> '
            '<span class="wh-sub">was there {}</span>'
        )
        return format_html(text, moment(before))
    new = is_new(webhook, db_now())
    return format_html('<span class="wh-tag wh-badtext">{}</span>', "new") if new else ""


def is_new(webhook: Any, now: datetime) -> bool:
    """Whether it began to fail within the last hour."""
    health = webhook.health
    began = health.failing_since if health.failing else None
    return began is not None and now - began <= NEW_WITHIN
