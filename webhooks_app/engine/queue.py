"""The queue is the delivery table itself; every change of a delivery's state is made here.

State × verb (– changes nothing):

| verb   | pending                      | delivered      | failed         | cancelled      |
| ------ | ---------------------------- | -------------- | -------------- | -------------- |
| finish | delivered, failed or pending | recorded only  | recorded only  | recorded only  |
| retry  | due now                      | pending        | pending        | pending        |
| replay | –                            | –              | pending        | –              |
| cancel | cancelled                    | –              | –              | –              |
| delete | cancelled                    | –              | –              | –              |
| purge  | – (held too long: cancelled) | removed        | removed        | removed        |

(retry and replay of what has ended start again with tries 0; delete is the webhook's.)

Each is one UPDATE with its precondition in the WHERE; whoever comes late changes no row. A claim
writes nothing: a webhook has one owner at a time (see `ownership`), and the try number in the
WHERE of the finish fences a former owner.
"""

import json
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from django.db import IntegrityError, connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Exists, OuterRef, Q, QuerySet

from ..models import Attempt, Delivery, HourlyCount, Webhook, WebhookHealth, database_file, states
from ..models.primary import clock, present
from ..models.webhook import SLOTS
from . import history, moments, rows

_D = Delivery._meta.db_table
_W = Webhook._meta.db_table

# PostgreSQL: what NOTIFY is sent to after a commit that made something due. Channels are the whole
# database's; with the oid of its table each installation has its own.
CHANNEL = f"SELECT 'webhooks_due_' || '\"{_D}\"'::regclass::oid"
ANNOUNCE_APART = 0.01  # seconds; a worker keeps looking for twice as long after a notification


@lru_cache(maxsize=16)
def schedule_text(delays: tuple[float, ...]) -> str:
    """A retry schedule as a delivery keeps it."""
    return ",".join(f"{delay:g}" for delay in delays)


def now(connection: BaseDatabaseWrapper) -> Any:
    """`present` for this connection."""
    return present(connection.alias)


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


# --- what people ask for ----------------------------------------------------------------------

# Pending, of rows sought by their ids. The word itself would let PostgreSQL walk through all that
# is pending, when its statistics are from before it came.
_OPEN = Q(finished_at__isnull=True)


def retry(delivery_id: str, *, by: str = "") -> bool:
    """Due now; unless pending, tries from 0. False when its webhook is deleted."""
    rows_ = Delivery.objects.filter(pk=delivery_id, webhook__deleted_at__isnull=True)
    return bool(_hurry(rows_, by) or _restart(rows_, by))


def retry_all(ids: Sequence[str], *, by: str = "", delivered_too: bool = False) -> int:
    """`retry` of many; what is delivered stays so unless told otherwise. Returns how many.

    Takes the row locks in the order of the ids, so that two of these never deadlock.
    """
    rows_ = Delivery.objects.filter(pk__in=ids)
    if not delivered_too:
        rows_ = rows_.exclude(state=Delivery.State.DELIVERED)
    locked = list(rows_.order_by("pk").select_for_update().values_list("pk", "webhook_id"))
    # Apart, not joined: with statistics from an empty table PostgreSQL would begin at the webhooks.
    webhooks = Webhook.objects.live().filter(pk__in={webhook for _, webhook in locked})
    live = set(webhooks.values_list("pk", flat=True))
    rows_ = Delivery.objects.filter(pk__in=[pk for pk, webhook in locked if webhook in live])
    return _hurry(rows_, by) + _restart(rows_, by)


def failed_since(webhook_id: str, since: datetime) -> "QuerySet[Delivery]":
    return Delivery.objects.filter(
        webhook=webhook_id,
        webhook__deleted_at__isnull=True,
        state=Delivery.State.FAILED,
        finished_at__gte=since,
    )


def replay(webhook_id: str, since: datetime, *, by: str = "") -> int:
    """All failed since a moment, once more; returns how many. Some thousand a transaction, so that
    others come between them."""
    failed = failed_since(webhook_id, since).filter(finished_at__lte=clock(_here().alias))
    replayed, place = 0, ""
    rest = failed.order_by("pk").values_list("pk", flat=True)
    while ids := list(rest.filter(pk__gt=place)[:AT_ONCE]):
        replayed += _restart(failed.filter(pk__in=ids), by)
        place = ids[-1]
        _let_others_in()
    return replayed


AT_ONCE = 2000  # deliveries whose state one transaction changes, of those that may be very many
_PAUSE = 0.01  # seconds after it


def _let_others_in() -> None:
    """SQLite has one writer at a time, and whoever waits only looks now and then."""
    if _here().vendor == "sqlite" and not _here().in_atomic_block:
        time.sleep(_PAUSE)


