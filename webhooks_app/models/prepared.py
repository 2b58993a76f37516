"""Prepared: a look-up that is put together once."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db import connections, models, router

M = TypeVar("M", bound=models.Model)


@dataclass(frozen=True, slots=True)
class _Plan:
    sql: str
    names: list[str]
    related: tuple[type[models.Model], list[str]] | None  # what is read beside, and its columns
    # What the fields and the database make of values: place in the row, function, column.
    converters: list[tuple[int, Callable[..., Any], Any]]


class Prepared(Generic[M]):
    """One row of a model, found by a few values; for what every request asks.

    Django spends several times as long on the SQL of such a query, and on finding out how its
    answer is read, as the database on the answer. `rows` makes the queryset from the values; they
    must be all that its SQL takes, in this order and in the form that the columns have. `without`
    names columns that stay in the database, `beside` a one-to-one relation that is read along.
    """

    def __init__(
        self,
        model: type[M],
        rows: Callable[..., "models.QuerySet[M]"],
        *,
        without: Collection[str] = (),
        beside: str = "",
    ) -> None:
        self._model = model
        self._rows = rows
        self._without = without
        self._beside = beside
        self._plans: dict[str, _Plan] = {}

    def first(self, *values: Any) -> M | None:
        alias = router.db_for_write(self._model)
        plan = self._plans.get(alias)
        if plan is None:
            plan = self._plans[alias] = self._compile(alias, values)
        connection = connections[alias]
        with connection.cursor() as cursor:
            cursor.execute(plan.sql, values)
            found = cursor.fetchone()
        if found is None:
            return None
        row = list(found)
        for place, convert, column in plan.converters:
            row[place] = convert(row[place], column, connection)
        own = len(plan.names)
        instance = self._model.from_db(alias, plan.names, row[:own])
        if plan.related is not None:
            model, names = plan.related
            related = model.from_db(alias, names, row[own:])
            # None: there is none, and nobody need ask again.
            relation: Any = self._model._meta.get_field(self._beside)
            relation.set_cached_value(instance, None if related.pk is None else related)
        return instance

    def _compile(self, alias: str, values: tuple[Any, ...]) -> _Plan:
        names = [name for name in _columns(self._model) if name not in self._without]
        wanted, related = names, None
        if self._beside:
            model: Any = self._model._meta.get_field(self._beside).related_model
            related = model, _columns(model)
            wanted = names + [f"{self._beside}__{name}" for name in related[1]]
        query = self._rows(*values).order_by().values_list(*wanted).query
        compiler = query.get_compiler(connection=connections[alias])
        sql, taken = compiler.as_sql()
        if tuple(taken) != values:
            raise ValueError(f"the SQL takes {len(taken)} values, in another order or form")
        converters = compiler.get_converters([column for column, _, _ in compiler.select])
        return _Plan(
            sql,
            names,
            related,
            [
                (place, convert, column)
                for place, (functions, column) in converters.items()
                for convert in functions
            ],
        )


def _columns(model: type[models.Model]) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]
