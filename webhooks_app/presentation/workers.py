"""The workers as screens speak of them: how many live, what is under way."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.http import HttpRequest

from ..models import Worker
from ..models.health import WORKER_SILENT_AFTER
from ..models.primary import clock


@dataclass(frozen=True, slots=True)
class Workers:
    alive: int
    last_sign: datetime | None
    in_flight: int
    in_flight_of: Mapping[str, int]  # by webhook, as the workers said it last


def workers(request: HttpRequest) -> Workers:
    """Who sends. Asked once a request: the alarm on every page needs it too."""
    seen: Workers | None = getattr(request, "_webhooks_workers", None)
    if seen is None:
        rows = Worker.objects.order_by("-seen_at")[:200]
        since = clock(rows.db) - WORKER_SILENT_AFTER
        alive = [worker for worker in rows if worker.seen_at > since]
        by_webhook: Counter[str] = Counter()
        for worker in alive:
            by_webhook.update(worker.in_flight_of)
        seen = Workers(
            len(alive),
            rows[0].seen_at if rows else None,
            sum(worker.in_flight for worker in alive),
            by_webhook,
        )
        request._webhooks_workers = seen  # type: ignore[attr-defined]
    return seen
