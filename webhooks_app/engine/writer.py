"""The writing side of a worker: what became of its deliveries, in batches, on a connection of its
own, so that a claim never waits for a COMMIT.

In a process of its own where that is possible: sending and writing each fill one CPU, and Python
lets only one thread of a process run. Elsewhere in a thread. Between two calls nothing is open.
Whatever fails with a database error has written nothing, or is recognised as written when it is
tried again.
"""

import contextlib
import logging
import marshal
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Collection, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from operator import itemgetter
from typing import Any, NamedTuple, NoReturn, Self

from django.db import (
    DataError,
    IntegrityError,
    OperationalError,
    connections,
    transaction,
)

from ..models import WebhookHealth
from . import output, signals, store
from .knobs import Knobs
from .store import AttemptRow, Finished
from .store.errors import is_away, is_locked

log = logging.getLogger("webhooks")

ENDS_WITHIN = 30.0  # seconds that the child has to write what it was given last

# One row's own fault, which comes again however often it is tried.
_UNWRITABLE = (IntegrityError, DataError, ValueError, OverflowError)
LOCKED, LATE = "locked", "late"  # late: not tried in that time

Note = tuple[str, dict[str, Any]]  # webhook, and what columns of its health are to say


class Written(NamedTuple):
    """How a write of outcomes went.

    `number`: outcomes that are dealt with now, in the order in which they were given. `aside`: of
    these the places of those that are not written, and why: LOCKED, LATE, or the fault. `unset`:
    webhooks whose note is not written.
    """

    number: int
    aside: list[tuple[int, str]]
    unset: list[str]


Numbered = tuple[int, Finished]


def _is_hopeless(error: Exception) -> bool:
    """Whether the error is no outcome's own fault: every other outcome would meet it, too."""
    return isinstance(error, MemoryError) or is_away(error)


class Writer:
    """Writes in this process; all of it but `hang_up` in one thread."""

    has_ended = False

    def __init__(self, alias: str, knobs: Knobs) -> None:
        self._alias = alias
        self._knobs = knobs
        self._store = store.open(alias).own(knobs, lock_timeout=knobs.lock_most)

    def write(
        self,
        batch: Sequence[Finished],
        notes: Sequence[Note],
        *,
        in_doubt: bool,
        ahead: bool = False,
        again: Collection[str] | None = None,
    ) -> Written:
        """One transaction for the batch. `in_doubt`: some of it may have been written before.
        `again`: these were set aside before; what cannot be written of the webhooks it names, and
        is not locked, is held as `unrecorded` now.

        Raises DatabaseError when the database is away; the next call connects anew.
        """
        aside: list[tuple[int, str]] = []
        unset: list[str] = []
        try:
            numbered = list(enumerate(batch))
            if in_doubt and batch:
                left = set(map(id, self._store.unrecorded(batch)))
                numbered = [(place, item) for place, item in numbered if id(item) in left]
            if numbered:
                aside = self._finish(numbered) if again is None else self._part(numbered, again)
            unset = self._note(notes)
        except Exception:
            self.close()
            raise
        return Written(len(batch), aside, unset)

    def _note(self, notes: Sequence[Note]) -> list[str]:
        """Write notes into the health of webhooks, all in one transaction, or each in its own where
        something is in the way. Returns the webhooks whose row is locked."""
        if len(notes) > 1:
            with contextlib.suppress(OperationalError), transaction.atomic(using=self._alias):
                for webhook_id, columns in sorted(notes, key=itemgetter(0)):
                    self._set(webhook_id, columns)
                return []
        unset = []
        for webhook_id, columns in notes:
            try:
                self._set(webhook_id, columns)
            except OperationalError as error:
                if not is_locked(error):
                    raise
                unset.append(webhook_id)
        return unset

    def _set(self, webhook_id: str, columns: dict[str, Any]) -> None:
        WebhookHealth.objects.using(self._alias).filter(pk=webhook_id).update(**columns)

    def _finish(self, batch: list[Numbered]) -> list[tuple[int, str]]:
        """Write a batch. Returns the places in it of the outcomes that are not written, and why."""
        try:
            self._store.finish([item for _, item in batch])
        except Exception as error:
            if _is_hopeless(error):
                raise
            return self._part(batch)
        return []

    def _part(self, batch: list[Numbered], last: Collection[str] = ()) -> list[tuple[int, str]]:
        """Write the outcomes of each webhook by themselves: one row that cannot be written must not
        stop the others. Returns as `_finish`."""
        by_webhook: dict[str, list[Numbered]] = {}
        for place, item in batch:
            by_webhook.setdefault(item.attempt.webhook_id, []).append((place, item))
        aside: list[tuple[int, str]] = []
        until = time.monotonic() + self._knobs.parting_most
        for webhook_id, group in by_webhook.items():
            if time.monotonic() > until:
                aside += [(place, LATE) for place, _ in group]
                continue
            fault = self._tried([item for _, item in group])
            if fault is not None and is_locked(fault):
                aside += [(place, LOCKED) for place, _ in group]
                continue
            for place, item in group if fault else ():
                if why := self._alone(item, webhook_id in last):
                    aside.append((place, why))
        return aside

    def _tried(self, items: list[Finished]) -> Exception | None:
        """Write these outcomes together: None when they are written, else why not. Raises when the
        database is away."""
        try:
            with transaction.atomic(using=self._alias):
                self._store.limit_locks(self._knobs.part_lock_most)
                self._store.finish(items)
        except Exception as error:
            if _is_hopeless(error):
                raise
            return error
        return None

    def _alone(self, item: Finished, last: bool) -> str:
        """Why one outcome is not written; `""` when it is, or its delivery is held for it."""
        fault = self._tried([item])
        if fault is None:
            return ""
        if is_locked(fault):
            return LOCKED
        # The first line alone: the others may show the row, and what is in it.
        why = f"{type(fault).__name__}: {str(fault).partition(chr(10))[0]}"
        if not last and not isinstance(fault, _UNWRITABLE):
            return why
        try:
            held = self._store.hold_unrecorded(item)
        except Exception as error:
            if _is_hopeless(error):
                raise
            return why
        log.error(
            "attempt of %s is not recorded%s: %s",
            item.attempt.request_id,
            ", the delivery is held until somebody retries it" if held else "",
            why,
        )
        return ""

    def hang_up(self) -> None:
        """Break the connection under a call that never ends. Called from another thread."""
        self._store.hang_up()

    def close(self) -> None:
        self._store.connection.close()


