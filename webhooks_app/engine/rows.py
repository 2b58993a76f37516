"""Many rows in one statement: `unnest` on PostgreSQL, `json_each` on SQLite, the same SQL around.

One statement also means one hand-over of the interpreter lock, which keeps the event loop going
while the database works.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

Column = tuple[str, str]  # name, PostgreSQL type


def source(connection: BaseDatabaseWrapper, alias: str, columns: Sequence[Column]) -> str:
    """The FROM item that stands for the rows given by `parameters`."""
    if connection.vendor == "postgresql":
        arrays = ", ".join(f"%s::{kind}[]" for _, kind in columns)
        return f"unnest({arrays}) AS {alias}({', '.join(name for name, _ in columns)})"
    values = ", ".join(
        f"json_extract(value, '$[{place}]') AS {name}" for place, (name, _) in enumerate(columns)
    )
    return f"(SELECT {values} FROM json_each(%s)) AS {alias}"


def parameters(connection: BaseDatabaseWrapper, rows: Sequence[Sequence[Any]]) -> list[Any]:
    """The parameters of `source` for some rows."""
    if connection.vendor == "postgresql":
        return [list(column) for column in zip(*rows, strict=True)]
    return [json.dumps([[_plain(value) for value in row] for row in rows])]


def _plain(value: Any) -> Any:
    return moment_text(value) if isinstance(value, datetime) else value


def moment_text(moment: datetime) -> str:
    """As Django's SQLite backend writes a moment."""
    return moment.replace(tzinfo=None).isoformat(sep=" ")
