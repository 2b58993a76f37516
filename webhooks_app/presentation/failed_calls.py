"""Why calls failed: of the newest failures, so many and no more, by their kind."""

from datetime import datetime
from typing import Any, Self

from django.db.models import BooleanField, ExpressionWrapper, F, IntegerField, Q, Subquery
from django.db.models.lookups import In

from ..models import Webhook, WebhookError
from .collected import Collected
from .counts import bounded_counts
from .latency import CALLS

READ = 5_000  # failures


def newest_failures(since: datetime) -> Any:
    """The newest calls that failed since a moment."""
    failed = WebhookError.objects.ended(since).filter(exchange__in=CALLS)
    return failed.order_by("-pk")[:READ]


class _ByKind(Collected):
    """Kind, calls, and how many live webhooks met it. By indexes alone: failures lie far apart
    among millions of rows, their webhooks as well."""

    template = (
        '(SELECT json_group_array(json_array("kind", "calls", "webhooks")) FROM (SELECT "kind", '
        'SUM("many") AS "calls", COUNT("live") AS "webhooks" FROM (SELECT "kind", CASE WHEN '
        '"gone" THEN NULL ELSE "who" END AS "live", COUNT(*) AS "many" FROM (%(subquery)s) AS '
        '"newest" GROUP BY "kind", "live") AS "each" GROUP BY "kind") AS "counted")'
    )

    @classmethod
    def since(cls, since: datetime) -> Self:
        deleted = Webhook.objects.filter(deleted_at__isnull=False).values("pk")
        gone = ExpressionWrapper(Q(webhook__in=deleted), output_field=IntegerField())
        newest = newest_failures(since)
        return cls(newest.values("kind", who=F("webhook"), gone=gone))


class _Who(Subquery):
    template = '(SELECT "who" FROM (%(subquery)s) AS "newest" WHERE "met")'


def met(kind: str, since: datetime) -> Q:
    """The webhooks of which one of the newest calls that failed since a moment failed so: those
    that `failed_calls` counts."""
    so = ExpressionWrapper(Q(kind=kind), output_field=BooleanField())
    return Q(In(F("pk"), _Who(newest_failures(since).values(who=F("webhook"), met=so))))


def failed_calls(since: datetime) -> list[tuple[str, int, int]]:
    """Kind, calls and live webhooks of the newest failures since a moment, the most calls first."""
    found = bounded_counts(kinds=_ByKind.since(since))["kinds"] or ()
    return sorted(
        ((kind, calls, many) for kind, calls, many in found), key=lambda one: (-one[1], one[0])
    )
