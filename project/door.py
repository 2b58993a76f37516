"""A fast door for requests that store deliveries, publish events or send interactions: those that
come together are served together.

A transaction for each request costs several times as much as what is done in it. Here one thread
takes what waits, reads the tokens and webhooks of all of it in the transaction that stores it, and
answers when that has been committed; meanwhile the next ones gather. An interaction is sent then,
and comes back when its receiver has answered, to be recorded with others. Nothing that decides is
kept from one group to the next.

The rules are those of the API's views, and so are the words. What is not plainly theirs (another
path, a session, a wrong token, a large body, an odd host) goes to Django as it came.
"""

import asyncio
import io
import logging
import threading
import time
from collections.abc import Hashable
from typing import Any

from django.conf import settings
from django.core.exceptions import BadRequest
from django.core.handlers.asgi import ASGIRequest, get_script_prefix
from django.core.handlers.exception import convert_exception_to_response
from django.db import connections, router, transaction
from django.http import HttpResponse
from django.utils import timezone
from django.utils.module_loading import import_string

from webhooks_app import request_ids
from webhooks_app.actions.interactions import Beginnings
from webhooks_app.api import errors
from webhooks_app.api.authentication import bearer
from webhooks_app.api.errors import Problem
from webhooks_app.engine import faults, loop, store
from webhooks_app.engine.store.errors import is_locked
from webhooks_app.limits import Headers, Scope
from webhooks_app.models import AccessToken, Delivery, database_file
from webhooks_app.models.account import digest

from .door_calls import Calls, calls_of
from .door_requests import Answer, Asked, Interaction, SingleEvent, answer_to, refused, served
from .door_rules import accept, judged
from .door_session import LOCKED_MOST, Session
from .door_waiting import Waiting, answered, hand_out
from .fair_queue import FairQueue

SMALL = 64 * 1024  # bytes of a body; a larger one takes a transaction of its own, at Django's door
GROUP_MOST = 256  # requests
GROUP_SIZE = 1024 * 1024  # bytes of their bodies
QUEUE_SIZE = 8 * 1024 * 1024  # bytes that wait
EACH_SIZE = 1024  # bytes that a request counts beside its body
APART_FOR = 60.0  # seconds for which all events of its token do
NAMES = "webhooks_app.request_ids.middleware"
LANES_KEPT = 10_000

BUSY = "More requests are waiting than can be stored; try again."

logger = logging.getLogger("webhooks_app.api")


