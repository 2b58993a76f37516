"""The queue on PostgreSQL: any number of workers, any number of writers, the server's clock."""

import contextlib
import os
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import transaction

from ...models import Delivery, states
from ...models.counter import POSITIONS
from ...models.delivery import NEXT
from ...models.webhook import SLOTS
from . import bulk, notifier, outlasting
from .advisory_locks import NOTICES_A_CUT, AdvisoryLocks, limit_silence
from .base import ANNOUNCE_APART, Ownership
from .common import (
    CLAIMED,
    DELIVERIES,
    IN_LINE,
    STORED,
    WEBHOOKS,
    Common,
    claimed,
    heads,
    is_stored,
    previous,
    stored,
)
from .values import Asked, Claimed, Column, Head, Key, Want, Watermark

_NEXT_POSITION = f"nextval('{POSITIONS}')"


def _store_now(position: str) -> str:
    """Its values are those of STORED without the two moments; and without the position, if that is
    drawn."""
    special = {"position": position, "due_at": _NOW, "created_at": _NOW}
    values = ", ".join(special.get(name, "%s") for name, _ in STORED)
    names = ", ".join(name for name, _ in STORED)
    return f"INSERT INTO {DELIVERIES} ({names}) VALUES ({values}) RETURNING due_at, position"


_NOW = "statement_timestamp()"
_STORE_NOW, _STORE_NEXT = _store_now("%s"), _store_now(_NEXT_POSITION)
_MOMENTS = slice(6, 8)  # the places of due_at and created_at in STORED
_FEW = STORED[: _MOMENTS.start] + STORED[_MOMENTS.stop :]
_FEW_NAMES = ", ".join(name for name, _ in _FEW)
_STORE_FEW = (
    f"INSERT INTO {DELIVERIES} ({_FEW_NAMES}, due_at, created_at) "
    f"SELECT {_FEW_NAMES}, {_NOW}, {_NOW} FROM {{rows}} RETURNING due_at"
)
# Due since the last look, or written by a transaction that was not over when it was taken.
_FRESH = "p.due_at > %s OR age(p.xmin) <= age(%s::xid8::xid)"
_BEGINNING = datetime.min.replace(tzinfo=UTC)
_COPIED_FROM = 10  # rows; fewer are not worth the round trips of a COPY
_PREPARED_AFTER = 5  # times that a session has asked the same question


def _undated(delivery: Delivery) -> list[Any]:
    """Its values in STORED but the moments, which the server sets."""
    values = stored(delivery, None, None)
    del values[_MOMENTS]
    return values


