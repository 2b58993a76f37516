"""Which orders the lists have."""

from collections.abc import Callable
from typing import Any

from django.db.models import F, QuerySet, Sum
from django.db.models.functions import Lower

from ..models import HourlyCount
from ..models.delivery import db_now
from ..models.health import LATENCY_COLUMNS, percentile
from ..presentation.charts import DAY
from .sorting import Order, Sort, by

OLDEST = Sort("oldest", "oldest first", by("pk"))
BY_CALLS = 300  # webhooks that are sorted by their hours, a row each
LATENCY = [name for name, _ in LATENCY_COLUMNS]


def _first(name: str) -> Any:
    """The smallest first, those without a value last."""
    return F(name).asc(nulls_last=True)


def _last(name: str) -> Any:
    return F(name).desc(nulls_last=True)


def _by_calls(worth: Callable[[dict[str, int]], Any]) -> Order:
    """By what came of the calls of the last day, the smallest first; without calls at the end."""

    def order(rows: "QuerySet[Any]") -> list[Any]:
        keys = list(rows.order_by("-pk").values_list("pk", flat=True))
        hours = HourlyCount.objects.since(DAY.start(db_now())).filter(webhook__in=keys)
        names = ("delivered", "failed", *LATENCY)
        sums: Any = hours.order_by().values("webhook_id").annotate(**{n: Sum(n) for n in names})
        worths = {row["webhook_id"]: worth(row) for row in sums}
        known = [key for key in keys if worths.get(key) is not None]
        return [*sorted(known, key=worths.__getitem__), *(k for k in keys if worths.get(k) is None)]

    return order


def _share(row: dict[str, int]) -> float | None:
    calls = row["delivered"] + row["failed"]
    return row["delivered"] / calls if calls else None


def _slowness(row: dict[str, int]) -> int | None:
    histogram = [row[name] for name in LATENCY]
    if not sum(histogram):
        return None
    bound = percentile(histogram, 0.95)
    return -(bound if bound is not None else 1_000_000)


OF_WEBHOOKS = (
    OLDEST,
    Sort("name", "by name", by(Lower("name")), "webhook_"),
    Sort("account", "by account", by("account__name", Lower("name"))),
    Sort("failing", "failing longest first", by(_first("health__failing_since")), "health_"),
    Sort("success", "least success first", _by_calls(_share), "rate_", most=BY_CALLS),
    Sort("slowest", "slowest first", _by_calls(_slowness), "latency_", True, BY_CALLS),
    Sort("error", "last error first", by(_last("health__last_error_at")), "error_", down=True),
    Sort("waiting", "most waiting first", by("-waiting"), "queue_", down=True),
)
OF_DELIVERIES = (
    OLDEST,
    Sort("webhook", "by webhook", by(Lower("webhook__name")), "webhook_"),
    Sort("type", "by event type", by("type"), "event_"),
    Sort("tries", "most tries first", by("-tries"), "tries_", down=True),
    Sort("next", "next try first", by(F("finished_at").asc(nulls_first=True), "due_at"), "next_"),
)
OF_ATTEMPTS = (
    OLDEST,
    Sort("webhook", "by webhook", by(Lower("webhook__name")), "webhook_"),
    Sort("slowest", "slowest first", by("-duration_ms"), "answer_", down=True),
)
OF_ACCOUNTS = (OLDEST, Sort("name", "by name", by("name"), "name_"))
OF_TOKENS = (
    OLDEST,
    Sort("expires", "first to expire", by(_first("expires_at")), "expires_"),
    Sort("used", "longest unused first", by(F("last_used_at").asc(nulls_first=True)), "used_"),
)
