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
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError
from django.db.migrations.loader import MigrationLoader

from .. import __version__, conf
from ..fields import WrongKey
from ..models import Webhook, WebhookHealth, Worker, site, states
from ..models.webhook import slot_of
from ..rules.ids import new_id
from . import calls, store, transitions
from .bodies import Bodies
from .discovery import Discovery
from .heads import Heads
from .knobs import Knobs
from .line import Question
from .loading import Loading
from .store import Claimed, Want, microseconds
from .turn import Answer, Heartbeat, Loads, Turn

log = logging.getLogger("webhooks")


class Desk:
    """Belongs to the thread that reads; what others may ask says so."""

    def __init__(self, alias: str, knobs: Knobs, *, once: bool = False) -> None:
        self._alias = alias
        self._knobs = knobs
        self._once = once
        self._horizon: datetime | None = None
        self._store = store.open(alias).own(knobs, by_index=True)
        self._bodies = Bodies(self._store)
        self._heads = Heads(self._store, self._bodies, knobs)
        self._ownership = self._store.ownership()
        self._owned: frozenset[int] = frozenset()
        self._discovery = Discovery(self._store, knobs)
        self._loading = Loading(alias, knobs, self.now)
        self._clock_ahead: int | None = None  # of the monotonic one, in microseconds
        self._verifications_at = 0.0  # looked for next, monotonic seconds
        self._opened_after: datetime | None = None  # the open breakers up to there were read
        self._stopped: set[tuple[str, Any]] = set()  # who was found by the last look, and when
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

    def load(self, webhook_ids: Sequence[str]) -> Loads:
        """What the lanes of these need to know. Raises as `turn`."""
        loads = self._loading.load(webhook_ids)
        self._ownership.check()
        return loads

    def _turn(self, turn: Turn) -> Answer:
        answer = Answer()
        if turn.leaving:
            self._ownership.retire(turn.busy or frozenset())
            self._owned = frozenset()
        elif turn.busy is not None:
            owned = self._ownership.refresh(turn.busy)
            if owned - self._owned:
                # What waits there is wanted now: a scan in one go.
                self._discovery.begin_anew()
                self._loading.begin_anew()
                self._verifications_at = 0.0
            self._owned = owned
        answer.owned = self._owned
        if turn.heartbeat is not None:
            self._beat(turn.heartbeat)
        answer.clock_ahead = self._clock_ahead
        answer.site_held = site.is_held()
        if answer.site_held:
            answer.looked = True
            self._discovery.begin_anew()  # released, all that is due must be found
        if answer.site_held or not self._owned:
            return answer
        now = self.now()
        if self._once:
            # What becomes due after the start is left for another time.
            now = self._horizon = self._horizon or now
        self._discovery.find(answer, turn, self._owned, now)
        self._bodies.fill(answer.arrived)
        answer.waiting, answer.marked = self._ours(answer.waiting), self._ours(answer.marked)
        self._claim(answer, turn.wants, now)
        if turn.lines:
            self._read_lines(answer, turn.lines, now)
        if turn.waiting:
            self._look_after(answer, turn.waiting)
        if turn.held:
            answer.freed = self._freed(turn.held)
        if turn.open_breakers:
            answer.closed = self._ended(turn.open_breakers, "breaker_until")
        if turn.resting:
            answer.rested = self._ended(turn.resting, "rests_until")
        if turn.busy is not None:
            answer.opened = self._opened(now)
            stopped = self._just_stopped(now)
            answer.held += [ident for ident in stopped if ident not in answer.held]
        self._loading.reopen(self._ours)
        if time.monotonic() >= self._verifications_at:
            self._verifications_at = time.monotonic() + self._knobs.verifications_every
            answer.verifications = self._verifications(turn.verifying)
        return answer

    def now(self) -> datetime:
        """The database's clock: a worker whose own is wrong, or set anew, neither storms nor
        starves."""
        if self._clock_ahead is None:
            return microseconds.at(microseconds.now())
        return microseconds.at(self._clock_ahead + time.monotonic_ns() // 1000)

    def _ours(self, webhook_ids: list[str]) -> list[str]:
        return [ident for ident in webhook_ids if slot_of(ident) in self._owned]

    def _claim(self, answer: Answer, asked: Sequence[Want], now: datetime) -> None:
        wants = [want for want in asked if slot_of(want.webhook_id) in self._owned]
        if not wants:
            return
        by_webhook: dict[str, list[Claimed]] = {want.webhook_id: [] for want in wants}
        found = self._store.claim(wants, now)
        self._bodies.fill(found)
        for row in found:
            by_webhook[row.webhook_id].append(row)
        answer.claimed = [(want, by_webhook[want.webhook_id]) for want in wants]
        answer.held += self._held([want.webhook_id for want, rows in answer.claimed if not rows])

    def _read_lines(self, answer: Answer, asked: Sequence[Question], now: datetime) -> None:
        ours = [question for question in asked if slot_of(question.webhook_id) in self._owned]
        answer.lines = self._heads.find(ours, now)
        empty = [one.question for one in answer.lines if one.question.asked and not one.heads]
        answer.held += self._held([question.webhook_id for question in empty])

    def _look_after(self, answer: Answer, waiting: Mapping[str, tuple[int, Sequence[str]]]) -> None:
        """What was claimed a while ago may have been cancelled since; its webhook may have been
        paused, deleted or sent elsewhere."""
        versions = {ident: version for ident, version, ok in self._callable(waiting) if ok}
        may_be_called = versions.keys()
        answer.held += [ident for ident in waiting if ident not in may_be_called]
        answer.changed = [i for i in may_be_called if versions[i] != waiting[i][0]]
        ids = [ident for webhook in may_be_called for ident in waiting[webhook][1]]
        pending = self._store.pending_of(ids)
        for webhook in may_be_called:
            if ended := set(waiting[webhook][1]) - pending:
                answer.ended[webhook] = ended

    def prepare(self, call: calls.Verification) -> calls.Request | calls.Outcome:
        """`calls.prepare`. Raises WrongKey."""
        prepared = calls.prepare(call)
        self._loading.was_read(call.webhook.pk)
        return prepared

    def cannot_read(self, webhook: Webhook, error: WrongKey) -> None:
        self._loading.cannot_read(webhook, error)

    def _held(self, webhook_ids: list[str]) -> list[str]:
        """Which of these gave nothing because they may not be called."""
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
        found = self._callable(webhook_ids)
        return [ident for ident, _, ok in found if not ok and ident not in deleted]

    def _freed(self, webhook_ids: Sequence[str]) -> list[str]:
        # A deleted one is asked for once more: what is left of it is cancelled then.
        return [
            ident
            for ident, version, ok in self._callable(webhook_ids, deleted_too=True)
            if ok and not self._loading.is_unreadable(ident, version)
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

    def _ended(self, webhook_ids: Sequence[str], until: str) -> list[str]:
        """Of which people have cleared the moment in that column."""
        rows = WebhookHealth.objects.using(self._alias).filter(pk__in=list(webhook_ids))
        return list(rows.filter(**{f"{until}__isnull": True}).values_list("pk", flat=True))

    def _opened(self, now: datetime) -> dict[str, tuple[float, int]]:
        """Some breakers in turn: interactions open them, too."""
        after = max(now, self._opened_after or now)
        found = WebhookHealth.objects.using(self._alias).filter(breaker_until__gt=after)
        columns = ("pk", "breaker_until", "breaker_trips")
        some = list(
            found.order_by("breaker_until").values_list(*columns)[: self._knobs.webhooks_asked]
        )
        self._opened_after = some[-1][1] if len(some) == self._knobs.webhooks_asked else None
        return {
            ident: ((until - now).total_seconds(), trips)
            for ident, until, trips in some
            if until is not None and slot_of(ident) in self._owned
        }

    def _just_stopped(self, now: datetime) -> list[str]:
        """Who was stopped or deleted a moment ago: of very many that wait in memory
        `_look_after` asks for some in turn, and people want a pause at once."""
        rows = Webhook.objects.using(self._alias)
        after = now - self._knobs.stopped_lately
        found: set[tuple[str, Any]] = set()
        for moment, some in (
            ("stopped_at", rows.exclude(stopped="").filter(stopped_at__gte=after)),
            ("deleted_at", rows.filter(deleted_at__gte=after)),
        ):
            found.update(
                some.order_by(f"-{moment}").values_list("pk", moment)[: self._knobs.webhooks_asked]
            )
        new, self._stopped = found - self._stopped, found
        return self._ours([ident for ident, _ in new])

    def _verifications(self, under_way: Mapping[str, int]) -> list[calls.Verification]:
        """The next ones, the oldest first. None waits behind those that hang."""
        if not conf.settings.verification_required:
            return []
        each, knobs = self._knobs.verifying_each, self._knobs
        of_account = Counter(under_way.values())
        full = [account for account, number in of_account.items() if number >= each]
        due = Webhook.objects.using(self._alias).live().filter(verification_due_at__isnull=False)
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
        return [calls.Verification(row) for row in rows]

    def payload(self, row: Claimed) -> bytes:
        """What a claim left behind because it is large."""
        return self._bodies.payload(row)

    def _beat(self, beat: Heartbeat) -> None:
        self._store.connection.ensure_connection()
        asked_at = time.monotonic_ns() // 1000
        if (clock := self._store.clock()) is not None:
            self._clock_ahead = microseconds.of(clock) - asked_at
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
        """What the last turn found did not arrive: find all that is due."""
        self._discovery.begin_anew()
        self._loading.begin_anew()
        self._verifications_at = 0.0
        self._stopped = set()

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
