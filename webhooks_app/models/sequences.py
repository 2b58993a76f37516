"""Sequences that are behind their tables: PostgreSQL would give keys that are taken.

So it is where the rows came without them: after a restore of the data alone, a copy by hand, a
switch to a logical replica. Who inserts then fails, and nothing is stored. Whoever notices moves
the sequences on; what was refused is asked for once more.
"""

import logging
from typing import Any

from django.apps import apps
from django.db import Error, IntegrityError, connections, models, router
from django.db.models import AutoField

from .counter import POSITIONS, Position
from .delivery import Delivery
from .webhook import Webhook

log = logging.getLogger("webhooks")

WORDS = (
    "The database's sequences were behind its tables, as they are after a restore of the data "
    "alone. Nothing was stored; try again."
)
# What an operator may do where we may not.
COMMAND = "manage.py sqlsequencereset webhooks_app | manage.py dbshell"


def is_behind(error: BaseException) -> bool:
    """Whether an error says that the key drawn for a new row of ours is taken."""
    cause = error.__cause__
    if not isinstance(error, IntegrityError) or getattr(cause, "sqlstate", None) != "23505":
        return False
    diagnosis = cause.diag  # type: ignore[union-attr]
    table = diagnosis.table_name
    return table in {model._meta.db_table for model in _with_one()} and (
        diagnosis.constraint_name == f"{table}_pkey"
    )


def catch_up(alias: str | None = None) -> list[str]:
    """Move every sequence of ours on that is behind; returns the names of their tables. Where that
    cannot be done the log says what to do."""
    connection = connections[alias or router.db_for_write(Webhook)]
    moved = []
    try:
        with connection.cursor() as cursor:
            for model in _with_one() if connection.vendor == "postgresql" else ():
                table, key = model._meta.db_table, model._meta.pk.column
                # Names of our own tables and columns.
                most = f'SELECT max("{key}") AS most FROM "{table}"'  # noqa: S608
                cursor.execute(
                    "SELECT setval(s.name, m.most) "  # noqa: S608
                    f"FROM (SELECT pg_get_serial_sequence(%s, %s) AS name) s, ({most}) m "
                    "WHERE m.most > coalesce(pg_sequence_last_value(s.name::regclass), 0)",
                    [f'"{table}"', key],
                )
                if cursor.fetchone():
                    moved.append(table)
            if _catch_up_positions(cursor, connection.vendor):
                moved.append("positions")
    except Error as error:
        log.error("sequences may be behind their tables (%s); run: %s", error, COMMAND)
    if moved:
        log.warning("the sequences of %s were behind and are moved on", ", ".join(moved))
    return moved


def _catch_up_positions(cursor: Any, vendor: str) -> bool:
    """The positions of what is sent in order: PostgreSQL's sequence, SQLite's row."""
    deliveries, row = Delivery._meta.db_table, Position._meta.db_table
    cursor.execute(f"SELECT max(position) FROM {deliveries} WHERE position > 0")  # noqa: S608
    most = cursor.fetchone()[0]
    if most is None:
        return False
    if vendor == "postgresql":
        cursor.execute(
            "SELECT setval(%s, %s) WHERE coalesce(pg_sequence_last_value(%s::regclass), 0) < %s",
            [POSITIONS, most, POSITIONS, most],
        )
        return cursor.fetchone() is not None
    cursor.execute(
        f"INSERT INTO {row} (id, last) VALUES (1, %s) "  # noqa: S608
        "ON CONFLICT (id) DO UPDATE SET last = excluded.last WHERE last < excluded.last",
        [most],
    )
    return bool(cursor.rowcount > 0)


def _with_one() -> list[type[models.Model]]:
    found = apps.get_app_config("webhooks_app").get_models(include_auto_created=True)
    return [
        model for model in found if isinstance(model._meta.pk, AutoField) and not model._meta.proxy
    ]
