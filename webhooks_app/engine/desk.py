"""The reading side of a worker: whose webhooks are mine, what is due, what is claimed. One
connection, used by one thread, asked turn by turn; the session that holds the slots.

Between two turns nothing is open: no transaction, no cursor. Whatever fails here with a database
error leaves the worker's memory as it was; `reset` begins anew.
"""

import logging
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError
from django.db.migrations.loader import MigrationLoader

from .. import conf
from ..fields import WrongKey
from ..models import SigningKey, Webhook, WebhookHealth, Worker, states
from ..models.webhook import slot_of
from ..rules.failures import Failure
from ..rules.ids import new_id
from . import calls, message, store, transitions
from .store import Claimed, Want, Watermark, microseconds

log = logging.getLogger("webhooks")

LOOK_EVERY = 0.1  # seconds, all of these
SCAN_EVERY = 5.0
SCAN_LATEST = 60.0
SCAN_FIRST = 10  # webhooks in the first step of a scan; each step takes a quarter more
HEARTBEAT_EVERY = 5.0
VERIFICATIONS_EVERY = 0.25
VERIFIED_AT_ONCE = 50  # verifications that begin with one look
VERIFYING_MOST = 500  # that are under way, in all
VERIFYING_EACH = 100  # and of one account, so that its hanging ones leave room for others
UNREADABLE_AGAIN = 60.0  # until secrets that no key opened are tried again
REOPENED_AT_ONCE = 100  # webhooks of which that is tried in one turn
BREAKERS_ASKED = 300  # open breakers that are read in one turn
STOPS_ASKED = 300  # webhooks that people stopped a moment ago, likewise
STOPPED_LATELY = timedelta(seconds=2)  # for which a stop is looked for: it may commit late
OVERLAP = timedelta(milliseconds=250)  # how far back a look for newly due deliveries reaches
REACH_MOST = timedelta(seconds=60)  # at the most, after a long transaction on SQLite
CLAIM_MOST = 1000  # rows of one claim
FOUND_MOST = 100  # webhooks that are claimed for in the turn that finds them


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a lane needs to know of its webhook. `failure`: no request can be made of it."""

    version: int
    top: int
    timeout: float
    url: str
    head: message.Head | None
    failure: Failure | None = None
    breaker_left: float = 0.0  # seconds
    breaker_trips: int = 0
    is_back: bool = False  # people let it go on, and no call has succeeded since
    is_failing: bool = False  # its last call failed


@dataclass(slots=True)
class Turn:
    """What the worker asks of the desk."""

    wants: Sequence[Want] = ()
    room: bool = False  # what is just found is claimed, too, by these of `Lanes`
    want: Callable[..., Want | None] = lambda *_: None
    version: Callable[[str], int | None] = lambda _: None
    is_behind: Callable[[str], bool] = lambda _: False
    look: bool = False  # something was announced
    busy: frozenset[int] | None = None  # given when it is time to look at the ownership
    leaving: bool = False  # the worker stops: take and claim nothing more
    held: Sequence[str] = ()  # webhooks that may be callable again
    # What waits in memory since a while: by webhook its version and the ids.
    waiting: Mapping[str, tuple[int, Sequence[str]]] = field(default_factory=dict)
    open_breakers: Sequence[str] = ()  # breakers that people may have closed
    verifying: Mapping[str, int] = field(default_factory=dict)  # under way: webhook and account
    in_flight: int = 0
    in_flight_of: Callable[[], dict[str, int]] = dict  # by webhook, asked at a heartbeat
    sent: int = 0
    unwritten: int = 0  # outcomes that cannot be written


@dataclass(slots=True)
class Answer:
    """What the desk found."""

    owned: frozenset[int] = frozenset()
    waiting: list[str] = field(default_factory=list)  # found by a scan
    marked: list[str] = field(default_factory=list)  # found by a look
    back_to: Any = None  # the due time from which that look read
    found: set[str] = field(default_factory=set)  # of the marked: claimed already
    # What no earlier look saw, by webhook; PostgreSQL's.
    arrived: dict[str, list[Claimed]] = field(default_factory=dict)
    claimed: list[tuple[Want, list[Claimed]]] = field(default_factory=list)
    loaded: dict[str, Loaded] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)
    unreadable: set[str] = field(default_factory=set)  # of the claimed: no key opens their secrets
    freed: list[str] = field(default_factory=list)
    # Of what waits in memory: ids, by webhook, that are not pending any more.
    ended: dict[str, set[str]] = field(default_factory=dict)
    closed: list[str] = field(default_factory=list)  # breakers that people closed
    # Breakers that are open, of some webhooks: for how many seconds, and how often they opened.
    opened: dict[str, tuple[float, int]] = field(default_factory=dict)
    verifications: list[calls.Verification] = field(default_factory=list)
    looked: bool = False
    scanned: bool = False  # a scan is through

    @property
    def claimed_anything(self) -> bool:
        return bool(self.arrived) or any(rows for _, rows in self.claimed)


class Desk:
    """All of it runs in the worker's database thread."""

    def __init__(self, alias: str, *, once: bool = False) -> None:
        self._alias = alias
        self._once = once
        self._horizon: datetime | None = None
        self._store = store.open(alias).own(by_index=True)
        self._ownership = self._store.ownership()
        self._owned: frozenset[int] = frozenset()
        self._seen: Watermark | None = None  # None: nothing yet, all that is due must be found
        self._scanned: str | None = None  # up to this webhook, while a scan is under way
        self._scan_most = 0  # webhooks in its next step
        self._scan_cost = 0.0  # seconds so far
        self._scan_again_at = 0.0  # if need be
        self._is_late = False  # a transaction has ended that was older than looks reach back
        self._writers: dict[int, datetime] = {}  # PostgreSQL: transactions, when they began
        self._changed_at: datetime | None = None  # SQLite: when the last commit was seen
        self._due_at: dict[str, float] = {}
        self._clock: int | None = None  # how far the database's is before the monotonic one, in µs
        self._opened_after: datetime | None = None  # the open breakers up to there were read
        self._stopped: set[tuple[str, Any]] = set()  # who was found by the last look, and when
        # Webhooks whose secrets no key opens: in which version, and when they are tried again.
        self._unreadable: dict[str, tuple[int, float]] = {}
        self._reopened: str | None = None  # up to this webhook, while such are tried again
        self.id = f"{socket.gethostname()[:32]}:{os.getpid()}:{new_id()[-6:]}"

    def is_migrated(self) -> bool:
        """Raises DatabaseError when the database is away."""
        loader = MigrationLoader(self._store.connection)
        latest = loader.graph.leaf_nodes(Webhook._meta.app_label)
        return loader.applied_migrations.keys() >= set(latest)

    @property
    def is_all_or_nothing(self) -> bool:
        """Whether who owns nothing now waits for the end of another worker."""
        return self._store.is_all_or_nothing

    def owns_nothing_more(self) -> bool:
        """Whether the slots may be another's by now. Asked from the loop's thread."""
        return self._ownership.is_lost()

    def turn(self, turn: Turn) -> Answer:
        """Look and claim. Raises DatabaseError when the database is away."""
        answer = self._turn(turn)
        # What was found counts only while the slots are held by the session that found it.
        self._ownership.check()
        return answer

    def _turn(self, turn: Turn) -> Answer:
        answer = Answer()
        if turn.leaving:
            self._ownership.retire(turn.busy or frozenset())
            self._owned = frozenset()
        elif turn.busy is not None:
            owned = self._ownership.refresh(turn.busy)
            if owned - self._owned:
                # What waits there is wanted now: a scan in one go.
                self._seen = None
                self._due_at["verifications"] = self._due_at["reopen"] = 0.0
                self._reopened = None
            self._owned = owned
        answer.owned = self._owned
        if self._is_time("heartbeat", HEARTBEAT_EVERY):
            self._heartbeat(turn)
        if not self._owned:
            return answer
        now = self.now()
        if self._once:
            # What becomes due after the start is left for another time.
            now = self._horizon = self._horizon or now
        self._discover(answer, turn, now)
        if wants := [*turn.wants, *self._found(answer, turn)]:
            self._claim(answer, wants, now)
        if turn.waiting:
            self._look_after(answer, turn.waiting)
        if turn.held:
            answer.freed = self._freed(turn.held)
        if turn.open_breakers:
            answer.closed = self._closed(turn.open_breakers)
        if turn.busy is not None:
            answer.opened = self._opened(now)
            stopped = self._just_stopped(now)
            answer.held += [ident for ident in stopped if ident not in answer.held]
        if self._reopened is not None or self._is_time("reopen", UNREADABLE_AGAIN):
            self._reopen()
        if self._is_time("verifications", VERIFICATIONS_EVERY):
            answer.verifications = self._verifications(turn.verifying)
        return answer

    def now(self) -> datetime:
        """The database's clock: a worker whose own is wrong, or set anew, neither storms nor
        starves."""
        return microseconds.at(self.moment())

    def moment(self) -> int:
        """`now` in microseconds."""
        if self._clock is None:
            return microseconds.now()
        return self._clock + time.monotonic_ns() // 1000

    def _is_time(self, what: str, every: float) -> bool:
        now = time.monotonic()
        if now < self._due_at.get(what, 0.0):
            return False
        self._due_at[what] = now + every
        return True

    def _discover(self, answer: Answer, turn: Turn, now: datetime) -> None:
        changed = self._store.has_changed()
        whole = self._seen is None
        if self._seen is None:
            self._seen = Watermark(now)
            self._scanned = None
            answer.looked = True
        elif turn.look or changed or self._is_time("look", LOOK_EVERY):
            before = self._seen
            back_to = before.until - OVERLAP
            if changed and self._changed_at is not None:
                # SQLite lets one write at a time: whoever has committed now began after that.
                back_to = min(back_to, max(self._changed_at - OVERLAP, now - REACH_MOST))
            answer.back_to = self._store.moment(back_to)
            if not self._arrivals(answer, turn, back_to, now, before):
                marked, self._seen = self._store.look(back_to, now, before)
                answer.marked = self._ours(marked)
            self._watch_writers(self._seen, back_to)
            answer.looked = True
        if changed:
            self._changed_at = now
        if answer.looked:
            self._due_at["look"] = time.monotonic() + LOOK_EVERY
        due_at = self._scan_again_at if self._is_late else self._due_at.get("scan", 0.0)
        if whole or self._scanned is not None or time.monotonic() >= due_at:
            self._scan(answer, now, store.ALL_WEBHOOKS if whole else SCAN_FIRST)

    def _watch_writers(self, seen: Watermark, back_to: datetime) -> None:
        """PostgreSQL: what a long transaction made due may lie before what looks reach back to. A
        scan finds it, as soon as that transaction has ended."""
        for ident in [ident for ident in self._writers if seen.has_ended(ident)]:
            self._is_late |= self._writers.pop(ident) < back_to
        if self._is_time("writers", LOOK_EVERY):
            self._writers |= self._store.writers()

    def _scan(self, answer: Answer, at: datetime, first: int) -> None:
        """A step of the scan, in steps so that what is due meanwhile does not wait for all of it,
        and growing ones so that it ends soon, however many webhooks there are."""
        started = time.monotonic()
        if self._scanned is None:
            self._scan_most, self._scan_cost = first, 0.0
            self._is_late = False
        found, self._scanned = self._store.scan(at, self._scanned or "", self._scan_most)
        answer.waiting += self._ours(found)
        self._scan_most += self._scan_most // 4
        self._scan_cost += time.monotonic() - started
        if self._scanned is None:
            answer.scanned = True
            # A scan of very many webhooks must not eat the day.
            now, rest = time.monotonic(), min(50 * self._scan_cost, SCAN_LATEST)
            self._scan_again_at = now + rest
            self._due_at["scan"] = now + max(SCAN_EVERY, rest)

    def _arrivals(
        self, answer: Answer, turn: Turn, back_to: datetime, now: datetime, seen: Watermark
    ) -> bool:
        """What just became due, at once. False when it cannot be had so: on SQLite, without room,
        or when it is very much."""
        if not turn.room or not self._store.claims_arrivals:
            return False
        arrived, not_callable, new = self._store.arrivals(
            back_to, now, seen, self._owned, CLAIM_MOST
        )
        if new is None:
            return False
        changed: set[str] = set()
        later = set(not_callable)
        for row in arrived:
            ident, version = row.webhook_id, turn.version(row.webhook_id)
            if version is None or ident in later:
                continue  # held; all of it is read when it is free again
            if version != row.version and ident not in changed:
                # To load very many takes long; of those that are behind nobody is to wait for it.
                if len(changed) == FOUND_MOST or turn.is_behind(ident):
                    later.add(ident)
                    continue
                changed.add(ident)
            answer.arrived.setdefault(ident, []).append(row)
        self._load(list(changed), answer)
        answer.marked = list(later)
        self._seen = new
        return True

    def _ours(self, webhook_ids: list[str]) -> list[str]:
        return [ident for ident in webhook_ids if slot_of(ident) in self._owned]

    def _found(self, answer: Answer, turn: Turn) -> list[Want]:
        """SQLite: what just became due is claimed in the same turn."""
        if not turn.room or answer.back_to is None or self._store.claims_arrivals:
            return []
        asked = {want.webhook_id for want in turn.wants}
        now = time.monotonic()
        found = []
        for ident in sorted(answer.marked, key=turn.is_behind)[:FOUND_MOST]:
            if ident in asked:
                continue
            want = turn.want(ident, answer.back_to, now)
            if want is not None:
                found.append(want)
        answer.found = {want.webhook_id for want in found}
        return found

    def _claim(self, answer: Answer, asked: Sequence[Want], now: datetime) -> None:
        wants = [want for want in asked if slot_of(want.webhook_id) in self._owned]
        if not wants:
            return
        by_webhook: dict[str, list[Claimed]] = {want.webhook_id: [] for want in wants}
        for row in self._store.claim(wants, now):
            by_webhook[row.webhook_id].append(row)
        changed, silent = [], []
        for want in wants:
            rows = by_webhook[want.webhook_id]
            answer.claimed.append((want, rows))
            if rows and rows[-1].version != want.version:
                changed.append(want.webhook_id)
            elif not rows:
                silent.append(want.webhook_id)
        self._load(changed, answer)
        answer.held += self._held(silent)

    def _look_after(self, answer: Answer, waiting: Mapping[str, tuple[int, Sequence[str]]]) -> None:
        """What was claimed a while ago may have been cancelled since; its webhook may have been
        paused, deleted or sent elsewhere."""
        versions = {ident: version for ident, version, ok in self._callable(waiting) if ok}
        may_be_called = versions.keys()
        answer.held += [ident for ident in waiting if ident not in may_be_called]
        changed = [ident for ident in may_be_called if versions[ident] != waiting[ident][0]]
        self._load(changed, answer)
        answer.held += [ident for ident in changed if ident not in answer.loaded]  # cannot be read
        ids = [ident for webhook in may_be_called for ident in waiting[webhook][1]]
        pending = self._store.pending_of(ids)
        for webhook in may_be_called:
            if ended := set(waiting[webhook][1]) - pending:
                answer.ended[webhook] = ended

    def _load(self, webhook_ids: list[str], answer: Answer) -> None:
        """What the lanes of these need to know, into `loaded` or `unreadable` of the answer."""
        if not webhook_ids:
            return
        webhooks = Webhook.objects.using(self._alias).filter(pk__in=webhook_ids)
        webhooks = webhooks.select_related("health").prefetch_related("headers")
        keys = SigningKey.objects.using(self._alias).of([row.pk for row in webhooks])
        now = self.now()
        opened = []
        for row in webhooks:
            health = row.health
            until, cleared = health.breaker_until, health.run_cleared_at
            left = (until - now).total_seconds() if until else 0.0
            success = health.last_success_at
            head, failure = None, None
            try:
                headers = [(h.name, h.value) for h in row.headers.all()]
                head = message.head(row, headers, keys[row.pk])
            except message.Unsendable as error:
                failure = error.failure
            except WrongKey as error:
                self.cannot_read(row, error)
                answer.unreadable.add(row.pk)
                continue
            if health.unreadable_since is not None:
                opened.append(row.pk)
            self._unreadable.pop(row.pk, None)
            answer.loaded[row.pk] = Loaded(
                version=row.version,
                top=row.max_in_flight,
                timeout=row.exchange_timeout,
                url=message.without_token(row.url),
                head=head,
                failure=failure,
                breaker_left=max(0.0, left),
                breaker_trips=health.breaker_trips,
                is_back=cleared is not None and (success is None or success < cleared),
                is_failing=health.failures_in_row > 0,
            )

        self._can_read(opened)

    def cannot_read(self, webhook: Webhook, error: WrongKey) -> None:
        """Note it, for this worker and for everybody: once, however often it is found."""
        if webhook.pk not in self._unreadable:
            log.error("webhook %s is held: %s", webhook.pk, error)
            WebhookHealth.objects.using(self._alias).begin([webhook.pk])
            self._health([webhook.pk]).filter(unreadable_since=None).update(
                unreadable_since=self.now()
            )
        self._unreadable[webhook.pk] = webhook.version, time.monotonic() + UNREADABLE_AGAIN

    def _can_read(self, webhook_ids: list[str]) -> None:
        if webhook_ids:
            self._health(webhook_ids).update(unreadable_since=None)

    def _health(self, webhook_ids: list[str]) -> Any:
        return WebhookHealth.objects.using(self._alias).filter(pk__in=webhook_ids)

    def _reopen(self) -> None:
        """Those that could not be read are tried again, some in each turn: also what has nothing to
        send may have got its key back."""
        noted = WebhookHealth.objects.using(self._alias).filter(unreadable_since__isnull=False)
        after = noted.filter(pk__gt=self._reopened or "").order_by("pk")
        ids = list(after.values_list("pk", flat=True)[:REOPENED_AT_ONCE])
        self._reopened = ids[-1] if len(ids) == REOPENED_AT_ONCE else None
        ours = self._ours(ids)
        webhooks = Webhook.objects.using(self._alias).filter(pk__in=ours)
        keys = SigningKey.objects.using(self._alias).by_webhook(ours) if ours else {}
        for row in webhooks.prefetch_related("headers") if ids else ():
            signed_with = keys.get(row.pk, ())
            try:
                for secret in (
                    *(row.token, row.auth_password),
                    *(header.value for header in row.headers.all()),
                    *(key.secret for key in signed_with),
                ):
                    del secret  # to read it is to open it
            except WrongKey as error:
                self.cannot_read(row, error)
            else:
                self._unreadable.pop(row.pk, None)
                self._can_read([row.pk])

    def prepare(self, call: calls.Verification) -> calls.Request | calls.Outcome:
        """`calls.prepare`. Raises WrongKey."""
        prepared = calls.prepare(call)
        if self._unreadable.pop(call.webhook.pk, None):
            self._can_read([call.webhook.pk])
        return prepared

    def _is_unreadable(self, webhook_id: str, version: int) -> bool:
        """As far as is known: a changed one is read again at once."""
        known, until = self._unreadable.get(webhook_id, (0, 0.0))
        return known == version and time.monotonic() < until

    def _held(self, webhook_ids: list[str]) -> list[str]:
        """Which of these gave nothing because they may not be called."""
        if not webhook_ids:
            return []
        webhooks = Webhook.objects.using(self._alias).filter(pk__in=webhook_ids)
        deleted = set(webhooks.filter(deleted_at__isnull=False).values_list("pk", flat=True))
        for webhook_id in deleted:
            # Made by somebody who still held the webhook while it was deleted.
            transitions.cancel_some(webhook_id, transitions.DELETED)
        found = self._callable(webhook_ids)
        return [ident for ident, _, ok in found if not ok and ident not in deleted]

    def _freed(self, webhook_ids: Sequence[str]) -> list[str]:
        # A deleted one is asked for once more: what is left of it is cancelled then.
        return [
            ident
            for ident, version, ok in self._callable(webhook_ids, deleted_too=True)
            if ok and not self._is_unreadable(ident, version)
        ]

    def _callable(
        self, webhook_ids: Iterable[str], *, deleted_too: bool = False
    ) -> list[tuple[str, int, bool]]:
        """Id, version and whether it may be called, of those of these webhooks that exist.

        Judged here: the same condition as a subquery has the database read all webhooks once its
        statistics are old.
        """
        rows = Webhook.objects.using(self._alias).filter(pk__in=list(webhook_ids))
        found = rows.values_list("pk", "version", *states.CLAIM_COLUMNS, named=True)
        return [
            (row.pk, row.version, states.may_be_claimed(row))
            if row.deleted_at is None or not deleted_too
            else (row.pk, row.version, True)
            for row in found
        ]

    def _closed(self, webhook_ids: Sequence[str]) -> list[str]:
        if not webhook_ids:
            return []
        closed = WebhookHealth.objects.using(self._alias).filter(
            pk__in=list(webhook_ids), breaker_until__isnull=True
        )
        return list(closed.values_list("pk", flat=True))

    def _opened(self, now: datetime) -> dict[str, tuple[float, int]]:
        """Some breakers in turn: interactions open them, too."""
        after = max(now, self._opened_after or now)
        found = WebhookHealth.objects.using(self._alias).filter(breaker_until__gt=after)
        columns = ("pk", "breaker_until", "breaker_trips")
        some = list(found.order_by("breaker_until").values_list(*columns)[:BREAKERS_ASKED])
        self._opened_after = some[-1][1] if len(some) == BREAKERS_ASKED else None
        return {
            ident: ((until - now).total_seconds(), trips)
            for ident, until, trips in some
            if until is not None and slot_of(ident) in self._owned
        }

    def _just_stopped(self, now: datetime) -> list[str]:
        """Who was stopped or deleted a moment ago: of very many that wait in memory
        `_look_after` asks for some in turn, and people want a pause at once."""
        rows = Webhook.objects.using(self._alias)
        after = now - STOPPED_LATELY
        found: set[tuple[str, Any]] = set()
        for moment, some in (
            ("stopped_at", rows.exclude(stopped="").filter(stopped_at__gte=after)),
            ("deleted_at", rows.filter(deleted_at__gte=after)),
        ):
            found.update(some.order_by(f"-{moment}").values_list("pk", moment)[:STOPS_ASKED])
        new, self._stopped = found - self._stopped, found
        return self._ours([ident for ident, _ in new])

    def _verifications(self, under_way: Mapping[str, int]) -> list[calls.Verification]:
        """The next ones, the oldest first. None waits behind those that hang."""
        if not conf.verification_required():
            return []
        of_account = Counter(under_way.values())
        full = [account for account, number in of_account.items() if number >= VERIFYING_EACH]
        due = Webhook.objects.using(self._alias).live().filter(verification_due_at__isnull=False)
        waiting = due.exclude(pk__in=list(under_way)).exclude(account__in=full)
        waiting = waiting.order_by("verification_due_at")
        chosen = []
        for ident, account, version in waiting.values_list("pk", "account_id", "version")[:1000]:
            if slot_of(ident) not in self._owned or self._is_unreadable(ident, version):
                continue
            if of_account[account] < VERIFYING_EACH:
                of_account[account] += 1
                chosen.append(ident)
        del chosen[min(VERIFIED_AT_ONCE, VERIFYING_MOST - len(under_way)) :]
        rows = due.filter(pk__in=chosen).prefetch_related("headers")
        return [calls.Verification(row) for row in rows]

    def payload(self, delivery_id: str) -> bytes:
        """What a claim left behind because it is large."""
        return self._store.payload(delivery_id)

    def _heartbeat(self, turn: Turn) -> None:
        self._store.connection.ensure_connection()
        asked_at = time.monotonic_ns() // 1000
        if (clock := self._store.clock()) is not None:
            self._clock = microseconds.of(clock) - asked_at
        now = self.now()
        workers = Worker.objects.using(self._alias)
        workers.update_or_create(
            pk=self.id,
            defaults={
                "host": socket.gethostname()[:255],
                "pid": os.getpid(),
                "seen_at": now,
                "standby": not self._owned,
                "slots": len(self._owned),
                "in_flight": turn.in_flight,
                "in_flight_of": turn.in_flight_of(),
                "sent": turn.sent,
                "unwritten": turn.unwritten,
            },
        )
        workers.filter(seen_at__lt=now - timedelta(days=1)).delete()

    def reset(self) -> None:
        """The database went away: drop the connection and everything that hung on it."""
        self._ownership.forget()
        self._owned = frozenset()
        self._changed_at = None
        self._writers = {}
        self.begin_anew()
        try:
            self._store.connection.close()
        except DatabaseError:
            log.debug("closing a broken connection failed", exc_info=True)

    def begin_anew(self) -> None:
        """What the last turn found did not arrive: find all that is due."""
        self._seen = self._scanned = None
        self._due_at.clear()

    def hang_up(self) -> None:
        """Break the connection under a turn that never ends. Called from another thread."""
        self._store.hang_up()

    def leave(self) -> None:
        """Give the slots away and say goodbye."""
        try:
            self._ownership.release()
            Worker.objects.using(self._alias).filter(pk=self.id).delete()
        except DatabaseError:
            log.warning("the database is away: the worker row stays until its time is up")
        finally:
            self._store.connection.close()
