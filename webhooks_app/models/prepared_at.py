"""PreparedAt: a row that depends on the moment it is asked for, put together once."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connections, models, router

from .compiled_query import Converter, converted, converters_of

_ONE = datetime(2001, 2, 3, 4, 5, 6, 789012, tzinfo=UTC)
_OTHER = _ONE + timedelta(days=1234, seconds=5)


@dataclass(frozen=True, slots=True)
class _Plan:
    sql: str
    values: tuple[Any, ...]
    after: dict[int, timedelta]  # place in `values`: how long after the moment
    names: list[str]
    converters: list[Converter]


class PreparedAt:
    """The first row of a queryset of dicts, as a dict; each value None where there is no row.

    Django spends longer on the SQL of a statement of twenty parts than the database on its answer.
    `rows` makes the queryset from a moment; nothing but moments in its SQL may depend on it, and
    these lie as long before or after it always. `way` tells apart in which ways it may be worded.
    """

    def __init__(
        self,
        model: type[models.Model],
        rows: "Callable[[datetime], models.QuerySet[Any, Any]]",
        way: Callable[[], Hashable],
    ) -> None:
        self._model = model
        self._rows = rows
        self._way = way
        self._plans: dict[tuple[str, Hashable], _Plan] = {}

    def first(self, now: datetime) -> dict[str, Any]:
        alias, way = router.db_for_write(self._model), self._way()
        plan = self._plans.get((alias, way))
        if plan is None:
            plan = self._compile(alias)
            if way == self._way():  # it was so all the while
                self._plans[alias, way] = plan
        connection = connections[alias]
        values = list(plan.values)
        for place, after in plan.after.items():
            values[place] = connection.ops.adapt_datetimefield_value(now + after)
        with connection.cursor() as cursor:
            cursor.execute(plan.sql, values)
            found = cursor.fetchone() or [None] * len(plan.names)
        row = converted(found, plan.converters, connection)
        return dict(zip(plan.names, row, strict=True))

    def _compile(self, alias: str) -> _Plan:
        sql, values, names, converters = self._worded(alias, _ONE)
        others = self._worded(alias, _OTHER)[:2]
        if others[0] != sql or len(others[1]) != len(values):
            raise ValueError("the SQL is worded in another way at another moment")
        after = {}
        for place, (one, other) in enumerate(zip(values, others[1], strict=True)):
            if one != other:
                after[place] = _moment(one) - _ONE
                if _moment(other) - _OTHER != after[place]:
                    raise ValueError("a moment in the SQL lies apart from its own by no fixed time")
        return _Plan(sql, values, after, names, converters)

    def _worded(
        self, alias: str, now: datetime
    ) -> tuple[str, tuple[Any, ...], list[str], list[Converter]]:
        query = self._rows(now).using(alias)[:1].query
        compiler = query.get_compiler(connection=connections[alias])
        sql, values = compiler.as_sql()
        names = [*query.values_select, *query.annotation_select]
        return sql, tuple(values), names, converters_of(compiler)


def _moment(value: Any) -> datetime:
    """A moment as a database takes it."""
    found = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
