"""Groups of requests at the fast door: each is judged and stored in one transaction, and answered
when that has been committed. Interactions, of which nothing is stored before they have ended, need
none to be judged."""

import logging
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from django.db import connections

from webhooks_app.actions.interactions import Beginnings
from webhooks_app.api import errors
from webhooks_app.engine import faults, store
from webhooks_app.engine.store.errors import is_locked
from webhooks_app.models import AccessToken, database_file

from .door_calls import Calls, calls_of
from .door_requests import Answer, Asked, answer_to, refused
from .door_rules import accept, judged
from .door_session import LOCKED_MOST, Session
from .door_waiting import Waiting, hand_out
from .fair_queue import FairQueue

APART_FOR = 60.0  # seconds for which all events of its token do
KEPT = 10_000  # tokens

logger = logging.getLogger("webhooks_app.api")


@dataclass(frozen=True, slots=True)
class Cut:
    """How much a group takes at most; one request at least."""

    requests: int
    size: int  # bytes of their bodies
    receivers: int | None = None  # of an event; None: as many as it has
    patience: float = 0.0  # seconds for which it waits for those whom the last one has answered


class Known:
    """What is remembered of tokens, by their digests: nothing that decides."""

    def __init__(self) -> None:
        self._lanes: dict[str, Hashable] = {}  # whose requests they are, for their order alone
        self._apart: dict[str, float] = {}  # until when their events go apart, monotonic

    def lane(self, digest: str) -> Hashable:
        """Who was never seen waits with all others of whom that is so."""
        return self._lanes.get(digest)

    def is_apart(self, digest: str) -> bool:
        """Whether this token's last events wanted more than a group gives."""
        until = self._apart.get(digest)
        if until is None:
            return False
        if until < time.monotonic():
            self._apart.pop(digest, None)
            return False
        return True

    def note(self, tokens: Mapping[str, AccessToken], group: Sequence[Asked]) -> None:
        for kept in (self._lanes, self._apart):
            if len(kept) > KEPT:
                kept.clear()
        for digest, token in tokens.items():
            self._lanes[digest] = token.account_id
        for asked in group:
            if asked.problem is None and asked.digest in tokens and asked.is_apart:
                self._apart[asked.digest] = time.monotonic() + APART_FOR


class Groups:
    """Serves what is `waiting`, on one thread. `turn`: one group at a time is stored in it, where
    the database has one writer."""

    def __init__(
        self,
        alias: str,
        known: Known,
        calls: Calls,
        turn: AbstractContextManager[object],
        waiting: "FairQueue[Waiting]",
        cut: Cut,
    ) -> None:
        self._alias, self._known, self._calls, self._turn = alias, known, calls, turn
        self._waiting, self._cut = waiting, cut
        self._beginnings = Beginnings(LOCKED_MOST)
        self._session = Session(alias)

    def serve(self) -> None:
        cut = self._cut
        try:
            while group := self._waiting.take(cut.requests, cut.size, cut.patience):
                try:
                    self._serve_group(group)
                except Exception:  # all are answered; those to come need this thread
                    logger.exception("after a group of requests something failed")
        finally:
            connections[self._alias].close()

    def _serve_group(self, group: "list[Waiting]") -> None:
        asked = [pair for pair in group if not pair[0].has_ended]
        ended = [pair for pair in calls_of(group) if pair[0].has_ended]
        if asked:
            self._serve_asked(asked)
        if ended:
            with self._turn:
                self._calls.record(ended, self._session)

    def _serve_asked(self, group: "list[Waiting]") -> None:
        asked = [each for each, _ in group]
        answers: list[Answer | None] = [None] * len(group)
        tokens: dict[str, AccessToken] = {}
        try:
            tokens = self._store(asked)
            answers = [
                None if each.waits or each.digest not in tokens else answer_to(each)
                for each in asked
            ]
        except Exception as error:
            answers = self._failed(error, asked)
        finally:
            self._waiting.expect_again()
            now = [number for number, each in enumerate(asked) if not each.waits]
            hand_out([group[number] for number in now], [answers[number] for number in now])
        self._calls.send([pair for pair in calls_of(group) if pair[0].waits])
        if tokens:
            faults.settle()
        for each in tokens.values():
            each.note_use()
        self._known.note(tokens, asked)

    def _store(self, group: list[Asked]) -> dict[str, AccessToken]:
        """Judge and store them; returns the tokens among theirs that are good, by their digests."""
        self._session.wake()
        with self._storing(group):
            tokens = AccessToken.objects.by_digests({each.digest for each in group})
            known = [each for each in group if each.digest in tokens]
            good = judged(known, tokens)
            accept(good, self._beginnings, self._cut.receivers)
            held: dict[str, str] = {}
            for each in good:
                each.settle(held)
        database_file.check(self._alias)
        self._session.note_use()
        return tokens

    @contextmanager
    def _storing(self, group: list[Asked]) -> Iterator[None]:
        """A transaction, where they want one."""
        if not any(each.stores for each in group):
            yield
            return
        # A key or an event that somebody stores in a long transaction holds up its twin alone.
        with self._turn, store.transaction(self._alias, LOCKED_MOST):
            yield

    def _failed(self, error: Exception, group: list[Asked]) -> list[Answer | None]:
        """What all of a group are told whose transaction failed: that the database does not answer,
        or what Django will find when each is tried by itself."""
        problem = errors.foreseen(error)
        self._beginnings.forget()
        for each in group:
            each.waits = False
        if isinstance(error, database_file.Replaced) or is_locked(error):
            return [None] * len(group)  # the first also ends this process
        if problem is None or problem.status_code != 503:
            logger.warning("a group of requests is stored one by one", exc_info=error)
            return [None] * len(group)
        return [refused(each, problem) for each in group]
