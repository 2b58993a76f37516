"""How many there are, and never more index rows read than a limit: "1,000+" past it."""

from typing import Any, Self

from django.db import models
from django.db.models.expressions import BaseExpression

from ..models import Webhook
from ..models.counted import Counted
from ..models.tally import Tally

COUNT_LIMIT = 1000  # nothing is counted further


def bounded(count: int) -> str:
    """A count that went no further than the limit, in words: "1,000+" past it."""
    return f"{COUNT_LIMIT:,}+" if count > COUNT_LIMIT else f"{count:,}"


class BoundedCount(Counted):
    """How many rows a subquery has, at most 1,001."""

    @classmethod
    def of(cls, rows: models.QuerySet[Any], most: int = COUNT_LIMIT + 1) -> Self:
        return super().of(rows, most)

    @classmethod
    def in_order(cls, rows: models.QuerySet[Any]) -> Self:
        """The same, read in the order of these rows: from where most of them lie."""
        return cls(rows.values("pk")[: COUNT_LIMIT + 1])


def bounded_counts(**sets: models.QuerySet[Any] | BaseExpression) -> dict[str, Any]:
    """How many rows each has, at most 1,001 ("more than 1,000"), in one statement; an expression
    is answered in it too.

    All rows of ours hang on a webhook: where there is none, all counts are 0.
    """
    parts = {
        f"found_{name}": BoundedCount.of(part) if isinstance(part, models.QuerySet) else part
        for name, part in sets.items()
    }
    row = Webhook.objects.order_by("pk").annotate(**parts).values(*parts).first() or {}
    return {name: row.get(f"found_{name}") or 0 for name in sets}


def in_states(tally: Any) -> dict[str, int]:
    """What `bounded_counts` has for a Tally, by the keys of the states, at most 1,001 each."""
    return {key: min(many, COUNT_LIMIT + 1) for key, many in Tally.read(tally or None).items()}
