"""The worker: it asks the database what is due, sends it, and writes down what came of it.

fetcher (a thread reads)  ──claimed──▶  lanes  ──next──▶  sending  ──outcome──▶  verdict
      ▲                                                                             │
      └── may be forgotten ◀──  completer (a thread or process writes)  ◀── in batches
"""

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable
from math import inf

from django.db import DatabaseError, InterfaceError, router

from .. import conf
from ..models import Delivery, database_file
from . import faults, file_limit, metrics_port, output, signals, store
from .completer import Completer
from .fetcher import CannotStart, Cycle, Fetcher
from .handover import Heartbeat
from .http.bridge import new_event_loop
from .http.sender import Sender
from .knobs import DEFAULT, Knobs
from .lanes import Lanes
from .maintenance import upkeep
from .sending import Sending, slow_most
from .store.errors import GONE
from .tasks import Tasks
from .threads import Watch, is_no_memory, on_loop_error
from .verifier import Verifier
from .writer import WriterProcess

log = logging.getLogger("webhooks")


class Away(CannotStart):
    """The database cannot be reached, and this worker was not to wait for it."""


class CannotGoOn(Exception):
    """This worker has ended, and another should be started; the text is for the operator."""


class OthersSend(Exception):
    """Another worker owns this SQLite database, and sends what is due."""


