"""The queue is the delivery table itself: what is put in, and what the worker does with it.

A claim writes nothing: a webhook has one owner at a time (see `ownership`), and the try number in
the WHERE of the finish fences a former owner. Who changes a delivery's state, and from which into
which, is the table in `transitions`.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from django.db import IntegrityError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from ..models import Attempt, Delivery, Webhook, database_file, states
from ..models.webhook import SLOTS
from . import history, moments, rows
from .transitions import OPEN, stop_gone

_D = Delivery._meta.db_table
_W = Webhook._meta.db_table


@lru_cache(maxsize=16)
def schedule_text(delays: tuple[float, ...]) -> str:
    """A retry schedule as a delivery keeps it."""
    return ",".join(f"{delay:g}" for delay in delays)


# --- what is put in ---------------------------------------------------------------------------

_STORE_AT_ONCE = 2000
_STORE_COLUMNS = (
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
)
_STORE_ONE = (
    f"INSERT INTO {_D} ({', '.join(name for name, _ in _STORE_COLUMNS)}) "
    f"VALUES ({', '.join(['%s'] * len(_STORE_COLUMNS))})"
)
# PostgreSQL: one that is due at once is due by the database's clock.
_STORE_NOW = (
    f"INSERT INTO {_D} ({', '.join(name for name, _ in _STORE_COLUMNS)}) VALUES ("
    + ", ".join("%s" if kind != "moment" else "statement_timestamp()" for _, kind in _STORE_COLUMNS)
    + ") RETURNING due_at"
)
_MOMENTS = slice(6, 8)  # the places of due_at and created_at in _STORE_COLUMNS


def store_one(connection: BaseDatabaseWrapper, delivery: Delivery) -> None:
    """Insert a new delivery. `save` would put the same SQL together each time, which costs more
    than running it. Raises IntegrityError where its idempotency key is taken, Replaced where nobody
    will ever read it."""
    database_file.check(connection.alias)
    due_at, created_at = delivery.due_at, delivery.created_at
    values = _stored(delivery, moment(connection, due_at), moment(connection, created_at))
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql" and due_at == created_at:
            del values[_MOMENTS]
            cursor.execute(_STORE_NOW, values)
            delivery.due_at = delivery.created_at = cursor.fetchone()[0]
        else:
            cursor.execute(_STORE_ONE, values)
    delivery._state.adding = False
    delivery._state.db = connection.alias


def store(connection: BaseDatabaseWrapper, deliveries: Sequence[Delivery]) -> None:
    """Insert new deliveries, thousands in a statement, in the caller's transaction. Raises Replaced
    as `store_one`."""
    database_file.check(connection.alias)
    at_once = [delivery for delivery in deliveries if delivery.due_at == delivery.created_at]
    with transaction.atomic(using=connection.alias):
        if connection.vendor == "postgresql" and at_once:
            with connection.cursor() as cursor:
                cursor.execute("SELECT statement_timestamp()")
                (at,) = cursor.fetchone()
            for delivery in at_once:
                delivery.due_at = delivery.created_at = at
        for start in range(0, len(deliveries), _STORE_AT_ONCE):
            batch = [
                _stored(delivery, moments.of(delivery.due_at), moments.of(delivery.created_at))
                for delivery in deliveries[start : start + _STORE_AT_ONCE]
            ]
            rows.insert(connection, _D, _STORE_COLUMNS, batch)
    for delivery in deliveries:
        delivery._state.adding = False
        delivery._state.db = connection.alias


def _stored(delivery: Delivery, due_at: Any, created_at: Any) -> list[Any]:
    """The values of _STORE_COLUMNS."""
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
    ]


# --- what the worker does: discover, claim, finish ----------------------------------------------


_XIDS = 2**32  # PostgreSQL numbers transactions in a circle

Place = tuple[Any, str]  # in a webhook's queue: due_at as the database gave it, and id


@dataclass(frozen=True, slots=True)
class Want:
    """How many deliveries of a webhook there is room for, and the place read up to."""

    webhook_id: str
    room: int
    after: Place | None
    version: int = 0  # of the webhook as the lane knows it


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look saw: everything due up to `until`, of the transactions before `horizon`.

    The others are PostgreSQL's: the oldest transaction that ran while the look was taken, the first
    of those of which none had ended, and who ran before that one.
    """

    until: datetime
    horizon: str = ""
    after: int = 0
    running: frozenset[int] = frozenset()

    @classmethod
    def by(cls, until: datetime, snapshot: str) -> "Seen":
        """`snapshot` as PostgreSQL spells it, `horizon:after:running,running`."""
        horizon, after, running = snapshot.split(":")
        ids = (int(ident) % _XIDS for ident in running.split(",") if ident)
        return cls(until, horizon, int(after) % _XIDS, frozenset(ids))

    def has_ended(self, transaction_id: int) -> bool:
        return (
            transaction_id not in self.running
            and (self.after - transaction_id - 1) % _XIDS < _XIDS // 2
        )


