"""The verbs that are one statement on both databases, or Django's own."""

import copy
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, Self

from django.db import IntegrityError, connections, transaction

from ...models import Attempt, Delivery, Webhook, database_file, states
from ...models.delivery import NEXT, OPEN
from ...models.primary import clock
from ..knobs import DEFAULT, Knobs
from . import bulk, microseconds, record
from .base import Store
from .values import (
    ALL_WEBHOOKS,
    CARRIED_MOST,
    Asked,
    AttemptRow,
    Claimed,
    Column,
    Finished,
    Head,
    Key,
)

DELIVERIES = Delivery._meta.db_table
WEBHOOKS = Webhook._meta.db_table
_FAILED = Delivery.State.FAILED.value

_STORE_AT_ONCE = 2000
STORED: tuple[Column, ...] = (
    ("id", "text"),
    ("webhook_id", "text"),
    ("type", "text"),
    ("reference", "text"),
    ("payload", "bytea"),
    ("retry_schedule", "text"),
    ("due_at", "moment"),
    ("created_at", "moment"),
    ("created_by", "text"),
    ("state", "text"),
    ("reason", "text"),
    ("tries", "int2"),
    ("last_error", "text"),
    ("requested_by", "text"),
    ("idempotency_key", "text"),
    ("stored_in", "text"),
    ("ordering_key", "text"),
    ("position", "int8"),
)
STORED_OF_EVENTS: tuple[Column, ...] = (*STORED, ("event_id", "text"), ("form", "text"))
_STORE_ONE = (
    f"INSERT INTO {DELIVERIES} ({', '.join(name for name, _ in STORED)}) "
    f"VALUES ({', '.join(['%s'] * len(STORED))})"
)
_STORE_ONCE = bulk.unless_taken(
    DELIVERIES, STORED, "(webhook_id, idempotency_key) WHERE idempotency_key IS NOT NULL"
)
_FINISH_COLUMNS = (
    ("id", "text"),
    ("tries", "int2"),
    ("state", "text"),
    ("due_at", "moment"),
    ("finished_at", "moment"),
    ("last_status", "int2"),
    ("last_error", "text"),
)
CLAIMED = (
    "h.version, d.id, d.tries, d.retry_schedule, d.requested_by, d.stored_in, d.event_id, d.form, "
    f"CASE WHEN length(d.payload) <= {CARRIED_MOST} THEN d.payload END"
)


def stored(delivery: Delivery, due_at: Any, created_at: Any) -> list[Any]:
    """The values of STORED."""
    return [
        delivery.id,
        delivery.webhook_id,
        delivery.type,
        delivery.reference,
        bytes(delivery.payload),
        delivery.retry_schedule,
        due_at,
        created_at,
        delivery.created_by,
        *("pending", "", 0, "", ""),
        delivery.idempotency_key,
        delivery.stored_in,
        delivery.ordering_key,
        delivery.position,
    ]


def _in_microseconds(delivery: Delivery) -> list[Any]:
    due_at, created_at = delivery.due_at, delivery.created_at
    created = microseconds.of(created_at)
    due = created if due_at == created_at else microseconds.of(due_at)
    return stored(delivery, due, created)


def _batched(deliveries: Sequence[Delivery]) -> Iterator[Sequence[Delivery]]:
    for start in range(0, len(deliveries), _STORE_AT_ONCE):
        yield deliveries[start : start + _STORE_AT_ONCE]


def is_stored(delivery: Delivery, alias: str) -> None:
    """Tell Django so."""
    delivery._state.adding = False
    delivery._state.db = alias


# What is in line: what waits for its next try and what nobody knows the outcome of, too.
IN_LINE = f"(p.due_at <= {{now}} OR p.tries > 0 OR p.reason = '{states.UNRECORDED}')"
_ADOPTED_FROM = -(2**62)  # where the positions begin of what had none
_ADOPTED = (("id", "text"), ("position", "int8"))


def previous(same_key: str) -> str:
    """The position before that of `d`, as a column."""
    return (
        f"(SELECT max(q.position) FROM {DELIVERIES} q WHERE q.webhook_id = d.webhook_id "
        f"AND {same_key} AND q.position < d.position AND q.position > 0)"
    )


