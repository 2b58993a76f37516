"""The errors of a webhook, grouped: four lines say what a hundred rows repeat."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Max, Min
from django.urls import reverse

from ..models import Webhook, WebhookError
from ..rules import failures
from ..rules.fingerprint import blanked
from . import links

LOOKED_BACK = timedelta(days=30)
READ_AT_MOST = 300  # of one webhook: they lie far apart
SHOWN = 10


@dataclass(slots=True)
class Group:
    """Failures of one kind and status whose messages differ in numbers and addresses at most."""

    kind: str
    status: int | None
    message: str  # with blanks where they differ
    count: int
    first: datetime
    last: datetime
    last_id: int
    goes_on: bool = False  # the last call failed this way
    link: str = ""

    @property
    def title(self) -> str:
        return failures.title(self.kind) or self.kind

    @property
    def page(self) -> str:
        """Of the last one."""
        return reverse("admin:webhooks_app_webhookerror_change", args=[self.last_id])

    def add(self, other: "Group") -> None:
        self.message = self.message if self.message == other.message else blanked(self.message)
        self.count += other.count
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.last_id = max(self.last_id, other.last_id)


def errors_of(webhook: Webhook, now: datetime) -> dict[str, Any]:
    """What failed in the last 30 days; of very many the newest READ_AT_MOST are counted."""
    since, health = now - LOOKED_BACK, webhook.health
    failed = WebhookError.objects.ended(since).filter(webhook=webhook)
    groups = _grouped(failed.order_by("-pk").values("pk")[:READ_AT_MOST])
    sorts = Counter((group.kind, group.status) for group in groups)
    for place, group in enumerate(groups):
        failing = bool(health.failures_in_row) and place == 0
        group.goes_on = failing and group.kind == health.last_error_kind
        group.link = links.listing(
            "webhookerror",
            webhook=webhook.pk,
            kind=group.kind,
            status="none" if group.status is None else group.status,
            message=blanked(group.message) if sorts[group.kind, group.status] > 1 else "",
            since=since,
        )
    return {
        "error_groups": groups[:SHOWN],
        "errors_cut": sum(group.count for group in groups) >= READ_AT_MOST,
        "errors_read": READ_AT_MOST,
        "errors_more": len(groups) > SHOWN,
    }


def _grouped(ids: Any) -> list[Group]:
    """The last that happened first."""
    rows = (
        WebhookError.objects.filter(pk__in=ids)
        .order_by()
        .values_list("kind", "status", "message")
        .annotate(Count("pk"), Min("ended_at"), Max("ended_at"), Max("pk"))
    )
    groups: dict[Any, Group] = {}
    for row in rows:
        group = Group(*row)
        key = (group.kind, group.status, blanked(group.message))
        if key in groups:
            groups[key].add(group)
        else:
            groups[key] = group
    return sorted(groups.values(), key=lambda group: group.last, reverse=True)
