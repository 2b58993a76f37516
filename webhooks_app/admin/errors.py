"""The errors of a webhook, grouped: four lines say what a hundred rows repeat."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Max, Min
from django.urls import reverse

from ..models import Webhook, WebhookError
from ..rules import failures
from . import links
from .states import health_of

LOOKED_BACK = timedelta(days=30)
READ_AT_MOST = 5_000
SHOWN = 10


@dataclass(frozen=True, slots=True)
class Group:
    """Failures of one kind and status."""

    title: str
    message: str
    count: int
    first: datetime
    last: datetime
    goes_on: bool  # the last call failed this way
    link: str
    page: str  # of the last one


def errors_of(webhook: Webhook, now: datetime) -> dict[str, Any]:
    """What failed in the last 30 days; of very many the newest READ_AT_MOST are counted."""
    since, health = now - LOOKED_BACK, health_of(webhook)
    failed = WebhookError.objects.filter(webhook=webhook, started_at__gte=since)
    newest = failed.order_by("-pk").values("pk")[:READ_AT_MOST]
    rows = (
        WebhookError.objects.filter(pk__in=newest)
        .order_by()
        .values("kind", "status")
        .annotate(
            count=Count("pk"),
            first=Min("started_at"),
            last=Max("started_at"),
            last_id=Max("pk"),
            message=Max("message"),
        )
        .order_by("-last")
    )
    groups = [
        Group(
            failures.title(row["kind"]) or row["kind"],
            row["message"],
            row["count"],
            row["first"],
            row["last"],
            bool(health.failures_in_row) and place == 0 and row["kind"] == health.last_error_kind,
            links.listing(
                "webhookerror",
                webhook=webhook.pk,
                kind=row["kind"],
                status="none" if row["status"] is None else row["status"],
                since=since,
            ),
            reverse("admin:webhooks_app_webhookerror_change", args=[row["last_id"]]),
        )
        for place, row in enumerate(rows)
    ]
    total = sum(group.count for group in groups)
    return {
        "error_groups": groups[:SHOWN],
        "errors_cut": total >= READ_AT_MOST,
        "errors_more": len(groups) > SHOWN,
    }
