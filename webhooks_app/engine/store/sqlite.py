"""The queue on SQLite: a file of one host, one writer at a time, one worker."""

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from math import inf
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from ...models import Position, database_file, states
from ..knobs import DEFAULT, Knobs
from . import bulk, file_lock
from .base import Ownership
from .common import CLAIMED, DELIVERIES, IN_LINE, WEBHOOKS, Common, claimed, heads, previous
from .file_watch import FileWatch
from .values import Asked, Claimed, Column, Head, Key, Want, Watermark

_POSITIONS = Position._meta.db_table
CHECKPOINT_PAGES = 8000  # of its log: 32 MB
CACHE_KIB = 16_384  # of its pages, a connection
# Seconds in which others come to write. Whoever waits only looks now and then: after half of the
# time that it has waited, or a tenth of a second.
_PAUSE, _PAUSE_MOST = 0.01, 0.12
# Seconds between questions whether somebody has committed: a share of the time for which nobody
# has, at the least and at the most. A worker at rest costs next to nothing then.
_ASK_EVERY, _OF_THE_REST, _ASK_QUIET = 0.001, 0.005, 0.025
# Where the system tells that somebody writes, which he does before he has committed: the share, and
# for how long that is waited for.
_OF_THE_WATCHED, _ASK_WATCHED = 0.05, 0.1
# A loop that comes back so much later has a lot to send. Each question lets other threads have the
# interpreter then, a twentieth of the time; what is committed meanwhile waits no longer than it
# would for its turn.
_BUSY, _ASK_BUSY = 0.002, 0.015
_ARRIVALS_MOST = 100  # deliveries that a look brings along
_let_in = threading.local()  # at: the end of this thread's last pause, monotonic seconds


# Of CLAIMED, whose last column is called `body`.
_PLAIN = "version, id, tries, retry_schedule, requested_by, stored_in, event_id, form"


def _in_one_row(select: str, *more: str) -> str:
    """What `select` finds (CLAIMED, due_at and `more`) as one row of the answer: for each row
    Python gives up its lock, and waits for it until the event loop pauses."""
    # `|| ''` keeps due_at the text it is.
    columns = ", ".join((_PLAIN, "length(body)", "due_at || ''", *more))
    bodies = "CAST(group_concat(CAST(body AS TEXT), '') AS BLOB)"
    return f"SELECT json_group_array(json_array({columns})), {bodies} FROM ({select})"


def _rows(found: str, bodies: bytes) -> Iterator[list[Any]]:
    """What was found so: CLAIMED, due_at and more."""
    begin = 0
    for row in json.loads(found):
        length = row[_BODY]
        if length is not None:
            row[_BODY] = bodies[begin : begin + length]
            begin += length
        yield row


_BODY = _PLAIN.count(",") + 1  # its place


_WAITING = f"""
    SELECT json_group_array(json_array(id, due_at)) FROM (
      SELECT id, due_at FROM {DELIVERIES} p
      WHERE state = 'pending' AND finished_at IS NULL AND due_at > ? AND due_at <= ?
      ORDER BY due_at LIMIT ?
    )"""


def _arrivals(is_callable: str) -> str:
    return _in_one_row(
        f"""
        SELECT {CLAIMED} AS body, d.due_at, d.webhook_id, {is_callable} AS callable
        FROM {DELIVERIES} d JOIN {WEBHOOKS} h ON h.id = d.webhook_id
        WHERE d.id IN (SELECT value FROM json_each(?)) AND d.state = 'pending'
        ORDER BY d.due_at, d.id""",
        *("webhook_id", "callable"),
    )


