"""Many rows in one statement: `unnest` on PostgreSQL, `VALUES` on SQLite, the same SQL around.

One statement also means one hand-over of the interpreter lock, which keeps the event loop going
while the database works.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import chain
from typing import Any

from django.db import InterfaceError, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

from . import moments

# Name and PostgreSQL type, as pg_type calls it; or `moment`, whose values are as in `moments`.
Column = tuple[str, str]

_MILLENNIUM = 946_684_800 * moments.SECOND  # PostgreSQL counts moments from 2000 on

_COPIED_FROM = 10  # rows; fewer are not worth the round trips of a COPY
# SQLite: few sizes of statements, so that each is prepared once and found again.
_SIZES = (500, 100, 25, 5, 1)


def execute(
    connection: BaseDatabaseWrapper,
    sql: str,
    columns: tuple[Column, ...],
    rows: Sequence[Sequence[Any]],
) -> int:
    """Run `sql` for some rows; `{rows}` in it stands for the FROM item, called `r`. Returns how
    many rows it changed."""
    if connection.vendor == "postgresql":
        values = [
            _array(kind, column)
            for (_, kind), column in zip(columns, zip(*rows, strict=True), strict=True)
        ]
        with connection.cursor() as cursor:
            cursor.execute(_for_postgresql(sql, columns), values)
            return cursor.rowcount
    start = changed = 0
    with sqlite_execute(connection) as run:
        for size in _SIZES:
            while len(rows) - start >= size:
                values = _flat(columns, rows[start : start + size])
                changed += run(_for_sqlite(sql, columns, size), values).rowcount
                start += size
    return changed


@contextmanager
def sqlite_execute(connection: BaseDatabaseWrapper) -> Iterator[Callable[..., Any]]:
    """SQLite's own `execute`, with `?` for parameters. Django's cursor looks for every `%s`, in a
    statement of 2,000 of them and anew in each of a hundred small ones. Raises Django's errors."""
    connection.ensure_connection()
    with connection.wrap_database_errors:
        yield connection.connection.execute


def insert(
    connection: BaseDatabaseWrapper,
    table: str,
    columns: tuple[Column, ...],
    rows: Sequence[Sequence[Any]],
) -> None:
    """New rows of a table. COPY on PostgreSQL: half the work of an INSERT, on both sides; no moment
    may be None there, and a number too large for its column is cut off instead of refused."""
    names = ", ".join(name for name, _ in columns)
    if connection.vendor == "postgresql" and len(rows) >= _COPIED_FROM:
        kinds = ["int8" if kind == "moment" else kind for _, kind in columns]
        places = [place for place, (_, kind) in enumerate(columns) if kind == "moment"]
        with (
            connection.cursor() as cursor,
            connection.wrap_database_errors,
            cursor.copy(f"COPY {table} ({names}) FROM STDIN (FORMAT BINARY)") as copy,
        ):
            copy.set_types(kinds)
            for row in rows:
                values = list(row)
                for place in places:
                    values[place] -= _MILLENNIUM
                copy.write_row(values)
        return
    execute(
        connection, f"INSERT INTO {table} ({names}) SELECT {names} FROM {{rows}}", columns, rows
    )


def is_taken(error: Exception) -> bool:
    """Whether an IntegrityError says that a key, or what must be unique, is there already."""
    cause = error.__cause__
    if getattr(cause, "sqlstate", None) == "23505":
        return True
    return getattr(cause, "sqlite_errorname", "") in _TAKEN


_TAKEN = frozenset(f"SQLITE_CONSTRAINT_{what}" for what in ("PRIMARYKEY", "ROWID", "UNIQUE"))


def is_locked(error: Exception) -> bool:
    """Whether PostgreSQL's `lock_timeout` has passed: somebody else holds a row for long."""
    return getattr(error.__cause__, "sqlstate", None) == "55P03"


def is_away(error: Exception) -> bool:
    """Whether it is the database, or the way to it, and nothing about what was to be written: it is
    gone, or only reads, as after a failover until somebody promotes the standby."""
    if isinstance(error, OperationalError | InterfaceError):
        return not is_locked(error)
    return str(getattr(error.__cause__, "sqlstate", "")) == "25006"


def read(connection: BaseDatabaseWrapper, sql: str, parameters: Sequence[Any]) -> list[Any]:
    """What PostgreSQL answers, in its binary form: as text a payload is twice as long. Raises
    Django's errors."""
    import psycopg

    connection.ensure_connection()
    session: Any = psycopg.Cursor(connection.connection)
    session.format = psycopg.pq.Format.BINARY
    with connection.make_cursor(session) as cursor:
        cursor.execute(sql, parameters)
        found: list[Any] = cursor.fetchall()
        return found


def _array(kind: str, values: Sequence[Any]) -> Any:
    """An array as PostgreSQL spells it. psycopg looks at each value several times; that was 40 %
    of the time in which outcomes were written."""
    if kind == "bytea":
        return list(values)
    spelled = []
    for value in values:
        if value is None:
            spelled.append("NULL")
        elif kind == "moment":
            spelled.append(f'"{moments.text(value)}+00"')  # whatever the session's time zone
        elif kind == "text":
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            spelled.append(f'"{escaped}"')
        else:
            spelled.append(f'"{value}"')
    return f"{{{','.join(spelled)}}}"


@cache
def _for_postgresql(sql: str, columns: tuple[Column, ...]) -> str:
    types = ("timestamptz" if kind == "moment" else kind for _, kind in columns)
    arrays = ", ".join(f"%s::{kind}[]" for kind in types)
    names = ", ".join(name for name, _ in columns)
    return sql.replace("{rows}", f"unnest({arrays}) AS r({names})")


@cache
def _for_sqlite(sql: str, columns: tuple[Column, ...], size: int) -> str:
    names = ", ".join(f"column{place} AS {name}" for place, (name, _) in enumerate(columns, 1))
    row = f"({', '.join('?' * len(columns))})"
    return sql.replace("{rows}", f"(SELECT {names} FROM (VALUES {', '.join([row] * size)})) AS r")


def _flat(columns: tuple[Column, ...], rows: Sequence[Sequence[Any]]) -> list[Any]:
    values = list(chain.from_iterable(rows))
    for place, (_, kind) in enumerate(columns):
        if kind == "moment":
            every = slice(place, None, len(columns))
            values[every] = [None if at is None else moments.text(at) for at in values[every]]
    return values