class Worker:
    """Sends until told to stop. All of it belongs to the event loop."""

    def __init__(
        self,
        *,
        alias: str,
        sender: Sender,
        concurrency: int,
        until_empty: bool = False,
        once: bool = False,
        writer: WriterProcess | None = None,
        knobs: Knobs = DEFAULT,
    ) -> None:
        self._alias = alias
        self._sender = sender
        self._until_empty = until_empty or once
        self._knobs = knobs
        self._wake = asyncio.Event()  # set by whoever has something for the next cycle
        self._works = asyncio.Event()  # set by the first cycle that ends well
        self._tasks = Tasks(self._break)
        self._lanes = Lanes(slow_most(concurrency, knobs), knobs)
        self._completer = Completer(alias, self._lanes, knobs, self._wake, writer)
        self._fetcher = Fetcher(alias, self._lanes, self._completer, knobs, once=once)
        self._verifier = Verifier(sender, self._fetcher, self._tasks, self._wake, knobs)
        self._sending = Sending(
            lanes=self._lanes,
            sender=sender,
            fetcher=self._fetcher,
            completer=self._completer,
            tasks=self._tasks,
            wake=self._wake,
            may_send=self._may_send,
            concurrency=concurrency,
            knobs=knobs,
        )
        self._stopping = False
        self._look_at = self._look_again_at = inf  # something was announced, monotonic seconds
        self._files_due = 0.0  # looked at next, monotonic seconds
        self._empty_looks = 0  # in a row; of a worker that is to end
        self._failure: Exception | None = None  # why this worker ends by itself

    @property
    def sent(self) -> int:
        """Exchanges that were made."""
        return self._sending.sent + self._verifier.sent

    # --- start and stop -----------------------------------------------------------------------

    def stop(self) -> None:
        """Claim no more, finish the deliveries that are under way, give the slots away."""
        self._stopping = self._sending.stopping = True
        self._wake.set()

    async def run(self, on_start: Callable[[], None] | None = None) -> int:
        """Returns how many exchanges were made. Raises CannotStart or CannotGoOn."""
        listening = store.open(self._alias)
        self._look_again = listening.look_again
        beside = [
            asyncio.create_task(listening.listen(self._announced)),
            asyncio.create_task(self._keep_up()),
        ]
        writing = asyncio.create_task(self._completer.run())
        for task in (*beside, writing):
            task.add_done_callback(self._must_not_end)
        try:
            try:
                await self._cycles(on_start)
            finally:
                for task in beside:
                    task.cancel()
            if isinstance(self._failure, CannotGoOn):
                await self._tasks.cancel()  # it cannot be written down
            else:
                await self._land()
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            await self._sender.close()
            await self._fetcher.leave()
            await self._completer.close()
            # The last to be waited for: what it is at may take a while, and needs no slot.
            await asyncio.gather(*beside, return_exceptions=True)
            await self._fetcher.end()
            await self._completer.end()
        if self._failure is not None:
            raise self._failure
        return self.sent

    async def _keep_up(self) -> None:
        await self._works.wait()  # the database is one that a worker can work with
        await upkeep.run(self._alias, self._knobs)

    def _announced(self) -> None:
        # What its producer commits shortly after is not announced, and found by one more look.
        self._look_at = 0.0
        self._look_again_at = time.monotonic() + self._look_again
        if self._lanes.has_room:  # else it is found by the next cycle, whenever that comes
            self._wake.set()

    def _is_to_look(self) -> bool:
        if time.monotonic() < self._look_at:
            return False
        self._look_at, self._look_again_at = self._look_again_at, inf
        return True

    def _must_not_end(self, task: "asyncio.Task[None]") -> None:
        """Called when a task that goes on as long as this worker has ended."""
        if not task.cancelled() and (error := task.exception()):
            self._break(error)

    def _break(self, error: BaseException) -> None:
        if not isinstance(self._failure, CannotGoOn):
            log.critical("this worker cannot go on", exc_info=error)
        self._fail(CannotGoOn(f"This worker cannot go on: {type(error).__name__} {error}".strip()))

    def _fail(self, error: Exception) -> None:
        """End by itself, for that reason."""
        self._failure = self._failure or error
        self.stop()

    # --- the cycle ----------------------------------------------------------------------------

    async def _cycles(self, on_start: Callable[[], None] | None) -> None:
        backoff = self._knobs.backoff_first
        tries = failed = 0
        while not self._stopping:
            self._look_at_files(time.monotonic())
            self._wake.clear()
            try:
                cycle = await self._fetcher.cycle(
                    look=self._is_to_look(),
                    verifying=self._verifier.under_way,
                    beat=self._beat,
                )
            except GONE as error:
                tries += 1
                await self._is_away(error, tries)
            except store.SharedSession as error:
                # What flies is finished and written; that needs no session of our own.
                await self._fetcher.let_go()
                self._fail(CannotStart(str(error)))
            except MemoryError as error:
                self._break(error)
            except Exception:
                # Read-only after a failover, one odd row: nobody is helped by a worker's end. The
                # slots stay at first: another worker would send again what cannot be written now.
                if self._until_empty or not self._fetcher.is_open:
                    raise
                faults.note()
                log.exception("a cycle with the database failed, trying again")
                failed += 1
                if failed % self._knobs.failed_most:
                    await self._fetcher.begin_anew()
                else:
                    await self._fetcher.let_go()
            else:
                backoff, failed = self._knobs.backoff_first, 0
                self._works.set()
                self._go_on(cycle)
                if on_start is not None and cycle.owned:
                    on_start()
                    on_start = None
                if self._until_empty and self._is_done(cycle):
                    return
                await self._rest()
                continue
            await asyncio.sleep(backoff * random.uniform(0.8, 1.2))  # noqa: S311
            backoff = min(2 * backoff, self._knobs.backoff_longest)

    async def _is_away(self, error: Exception, tries: int) -> None:
        faults.note()
        if is_no_memory(error):
            self._break(error)
        why = faults.told(error)
        never_there = self._until_empty and not self._fetcher.is_open
        if never_there and tries == self._knobs.start_tries:
            raise Away(f"The database cannot be reached ({why}).") from error
        log.warning("the database is away (%s), trying again", why)
        await self._fetcher.let_go()

    def _go_on(self, cycle: Cycle) -> None:
        if not self._stopping:
            for verification in cycle.verifications:
                self._verifier.begin(verification)
        self._sending.dispatch()
        self._sending.tell_rests()

    def _is_done(self, cycle: Cycle) -> bool:
        """Of a worker that is to end: whether there is nothing more to do. Raises OthersSend."""
        if not cycle.owned:
            if self._fetcher.others_send:
                raise OthersSend
            return False
        if self._fetcher.inherits:
            return False
        if not self._tasks:
            self._completer.flush()  # nothing comes that would be written with it
        # What a look found is claimed by the next cycle.
        now = time.monotonic()
        more = self._lanes.buffered or self._lanes.hungry(now) or self._lanes.lines.scans_later(now)
        if self._tasks or self._completer.is_busy or more or cycle.found:
            self._empty_looks = 0
        elif cycle.looked:
            # Twice, because what a claim was about to find is announced a cycle earlier.
            self._empty_looks += 1
        return self._empty_looks == 2

    async def _rest(self) -> None:
        """Until there is something to do: room to fill, an announcement."""
        now = time.monotonic()
        if self._lanes.hungry(now):
            return  # the database is asked while what was found is sent
        every = self._knobs.cycle_every
        if self._until_empty:
            every = self._knobs.cycle_ending
        elif not self._sending.in_flight:
            every = self._knobs.cycle_idle
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(every, self._look_at - now)):
                await self._wake.wait()

    def _beat(self) -> Heartbeat:
        return Heartbeat(
            in_flight=self._sending.in_flight,
            in_flight_of=self._lanes.in_flight_of(),
            sent=self.sent,
            unwritten=self._completer.set_aside,
            holds=self._fetcher.holds and not self._verifier.under_way,
        )

    def _may_send(self, now: float) -> bool:
        self._look_at_files(now)
        return not self._stopping and now - self._fetcher.heard_at <= self._knobs.silence_most

    def _look_at_files(self, now: float) -> None:
        """SQLite's: somebody may replace the database, or remove the lock, in the meantime."""
        if now < self._files_due:
            return
        self._files_due = now + self._knobs.files_every
        try:
            database_file.check(self._alias)
        except database_file.Replaced as error:
            self._fail(CannotGoOn(str(error)))
        self._fetcher.look_at_the_lock()

    async def _land(self) -> None:
        """Deliveries under way are finished within their own timeouts and written; slots of which
        nothing is under way are given away meanwhile."""
        until = time.monotonic() + self._knobs.landing_most
        failed = 0
        while self._fetcher.is_open and (self._tasks or self._completer.has_news):
            try:
                await self._fetcher.leave_slots(self._beat)
            except (DatabaseError, InterfaceError):
                await self._fetcher.reset()
                failed += not self._tasks
                await asyncio.sleep(0.5)
            if failed == 5 or time.monotonic() > until:
                break
            self._completer.flush()
            await asyncio.sleep(0.02)
        if self._completer.unwritten:
            unwritten = self._completer.unwritten
            log.error("%d outcomes could not be written and are sent again", unwritten)