class Postgres(Common):
    is_all_or_nothing = False
    has_one_writer = False
    look_again = 1.5 * ANNOUNCE_APART

    def put_one(self, delivery: Delivery) -> None:
        if delivery.due_at != delivery.created_at:
            super().put_one(delivery)
            return
        values = _undated(delivery)
        draws = values[-1] == NEXT
        if draws:
            del values[-1]
        with self.connection.cursor() as cursor:
            cursor.execute(_STORE_NEXT if draws else _STORE_NOW, values)
            delivery.due_at, delivery.position = cursor.fetchone()
        delivery.created_at = delivery.due_at
        is_stored(delivery, self.connection.alias)

    def put(self, deliveries: Sequence[Delivery]) -> None:
        if not 1 < len(deliveries) < _COPIED_FROM or any(
            delivery.due_at != delivery.created_at for delivery in deliveries
        ):
            super().put(deliveries)
            return
        # The server dates them as it stores them: one question less.
        with transaction.atomic(using=self.connection.alias, savepoint=False):
            self.number(deliveries)
            rows = [_undated(delivery) for delivery in deliveries]
            now = self.select(_STORE_FEW, _FEW, rows)[0][0]
        for delivery in deliveries:
            delivery.due_at = delivery.created_at = now
            is_stored(delivery, self.connection.alias)

    def _positions(self, number: int) -> Sequence[int]:
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT {_NEXT_POSITION} FROM generate_series(1, %s)", [number])
            return [position for (position,) in cursor.fetchall()]

    def announce(self) -> None:
        notifier.announce(self.connection)

    def ownership(self) -> Ownership:
        return AdvisoryLocks(self.connection, self.knobs)

    def share_ownership(self) -> None:
        outlasting.share()

    def clock(self) -> datetime | None:
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            now: datetime = cursor.fetchone()[0]
            return now

    def moment(self, value: datetime) -> Any:
        return value

    def has_changed(self) -> bool:
        return False

    def look(
        self, back_to: datetime, now: datetime, seen: Watermark
    ) -> tuple[list[str], Watermark]:
        parameters: list[Any] = [back_to, now]
        found = (
            f"SELECT DISTINCT webhook_id FROM {DELIVERIES} p "
            "WHERE state = 'pending' AND finished_at IS NULL AND due_at > %s AND due_at <= %s"
        )
        if seen.horizon:
            found = f"{found} AND ({_FRESH})"
            parameters += [seen.until, seen.horizon]
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT ARRAY({found}), pg_current_snapshot()::text", parameters)
            ids, snapshot = cursor.fetchone()
        return ids, Watermark.by(now, snapshot)

    def arrivals(
        self,
        back_to: datetime,
        now: datetime,
        seen: Watermark,
        slots: Collection[int],
        most: int,
    ) -> tuple[list[Claimed], set[str], Watermark | None]:
        conditions = [
            "p.state = 'pending' AND p.finished_at IS NULL",
            "p.due_at > %s AND p.due_at <= %s",
        ]
        parameters: list[Any] = [back_to, now]
        if seen.horizon:
            conditions.append(f"({_FRESH})")
            parameters += [seen.until, seen.horizon]
        if len(slots) < SLOTS:
            conditions.append(f"('x' || right(p.webhook_id, 4))::bit(16)::int %% {SLOTS} = ANY(%s)")
            parameters.append(list(slots))
        found = self._read(
            f"""
            SELECT s.snapshot, {states.claim_sql()}, {CLAIMED}, d.due_at, d.webhook_id
            FROM (SELECT pg_current_snapshot()::text AS snapshot) s
            LEFT JOIN LATERAL (
              SELECT * FROM {DELIVERIES} p WHERE {" AND ".join(conditions)}
              ORDER BY p.due_at LIMIT %s
            ) d ON true
            LEFT JOIN {WEBHOOKS} h ON h.id = d.webhook_id
            ORDER BY d.due_at, d.id""",
            [*parameters, most],
        )
        arrived, held = [], set()
        for _, is_callable, *row in found:
            if is_callable:
                arrived.append(claimed(*row))
            elif row[-1] is not None:
                held.add(row[-1])
        return arrived, held, Watermark.by(now, found[0][0]) if len(found) < most else None

    def writers(self) -> dict[int, datetime]:
        with self.connection.cursor() as cursor:
            cursor.execute(
                # The function behind pg_stat_activity: to plan the view takes longer than to read
                # it.
                "SELECT backend_xid::text::bigint, xact_start FROM pg_stat_get_activity(NULL) "
                "WHERE backend_xid IS NOT NULL AND xact_start IS NOT NULL "
                "AND datid = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            return dict(cursor.fetchall())

    def claim(self, wants: Sequence[Want], now: datetime) -> list[Claimed]:
        found = self._read(
            f"""
            SELECT {CLAIMED}, d.due_at, d.webhook_id
            FROM unnest(%s::text[], %s::int[], %s::timestamptz[], %s::text[])
                   AS w(id, room, after_due, after_id)
            -- OFFSET 0: one by one, by their keys; joined, all webhooks there are would be read.
            CROSS JOIN LATERAL (
              SELECT * FROM {WEBHOOKS} h WHERE h.id = w.id AND {states.claim_sql()} OFFSET 0
            ) h
            CROSS JOIN LATERAL (
              SELECT * FROM {DELIVERIES} p
              WHERE p.state = 'pending' AND p.webhook_id = w.id AND p.due_at <= %s
                AND (p.due_at, p.id) > (w.after_due, w.after_id)
              ORDER BY p.due_at, p.id LIMIT w.room
            ) d""",
            [
                [want.webhook_id for want in wants],
                [want.room for want in wants],
                [want.after[0] if want.after else _BEGINNING for want in wants],
                [want.after[1] if want.after else "" for want in wants],
                now,
            ],
        )
        return [claimed(*row) for row in found]

    def heads(self, asked: Sequence[Asked], now: datetime) -> list[Head]:
        lines = [each for each in asked if each.key is None]
        keyed = [each for each in asked if each.key is not None]
        found = self._heads(keyed, now, "{0}.ordering_key = {1}")
        return found + self._heads(lines, now, "{0}.ordering_key IS NULL")

    def _heads(self, asked: Sequence[Asked], now: datetime, same_key: str) -> list[Head]:
        if not asked:
            return []
        found = self._read(
            f"""
            SELECT {CLAIMED}, d.due_at, d.webhook_id, d.ordering_key, d.position,
                   {previous(same_key.format("q", "d.ordering_key"))}
            FROM unnest(%s::text[], %s::text[], %s::int[]) AS w(id, key, room)
            CROSS JOIN LATERAL (
              SELECT * FROM {WEBHOOKS} h WHERE h.id = w.id AND {states.claim_sql()} OFFSET 0
            ) h
            CROSS JOIN LATERAL (
              SELECT * FROM {DELIVERIES} p
              WHERE p.state = 'pending' AND p.position IS NOT NULL
                AND p.webhook_id = w.id AND {same_key.format("p", "w.key")}
                AND {IN_LINE.format(now="%s")}
              ORDER BY p.position LIMIT w.room
            ) d""",
            [
                [each.webhook_id for each in asked],
                [each.key for each in asked],
                [each.room for each in asked],
                now,
            ],
        )
        rows = ((claimed(*row[:-2]), row[-2], row[-1]) for row in found)
        return heads(asked, rows, now)

    def news(
        self, since: Mapping[str, Any], now: datetime, most: int
    ) -> list[tuple[str, str, Key, bool]]:
        return self._read(
            f"""
            SELECT d.webhook_id, d.id, d.ordering_key, d.position IS NOT NULL
            FROM unnest(%s::text[], %s::timestamptz[]) AS w(id, since)
            CROSS JOIN LATERAL (
              SELECT * FROM {DELIVERIES} p
              WHERE p.state = 'pending' AND p.webhook_id = w.id
                AND p.due_at > w.since AND p.due_at <= %s
              ORDER BY p.due_at, p.id LIMIT %s
            ) d""",
            [list(since), list(since.values()), now, most],
        )

    def _read(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        """What the server answers, in its binary form: as text a payload is twice as long. Raises
        Django's errors."""
        import psycopg

        self.connection.ensure_connection()
        session: Any = psycopg.Cursor(self.connection.connection)
        session.format = psycopg.pq.Format.BINARY
        with self.connection.make_cursor(session) as cursor:
            cursor.execute(sql, parameters)
            found: list[Any] = cursor.fetchall()
            return found

    def execute(self, sql: str, columns: tuple[Column, ...], rows: Sequence[Sequence[Any]]) -> int:
        with self.connection.cursor() as cursor:
            cursor.execute(bulk.from_arrays(sql, columns), bulk.arrays(columns, rows))
            return int(cursor.rowcount)

    def select(
        self, sql: str, columns: tuple[Column, ...], rows: Sequence[Sequence[Any]]
    ) -> list[Any]:
        return self._read(bulk.from_arrays(sql, columns), bulk.arrays(columns, rows))

    def joined(self, texts: str) -> str:
        return f"string_agg({texts}, '')"

    def insert(
        self, table: str, columns: tuple[Column, ...], rows: Sequence[Sequence[Any]]
    ) -> None:
        """By COPY: half the work of an INSERT, on both sides; a number too large for its column is
        cut off there instead of refused."""
        names = ", ".join(name for name, _ in columns)
        if len(rows) < _COPIED_FROM:
            self.execute(
                f"INSERT INTO {table} ({names}) SELECT {names} FROM {{rows}}", columns, rows
            )
            return
        with (
            self.connection.cursor() as cursor,
            self.connection.wrap_database_errors,
            cursor.copy(f"COPY {table} ({names}) FROM STDIN (FORMAT BINARY)") as copy,
        ):
            copy.set_types(bulk.binary_types(columns))
            for row in bulk.binary(columns, rows):
                copy.write_row(row)

    def _make_direct(self, settings: dict[str, Any]) -> None:
        options = settings["OPTIONS"]
        options.pop("pool", None)
        for name, value in NOTICES_A_CUT.items():
            options.setdefault(name, value)
        options.setdefault("application_name", "webhooks deliver")
        settings["CONN_MAX_AGE"] = None

    def _begin_session(self, lock_timeout: float, repeats: bool) -> None:
        with self.connection.cursor() as cursor:
            limit_silence(cursor, self.knobs)
            if lock_timeout:
                cursor.execute(f"SET lock_timeout = {int(1000 * lock_timeout)}")
            # With young statistics, or for some hundred keys, whole tables would be read. Compiling
            # pays for no small question, and what is left without an index looks dear then.
            cursor.execute("SET enable_seqscan = off; SET jit = off")
            if repeats:
                # To plan a question takes longer than to answer it.
                cursor.connection.prepare_threshold = _PREPARED_AFTER

    def limit_locks(self, seconds: float) -> None:
        # Of every group of requests: half the price of a question by Django's cursor.
        with self.connection.wrap_database_errors:
            self.connection.connection.execute(f"SET LOCAL lock_timeout = {int(1000 * seconds)}")

    def by_index_only(self) -> None:
        # With statistics from an empty table the whole history would be read to find the attempts
        # of a thousand deliveries.
        with self.connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")

    def lock_table(self, table: str) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")

    def let_others_in(self) -> None:
        """Nothing: on PostgreSQL others need not wait."""

    async def listen(self, announced: Callable[[], None]) -> None:
        await notifier.listen(self.connection, announced)

    def hang_up(self) -> None:
        session = self.connection.connection
        if session is not None:
            with (
                contextlib.suppress(Exception),  # broken already
                socket.socket(fileno=os.dup(session.fileno())) as line,
            ):
                line.shutdown(socket.SHUT_RDWR)
