"""Many rows in one statement, the same SQL around: `unnest` of arrays on PostgreSQL, `VALUES` on
SQLite. `{rows}` in the SQL stands for the FROM item, called `r`.

One statement also means one hand-over of the interpreter lock, which keeps the event loop going
while the database works.
"""

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import chain
from typing import Any

from . import microseconds
from .values import Column

Rows = Sequence[Sequence[Any]]


def unless_taken(table: str, columns: tuple[Column, ...], target: str = "") -> str:
    """Insert the rows whose keys are free: those of `target`, else any."""
    names = ", ".join(name for name, _ in columns)
    # SQLite takes ON CONFLICT behind a FROM for a part of the join, unless there is a WHERE.
    into = f"INSERT INTO {table} ({names}) SELECT {names} FROM {{rows}} WHERE true"
    return f"{into} ON CONFLICT {target} DO NOTHING"


# --- PostgreSQL -----------------------------------------------------------------------------------

_MILLENNIUM = 946_684_800 * microseconds.SECOND  # it counts moments from 2000 on


@cache
def from_arrays(sql: str, columns: tuple[Column, ...]) -> str:
    types = ("timestamptz" if kind == "moment" else kind for _, kind in columns)
    arrays = ", ".join(f"%s::{kind}[]" for kind in types)
    names = ", ".join(name for name, _ in columns)
    return sql.replace("{rows}", f"unnest({arrays}) AS r({names})")


def arrays(columns: tuple[Column, ...], rows: Rows) -> list[Any]:
    """The parameters of `from_arrays`: an array a column."""
    return [
        _array(kind, column)
        for (_, kind), column in zip(columns, zip(*rows, strict=True), strict=True)
    ]


def _array(kind: str, values: Sequence[Any]) -> Any:
    """An array as PostgreSQL spells it. psycopg looks at each value several times; that was 40 %
    of the time in which outcomes were written."""
    if kind == "text" and None not in values:
        joined = '","'.join(values)
        if "\\" not in joined and joined.count('"') == 2 * (len(values) - 1):
            return f'{{"{joined}"}}'  # nothing in it is to be escaped: most columns are so
    spelled = []
    for value in values:
        if value is None:
            spelled.append("NULL")
        elif kind == "moment":
            spelled.append(f'"{microseconds.text(value)}+00"')  # whatever the session's time zone
        elif kind == "bytea":
            spelled.append(f'"\\\\x{value.hex()}"')
        elif kind == "text":
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            spelled.append(f'"{escaped}"')
        else:
            spelled.append(f'"{value}"')
    return f"{{{','.join(spelled)}}}"


def binary_types(columns: tuple[Column, ...]) -> list[str]:
    """Of a COPY of `binary` rows."""
    return ["int8" if kind == "moment" else kind for _, kind in columns]


def binary(columns: tuple[Column, ...], rows: Rows) -> Iterator[list[Any]]:
    """Rows for a binary COPY."""
    places = [place for place, (_, kind) in enumerate(columns) if kind == "moment"]
    for row in rows:
        values = list(row)
        for place in places:
            if values[place] is not None:
                values[place] -= _MILLENNIUM
        yield values


# --- SQLite ---------------------------------------------------------------------------------------

# Few sizes of statements, so that each is prepared once and found again.
_SIZES = (500, 100, 25, 10, 5, 4, 3, 2, 1)
_VALUES_MOST = 32_000  # of a statement


def portions(rows: Rows) -> Iterator[Rows]:
    """As many rows as a statement takes, one after the other."""
    start = 0
    for size in _SIZES:
        while len(rows) - start >= size:
            yield rows[start : start + size]
            start += size


def parts(columns: tuple[Column, ...], rows: Rows) -> Iterator[Rows]:
    """As few as there can be."""
    most = _VALUES_MOST // len(columns)
    for start in range(0, len(rows), most):
        yield rows[start : start + most]


# How many rows `select` is asked for is up to whoever publishes.
@lru_cache(maxsize=128)
def from_values(sql: str, columns: tuple[Column, ...], size: int) -> str:
    names = ", ".join(f"column{place} AS {name}" for place, (name, _) in enumerate(columns, 1))
    row = f"({', '.join('?' * len(columns))})"
    return sql.replace("{rows}", f"(SELECT {names} FROM (VALUES {', '.join([row] * size)})) AS r")


def flat(columns: tuple[Column, ...], rows: Rows) -> list[Any]:
    """The parameters of `from_values`."""
    values = list(chain.from_iterable(rows))
    for place, (_, kind) in enumerate(columns):
        if kind == "moment":
            every = slice(place, None, len(columns))
            values[every] = [None if at is None else microseconds.text(at) for at in values[every]]
    return values
