"""A fast door for requests that store deliveries, publish events or send interactions: those that
come together are served together.

A transaction for each request costs several times as much as what is done in it. Here one thread
takes what waits, reads the tokens and webhooks of all of it in the transaction that stores it, and
answers when that has been committed; meanwhile the next ones gather, and for a moment those whom it
has just answered, who may ask again: not a client that is alone. An interaction is sent then,
and comes back when its receiver has answered, to be recorded with others. What is large has threads
and a transaction of its own. Nothing that decides is kept from one group to the next.

The rules are those of the API's views, and so are the words. What is not plainly theirs (another
path, a session, a wrong token, an odd host) goes to Django as it came.
"""

import asyncio
import io
import logging
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django.conf import settings
from django.core.exceptions import BadRequest
from django.core.handlers.asgi import ASGIRequest, get_script_prefix
from django.core.handlers.exception import convert_exception_to_response
from django.db import router
from django.http import HttpResponse
from django.utils.module_loading import import_string

from webhooks_app import request_ids
from webhooks_app.api.authentication import bearer
from webhooks_app.api.errors import Problem
from webhooks_app.engine import store
from webhooks_app.engine.http import bridge
from webhooks_app.limits import Headers, Scope
from webhooks_app.models import Delivery
from webhooks_app.models.account import digest

from .door_calls import Calls
from .door_groups import Cut, Groups, Known
from .door_requests import Answer, Asked, Interaction, SingleEvent, refused, served
from .door_threads import Threads
from .door_waiting import Waiting, answered
from .fair_queue import FairQueue

SMALL = 64 * 1024  # bytes of a body; a larger one takes a transaction of its own
PATIENCE = 0.002  # seconds; a transaction takes about as long
TOGETHER = Cut(requests=256, size=1024 * 1024, receivers=100, patience=PATIENCE)
ALONE = Cut(requests=1, size=0)
QUEUE_SIZE = 8 * 1024 * 1024  # bytes that wait
LARGE_QUEUE_SIZE = 64 * 1024 * 1024
EACH_SIZE = 1024  # bytes that a request counts beside its body
LARGE_AT_ONCE = 2  # while one waits for the database, another is read
NAMES = "webhooks_app.request_ids.middleware"

BUSY = "More requests are waiting than can be stored; try again."

logger = logging.getLogger("webhooks_app.api")


class Door:
    def __init__(self) -> None:
        self._alias = router.db_for_write(Delivery)
        self._known = Known()
        self._added = Added()
        self._calls = Calls(self._alias, self._put_ended)
        one_writer = store.open(self._alias).has_one_writer
        self._turn: AbstractContextManager[object] = (
            threading.Lock() if one_writer else nullcontext()
        )
        self._small: Threads[Waiting] = Threads("door", 1, QUEUE_SIZE, self._serve_together)
        self._large: Threads[Waiting] = Threads(
            "door-large", LARGE_AT_ONCE, LARGE_QUEUE_SIZE, self._serve_alone
        )

    async def answer(self, scope: Scope, sent: bytes) -> Answer | None:
        """The answer to a request, once it is stored; None for one that Django is to answer."""
        began = time.monotonic()
        asked = self._asked(scope, sent)
        if asked is None or (added := self._added.to(asked.request)) is None:
            return None
        future: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        is_large = asked.size > SMALL or self._is_apart(asked)
        threads, size = (self._large, len(sent)) if is_large else (self._small, asked.size)
        if not threads.put(self._known.lane(asked.digest), (asked, future), size + EACH_SIZE):
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
        if not scope["query_string"].isascii():
            return None
        try:
            request = ASGIRequest(scope, io.BytesIO())
        except (BadRequest, ValueError):
            return None
        secret = bearer(request.META.get("HTTP_AUTHORIZATION", ""))
        if not secret:
            return None
        if kind is Interaction and (len(sent) > SMALL or bridge.engine() is None):
            return None  # nothing is sent from here
        asked = kind(request, ident, sent)
        asked.digest = digest(secret)
        return asked

    def _is_apart(self, asked: Asked) -> bool:
        return isinstance(asked, SingleEvent) and self._known.is_apart(asked.digest)

    def _put_ended(self, call: Waiting) -> None:
        self._small.put(Interaction, call, 0)

    # --- the threads ----------------------------------------------------------------------------

    def _serve_together(self, waiting: "FairQueue[Waiting]") -> None:
        self._groups(waiting, TOGETHER).serve()

    def _serve_alone(self, waiting: "FairQueue[Waiting]") -> None:
        self._groups(waiting, ALONE).serve()

    def _groups(self, waiting: "FairQueue[Waiting]", cut: Cut) -> Groups:
        return Groups(self._alias, self._known, self._calls, self._turn, waiting, cut)

    def close(self) -> None:
        """Once what waits has been answered. The next request opens it again."""
        self._large.close()
        self._small.close()


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
