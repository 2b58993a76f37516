"""How many there are, and never more index rows read than a limit: "1,000+" past it."""

from typing import Any

from django.db import models

from ..models import Delivery, Webhook

COUNT_LIMIT = 1000  # nothing is counted further


def bounded(count: int) -> str:
    """A count that went no further than the limit, in words: "1,000+" past it."""
    return f"{COUNT_LIMIT:,}+" if count > COUNT_LIMIT else f"{count:,}"


class BoundedCount(models.Subquery):
    """How many rows a subquery has that ends at a limit: reads that many index rows at most."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) AS counted)"
    output_field = models.IntegerField()

    @classmethod
    def of(cls, rows: models.QuerySet[Any]) -> "BoundedCount":
        if not rows.query.combinator:  # a union has its column
            rows = rows.order_by().values(_indexed(rows.model))
        return cls(rows[: COUNT_LIMIT + 1])


def _indexed(model: Any) -> str:
    """A column that the indexes of a model hold, so that its rows need not be read."""
    return "webhook_id" if model is Delivery else "pk"


def bounded_counts(**sets: models.QuerySet[Any] | models.Subquery) -> dict[str, Any]:
    """How many rows each has, at most 1,001 ("more than 1,000"), in one statement; a subquery is
    answered in it too.

    All rows of ours hang on a webhook: where there is none, all counts are 0.
    """
    parts = {
        f"found_{name}": part if isinstance(part, models.Subquery) else BoundedCount.of(part)
        for name, part in sets.items()
    }
    row = Webhook.objects.order_by("pk").annotate(**parts).values(*parts).first() or {}
    return {name: row.get(f"found_{name}") or 0 for name in sets}
