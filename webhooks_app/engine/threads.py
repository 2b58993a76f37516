"""A worker's threads. It never outlives one of them, nor its own event loop: whoever waits for what
is gone waits for ever, deaf to signals, while all lamps are green."""

import asyncio
import faulthandler
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, NoReturn

from . import output

BEAT = 1.0  # seconds between signs of life of the event loop
STILL_MOST = 60  # beats that may be missing; a process that was frozen misses one

Work = tuple["asyncio.Future[Any]", Callable[..., Any], tuple[Any, ...]]


def end_now(why: str) -> NoReturn:
    """Say why, and end this process with code 1, without anything that needs much memory or may
    wait: whoever keeps it running starts another."""
    try:
        if output.real(2) != 2:
            os.set_blocking(2, False)
        os.write(2, f"{why}: this process cannot go on and ends; start another\n".encode())
        faulthandler.dump_traceback(file=2)
        output.flush()
    finally:
        os._exit(1)


class OneThread:
    """Does work for an event loop, in the order in which it is given.

    The thread of a ThreadPoolExecutor may die between two pieces of work, of a MemoryError say, and
    nobody is told. When this one does, the process ends.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Callable[..., Any], *arguments: Any) -> "asyncio.Future[Any]":
        """What `work` returns or raises."""
        future = self._loop.create_future()
        self._work.put((future, work, arguments))
        return future

    def close(self) -> None:
        """Waits for what was given before."""
        self._work.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while (item := self._work.get()) is not None:
                self._do(*item)
                del item
        except BaseException as error:
            if not self._loop.is_closed():
                end_now(f"{type(error).__name__} in {threading.current_thread().name}")

    def _do(
        self, future: "asyncio.Future[Any]", work: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> None:
        try:
            result = work(*arguments)
        except BaseException as error:
            self._loop.call_soon_threadsafe(_tell, future, None, error)
        else:
            self._loop.call_soon_threadsafe(_tell, future, result, None)


def _tell(future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
    if future.done():  # whoever asked was cancelled
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


class Watch:
    """Ends this process when its event loop stands still. For one that does nothing else."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._beats = 0
        self._ended = threading.Event()
        self._beat()
        threading.Thread(target=self._run, name="webhooks-watch", daemon=True).start()

    def _beat(self) -> None:
        self._beats += 1
        self._loop.call_later(BEAT, self._beat)

    def _run(self) -> None:
        why = "the watch broke"
        try:
            seen, missing = 0, 0
            while not self._ended.wait(BEAT):
                missing = missing + 1 if self._beats == seen else 0
                seen = self._beats
                if missing == STILL_MOST:
                    why = "the event loop stands still"
                    break
            else:
                return
        except BaseException as error:
            why = f"{type(error).__name__} in the watch"
        end_now(why)

    def end(self) -> None:
        self._ended.set()


def on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The handler of what nobody caught in a callback of the loop."""
    if isinstance(context.get("exception"), MemoryError):
        end_now("MemoryError in the event loop")
    loop.default_exception_handler(context)


def is_no_memory(error: BaseException) -> bool:
    """Also as PostgreSQL's client library tells it, without a code of the server's."""
    if isinstance(error, MemoryError):
        return True
    return "out of memory" in str(error) and not getattr(error.__cause__, "sqlstate", None)