class WriterProcess:
    """Has a Writer in a child process. The child ends when this process does, however it ends,
    and writes what it was given before."""

    def __init__(self, pid: int, pipe: "Connection[Any, Any]") -> None:
        self._pid = pid
        self._pipe = pipe
        self._unanswered: deque[int] = deque()  # sizes of the batches that were handed over
        self.has_ended = False

    @classmethod
    def start(cls, alias: str, knobs: Knobs) -> "Self | None":
        """None where a process cannot be forked safely: beside other threads, or at all."""
        for connection in connections.all(initialized_only=True):
            if connection.in_atomic_block:
                return None
            # A session shared with a child would end with it.
            connection.close()
            if hasattr(connection, "close_pool"):
                connection.close_pool()
        if threading.active_count() > 1 or not hasattr(os, "fork"):
            return None
        ours, theirs = Pipe()
        store.open(alias).share_ownership()
        pid = os.fork()
        if not pid:
            try:
                ours.close()
                _serve(alias, knobs, theirs)
            finally:
                output.flush()
                os._exit(1)  # whatever happens, the child is no second worker
        theirs.close()
        return cls(pid, ours)

    def write(
        self,
        batch: Sequence[Finished],
        notes: Sequence[Note],
        *,
        in_doubt: bool,
        ahead: bool = False,
        again: Collection[str] | None = None,
    ) -> Written:
        """As Writer.write. `ahead`: does not wait for this batch, but for those before it, so that
        the child finds the next one ready. Raises OperationalError, also when the child has ended;
        then all that was not yet known to be written is in doubt.
        """
        written, fault = 0, None
        aside: list[tuple[int, str]] = []
        unset: list[str] = []
        try:
            # Plain tuples of numbers and text, and without looking for what is in them twice.
            plain = [(tuple(item.attempt), *item[1:]) for item in batch]
            self._pipe.send_bytes(marshal.dumps(plain, 2))
            self._pipe.send((notes, in_doubt, again))
            self._unanswered.append(len(batch))
            while len(self._unanswered) > (ahead and fault is None):
                said, places, left = self._pipe.recv()
                fault = said or fault
                aside += [(written + place, why) for place, why in places]
                unset += left
                written += self._unanswered.popleft()
        except (EOFError, OSError) as error:
            self.has_ended = True
            raise OperationalError("the process that writes has ended") from error
        if fault is not None:
            raise OperationalError(str(fault))
        return Written(written, aside, unset)

    def hang_up(self) -> None:
        os.kill(self._pid, signal.SIGKILL)

    def close(self) -> None:
        self._pipe.close()
        until = time.monotonic() + ENDS_WITHIN
        while not os.waitpid(self._pid, os.WNOHANG)[0]:
            if time.monotonic() > until:
                os.kill(self._pid, signal.SIGKILL)
            time.sleep(0.02)


def _serve(alias: str, knobs: Knobs, pipe: "Connection[Any, Any]") -> NoReturn:
    signals.ignore_all()
    output.never_block()
    writer = Writer(alias, knobs)
    fault = None
    while True:
        try:
            plain = marshal.loads(pipe.recv_bytes())  # noqa: S302 - from our own parent
            notes, in_doubt, again = pipe.recv()
        except (EOFError, OSError):
            os._exit(0)
        aside: list[tuple[int, str]] = []
        unset: list[str] = []
        # After a fault what was handed over ahead waits until it is given again, in its order.
        if fault is None or in_doubt:
            batch = [Finished._make((AttemptRow._make(attempt), *rest)) for attempt, *rest in plain]
            fault = None
            try:
                done = writer.write(batch, notes, in_doubt=in_doubt, again=again)
                aside, unset = done.aside, done.unset
            except MemoryError:
                raise  # the worker writes by itself from then on
            except Exception as error:
                fault = f"{type(error).__name__}: {error}"
                if not is_away(error):
                    log.exception("outcomes cannot be written")
        try:
            pipe.send((fault, aside, unset))
        except OSError:
            os._exit(0)
