"""The writing side of a worker: what became of its deliveries, in batches, on a connection of its
own, so that a claim never waits for a COMMIT.

In a process of its own where that is possible: sending and writing each fill one CPU, and Python
lets only one thread of a process run. Elsewhere in a thread. Between two calls nothing is open.
Whatever fails with a database error has written nothing, or is recognised as written when it is
tried again.
"""

import logging
import marshal
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, NoReturn, Self

from django.db import DataError, IntegrityError, OperationalError, connections

from ..models import WebhookHealth
from . import history, output, queue, signals
from .session import hang_up, own_connection

log = logging.getLogger("webhooks")

ENDS_WITHIN = 30.0  # seconds that the child has to write what it was given last

# One row's own fault, which comes again however often it is tried.
_UNWRITABLE = (IntegrityError, DataError, ValueError, OverflowError)

Breaker = tuple[str, datetime | None, int]  # webhook, open until (None: closed), trips


class Ledger:
    """Writes in this process; all of it but `hang_up` in one thread."""

    has_ended = False

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._connection = own_connection(alias)

    def write(
        self,
        batch: Sequence[queue.Finished],
        breakers: Sequence[Breaker],
        *,
        in_doubt: bool,
        ahead: bool = False,
    ) -> int:
        """One transaction for the batch. `in_doubt`: some of it may have been written before.

        Returns how many outcomes are written now, in the order in which they were given. Raises
        DatabaseError when the database is away; the next call connects anew.
        """
        given = len(batch)
        try:
            if in_doubt and batch:
                batch = queue.unrecorded(self._connection, batch)
            if batch:
                self._finish(batch)
            for webhook_id, until, trips in breakers:
                WebhookHealth.objects.using(self._alias).filter(pk=webhook_id).update(
                    breaker_until=until, breaker_trips=trips
                )
        except Exception:
            self.close()
            raise
        return given

    def _finish(self, batch: Sequence[queue.Finished]) -> None:
        try:
            queue.finish(self._connection, batch)
        except _UNWRITABLE:
            # One row that cannot be written (its webhook was removed) must not stop the others.
            for item in batch:
                try:
                    queue.finish(self._connection, [item])
                except _UNWRITABLE as error:
                    log.error("attempt of %s is not recorded: %s", item.attempt.request_id, error)

    def hang_up(self) -> None:
        """Break the connection under a call that never ends. Called from another thread."""
        hang_up(self._connection)

    def close(self) -> None:
        self._connection.close()


class LedgerProcess:
    """Has a Ledger in a child process. The child ends when this process does, however it ends,
    and writes what it was given before."""

    def __init__(self, pid: int, pipe: "Connection[Any, Any]") -> None:
        self._pid = pid
        self._pipe = pipe
        self._unanswered: deque[int] = deque()  # sizes of the batches that were handed over
        self.has_ended = False

    @classmethod
    def start(cls, alias: str) -> "Self | None":
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
        pid = os.fork()
        if not pid:
            try:
                ours.close()
                _serve(alias, theirs)
            finally:
                output.flush()
                os._exit(1)  # whatever happens, the child is no second worker
        theirs.close()
        return cls(pid, ours)

    def write(
        self,
        batch: Sequence[queue.Finished],
        breakers: Sequence[Breaker],
        *,
        in_doubt: bool,
        ahead: bool = False,
    ) -> int:
        """As Ledger.write. `ahead`: does not wait for this batch, but for those before it, so that
        the child finds the next one ready. Raises OperationalError, also when the child has ended;
        then all that was not yet known to be written is in doubt.
        """
        written, fault = 0, None
        try:
            # Plain tuples of numbers and text, and without looking for what is in them twice.
            plain = [(tuple(item.attempt), *item[1:]) for item in batch]
            self._pipe.send_bytes(marshal.dumps(plain, 2))
            self._pipe.send((breakers, in_doubt))
            self._unanswered.append(len(batch))
            while len(self._unanswered) > (ahead and fault is None):
                fault = self._pipe.recv() or fault
                written += self._unanswered.popleft()
        except (EOFError, OSError) as error:
            self.has_ended = True
            raise OperationalError("the process that writes has ended") from error
        if fault is not None:
            raise OperationalError(str(fault))
        return written

    def hang_up(self) -> None:
        os.kill(self._pid, signal.SIGKILL)

    def close(self) -> None:
        self._pipe.close()
        until = time.monotonic() + ENDS_WITHIN
        while not os.waitpid(self._pid, os.WNOHANG)[0]:
            if time.monotonic() > until:
                os.kill(self._pid, signal.SIGKILL)
            time.sleep(0.02)


def _serve(alias: str, pipe: "Connection[Any, Any]") -> NoReturn:
    signals.ignore_all()
    output.never_block()
    ledger = Ledger(alias)
    fault = None
    while True:
        try:
            plain = marshal.loads(pipe.recv_bytes())  # noqa: S302 - from our own parent
            breakers, in_doubt = pipe.recv()
        except (EOFError, OSError):
            os._exit(0)
        # After a fault what was handed over ahead waits until it is given again, in its order.
        if fault is None or in_doubt:
            batch = [
                queue.Finished._make((history.Row._make(attempt), *rest))
                for attempt, *rest in plain
            ]
            fault = None
            try:
                ledger.write(batch, breakers, in_doubt=in_doubt)
            except Exception as error:
                fault = f"{type(error).__name__}: {error}"
                if not isinstance(error, OperationalError):
                    log.exception("outcomes cannot be written")
        try:
            pipe.send(fault)
        except OSError:
            os._exit(0)
