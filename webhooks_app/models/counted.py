"""Counting that ends: as many rows as are told, and never more index rows read than that."""

from typing import Any, Self

from django.db import models


class Counted(models.Subquery):
    """How many rows a subquery has that ends at a limit: reads that many index rows at most."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) AS counted)"
    output_field = models.IntegerField()

    @classmethod
    def of(cls, rows: models.QuerySet[Any], most: int) -> Self:
        if not rows.query.combinator:  # a union has its column
            rows = rows.order_by().values(_indexed(rows.model))
        return cls(rows[:most])


def _indexed(model: Any) -> str:
    """A column that the indexes of a model hold, so that its rows need not be read."""
    return "webhook_id" if model._meta.model_name == "delivery" else "pk"
