"""One event loop in a thread for each process: where synchronous callers hand an exchange over.

Sender, resolver and connection pool live on it, shared by all threads of the process.
"""

import asyncio
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from ... import conf
from .sender import Sender

T = TypeVar("T")

log = logging.getLogger("webhooks")

SLOT_AWAITED = 0.25  # seconds for which what nobody waits for in a thread waits for a slot
LOOKED_AFTER = 1.0  # seconds between looks whether what is waited for can still come


class NoSlot(Exception):
    """There is no slot for an exchange in this process; the text says whose are all taken."""


class LoopEnded(Exception):
    """The thread of the loop has ended, and what was under way on it with it."""


@dataclass(frozen=True, slots=True)
class Work(Generic[T]):
    """A piece of work that nobody waits for: what is run, for whose webhook, and who is told the
    result."""

    work: Callable[[Sender], Coroutine[Any, Any, T]]
    account: int
    webhook: str
    done: Callable[[T | NoSlot | None], None]  # None: nothing can be said of it


class EngineLoop:
    """Runs coroutines for callers in other threads, at most `concurrency` at once.

    However long receivers take, there is a slot for whoever has none: an account gets another as
    long as more are free than it has, and a webhook as long as twice as many are.
    """

    def __init__(self, make_sender: Callable[[], Sender] = Sender) -> None:
        self._loop = new_event_loop()
        self._sender = make_sender()
        self._of_account: Counter[int] = Counter()  # slots taken
        self._of_webhook: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="webhooks-engine", daemon=True
        )
        self._thread.start()

    def run(
        self, work: Callable[[Sender], Coroutine[Any, Any, T]], *, account: int, webhook: str
    ) -> T:
        """The result of `work(sender)`; the calling thread waits. `account` and `webhook` are those
        that it is done for. Raises NoSlot, LoopEnded."""
        with self._lock:
            self._take(account, webhook)
        try:
            future = asyncio.run_coroutine_threadsafe(work(self._sender), self._loop)
            while not wait([future], LOOKED_AFTER).done:
                if not self.is_alive:
                    raise LoopEnded
            return future.result()
        finally:
            with self._lock:
                self._give(account, webhook)

    def start(self, works: "Sequence[Work[Any]]") -> None:
        """`run` for several pieces of work, without waiting: each is told its result on the loop's
        thread. Where there is no slot, one may become free within a moment."""
        self._loop.call_soon_threadsafe(self._begin, works)

    def _begin(self, works: "Sequence[Work[Any]]") -> None:
        for each in works:
            task = self._loop.create_task(self._do(each))
            self._tasks.add(task)  # which the loop itself does not hold
            task.add_done_callback(self._tasks.discard)

    async def _do(self, work: "Work[Any]") -> None:
        result: Any = None
        try:
            if (result := await self._slot(work)) is None:
                try:
                    result = await work.work(self._sender)
                finally:
                    with self._lock:
                        self._give(work.account, work.webhook)
        finally:
            work.done(result)

    async def _slot(self, work: "Work[Any]") -> NoSlot | None:
        """Take a slot; or say why there is none."""
        until = self._loop.time() + SLOT_AWAITED
        while True:
            try:
                with self._lock:
                    self._take(work.account, work.webhook)
                return None
            except NoSlot as error:
                if self._loop.time() >= until:
                    return error
            await asyncio.sleep(SLOT_AWAITED / 20)

    def _give(self, account: int, webhook: str) -> None:
        _drop(self._of_account, account)
        _drop(self._of_webhook, webhook)

    def _take(self, account: int, webhook: str) -> None:
        free = conf.settings.concurrency - self._of_account.total()
        if free <= 0:
            raise NoSlot("Too many calls are under way; try again.")
        if 2 * self._of_webhook[webhook] >= free:
            raise NoSlot("Too many calls of this webhook are under way; try again.")
        if self._of_account[account] >= free:
            raise NoSlot("Too many calls of this account are under way; try again.")
        self._of_account[account] += 1
        self._of_webhook[webhook] += 1

    @property
    def is_alive(self) -> bool:
        """Whether anything can come of what is handed over: no memory for a callback, say, ends the
        thread, and nobody is told."""
        return self._thread.is_alive()

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._sender.close(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


def _drop(taken: Counter[Any], key: Any) -> None:
    taken[key] -= 1
    if not taken[key]:
        del taken[key]


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class Runner(Protocol):
    """What synchronous callers need of an engine loop; the seam for tests of host projects."""

    def run(
        self, work: Callable[[Sender], Coroutine[Any, Any, T]], *, account: int, webhook: str
    ) -> T: ...


_shared: Runner | None = None
_shared_lock = threading.Lock()


def shared() -> Runner:
    """The loop of this process, started at first use and in place of one that has ended; a forked
    child starts its own."""
    global _shared
    with _shared_lock:
        if isinstance(_shared, EngineLoop) and not _shared.is_alive:
            log.error("the loop for calls that somebody waits for has ended; another is started")
            _shared = None
        if _shared is None:
            _shared = EngineLoop()
        return _shared


def engine() -> EngineLoop | None:
    """`shared`; None where another runner has taken its place."""
    runner = shared()
    return runner if isinstance(runner, EngineLoop) else None


def replace(runner: Runner | None) -> Runner | None:
    """Put another loop in the place of the shared one; returns the one before (None: none was
    started yet)."""
    global _shared
    with _shared_lock:
        before, _shared = _shared, runner
    return before


def _forget() -> None:
    global _shared, _shared_lock
    _shared, _shared_lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
