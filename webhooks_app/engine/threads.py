"""A worker's threads. It never outlives one of them, nor its own event loop: whoever waits for what
is gone waits for ever, deaf to signals, while all lamps are green."""

import asyncio
import faulthandler
import logging
import os
import threading
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from typing import Any, NoReturn

from . import output
from .knobs import Knobs

log = logging.getLogger("webhooks")


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


async def patiently(answer: Awaitable[Any], hang_up: Callable[[], None], knobs: Knobs) -> Any:
    """What the database answers. Past `answer_most` seconds its connection is broken; when that
    does not help either, nothing will."""
    answer = asyncio.ensure_future(answer)
    done, _ = await asyncio.wait([answer], timeout=knobs.answer_most)
    if not done:
        log.warning("no answer from the database for %d s, connecting anew", knobs.answer_most)
        hang_up()
        done, _ = await asyncio.wait([answer], timeout=knobs.hung_up_most)
        if not done:
            waited = knobs.answer_most + knobs.hung_up_most
            end_now(f"no answer from the database for {waited:g} s")
    return await answer


class Watch:
    """Ends this process when its event loop stands still. For a process that does nothing else than
    run that loop."""

    def __init__(self, knobs: Knobs) -> None:
        self._knobs = knobs
        self._loop = asyncio.get_running_loop()
        self._beats = 0
        self._ended = threading.Event()
        self._beat()
        threading.Thread(target=self._run, name="webhooks-watch", daemon=True).start()

    def _beat(self) -> None:
        self._beats += 1
        self._loop.call_later(self._knobs.beat, self._beat)

    def _run(self) -> None:
        why = "the watch broke"
        try:
            seen, missing = 0, 0
            while not self._ended.wait(self._knobs.beat):
                missing = missing + 1 if self._beats == seen else 0
                seen = self._beats
                if missing == self._knobs.still_most:
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
    """Whether the error says that there is no memory, also as PostgreSQL's client library tells it,
    without a code of the server's."""
    if isinstance(error, MemoryError):
        return True
    return "out of memory" in str(error) and not getattr(error.__cause__, "sqlstate", None)
