"""Prepared: a look-up whose SQL is put together once."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from django.db import connections, models, router

M = TypeVar("M", bound=models.Model)


class Prepared(Generic[M]):
    """One row of a model, found by a few values; for what every request asks.

    Django spends several times as long on the SQL of such a query as the database on its answer.
    `rows` makes the queryset from the values; they must be all that its SQL takes, in this order
    and in the form that the columns have. It may defer columns; it cannot select related rows.
    """

    def __init__(self, model: type[M], rows: Callable[..., "models.QuerySet[M]"]) -> None:
        self._model = model
        self._rows = rows
        self._sql: dict[str, str] = {}

    def first(self, *values: Any) -> M | None:
        alias = router.db_for_read(self._model)
        sql = self._sql.get(alias)
        if sql is None:
            sql = self._sql[alias] = self._compile(alias, values)
        return next(iter(self._model._default_manager.using(alias).raw(sql, values)), None)

    def _compile(self, alias: str, values: tuple[Any, ...]) -> str:
        query = self._rows(*values).order_by().query
        sql, taken = query.get_compiler(connection=connections[alias]).as_sql()
        if tuple(taken) != values:
            raise ValueError(f"the SQL takes {len(taken)} values, in another order or form")
        return sql
