"""Interactions at the fast door: sent together, and together recorded when they have ended."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from django.db import IntegrityError, connections

from webhooks_app import actions
from webhooks_app.actions import interactions
from webhooks_app.api import errors
from webhooks_app.models import database_file

from .door_requests import Answer, Interaction, answer_to, refused
from .door_session import LOCKED_MOST, Session
from .door_waiting import Waiting, hand_out

ALONE = 4  # threads for those that could not be recorded with the others

Call = tuple[Interaction, "asyncio.Future[Answer | None]"]

logger = logging.getLogger("webhooks_app.api")


def calls_of(group: Sequence[Waiting]) -> list[Call]:
    return [(asked, future) for asked, future in group if isinstance(asked, Interaction)]


class Calls:
    """`ended` takes what has ended to where `record` gets it from."""

    def __init__(self, alias: str, ended: Callable[[Call], None]) -> None:
        self._alias = alias
        self._ended = ended
        self._alone = ThreadPoolExecutor(ALONE, "door-alone")

    def send(self, calls: Sequence[Call]) -> None:
        interactions.send([(call[0].begun, partial(self._note_end, call)) for call in calls])

    def _note_end(self, call: Call) -> None:
        call[0].has_ended = True
        self._ended(call)

    def record(self, calls: Sequence[Call], session: Session) -> None:
        """What was answered cannot be asked again: where it fails for all together, perhaps for the
        sake of one, each is recorded by itself."""
        begun = [asked.begun for asked, _ in calls]
        try:
            session.wake()
            database_file.check(self._alias)
            answers = interactions.conclude(begun, locked_most=LOCKED_MOST)
            session.note_use()
        except Exception as error:
            logger.info("interactions are recorded one by one", exc_info=error)
            for call in calls:
                self._alone.submit(self._record_one, call)
            return
        for call, answer in zip(calls, answers, strict=True):
            call[0].answer = answer
        hand_out(calls, [_rendered(asked) for asked, _ in calls])

    def _record_one(self, call: Call) -> None:
        answer: Any
        try:
            database_file.check(self._alias)
            answer = interactions.conclude_again(call[0].begun)
        except IntegrityError:  # removed while it was called
            answer = actions.NotCallable("deleted")
        except Exception as error:
            answer = error
        finally:
            connections[self._alias].close()
        _answer(call, answer)


def _answer(call: Call, answer: dict[str, Any] | Exception) -> None:
    call[0].answer = answer
    hand_out([call], [_rendered(call[0])])


def _rendered(asked: Interaction) -> Answer:
    try:
        answer = answer_to(asked)
        assert answer is not None
        return answer
    except Exception as error:
        return refused(asked, errors.unforeseen(error, {"request": asked.request}))