def heads(
    asked: Sequence[Asked], found: Iterable[tuple[Claimed, int, int | None]], until: Any
) -> list[Head]:
    """Of the rows of each key, with their positions and those before; `until` as a claim reads
    `due_at`."""
    rooms = {(each.webhook_id, each.key): each.room for each in asked}
    by_key: dict[tuple[str, Key], Head] = {}
    for row, position, before in found:
        line = row.webhook_id, row.key
        head = by_key.get(line)
        if head is None:
            head = by_key[line] = Head(*line)
        rooms[line] -= 1
        head.more = rooms[line] == 0
        if head.waits or row.place[0] > until:
            head.waits = True
            continue
        if position > 0:
            row.sequence = position, before
        head.rows.append(row)
    return list(by_key.values())


def claimed(
    version: int,
    ident: str,
    tries: int,
    schedule: str,
    by: str,
    stored_in: str | None,
    event_id: str | None,
    form: str | None,
    body: bytes | None,
    due_at: Any,  # as the database gave it
    webhook_id: str,
    key: Key = None,
) -> Claimed:
    """Of the columns CLAIMED and these; `key` of what is sent in order."""
    return Claimed(  # by place: with names it would take twice as long
        ident,
        webhook_id,
        tries,
        None if event_id else body,
        schedule,
        by,
        (due_at, ident),
        version,
        event_id,
        form or "",
        None,
        stored_in,
        key,
    )


