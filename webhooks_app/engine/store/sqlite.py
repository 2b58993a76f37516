"""The queue on SQLite: a file of one host, one writer at a time, one worker."""

import json
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from ...models import states
from ..knobs import DEFAULT, Knobs
from . import bulk, file_lock
from .base import Ownership
from .common import CLAIMED, DELIVERIES, WEBHOOKS, Common, claimed
from .values import Claimed, Column, Want, Watermark

CHECKPOINT_PAGES = 8000  # of its log: 32 MB
CACHE_KIB = 16_384  # of its pages, a connection
_PAUSE = 0.01  # seconds in which others come to write: whoever waits only looks now and then


class Sqlite(Common):
    is_all_or_nothing = True

    def __init__(self, connection: BaseDatabaseWrapper, knobs: Knobs = DEFAULT) -> None:
        super().__init__(connection, knobs)
        self._seen: tuple[Any, int] | None = None  # session and its data_version

    def announce(self) -> None:
        """Its worker sees every commit by itself."""

    def ownership(self) -> Ownership:
        return file_lock.FileLock(str(self.connection.settings_dict["NAME"]), self.knobs)

    def share_ownership(self) -> None:
        file_lock.share(str(self.connection.settings_dict["NAME"]))

    def clock(self) -> datetime | None:
        return None

    def moment(self, value: datetime) -> Any:
        return self.connection.ops.adapt_datetimefield_value(value)

    def has_changed(self) -> bool:
        with self.connection.cursor() as cursor:
            seen = self.connection.connection, cursor.execute("PRAGMA data_version").fetchone()[0]
        changed = seen != self._seen
        self._seen = seen
        return changed

    def look(
        self, back_to: datetime, now: datetime, seen: Watermark
    ) -> tuple[list[str], Watermark]:
        found = (
            f"SELECT DISTINCT webhook_id FROM {DELIVERIES} p "
            "WHERE state = 'pending' AND finished_at IS NULL AND due_at > %s AND due_at <= %s"
        )
        with self.connection.cursor() as cursor:
            cursor.execute(found, [self.moment(back_to), self.moment(now)])
            return [row[0] for row in cursor.fetchall()], Watermark(now)

    def arrivals(
        self,
        back_to: datetime,
        now: datetime,
        seen: Watermark,
        slots: Collection[int],
        most: int,
    ) -> tuple[list[Claimed], set[str], Watermark | None]:
        return [], set(), None

    def writers(self) -> dict[int, datetime]:
        return {}

    def claim(self, wants: Sequence[Want], now: datetime) -> list[Claimed]:
        # All of a webhook is one row of the answer: for each row Python gives up its lock, and
        # waits for it until the event loop pauses. `|| ''` keeps due_at the text it is.
        sql = f"""
            SELECT json_group_array(json_array(
                     version, id, tries, retry_schedule, requested_by, stored_in, event_id, form,
                     length(body), due_at || '')),
                   CAST(group_concat(CAST(body AS TEXT), '') AS BLOB)
            FROM (
              SELECT {CLAIMED} AS body, d.due_at
              FROM {DELIVERIES} d JOIN {WEBHOOKS} h ON h.id = d.webhook_id
              WHERE d.state = 'pending' AND d.webhook_id = ? AND d.due_at <= ?
                AND (d.due_at, d.id) > (?, ?) AND {states.claim_sql()}
              ORDER BY d.due_at, d.id LIMIT ?
            )"""
        until = self.moment(now)
        rows: list[Claimed] = []
        with self._execute() as run:
            for want in wants:
                after = want.after or ("", "")
                found, bodies = run(sql, [want.webhook_id, until, *after, want.room]).fetchone()
                begin = 0
                for *row, length, due_at in json.loads(found):
                    end = begin + (length or 0)
                    body = None if length is None else bodies[begin:end]
                    values = (*row, body, due_at, want.webhook_id)
                    rows.append(claimed(*values))
                    begin = end
        return rows

    @contextmanager
    def _execute(self) -> Iterator[Callable[..., Any]]:
        """SQLite's own `execute`, with `?` for parameters. Django's cursor looks for every `%s`, in
        a statement of 2,000 of them and anew in each of a hundred small ones. Raises Django's
        errors."""
        self.connection.ensure_connection()
        with self.connection.wrap_database_errors:
            yield self.connection.connection.execute

    def execute(self, sql: str, columns: tuple[Column, ...], rows: Sequence[Sequence[Any]]) -> int:
        changed = 0
        with self._execute() as run:
            for some in bulk.portions(rows):
                statement = bulk.from_values(sql, columns, len(some))
                changed += run(statement, bulk.flat(columns, some)).rowcount
        return changed

    def select(
        self, sql: str, columns: tuple[Column, ...], rows: Sequence[Sequence[Any]]
    ) -> list[Any]:
        found: list[Any] = []
        with self._execute() as run:
            for some in bulk.parts(columns, rows):
                statement = bulk.from_values(sql, columns, len(some))
                found += run(statement, bulk.flat(columns, some)).fetchall()
        return found

    def joined(self, texts: str) -> str:
        return f"group_concat({texts}, '')"

    def insert(
        self, table: str, columns: tuple[Column, ...], rows: Sequence[Sequence[Any]]
    ) -> None:
        names = ", ".join(name for name, _ in columns)
        self.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM {{rows}}", columns, rows)

    def _begin_session(self, lock_timeout: float, by_index: bool) -> None:
        # A page that every batch touches goes to the file once in a while, and not with each batch.
        with self.connection.cursor() as cursor:
            cursor.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            cursor.execute(f"PRAGMA cache_size = -{CACHE_KIB}")

    def limit_locks(self, seconds: float) -> None:
        """It locks no rows."""

    def by_index_only(self) -> None:
        """It does so by itself."""

    def lock_table(self, table: str) -> None:
        """It has one writer at a time anyway."""

    def let_others_in(self) -> None:
        if not self.connection.in_atomic_block:
            time.sleep(_PAUSE)

    async def listen(self, announced: Callable[[], None]) -> None:
        """Nothing is announced: every commit is seen."""

    def hang_up(self) -> None:
        """Nothing of it is far away."""