class Door:
    def __init__(self) -> None:
        self._alias = router.db_for_write(Delivery)
        self._queue: FairQueue[Waiting] = FairQueue(QUEUE_SIZE)
        # By the digest of its token, whose request it is: for the order alone in which they come.
        self._lanes: dict[str, Hashable] = {}
        self._apart: dict[str, float] = {}  # by digest, until when its events go to Django
        self._added = Added()
        self._beginnings = Beginnings()
        self._session = Session(self._alias)
        self._calls = Calls(self._session, self._put_ended)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    async def answer(self, scope: Scope, sent: bytes) -> Answer | None:
        """The answer to a request, once it is stored; None for one that Django is to answer."""
        began = time.monotonic()
        asked = self._asked(scope, sent)
        if asked is None or (added := self._added.to(asked.request)) is None:
            return None
        self._start()
        future: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        # Who was never seen waits with all others of whom that is so.
        lane = self._lanes.get(asked.digest)
        if not self._queue.put(lane, (asked, future), asked.size + EACH_SIZE):
            given: Answer | None = refused(asked, Problem(503, BUSY, retry_after=1))
        else:
            given = await answered(asked, future)
        if given is None:
            return None
        status, headers, content = given
        if request_ids.access.isEnabledFor(logging.INFO):
            request_ids.note("POST", scope["path"], status, began)
        return status, headers + added, content

    def _asked(self, scope: Scope, sent: bytes) -> Asked | None:
        if scope["method"] != "POST":
            return None
        kind, ident = served(scope["path"])
        if kind is None or get_script_prefix(scope):
            return None
        if len(sent) * kind.weight > SMALL:
            return None
        if not scope["query_string"].isascii():
            return None
        try:
            request = ASGIRequest(scope, io.BytesIO())
        except (BadRequest, ValueError):
            return None
        secret = bearer(request.META.get("HTTP_AUTHORIZATION", ""))
        if not secret:
            return None
        if kind is Interaction and loop.engine() is None:
            return None  # nothing is sent from here
        asked = kind(request, ident, sent)
        asked.digest = digest(secret)
        is_apart = isinstance(asked, SingleEvent) and self._is_apart(asked.digest)
        return None if is_apart else asked

    def _is_apart(self, digest: str) -> bool:
        """Whether this token's last events had more receivers than a group takes."""
        until = self._apart.get(digest)
        if until is None:
            return False
        if until < time.monotonic():
            self._apart.pop(digest, None)
            return False
        return True

    # --- the thread -----------------------------------------------------------------------------

    def _put_ended(self, call: Waiting) -> None:
        while not self._queue.put(Interaction, call, 0):
            pass  # that one was closed, and there is a new one
        self._start()

    def _start(self) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._serve, args=(self._queue,), name="door", daemon=True
                    )
                    self._thread.start()

    def close(self) -> None:
        """Once what waits has been answered. The next request opens it again."""
        with self._lock:
            thread, self._thread = self._thread, None
            waiting, self._queue = self._queue, FairQueue(QUEUE_SIZE)
        waiting.close()
        if thread is not None:
            thread.join()

    def _serve(self, waiting: "FairQueue[Waiting]") -> None:
        try:
            while group := waiting.take(GROUP_MOST, GROUP_SIZE):
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
            self._calls.record(ended)

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
            now = [number for number, each in enumerate(asked) if not each.waits]
            hand_out([group[number] for number in now], [answers[number] for number in now])
        self._calls.send([pair for pair in calls_of(group) if pair[0].waits])
        if tokens:
            faults.settle()
        for each in tokens.values():
            each.note_use(timezone.now())
        self._remember(tokens, asked)

    def _store(self, group: list[Asked]) -> dict[str, AccessToken]:
        """Judge and store them; returns the tokens among theirs that are good, by their digests."""
        self._session.wake()
        with transaction.atomic(using=self._alias):
            # A key or an event that somebody stores in a long transaction holds up its twin alone.
            store.open(self._alias).limit_locks(LOCKED_MOST)
            tokens = AccessToken.objects.by_digests({each.digest for each in group})
            known = [each for each in group if each.digest in tokens]
            good = judged(known, tokens)
            accept(good, self._beginnings)
            held: dict[str, str] = {}
            for each in good:
                each.settle(held)
        database_file.check(self._alias)
        self._session.note_use()
        return tokens

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

    def _remember(self, tokens: dict[str, AccessToken], group: list[Asked]) -> None:
        for kept in (self._lanes, self._apart):
            if len(kept) > LANES_KEPT:
                kept.clear()
        for each, token in tokens.items():
            self._lanes[each] = token.account_id
        for asked in group:
            if asked.problem is None and asked.digest in tokens and asked.is_apart:
                self._apart[asked.digest] = time.monotonic() + APART_FOR


# --- answers --------------------------------------------------------------------------------------


class Added:
    """What the middleware for tokens adds to every answer, by the part of the head that it reads:
    which host is asked for, and by which scheme."""

    KEPT = 128

    def __init__(self) -> None:
        chain: Any = convert_exception_to_response(lambda request: HttpResponse())
        for path in reversed(settings.MIDDLEWARE_FOR_TOKENS):
            if path == NAMES:  # which this door does itself, as the line of the access log
                continue
            chain = convert_exception_to_response(import_string(path)(chain))
        self._chain = chain
        self._known: dict[Any, Headers | None] = {}

    def to(self, request: ASGIRequest) -> Headers | None:
        """None where the middleware does not let a request pass."""
        key = (
            request.scope.get("scheme"),
            request.scope.get("server"),
            *(request.META.get(name) for name in self.READ),
        )
        if key not in self._known:
            if len(self._known) >= self.KEPT:
                self._known.clear()
            response = self._chain(request)
            own = {"content-type", "content-length", "x-request-id"}
            self._known[key] = (
                [
                    (name.encode("ascii"), value.encode("latin-1"))
                    for name, value in response.items()
                    if name.lower() not in own
                ]
                if response.status_code == 200
                else None
            )
        return self._known[key]

    READ = ("HTTP_HOST", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PORT", "HTTP_X_FORWARDED_PROTO")