class Common(Store):
    def number(self, deliveries: Sequence[Delivery]) -> None:
        to_come = [delivery for delivery in deliveries if delivery.position == NEXT]
        if to_come:
            for delivery, position in zip(to_come, self._positions(len(to_come)), strict=True):
                delivery.position = position

    def _positions(self, number: int) -> Sequence[int]:
        """The next so many positions, in the caller's transaction."""
        raise NotImplementedError

    def put_one(self, delivery: Delivery) -> None:
        # What draws a position and what is stored with it belong together.
        with transaction.atomic(using=self.connection.alias, savepoint=False):
            self._date([delivery])
            self.number([delivery])
            self._put_one(delivery)

    def _date(self, deliveries: Sequence[Delivery]) -> None:
        """What is due at once is so from now on, in a transaction that has waited for the writes of
        others: looks reach back to the commit before, and not behind it."""
        at_once = [delivery for delivery in deliveries if delivery.due_at == delivery.created_at]
        if at_once:
            now = self.clock() or clock(self.connection.alias)
            for delivery in at_once:
                delivery.due_at = delivery.created_at = now

    def _put_one(self, delivery: Delivery) -> None:
        # `save` would put the same SQL together each time, which costs more than running it.
        database_file.check(self.connection.alias)
        due_at, created_at = self.moment(delivery.due_at), self.moment(delivery.created_at)
        with self.connection.cursor() as cursor:
            cursor.execute(_STORE_ONE, stored(delivery, due_at, created_at))
        is_stored(delivery, self.connection.alias)

    def put(self, deliveries: Sequence[Delivery]) -> None:
        if len(deliveries) == 1:
            self.put_one(deliveries[0])
            return
        # As Django's own `bulk_create`: whoever began a transaction goes back with it.
        with transaction.atomic(using=self.connection.alias, savepoint=False):
            for batch in self._batches(deliveries):
                self.insert(DELIVERIES, STORED, batch)

    def put_once(self, deliveries: Sequence[Delivery]) -> int:
        return sum(self.execute(_STORE_ONCE, STORED, batch) for batch in self._batches(deliveries))

    def _batches(self, deliveries: Sequence[Delivery]) -> Iterator[list[list[Any]]]:
        """The values of some thousand deliveries at a time."""
        if not deliveries:
            return
        database_file.check(self.connection.alias)
        self._date(deliveries)
        self.number(deliveries)
        for some in _batched(deliveries):
            yield [_in_microseconds(each) for each in some]
        for delivery in deliveries:
            is_stored(delivery, self.connection.alias)

    def put_of_events(self, deliveries: Sequence[Delivery]) -> None:
        database_file.check(self.connection.alias)
        self.number(deliveries)
        for some in _batched(deliveries):
            rows = [[*_in_microseconds(each), each.event_id, each.form] for each in some]
            self.insert(DELIVERIES, STORED_OF_EVENTS, rows)

    def scan(
        self, now: datetime, after: str = "", most: int = ALL_WEBHOOKS
    ) -> tuple[list[str], str | None]:
        # A loose index scan: a few µs a webhook; on PostgreSQL also a µs for each delivery that
        # ended since the scan before, because its index entry is still there. Catches what `look`
        # cannot see: late commits and clocks that went backwards.
        following = (
            f"SELECT d.webhook_id FROM {DELIVERIES} d "
            "WHERE d.state = 'pending' AND d.webhook_id > {} ORDER BY d.webhook_id LIMIT 1"
        )
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"""
                WITH RECURSIVE w(id, number) AS (
                  SELECT ({following.format("%s")}), 1
                  UNION ALL
                  SELECT ({following.format("w.id")}), number + 1 FROM w
                  WHERE w.id IS NOT NULL AND number < %s
                )
                SELECT w.id, (
                  SELECT d.due_at FROM {DELIVERIES} d
                  WHERE d.state = 'pending' AND d.webhook_id = w.id
                  ORDER BY d.due_at LIMIT 1
                ) <= %s
                FROM w WHERE w.id IS NOT NULL""",
                [after, most, self.moment(now)],
            )
            found = cursor.fetchall()
        return [ident for ident, due in found if due], found[-1][0] if len(found) == most else None

    def keys(self, webhook_id: str, after: str | None, most: int) -> list[Key]:
        # A loose index scan: some 15 µs a key on PostgreSQL, 5 on SQLite.
        pending = "d.state = 'pending' AND d.position IS NOT NULL AND d.webhook_id = %s"
        following = (
            f"SELECT d.ordering_key FROM {DELIVERIES} d "
            f"WHERE {pending} AND d.ordering_key {{}} ORDER BY d.ordering_key LIMIT 1"
        )
        sql = f"""
            WITH RECURSIVE k(key, number) AS (
              SELECT ({following.format(">= %s" if after is None else "> %s")}), 1
              UNION ALL
              SELECT ({following.format("> k.key")}), number + 1 FROM k
              WHERE k.key IS NOT NULL AND number < %s
            )
            SELECT key FROM k WHERE key IS NOT NULL"""
        with self.connection.cursor() as cursor:
            cursor.execute(sql, [webhook_id, after or "", webhook_id, most])
            found: list[Key] = [key for (key,) in cursor.fetchall()]
            if after is None:
                cursor.execute(
                    f"SELECT 1 FROM {DELIVERIES} d "
                    f"WHERE {pending} AND d.ordering_key IS NULL LIMIT 1",
                    [webhook_id],
                )
                if cursor.fetchone():
                    found.insert(0, None)
        return found

    def adopt(self, webhook_id: str, most: int) -> int:
        skips = self.connection.features.has_select_for_update_skip_locked
        with transaction.atomic(using=self.connection.alias), self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT d.id FROM {DELIVERIES} d "
                "WHERE d.state = 'pending' AND d.webhook_id = %s AND d.position IS NULL "
                f"ORDER BY d.due_at, d.id LIMIT %s{' FOR UPDATE SKIP LOCKED' if skips else ''}",
                [webhook_id, most],
            )
            ids = sorted(ident for (ident,) in cursor.fetchall())
            if ids:
                positions = [_ADOPTED_FROM + each for each in self._positions(len(ids))]
                sql = (
                    f"UPDATE {DELIVERIES} AS d SET position = r.position FROM {{rows}} "
                    "WHERE d.id = r.id AND d.finished_at IS NULL AND d.position IS NULL"
                )
                self.execute(sql, _ADOPTED, list(zip(ids, positions, strict=True)))
        return len(ids)

    def payload(self, delivery_id: str) -> bytes:
        rows = Delivery.objects.using(self.connection.alias).filter(pk=delivery_id)
        return bytes(rows.values_list("payload", flat=True).get())

    def pending_of(self, ids: Sequence[str]) -> set[str]:
        rows = Delivery.objects.using(self.connection.alias).filter(OPEN, pk__in=ids)
        return set(rows.values_list("pk", flat=True)) if ids else set()

    def finish(self, batch: Sequence[Finished]) -> None:
        # `finished_at IS NULL` says pending without the words of any partial index: with statistics
        # from an empty queue PostgreSQL would else walk the whole due index for each batch.
        sql = f"""
            UPDATE {DELIVERIES} AS d SET
              state = r.state, due_at = COALESCE(r.due_at, d.due_at), tries = r.tries + 1,
              finished_at = r.finished_at, last_status = r.last_status,
              last_error = r.last_error, requested_by = ''
            FROM {{rows}}
            WHERE d.id = r.id AND d.tries = r.tries AND d.finished_at IS NULL"""
        values = sorted(map(_finish_row, batch), key=itemgetter(0))
        stops = {item.attempt.webhook_id for item in batch if item.stops}

        def write() -> None:
            with transaction.atomic(using=self.connection.alias):
                given_up: Sequence[Finished] = [item for item in batch if item.state == _FAILED]
                if self.execute(sql, _FINISH_COLUMNS, values) < len(values):
                    self._keep_there({item.attempt.request_id for item in batch})
                    given_up = self._taken(given_up)
                kinds = [item.attempt.kind for item in given_up]
                record.write(self, [item.attempt for item in batch], kinds, stops)
                if stops:
                    record.stop_of(self, batch, given_up)

        record.with_free_keys(write)

    def _keep_there(self, ids: set[str]) -> None:
        """Lock these deliveries against removal until the transaction ends."""
        there = Delivery.objects.using(self.connection.alias).filter(pk__in=ids).order_by("pk")
        if len(there.select_for_update(no_key=True).values_list("pk")) < len(ids):
            raise IntegrityError("a delivery was removed while it was sent")

    def _taken(self, given_up: Sequence[Finished]) -> Sequence[Finished]:
        """The outcomes among these whose delivery took the state that this batch gave it."""
        failed = Delivery.objects.using(self.connection.alias).filter(
            pk__in=[item.attempt.request_id for item in given_up], state=_FAILED
        )
        ended = {
            pk: microseconds.of(at) for pk, at in failed.values_list("pk", "finished_at") if at
        }
        return [i for i in given_up if ended.get(i.attempt.request_id) == i.finished_at]

    def unrecorded(self, batch: Sequence[Finished]) -> Sequence[Finished]:
        ids = [item.attempt.request_id for item in batch]
        ended = [item.attempt.ended_at for item in batch]
        within = microseconds.at(min(ended)), microseconds.at(max(ended))
        found = (
            Attempt.objects.using(self.connection.alias)
            .filter(delivery__in=ids, ended_at__range=within)
            .order_by()
            .values_list("delivery_id", "ended_at")
        )
        there = {(delivery_id, microseconds.of(ended_at)) for delivery_id, ended_at in found}
        return [i for i in batch if (i.attempt.request_id, i.attempt.ended_at) not in there]

    def hold_unrecorded(self, item: Finished) -> bool:
        rows = Delivery.objects.using(self.connection.alias)
        rows = rows.filter(OPEN, pk=item.attempt.request_id, tries=item.tries)
        changed = {"reason": states.UNRECORDED, "due_at": states.FAR_AHEAD, "requested_by": ""}
        return bool(rows.update(**changed))

    def record(self, attempts: Sequence[AttemptRow], stops: Collection[str] = ()) -> None:
        record.write(self, attempts, stops=stops)

    def own(
        self, knobs: Knobs = DEFAULT, *, lock_timeout: float = 0.0, repeats: bool = False
    ) -> Self:
        settings = copy.deepcopy(self.connection.settings_dict)
        self._make_direct(settings)
        own = type(self)(type(self.connection)(settings, self.connection.alias), knobs)
        begin = own.connection.init_connection_state

        def begin_session() -> None:
            begin()
            own._begin_session(lock_timeout, repeats)

        own.connection.init_connection_state = begin_session  # type: ignore[method-assign]
        connections[self.connection.alias] = own.connection
        return own

    def _make_direct(self, settings: dict[str, Any]) -> None:
        """Give a connection the settings that one of a worker's own has."""

    def _begin_session(self, lock_timeout: float, repeats: bool) -> None:
        """Make a new session of such a connection ready."""


def _finish_row(item: Finished) -> tuple[Any, ...]:
    attempt = item.attempt
    return (
        attempt.request_id,
        item.tries,
        item.state,
        item.due_at,
        item.finished_at,
        attempt.status,
        attempt.message,
    )
