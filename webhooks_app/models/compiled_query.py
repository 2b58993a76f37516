"""Prepared: a look-up that is put together once. Found: whether there is anything."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from django.db import connections, models, router

M = TypeVar("M", bound=models.Model)
# What a field and the database make of a value: place in the row, function, column.
Converter = tuple[int, Callable[..., Any], Any]


@dataclass(frozen=True, slots=True)
class _Plan:
    alias: str
    sql: str
    names: Collection[str]  # in which Django looks for each field there is
    related: tuple[type[models.Model], list[str]] | None  # what is read beside, and its columns
    converters: list[Converter]


class Prepared(Generic[M]):
    """One row of a model, found by a few values; for what every request asks.

    Django spends several times as long on the SQL of such a query, and on finding out how its
    answer is read, as the database on the answer. `rows` makes the queryset from the values; they
    must be all that its SQL takes, in this order and in the form that the columns have. `without`
    names columns that stay in the database, `beside` a relation to one row that is read along,
    `lists` how many lists `PreparedMany` takes.
    """

    def __init__(
        self,
        model: type[M],
        rows: Callable[..., "models.QuerySet[M]"],
        *,
        without: Collection[str] = (),
        beside: str = "",
        lists: int = 1,
    ) -> None:
        self._model = model
        self._rows = rows
        self._without = without
        self._beside = beside
        self._lists = lists
        self._plans: dict[tuple[str, int], _Plan] = {}

    def first(self, *values: Any) -> M | None:
        found = self._read(self._plan(values, values), values)
        return found[0] if found else None

    def _plan(self, values: tuple[Any, ...], examples: tuple[Any, ...]) -> _Plan:
        """The SQL for so many values; `examples` are some that differ from each other."""
        key = router.db_for_write(self._model), len(values)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = self._compile(key[0], examples)
        return plan

    def _read(self, plan: _Plan, values: tuple[Any, ...]) -> list[M]:
        connection = connections[plan.alias]
        with connection.cursor() as cursor:
            cursor.execute(plan.sql, values)
            return [self._instance(plan, connection, row) for row in cursor.fetchall()]

    def _instance(self, plan: _Plan, connection: Any, found: Sequence[Any]) -> M:
        row = converted(found, plan.converters, connection)
        own = len(plan.names)
        instance = self._model.from_db(plan.alias, plan.names, row[:own])
        if plan.related is not None:
            model, names = plan.related
            related = model.from_db(plan.alias, names, row[own:])
            # None: there is none, and nobody need ask again.
            relation: Any = self._model._meta.get_field(self._beside)
            relation.set_cached_value(instance, None if related.pk is None else related)
        return instance

    def _queryset(self, values: tuple[Any, ...]) -> "models.QuerySet[M]":
        return self._rows(*values)

    def _compile(self, alias: str, values: tuple[Any, ...]) -> _Plan:
        names = [name for name in _columns(self._model) if name not in self._without]
        wanted, related = names, None
        if self._beside:
            model: Any = self._model._meta.get_field(self._beside).related_model
            related = model, _columns(model)
            wanted = names + [f"{self._beside}__{name}" for name in related[1]]
        query = self._queryset(values).order_by().values_list(*wanted).query
        compiler = query.get_compiler(connection=connections[alias])
        sql, taken = compiler.as_sql()
        if tuple(taken) != values:
            raise ValueError(f"the SQL takes {len(taken)} values, in another order or form")
        return _Plan(alias, sql, frozenset(names), related, converters_of(compiler))


class PreparedMany(Prepared[M]):
    """All rows that are found by lists of values, one or several of the same length.

    The lists are filled up with their last value to one of LENGTHS, so that few queries are put
    together; `rows` makes the queryset from lists of that length.
    """

    def all(self, *lists: Sequence[Any]) -> list[M]:
        if not lists[0]:
            return []
        most = LENGTHS[-1]
        if len(lists[0]) > most:
            rest = self.all(*[values[most:] for values in lists])
            return self.all(*[values[:most] for values in lists]) + rest
        length = next(each for each in LENGTHS if each >= len(lists[0]))
        values: list[Any] = []
        examples: list[Any] = []
        for each in lists:
            values += [*each, *[each[-1]] * (length - len(each))]
            examples += [type(each[0])(number) for number in range(length)]
        plan = self._plan(tuple(values), tuple(examples))
        return self._read(plan, tuple(values))

    def _queryset(self, values: tuple[Any, ...]) -> "models.QuerySet[M]":
        length = len(values) // self._lists
        return self._rows(*[values[at : at + length] for at in range(0, len(values), length)])


LENGTHS = (1, 4, 16, 64, 256)


class Found:
    """Of which querysets there is a row, in one question: for what is asked again and again and is
    seldom so. Put together by Django each time, it would take ten times as long as its answer.

    `rows` makes the querysets from some moments, which differ from each other.
    """

    def __init__(self, rows: Callable[..., "Sequence[models.QuerySet[Any]]"]) -> None:
        self._rows = rows
        self._plans: dict[str, tuple[str, list[Any], list[int]]] = {}

    def __call__(self, alias: str, *moments: datetime) -> list[bool]:
        """For each of the querysets whether there is one. Raises DatabaseError."""
        connection = connections[alias]
        values = [connection.ops.adapt_datetimefield_value(moment) for moment in moments]
        if alias not in self._plans:
            self._plans[alias] = self._compile(connection, moments, values)
        sql, constants, places = self._plans[alias]
        taken = [values[place] if place >= 0 else constants[at] for at, place in enumerate(places)]
        with connection.cursor() as cursor:
            cursor.execute(sql, taken)
            return list(map(bool, cursor.fetchone()))

    def _compile(
        self, connection: Any, moments: Sequence[datetime], values: list[Any]
    ) -> tuple[str, list[Any], list[int]]:
        """The SQL, what it takes, and which of the values stands where in that, -1 for none."""
        queries = [rows.query.exists() for rows in self._rows(*moments)]
        compiled = [query.get_compiler(connection=connection).as_sql() for query in queries]
        sql = ", ".join(f"EXISTS ({sql})" for sql, _ in compiled)
        taken = [value for _, some in compiled for value in some]
        places = [values.index(value) if value in values else -1 for value in taken]
        return f"SELECT {sql}", taken, places


def converters_of(compiler: Any) -> list[Converter]:
    """Of the columns that a compiler has put together, in its order."""
    found = compiler.get_converters([column for column, _, _ in compiler.select])
    return [
        (place, convert, column)
        for place, (functions, column) in found.items()
        for convert in functions
    ]


def converted(found: Sequence[Any], converters: Sequence[Converter], connection: Any) -> list[Any]:
    """A row as the database gave it, as Django would give it."""
    row = list(found)
    for place, convert, column in converters:
        row[place] = convert(row[place], column, connection)
    return row


def _columns(model: type[models.Model]) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]
