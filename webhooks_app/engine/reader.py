"""The reading side of a worker: whose webhooks are mine, what is due, what is claimed. One
connection, used by one thread, asked one question after the other; the session that holds the
slots.

Between two questions nothing is open: no transaction, no cursor. Each may raise DatabaseError, also
when the slots went with a session that has ended; `reset` begins anew then.
"""

import logging
import os
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from django.db import DatabaseError
from django.db.migrations.loader import MigrationLoader
from django.db.models import QuerySet

from .. import __version__, conf
from ..fields import WrongKey
from ..models import Webhook, Worker, site
from ..models.compiled_query import Found
from ..models.primary import promptly
from ..models.webhook import slot_of
from ..rules.ids import new_id
from . import calls, store, transitions
from .bodies import Bodies
from .changes import Looking
from .discovery import Discovery
from .handover import Changes, Claims, Due, Heartbeat, Loads, Memory
from .heads import Heads
from .knobs import Knobs
from .line import Question
from .loading import Loading
from .store import Claimed, Want, microseconds

log = logging.getLogger("webhooks")

T = TypeVar("T")


def _to_verify() -> "QuerySet[Webhook]":
    return Webhook.objects.live().filter(verification_due_at__isnull=False)


_is_any_to_verify = Found(lambda: [_to_verify()])