def _here() -> BaseDatabaseWrapper:
    return connections[router.db_for_write(Delivery)]


def _hurry(deliveries: "QuerySet[Delivery]", by: str) -> int:
    """Bring forward what is pending."""
    return deliveries.filter(_OPEN).update(due_at=now(_here()), requested_by=by[:150], reason="")


def _restart(deliveries: "QuerySet[Delivery]", by: str) -> int:
    return deliveries.exclude(state=Delivery.State.PENDING).update(
        state=Delivery.State.PENDING,
        reason="",
        due_at=now(_here()),
        tries=0,
        finished_at=None,
        requested_by=by[:150],
    )


def cancel(delivery_id: str, reason: str) -> bool:
    return bool(_cancel(Delivery.objects.filter(_OPEN, pk=delivery_id), reason))


def cancel_many(ids: Sequence[str], reason: str) -> int:
    rows_ = Delivery.objects.filter(_OPEN, pk__in=ids)
    list(rows_.order_by("pk").select_for_update().values_list("pk", flat=True))
    return _cancel(rows_, reason)


def cancel_some(webhook_id: str, reason: str, most: int = AT_ONCE) -> int:
    """Cancel the next ones that wait for a webhook; returns how many those were. Rows that somebody
    has locked are left for another time."""
    pending = Delivery.objects.pending().filter(webhook=webhook_id)
    skips = _here().features.has_select_for_update_skip_locked
    with transaction.atomic(using=router.db_for_write(Delivery)):
        found = pending.order_by("due_at", "pk").select_for_update(skip_locked=skips, no_key=skips)
        ids = list(found.values_list("pk", flat=True)[:most])
        return _cancel(Delivery.objects.filter(_OPEN, pk__in=ids), reason) if ids else 0


DELETED = "webhook deleted"
_STEPS_MOST = 5  # of cancelling what waits for deleted webhooks, in one turn of the upkeep


def cancel_deleted(within: timedelta, stopped: Callable[[], bool] = bool) -> int:
    """Cancel what still waits for webhooks that were deleted within so long; returns how many.

    A delete itself cancels only so much that nobody has to wait for it. None of it is sent
    meanwhile.
    """
    since = clock(_here().alias) - within
    gone = Webhook.objects.filter(deleted_at__gte=since).filter(
        Exists(Delivery.objects.pending().filter(webhook=OuterRef("pk")))
    )
    cancelled = 0
    for _ in range(_STEPS_MOST):
        if stopped() or (webhook := gone.order_by("deleted_at").values_list("pk").first()) is None:
            break
        done = cancel_some(webhook[0], DELETED)
        cancelled += done
        if not done:
            break  # somebody else is at it
        _let_others_in()
    return cancelled


def _cancel(pending: "QuerySet[Delivery]", reason: str) -> int:
    return pending.update(
        state=Delivery.State.CANCELLED, reason=reason[:255], finished_at=now(_here())
    )


def stop(webhook_id: str, reason: str, *, note: str = "", by: str = "") -> bool:
    """Hold everything of a webhook. False when it is stopped already: the first reason stays."""
    return bool(
        Webhook.objects.live()
        .filter(pk=webhook_id, stopped="")
        .update(stopped=reason, stopped_note=note, stopped_by=by[:150], stopped_at=now(_here()))
    )


def start(webhook_id: str) -> bool:
    """Clear the reason for which a webhook is stopped, and close its breaker. A run of failures
    that would stop it again at the next single one is cleared; a shorter one goes on: a pause
    mends nothing."""
    with transaction.atomic(using=router.db_for_write(Webhook)):
        started = (
            Webhook.objects.live()
            .filter(pk=webhook_id)
            .exclude(stopped="")
            .update(stopped="", stopped_note="", stopped_by="", stopped_at=None)
        )
        if started:
            health = WebhookHealth.objects.filter(pk=webhook_id)
            # What people let go on begins with one call (see `Desk`), whatever came before.
            at = present(health.db)
            health.update(breaker_until=None, breaker_trips=0, run_cleared_at=at)
            if health.filter(failing_since__lte=at - history.FAILING_STOPS_AFTER).exists():
                health.clear_run()
    announce(router.db_for_write(Webhook))
    return bool(started)


_announced = 0.0


def announce(alias: str) -> None:
    """Wake the workers once the present transaction has committed.

    SQLite's worker sees every commit by itself. On PostgreSQL a NOTIFY in every transaction would
    cost producers a quarter of their rate, so a process sends one in 10 ms at most; workers look
    again until twice that has passed.
    """
    connection = connections[alias]
    if connection.vendor == "postgresql":
        transaction.on_commit(lambda: _notify(connection), using=alias)