@dataclass(slots=True)
class Claimed:
    """A delivery that is due, as the claim read it."""

    id: str
    webhook_id: str
    tries: int
    body: bytes | None  # None: more than CARRIED_MOST, see `payload`
    retry_schedule: str
    requested_by: str
    place: Place
    version: int  # of the webhook


class Finished(NamedTuple):
    """What becomes of a delivery after an attempt: plain values, as `history.Row`."""

    attempt: history.Row
    tries: int  # before this attempt
    state: str
    due_at: int | None  # None: as it was; moments as in `moments`
    finished_at: int | None
    gone: bool = False  # the receiver answered 410


def moment(connection: BaseDatabaseWrapper, value: datetime) -> Any:
    """A moment as a parameter of raw SQL."""
    return connection.ops.adapt_datetimefield_value(value)


def look(
    connection: BaseDatabaseWrapper, back_to: datetime, now: datetime, seen: Seen
) -> tuple[list[str], Seen]:
    """Webhooks with a pending delivery that became due after `back_to`, up to `now`, as far as the
    last look did not see it; and what this one saw."""
    parameters = [moment(connection, back_to), moment(connection, now)]
    found = (
        f"SELECT DISTINCT webhook_id FROM {_D} p "
        "WHERE state = 'pending' AND finished_at IS NULL AND due_at > %s AND due_at <= %s"
    )
    with connection.cursor() as cursor:
        if connection.vendor != "postgresql":
            cursor.execute(found, parameters)
            return [row[0] for row in cursor.fetchall()], Seen(now)
        if seen.horizon:
            found = f"{found} AND ({_FRESH})"
            parameters += [seen.until, seen.horizon]
        cursor.execute(f"SELECT ARRAY({found}), pg_current_snapshot()::text", parameters)
        ids, snapshot = cursor.fetchone()
        return ids, Seen.by(now, snapshot)


# Due since the last look, or written by a transaction that was not over when it was taken.
_FRESH = "p.due_at > %s OR age(p.xmin) <= age(%s::xid8::xid)"


