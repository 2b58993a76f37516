"""Who waits at the fast door, and how the answer gets there from another thread."""

import asyncio
import logging
from collections.abc import Iterable, Sequence

from webhooks_app.actions.calls import OUR_FAULT
from webhooks_app.api.errors import Problem
from webhooks_app.engine.http.bridge import LOOKED_AFTER

from .door_requests import Answer, Asked, Interaction, refused

logger = logging.getLogger("webhooks_app.api")

# A request, and where its answer goes: None, when Django is to give it.
Waiting = tuple[Asked, "asyncio.Future[Answer | None]"]


async def answered(asked: Asked, future: "asyncio.Future[Answer | None]") -> Answer | None:
    """What `hand_out` brings."""
    if not isinstance(asked, Interaction):
        return await future
    timer = asyncio.get_running_loop().call_later(LOOKED_AFTER, _look, asked, future)
    try:
        return await future
    finally:
        timer.cancel()


def _look(asked: Interaction, future: "asyncio.Future[Answer | None]") -> None:
    """Again and again, until there is an answer, or can be none."""
    if future.done():
        return
    if asked.is_lost:
        future.set_result(refused(asked, Problem(503, OUR_FAULT, retry_after=1)))
    else:
        future.get_loop().call_later(LOOKED_AFTER, _look, asked, future)


def hand_out(waiting: Sequence[Waiting], answers: Sequence[Answer | None]) -> None:
    pairs = [(future, answer) for (_, future), answer in zip(waiting, answers, strict=True)]
    for loop in {future.get_loop() for future, _ in pairs}:
        try:
            loop.call_soon_threadsafe(_set, [pair for pair in pairs if pair[0].get_loop() is loop])
        except RuntimeError:
            logger.debug("nobody waits for these answers any more")


def _set(pairs: "Iterable[tuple[asyncio.Future[Answer | None], Answer | None]]") -> None:
    for future, answer in pairs:
        if not future.done():  # a client that has left
            future.set_result(answer)