def _notify(connection: BaseDatabaseWrapper) -> None:
    global _announced
    now = time.monotonic()
    if now - _announced < ANNOUNCE_APART:
        return
    _announced = now
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_notify(({CHANNEL}), '')")


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
        JOIN {_W} h ON h.id = w.id AND {states.claim_sql()}
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
    rows_ = Delivery.objects.using(connection.alias).filter(_OPEN, pk__in=ids)
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
                stop(webhook_id, Webhook.Stopped.GONE, note="the receiver answered 410")

    history.with_free_keys(write)


def hold_unrecorded(connection: BaseDatabaseWrapper, item: Finished) -> bool:
    """A receiver has answered, and that cannot be written down: the delivery waits for a person,
    because to send it again by itself might go on for ever. False when it is removed, or somebody
    else has decided already."""
    rows_ = Delivery.objects.using(connection.alias).filter(_OPEN, pk=item.attempt.request_id)
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


# --- what time does ---------------------------------------------------------------------------

HOURS_KEPT = timedelta(days=30)  # at least: what screens look back at


def purge(
    older_than: timedelta,
    *,
    dry_run: bool = False,
    at_once: int = 1000,
    stopped: Callable[[], bool] = bool,
) -> dict[str, int]:
    """Remove what finished longer ago than `older_than`, and give up what was held that long.

    Deliveries that are pending stay, unless their webhook is held: those are cancelled with the
    reason "held too long". Hourly counts stay for 30 days at least. Returns how many of each.
    Deletes `at_once` rows a transaction, until `stopped` says so: the rest is left for the next.
    """
    at = clock(_here().alias)
    before = at - older_than
    finished = Delivery.objects.made(until=before).filter(finished_at__lt=before)
    loose = Attempt.objects.ended(until=before).filter(delivery__isnull=True)
    held = Delivery.objects.pending().filter(due_at__lt=before)
    held = held.filter(states.unclaimed(before))
    # What was late when its webhook was stopped has not been held for so long.
    held = held.exclude(webhook__stopped_at__gte=before)
    hours = HourlyCount.objects.filter(hour__lt=min(before, at - HOURS_KEPT))
    if dry_run:
        return {
            "deliveries": finished.count(),
            "attempts": loose.count()
            + Attempt.objects.filter(delivery__in=finished.values("pk")).count(),
            "held too long": held.count(),
            "hourly counts": hours.count(),
        }
    removed = {"deliveries": 0, "attempts": 0, "held too long": 0, "hourly counts": 0}
    for ids in batches(held.order_by("due_at"), at_once, stopped):
        removed["held too long"] += _cancel(held.filter(pk__in=ids), "held too long")
    place = ""
    by_id = finished.order_by("pk").values_list("pk", flat=True)
    while not stopped() and (ids := list(by_id.filter(pk__gt=place)[:at_once])):
        place = ids[-1]
        with transaction.atomic(using=router.db_for_write(Delivery)):
            _by_index_only(connections[router.db_for_write(Delivery)])
            # Retried meanwhile? Then it is not among the locked ones, and stays.
            locked = finished.filter(pk__in=ids).select_for_update().values_list("pk", flat=True)
            ids = list(locked)
            removed["attempts"] += Attempt.objects.filter(delivery__in=ids).delete()[0]
            removed["deliveries"] += Delivery.objects.filter(pk__in=ids).only("pk").delete()[0]
    for numbers in batches(loose.order_by("pk"), at_once, stopped):
        removed["attempts"] += Attempt.objects.filter(pk__in=numbers).delete()[0]
    by_hour = hours.order_by("hour").values_list("hour", flat=True)
    while not stopped() and (hour := by_hour.first()) is not None:
        removed["hourly counts"] += hours.filter(hour=hour).delete()[0]
    for webhook in Webhook.objects.filter(deleted_at__lt=before).only("pk"):
        if stopped():
            break
        with transaction.atomic(using=router.db_for_write(Webhook)):
            # Whoever records an exchange holds the health of its webhook.
            list(WebhookHealth.objects.filter(pk=webhook.pk).select_for_update().values_list("pk"))
            if not webhook.deliveries.exists() and not webhook.attempts.exists():
                webhook.delete()
    return removed


def batches(
    rows_: "QuerySet[Any]", at_once: int, stopped: Callable[[], bool]
) -> Iterator[list[Any]]:
    """The keys of these rows, so many at a time; whoever gets them removes them from among the
    rows before asking for more."""
    while not stopped() and (keys := list(rows_.values_list("pk", flat=True)[:at_once])):
        yield keys


def _by_index_only(connection: BaseDatabaseWrapper) -> None:
    """For the present transaction: with statistics from an empty table PostgreSQL would read the
    whole history to find the attempts of a thousand deliveries."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