def run(
    *,
    once: bool = False,
    until_empty: bool = False,
    concurrency: int | None = None,
    on_start: Callable[[], None] | None = None,
    sender: Sender | None = None,
    forks: bool = False,
    knobs: Knobs = DEFAULT,
) -> int:
    """Run a worker in this thread; returns the number of exchanges made.

    Stops gracefully on SIGTERM, SIGINT and SIGHUP when called in the main thread. `until_empty`:
    returns when nothing is due any more; `once`: the same, without waiting for what becomes due
    meanwhile.
    Both raise Away when the database cannot be reached from the start, and OthersSend when another
    worker has all of a SQLite database. Raises CannotStart where migrations are missing or sessions
    are shared, CannotGoOn when another worker should be started in its place.
    `on_start` is called once, when the worker owns webhooks. `forks`: outcomes are written by a
    process of their own, for a program that does nothing else; closes its database connections, and
    nobody who does not read its output can hold it up any more.
    """
    alias = router.db_for_write(Delivery)
    writer = None
    if forks:
        file_limit.raise_limit()
        writer = WriterProcess.start(alias, knobs)
        output.never_block()
        metrics_port.open_port()
    loop = new_event_loop()
    loop.set_exception_handler(on_loop_error)

    async def main() -> int:
        watch = Watch(knobs) if forks else None
        worker = Worker(
            alias=alias,
            sender=sender or Sender(),
            concurrency=concurrency or conf.settings.concurrency,
            until_empty=until_empty,
            once=once,
            writer=writer,
            knobs=knobs,
        )
        if threading.current_thread() is threading.main_thread():
            for number in signals.ends():
                loop.add_signal_handler(number, worker.stop)
        try:
            return await worker.run(on_start)
        finally:
            if watch is not None:
                watch.end()

    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()