class Reader:
    """Belongs to the thread that reads; what others may ask says so."""

    def __init__(self, alias: str, knobs: Knobs, *, once: bool = False) -> None:
        self._alias = alias
        self._knobs = knobs
        self._once = once
        self._horizon: datetime | None = None
        self._store = store.open(alias).own(knobs, repeats=True)
        self._bodies = Bodies(self._store)
        self._heads = Heads(self._store, self._bodies, knobs)
        self._ownership = self._store.ownership()
        self._owned: frozenset[int] = frozenset()
        self._discovery = Discovery(self._store, knobs)
        self._loading = Loading(alias, knobs, self.now)
        self._looking = Looking(self._store, self._loading, knobs)
        self._clock_ahead: int | None = None  # of the monotonic one, in microseconds
        self.id = f"{socket.gethostname()[:32]}:{os.getpid()}:{new_id()[-6:]}"

    def is_migrated(self) -> bool:
        """Raises DatabaseError when the database is away."""
        loader = MigrationLoader(self._store.connection)
        latest = loader.graph.leaf_nodes(Webhook._meta.app_label)
        return loader.applied_migrations.keys() >= set(latest)

    def is_anothers(self) -> bool:
        """Whether another worker sends all that is due in this database."""
        return self._ownership.is_anothers()

    def inherits(self) -> bool:
        """Whether webhooks are still to come that nobody else sends for."""
        return self._ownership.inherits()

    def owns_nothing_more(self) -> bool:
        """Whether the slots may be another's by now. Asked from the loop's thread."""
        return self._ownership.is_lost()

    def own(self, busy: frozenset[int]) -> frozenset[int]:
        """The slots that are ours now; `busy` ones are never given away. Raises SharedSession."""
        owned = self._ownership.refresh(busy)
        if owned - self._owned:
            # What waits there is wanted now: a scan in one go.
            self._discovery.begin_anew()
            self._loading.begin_anew()
        self._owned = owned
        self._ownership.check()
        return owned

    def retire(self, busy: frozenset[int]) -> None:
        """Take nothing more, and give away what is not busy."""
        self._ownership.retire(busy)
        self._owned = frozenset()

    def discover(self, *, look: bool = False, room: bool = True) -> Due:
        """What became due of our webhooks; see `Discovery.find`."""
        if site.is_held():
            self._discovery.begin_anew()  # released, all that is due must be found
            return self._checked(Due(site_held=True, looked=True))
        if not self._owned:
            return Due()
        due = self._discovery.find(self._owned, self._moment(), look=look, room=room)
        self._bodies.fill(due.arrived)
        due.waiting, due.marked = self._ours(due.waiting), self._ours(due.marked)
        self._loading.reopen(self._ours)
        return self._checked(due)

    def claim(self, asked: Sequence[Want] = (), lines: Sequence[Question] = ()) -> Claims:
        """What is next of these webhooks."""
        claims, now = Claims(), self._moment()
        if wants := [want for want in asked if slot_of(want.webhook_id) in self._owned]:
            by_webhook: dict[str, list[Claimed]] = {want.webhook_id: [] for want in wants}
            found = self._store.claim(wants, now)
            self._bodies.fill(found)
            for row in found:
                by_webhook[row.webhook_id].append(row)
            claims.rows = [(want, by_webhook[want.webhook_id]) for want in wants]
        if questions := [one for one in lines if slot_of(one.webhook_id) in self._owned]:
            claims.lines = self._heads.find(questions, now)
        empty = [want.webhook_id for want, rows in claims.rows if not rows]
        empty += [
            found.question.webhook_id
            for found in claims.lines
            if found.question.asked and not found.heads
        ]
        claims.held = self._held(empty)
        return self._checked(claims)

    def load(self, webhook_ids: Sequence[str]) -> Loads:
        """What the lanes of these need to know."""
        return self._checked(self._loading.load(webhook_ids))

    def changes(self, memory: Memory) -> Changes:
        """What people have changed of what a worker has in memory."""
        return self._checked(self._looking.changes(memory, self._owned, self._moment()))

    def _checked(self, answer: T) -> T:
        """What was found counts only while the slots are held by the session that found it."""
        self._ownership.check()
        return answer

    def _moment(self) -> datetime:
        """Up to which something is due. Of a worker that runs `once`, what becomes due after its
        start is left for another time."""
        now = self.now()
        if self._once:
            now = self._horizon = self._horizon or now
        return now

    def now(self) -> datetime:
        """The database's clock: a worker whose own is wrong, or set anew, neither storms nor
        starves."""
        if self._clock_ahead is None:
            return microseconds.at(microseconds.now())
        return microseconds.at(self._clock_ahead + time.monotonic_ns() // 1000)

    def _ours(self, webhook_ids: list[str]) -> list[str]:
        return [ident for ident in webhook_ids if slot_of(ident) in self._owned]

    def _held(self, webhook_ids: list[str]) -> list[str]:
        """Which of these webhooks gave nothing because they may not be called."""
        if not webhook_ids:
            return []
        webhooks = Webhook.objects.using(self._alias).filter(pk__in=webhook_ids)
        deleted = set(webhooks.filter(deleted_at__isnull=False).values_list("pk", flat=True))
        left = self._knobs.cancelled_most
        for webhook_id in deleted:
            if left <= 0:
                break
            # Made by somebody who still held the webhook while it was deleted.
            left -= max(1, transitions.cancel_some(webhook_id, transitions.DELETED, left))
        found = self._looking.callable(webhook_ids)
        return [ident for ident, _, ok in found if not ok and ident not in deleted]

    def verifications(self, under_way: Mapping[str, int]) -> list[calls.Verification]:
        """The verifications to begin next, the oldest first. None waits behind those that hang."""
        if not (self._owned and conf.settings.verification_required):
            return []
        if not any(_is_any_to_verify(self._alias)):
            return self._checked([])
        each, knobs = self._knobs.verifying_each, self._knobs
        of_account = Counter(under_way.values())
        full = [account for account, number in of_account.items() if number >= each]
        due = _to_verify().using(self._alias)
        waiting = due.exclude(pk__in=list(under_way)).exclude(account__in=full)
        waiting = waiting.order_by("verification_due_at")
        chosen = []
        for ident, account, version in waiting.values_list("pk", "account_id", "version")[:1000]:
            if slot_of(ident) not in self._owned or self._loading.is_unreadable(ident, version):
                continue
            if of_account[account] < each:
                of_account[account] += 1
                chosen.append(ident)
        del chosen[min(knobs.verified_at_once, knobs.verifying_most - len(under_way)) :]
        rows = due.filter(pk__in=chosen).prefetch_related("headers")
        return self._checked([calls.Verification(row) for row in rows])

    def prepare(self, call: calls.Verification) -> calls.Request | calls.Outcome:
        """The request of a verification, or the outcome of one that cannot be made. Raises
        WrongKey."""
        prepared = calls.prepare(call)
        self._loading.was_read(call.webhook.pk)
        return prepared

    def cannot_read(self, webhook: Webhook, error: WrongKey) -> None:
        self._loading.cannot_read(webhook, error)

    def payload(self, row: Claimed) -> bytes:
        """The body of a delivery that its claim left behind because it is large."""
        return self._bodies.payload(row)

    def beat(self, beat: Heartbeat) -> int | None:
        """Say that we are there. By how much the database's clock is ahead of the monotonic one, in
        microseconds; None: it is this host's."""
        self._store.connection.ensure_connection()
        asked_at, clock = promptly(self._store.clock)
        if clock is not None:
            self._clock_ahead = microseconds.of(clock) - int(asked_at * 1_000_000)
        now = self.now()
        workers = Worker.objects.using(self._alias)
        workers.update_or_create(
            pk=self.id,
            defaults={
                "host": socket.gethostname()[:255],
                "pid": os.getpid(),
                "version": __version__,
                "seen_at": now,
                "standby": not self._owned,
                "slots": len(self._owned),
                "in_flight": beat.in_flight,
                "in_flight_of": dict(beat.in_flight_of),
                "sent": beat.sent,
                "unwritten": beat.unwritten,
                "holds": beat.holds,
            },
        )
        workers.filter(seen_at__lt=now - timedelta(days=1)).delete()
        return self._clock_ahead

    def reset(self) -> None:
        """The database went away: drop the connection and everything that hung on it."""
        self._ownership.forget()
        self._owned = frozenset()
        self.begin_anew()
        self._discovery.forget()
        try:
            self._store.connection.close()
        except DatabaseError:
            log.debug("closing a broken connection failed", exc_info=True)

    def begin_anew(self) -> None:
        """What was found last did not arrive: find all that is due."""
        self._discovery.begin_anew()
        self._loading.begin_anew()
        self._looking.begin_anew()

    def hang_up(self) -> None:
        """Break the connection under a question that never ends. Called from another thread."""
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
