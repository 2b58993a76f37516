"""How many there are, and never more index rows read than a limit: "1,000+" past it."""

from collections.abc import Callable, Mapping
from typing import Any, Self

from django.db import models
from django.db.models.expressions import BaseExpression

from ..models import Webhook, states
from ..models.counted import Counted
from ..models.prepared_at import PreparedAt
from ..models.tally import Tally

COUNT_LIMIT = 1000  # nothing is counted further
FOUND = "found_"  # before the names, which may be those of columns


def bounded(count: int) -> str:
    """A count that went no further than the limit, in words: "1,000+" past it."""
    return f"{COUNT_LIMIT:,}+" if count > COUNT_LIMIT else f"{count:,}"


class BoundedCount(Counted):
    """How many rows a subquery has, at most 1,001."""

    @classmethod
    def of(cls, rows: models.QuerySet[Any], most: int = COUNT_LIMIT + 1) -> Self:
        return super().of(rows, most)


Sets = Mapping[str, models.QuerySet[Any] | BaseExpression]


def bounded_counts(**sets: models.QuerySet[Any] | BaseExpression) -> dict[str, Any]:
    """How many rows each has, at most 1,001 ("more than 1,000"), in one statement; an expression
    is answered in it too.

    All rows of ours hang on a webhook: where there is none, all counts are 0.
    """
    return _told(_row(sets).first() or dict.fromkeys(sets))


class CountsAt:
    """`bounded_counts` of sets that depend on nothing but the moment and how the site is: put
    together once, since that takes longer than the answer."""

    def __init__(self, sets: Callable[[Any], Sets]) -> None:
        self._counts = PreparedAt(Webhook, lambda now: _row(sets(now)), states.asked_about)

    def __call__(self, now: Any) -> dict[str, Any]:
        return _told(self._counts.first(now))


def _row(sets: Sets) -> models.QuerySet[Any]:
    parts = {
        f"{FOUND}{name}": BoundedCount.of(part) if isinstance(part, models.QuerySet) else part
        for name, part in sets.items()
    }
    return Webhook.objects.order_by("pk").annotate(**parts).values(*parts)


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(FOUND): found or 0 for name, found in row.items()}


def in_states(tally: Any) -> dict[str, int]:
    """What `bounded_counts` has for a Tally, by the keys of the states, at most 1,001 each."""
    return {key: min(many, COUNT_LIMIT + 1) for key, many in Tally.read(tally or None).items()}