def writers(connection: BaseDatabaseWrapper) -> dict[int, datetime]:
    """PostgreSQL: transactions that are writing, and when they began."""
    with connection.cursor() as cursor:
        cursor.execute(
            # The function behind pg_stat_activity: to plan the view takes longer than to read it.
            "SELECT backend_xid::text::bigint, xact_start FROM pg_stat_get_activity(NULL) "
            "WHERE backend_xid IS NOT NULL AND xact_start IS NOT NULL "
            "AND datid = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return dict(cursor.fetchall())


ALL = 2**31 - 1


def waiting(
    connection: BaseDatabaseWrapper, now: datetime, after: str = "", most: int = ALL
) -> tuple[list[str], str | None]:
    """Webhooks with a pending delivery that is due, of the first `most` behind `after` that have
    something pending; and the last of these, None when there are no more.

    A loose index scan: a few µs a webhook; on PostgreSQL also a µs for each delivery that ended
    since the scan before, because its index entry is still there. Catches what `look` cannot see:
    late commits and clocks that went backwards.
    """
    following = (
        f"SELECT d.webhook_id FROM {_D} d WHERE d.state = 'pending' AND d.webhook_id > {{}} "
        "ORDER BY d.webhook_id LIMIT 1"
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH RECURSIVE w(id, number) AS (
              SELECT ({following.format("%s")}), 1
              UNION ALL
              SELECT ({following.format("w.id")}), number + 1 FROM w
              WHERE w.id IS NOT NULL AND number < %s
            )
            SELECT w.id, (
              SELECT d.due_at FROM {_D} d WHERE d.state = 'pending' AND d.webhook_id = w.id
              ORDER BY d.due_at LIMIT 1
            ) <= %s
            FROM w WHERE w.id IS NOT NULL""",
            [after, most, moment(connection, now)],
        )
        found = cursor.fetchall()
    return [ident for ident, due in found if due], found[-1][0] if len(found) == most else None


# Bytes of a payload that a claim brings along; of what waits in memory there may be thousands.
CARRIED_MOST = 16_384

_CLAIMED = (
    "h.version, d.id, d.tries, d.retry_schedule, d.requested_by, "
    f"CASE WHEN length(d.payload) <= {CARRIED_MOST} THEN d.payload END"
)


def arrivals(
    connection: BaseDatabaseWrapper,
    back_to: datetime,
    now: datetime,
    seen: Seen,
    slots: Collection[int],
    most: int,
) -> tuple[list[Claimed], set[str], Seen | None]:
    """PostgreSQL: `look` and the claim of what it finds in one statement, of these slots only.

    Returns the deliveries of callable webhooks, the webhooks of the others, and what was seen: None
    when there were `most`, and may be more.
    """
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
    found = rows.read(
        connection,
        f"""
        SELECT s.snapshot, {states.claim_sql()}, {_CLAIMED}, d.due_at, d.webhook_id
        FROM (SELECT pg_current_snapshot()::text AS snapshot) s
        LEFT JOIN LATERAL (
          SELECT * FROM {_D} p WHERE {" AND ".join(conditions)} ORDER BY p.due_at LIMIT %s
        ) d ON true
        LEFT JOIN {_W} h ON h.id = d.webhook_id""",
        [*parameters, most],
    )
    claimed, held = [], set()
    for _, is_callable, *row in found:
        if is_callable:
            claimed.append(_claimed(*row))
        elif row[-1] is not None:
            held.add(row[-1])
    return claimed, held, Seen.by(now, found[0][0]) if len(found) < most else None


def claim(connection: BaseDatabaseWrapper, wants: Sequence[Want], now: datetime) -> list[Claimed]:
    """Due deliveries of callable webhooks, by due time, from each webhook's own place on.

    Writes nothing; only the owner of these webhooks may call it.
    """
    if connection.vendor == "postgresql":
        return _claim_at_once(connection, wants, now)
    return _claim_one_by_one(connection, wants, now)


_BEGINNING = datetime.min.replace(tzinfo=UTC)


def _claim_at_once(
    connection: BaseDatabaseWrapper, wants: Sequence[Want], now: datetime
) -> list[Claimed]:
    found = rows.read(
        connection,
        f"""
        SELECT {_CLAIMED}, d.due_at, d.webhook_id
        FROM unnest(%s::text[], %s::int[], %s::timestamptz[], %s::text[])
               AS w(id, room, after_due, after_id)
        -- OFFSET 0: one by one, by their keys; joined, all webhooks there are would be read.
        CROSS JOIN LATERAL (
          SELECT * FROM {_W} h WHERE h.id = w.id AND {states.claim_sql()} OFFSET 0
        ) h
        CROSS JOIN LATERAL (
          SELECT * FROM {_D} p
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
    return [_claimed(*row) for row in found]


def _claimed(
    version: int,
    ident: str,
    tries: int,
    schedule: str,
    by: str,
    body: bytes | None,
    due_at: Any,  # as the database gave it
    webhook_id: str,
) -> Claimed:
    return Claimed(ident, webhook_id, tries, body, schedule, by, (due_at, ident), version)


def _claim_one_by_one(
    connection: BaseDatabaseWrapper, wants: Sequence[Want], now: datetime
) -> list[Claimed]:
    # All of a webhook is one row of the answer: for each row Python gives up its lock, and waits
    # for it until the event loop pauses. `|| ''` keeps due_at the text it is.
    sql = f"""
        SELECT json_group_array(json_array(
                 version, id, tries, retry_schedule, requested_by, length(body), due_at || '')),
               CAST(group_concat(CAST(body AS TEXT), '') AS BLOB)
        FROM (
          SELECT {_CLAIMED} AS body, d.due_at FROM {_D} d JOIN {_W} h ON h.id = d.webhook_id
          WHERE d.state = 'pending' AND d.webhook_id = ? AND d.due_at <= ?
            AND (d.due_at, d.id) > (?, ?) AND {states.claim_sql()}
          ORDER BY d.due_at, d.id LIMIT ?
        )"""
    until = moment(connection, now)
    claimed: list[Claimed] = []
    with rows.sqlite_execute(connection) as run:
        for want in wants:
            after = want.after or ("", "")
            found, bodies = run(sql, [want.webhook_id, until, *after, want.room]).fetchone()
            begin = 0
            for version, ident, tries, schedule, by, length, due_at in json.loads(found):
                end = begin + (length or 0)
                body = None if length is None else bodies[begin:end]
                row = (version, ident, tries, schedule, by, body, due_at, want.webhook_id)
                claimed.append(_claimed(*row))
                begin = end
    return claimed


def payload(connection: BaseDatabaseWrapper, delivery_id: str) -> bytes:
    """Of a claimed delivery that is sent now. Raises DoesNotExist when it was removed meanwhile."""
    rows_ = Delivery.objects.using(connection.alias).filter(pk=delivery_id)
    return bytes(rows_.values_list("payload", flat=True).get())


def pending_of(connection: BaseDatabaseWrapper, ids: Sequence[str]) -> set[str]:
    """Which of these deliveries are still to be sent."""
    rows_ = Delivery.objects.using(connection.alias).filter(OPEN, pk__in=ids)
    return set(rows_.values_list("pk", flat=True)) if ids else set()


_FINISH_COLUMNS = (
    ("id", "text"),
    ("tries", "int2"),
    ("state", "text"),
    ("due_at", "moment"),
    ("finished_at", "moment"),
    ("last_status", "int2"),
    ("last_error", "text"),
)


def unrecorded(connection: BaseDatabaseWrapper, batch: Sequence[Finished]) -> Sequence[Finished]:
    """Without those whose attempt is there already: the connection broke in a COMMIT, and nobody
    told whether it came through."""
    ids = [item.attempt.request_id for item in batch]
    ended = [item.attempt.ended_at for item in batch]
    within = moments.at(min(ended)), moments.at(max(ended))
    found = (
        Attempt.objects.using(connection.alias)
        .filter(delivery__in=ids, ended_at__range=within)
        .order_by()
        .values_list("delivery_id", "ended_at")
    )
    there = {(delivery_id, moments.of(ended_at)) for delivery_id, ended_at in found}
    return [i for i in batch if (i.attempt.request_id, i.attempt.ended_at) not in there]


def finish(connection: BaseDatabaseWrapper, batch: Sequence[Finished]) -> None:
    """New states, attempts and health of a batch, in one transaction.

    A delivery that was cancelled meanwhile, or taken over by another worker, keeps its state; the
    attempt is recorded all the same, because it happened. Raises IntegrityError when a delivery
    was removed meanwhile.
    """
    # `finished_at IS NULL` says pending without the words of any partial index: with statistics
    # from an empty queue PostgreSQL would else walk the whole due index for each batch.
    sql = f"""
        UPDATE {_D} AS d SET
          state = r.state, due_at = COALESCE(r.due_at, d.due_at), tries = r.tries + 1,
          finished_at = r.finished_at, last_status = r.last_status,
          last_error = r.last_error, requested_by = ''
        FROM {{rows}}
        WHERE d.id = r.id AND d.tries = r.tries AND d.finished_at IS NULL"""
    values = sorted(map(_finish_row, batch), key=itemgetter(0))

    def write() -> None:
        with transaction.atomic(using=connection.alias):
            if rows.execute(connection, sql, _FINISH_COLUMNS, values) < len(values):
                _keep_there(connection, {item.attempt.request_id for item in batch})
            history.write(connection, [item.attempt for item in batch])
            for webhook_id in {item.attempt.webhook_id for item in batch if item.gone}:
                stop_gone(webhook_id)

    history.with_free_keys(write)


def hold_unrecorded(connection: BaseDatabaseWrapper, item: Finished) -> bool:
    """A receiver has answered, and that cannot be written down: the delivery waits for a person,
    because to send it again by itself might go on for ever. False when it is removed, or somebody
    else has decided already."""
    rows_ = Delivery.objects.using(connection.alias).filter(OPEN, pk=item.attempt.request_id)
    changed = {"reason": states.UNRECORDED, "due_at": states.FAR_AHEAD, "requested_by": ""}
    return bool(rows_.filter(tries=item.tries).update(**changed))


def _keep_there(connection: BaseDatabaseWrapper, ids: set[str]) -> None:
    """Lock these deliveries against removal until the transaction ends."""
    there = Delivery.objects.using(connection.alias).filter(pk__in=ids).order_by("pk")
    if len(there.select_for_update(no_key=True).values_list("pk")) < len(ids):
        raise IntegrityError("a delivery was removed while it was sent")


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