class Sqlite(Common):
    is_all_or_nothing = True
    has_one_writer = True
    look_again = inf  # every commit is seen

    def __init__(self, connection: BaseDatabaseWrapper, knobs: Knobs = DEFAULT) -> None:
        super().__init__(connection, knobs)
        self._seen: tuple[Any, int] | None = None  # session and its data_version

    def _positions(self, number: int) -> Sequence[int]:
        # Whoever writes the row waits until the one before has committed.
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {_POSITIONS} (id, last) VALUES (1, %s) "
                f"ON CONFLICT (id) DO UPDATE SET last = {_POSITIONS}.last + excluded.last",
                [number],
            )
            cursor.execute(f"SELECT last FROM {_POSITIONS} WHERE id = 1")
            last: int = cursor.fetchone()[0]
        return range(last - number + 1, last + 1)

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
        arrived, held = [], set()
        with self._execute() as run:
            reach = [self.moment(back_to), self.moment(now), most]
            waiting = frozenset(map(tuple, json.loads(run(_WAITING, reach).fetchone()[0])))
            new = [ident for ident, _ in waiting - seen.waiting]
            if len(waiting) == most or len(new) > _ARRIVALS_MOST:
                return [], set(), None
            if new:
                found = run(_arrivals(states.claim_sql()), [json.dumps(new)]).fetchone()
                for *row, webhook_id, is_callable in _rows(*found):
                    if is_callable:
                        arrived.append(claimed(*(*row, webhook_id)))
                    else:
                        held.add(webhook_id)
        return arrived, held, Watermark(now, waiting=waiting)

    def writers(self) -> dict[int, datetime]:
        return {}

    def claim(self, wants: Sequence[Want], now: datetime) -> list[Claimed]:
        sql = _in_one_row(
            f"""
            SELECT {CLAIMED} AS body, d.due_at
            FROM {DELIVERIES} d JOIN {WEBHOOKS} h ON h.id = d.webhook_id
            WHERE d.state = 'pending' AND d.webhook_id = ? AND d.due_at <= ?
              AND (d.due_at, d.id) > (?, ?) AND {states.claim_sql()}
            ORDER BY d.due_at, d.id LIMIT ?"""
        )
        until = self.moment(now)
        rows: list[Claimed] = []
        with self._execute() as run:
            for want in wants:
                after = want.after or ("", "")
                found = run(sql, [want.webhook_id, until, *after, want.room]).fetchone()
                for values in _rows(*found):
                    rows.append(claimed(*(*values, want.webhook_id)))
        return rows

    def heads(self, asked: Sequence[Asked], now: datetime) -> list[Head]:
        line = _in_one_row(
            f"""
            SELECT {CLAIMED} AS body, d.due_at, d.position,
                   {previous("q.ordering_key IS d.ordering_key")} AS previous
            FROM (
              SELECT * FROM {DELIVERIES} p
              WHERE p.state = 'pending' AND p.position IS NOT NULL
                AND p.webhook_id = ? AND p.ordering_key IS ? AND {IN_LINE.format(now="?")}
              ORDER BY p.position LIMIT ?
            ) d
            JOIN {WEBHOOKS} h ON h.id = d.webhook_id AND {states.claim_sql()}
            ORDER BY d.position""",
            "position",
            "previous",
        )
        until = self.moment(now)
        rows = []
        with self._execute() as run:
            for each in asked:
                values = [each.webhook_id, each.key, until, each.room]
                for *row, position, before in _rows(*run(line, values).fetchone()):
                    columns = [*row, each.webhook_id, each.key]
                    rows.append((claimed(*columns), position, before))
        return heads(asked, rows, until)

    def news(
        self, since: Mapping[str, Any], now: datetime, most: int
    ) -> list[tuple[str, str, Key, bool]]:
        sql = f"""
            SELECT p.id, p.ordering_key, p.position IS NOT NULL FROM {DELIVERIES} p
            WHERE p.state = 'pending' AND p.webhook_id = ? AND p.due_at > ? AND p.due_at <= ?
            ORDER BY p.due_at, p.id LIMIT ?"""
        until = self.moment(now)
        found: list[tuple[str, str, Key, bool]] = []
        with self._execute() as run:
            for webhook_id, moment in since.items():
                rows = run(sql, [webhook_id, moment, until, most]).fetchall()
                found += [(webhook_id, ident, key, bool(has)) for ident, key, has in rows]
        return found

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

    def _begin_session(self, lock_timeout: float, repeats: bool) -> None:
        # A page that every batch touches goes to the file once in a while, and not with each batch.
        with self.connection.cursor() as cursor:
            cursor.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            cursor.execute(f"PRAGMA cache_size = -{CACHE_KIB}")

    def limit_locks(self, seconds: float) -> None:
        """Nothing: SQLite locks no rows."""

    def by_index_only(self) -> None:
        """Nothing: SQLite reads by an index by itself."""

    def lock_table(self, table: str) -> None:
        """Nothing: SQLite has one writer at a time anyway."""

    def let_others_in(self) -> None:
        if not self.connection.in_atomic_block:
            worked = time.monotonic() - getattr(_let_in, "at", 0.0)
            time.sleep(min(max(worked / 2, _PAUSE), _PAUSE_MOST))
            _let_in.at = time.monotonic()

    async def listen(self, announced: Callable[[], None]) -> None:
        # Nothing is announced: whether somebody has committed is asked again and again, by a
        # connection of its own that waits for nobody.
        there = self.connection.get_connection_params()
        name, is_uri = there["database"], there.get("uri", False)
        while True:
            with (
                suppress(sqlite3.Error),
                closing(sqlite3.connect(name, timeout=0, uri=is_uri)) as session,
                FileWatch.of(database_file.path_of(self.connection)) as watch,
            ):
                await _hear(session, watch, announced)
            await asyncio.sleep(_ASK_QUIET)

    def hang_up(self) -> None:
        """Nothing: the database is a file of this host."""


async def _hear(
    session: sqlite3.Connection, watch: FileWatch | None, announced: Callable[[], None]
) -> None:
    """Call `announced` at every commit of others. Raises sqlite3.Error."""
    seen, moved_at = None, 0.0
    share = _OF_THE_REST if watch is None else _OF_THE_WATCHED
    while True:
        found = session.execute("PRAGMA data_version").fetchone()
        asked_at = time.monotonic()
        if found != seen:
            seen, moved_at = found, asked_at
            announced()
        pause = max(_ASK_EVERY, share * (asked_at - moved_at))
        if watch is not None and pause > _ASK_QUIET:
            if await watch.is_written(_ASK_WATCHED):
                moved_at = time.monotonic()
            continue
        pause = min(pause, _ASK_QUIET)
        await asyncio.sleep(pause)
        if time.monotonic() - asked_at > pause + _BUSY:
            await asyncio.sleep(_ASK_BUSY)
