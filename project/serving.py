"""The site as an ASGI application: Django's synchronous side, on threads that stay.

Django's own handler makes a thread, and in it new database connections, for every request and
changes threads several times within it, which costs more than all of a request of the API. Here a
body is read by the event loop (so a slow client holds no thread), then one thread does the rest.
"""

import asyncio
import io
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any

from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.handlers.asgi import ASGIHandler, ASGIRequest, get_script_prefix
from django.core.handlers.base import BaseHandler
from django.core.handlers.exception import convert_exception_to_response
from django.core.signals import request_started
from django.db import close_old_connections, connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.http import FileResponse
from django.urls import set_script_prefix
from django.utils.module_loading import import_string

from webhooks_app import conf, limits, request_ids
from webhooks_app.api.authentication import bearer
from webhooks_app.engine import calls
from webhooks_app.limits import Headers, Receive, Refused, Scope, Send
from webhooks_app.models import AccessToken, Delivery, database_file

from . import bodies
from .askers import Askers
from .door import Door

TURNS = 4  # requests that run at once, and so connections to each database; one is for others
ENDS_AFTER = 1.0  # seconds
BUSY = "You have more requests under way than are answered at once; try again."
RESTED = 1.0  # seconds; a connection that was unused for longer may be lost

_API = ("webhooks", "deliveries", "events", "event-types")  # the first part of its paths


class TokenHandler(BaseHandler):
    """Requests of the API that bring a bearer token pass MIDDLEWARE_FOR_TOKENS only.

    Their token alone judges them, whatever cookies they carry; session, CSRF check and messages
    would only cost them time. None of those that are left has hooks other than around the view.
    """

    def __init__(self) -> None:
        hooks: list[Any] = []
        self._view_middleware = self._template_response_middleware = hooks
        self._exception_middleware = hooks
        chain: Any = convert_exception_to_response(self._get_response)  # type: ignore[attr-defined]
        for path in reversed(settings.MIDDLEWARE_FOR_TOKENS):
            chain = convert_exception_to_response(import_string(path)(chain))
        self._middleware_chain = chain

    @staticmethod
    def serves(request: ASGIRequest) -> bool:
        # As the API itself knows the scheme: with it there, no session is asked for.
        if bearer(request.META.get("HTTP_AUTHORIZATION", "")) is None:
            return False
        return request.path_info[1:].partition("/")[0] in _API


# When it was given back, and its connections.
Turn = tuple[float, dict[str, BaseDatabaseWrapper]]


class Turns:
    """So many requests run at once, each with the database connections of its turn.

    More threads than that would only take the interpreter from each other. Who waits for a receiver
    leaves its turn to others meanwhile. One who asks has not all of them: a turn is left for
    everybody else, however many requests he sends and however long each takes.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._most = max(1, count - 1)  # of one who asks
        self._lock = threading.Lock()
        # The last one first: what is used at all is warm.
        self._free: list[Turn] = [(0.0, {})] * count
        self._taken: Counter[str] = Counter()  # by who asked
        self._waiting: deque[tuple[str, SimpleQueue[Turn]]] = deque()

    @contextmanager
    def taken(self, asker: str) -> Iterator[bool]:
        """A turn; true when its connections were used a moment ago."""
        fresh = self._take(asker)
        token = calls.meanwhile.set(partial(self._left, asker))
        try:
            yield fresh
        finally:
            calls.meanwhile.reset(token)
            self._give(asker)

    @contextmanager
    def _left(self, asker: str) -> Iterator[None]:
        self._give(asker)
        try:
            yield
        finally:
            self._take(asker)

    def _take(self, asker: str) -> bool:
        given, turn = self._next(asker)
        for alias, connection in turn.items():
            connections[alias] = connection
        return time.monotonic() - given < RESTED

    def _give(self, asker: str) -> None:
        turn = {}
        for connection in connections.all(initialized_only=True):
            if not connection.allow_thread_sharing:
                connection.inc_thread_sharing()
            turn[connection.alias] = connection
            del connections[connection.alias]
        self._pass_on((time.monotonic(), turn), asker)

    def _next(self, asker: str) -> Turn:
        with self._lock:
            if self._free and self._may(asker):
                self._taken[asker] += 1
                return self._free.pop()
            place: SimpleQueue[Turn] = SimpleQueue()
            self._waiting.append((asker, place))
        return place.get()

    def _may(self, asker: str) -> bool:
        return self._taken[asker] < self._most or asker == _CLOSING

    def _pass_on(self, turn: Turn, giver: str) -> None:
        # To whoever waits longest: else the thread that gives it would take it again for the next
        # request, before any that waits has woken.
        with self._lock:
            _one_less(self._taken, giver)
            found = next((one for one in self._waiting if self._may(one[0])), None)
            if found is None:
                self._free.append(turn)
                return
            self._waiting.remove(found)
            asker, place = found
            self._taken[asker] += 1
        place.put(turn)

    def close(self) -> None:
        """Close the connections of all turns; waits for requests that are under way."""
        turns = [self._next(_CLOSING) for _ in range(self._count)]
        for _, turn in turns:
            for connection in turn.values():
                connection.close()
            self._pass_on((0.0, {}), _CLOSING)


_CLOSING = "the site itself"


def _one_less(counts: Counter[str], asker: str) -> None:
    """Who has none left is not remembered."""
    counts[asker] -= 1
    if not counts[asker]:
        del counts[asker]


class Site(ASGIHandler):
    """A head past the limits of `webhooks_app.limits` is answered 431; a body past the
    limit of its path, chunked or not, 413 and not read on; one that does not arrive in time 408."""

    limits_head = True  # see `webhooks_app.checks`

    def __init__(self) -> None:
        BaseHandler.__init__(self)
        self.load_middleware()  # the synchronous one
        self._by_token = TokenHandler()
        self._door = Door() if settings.GROUP_COMMIT else None
        self.turns = Turns(TURNS)
        self.askers = Askers()
        self._alias = router.db_for_write(Delivery)
        # Whoever waits for a receiver keeps a thread; the others are for requests that run.
        threads = conf.settings.concurrency + 2 * TURNS
        self._threads = ThreadPoolExecutor(threads, "request")
        self._most = threads // 2  # of one who asks
        self._under_way: Counter[str] = Counter()  # by who asks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _decline(scope, receive, send)
            return
        began = time.monotonic()
        try:
            length = limits.check_scope(scope)
            is_known = partial(self._in_thread, self._is_known, scope)
            body = await bodies.read(scope, receive, length, is_known)
            answer, asker = None, ""
            if self._door is not None and body.is_whole:
                answer = await self._door.answer(scope, body.content)
            if answer is None:
                asker = self.askers.of(scope)
                answer = await self._answer(scope, body.content, asker)
            status, headers, content = answer
            if not body.is_whole:
                headers = [*headers, (b"Connection", b"close")]
        except Refused as refusal:
            request_ids.note(scope["method"], scope["path"], refusal.status, began)
            await refusal.answer(send)
            return
        if isinstance(content, bytes):
            await _send(send, status, headers, content)
        else:
            await self._stream(send, status, headers, content, asker)

    async def _answer(self, scope: Scope, body: bytes, asker: str) -> tuple[int, Headers, Any]:
        if asker and self._under_way[asker] >= self._most:
            raise Refused(503, BUSY)
        self._under_way[asker] += 1
        try:
            return await self._in_thread(self._respond, scope, body, asker)
        finally:
            _one_less(self._under_way, asker)

    def close(self) -> None:
        """Close all database connections; waits for requests that are under way."""
        if self._door is not None:
            self._door.close()
        self.turns.close()

    async def _in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        # In a context of its own: nothing that a request sets is seen by the next one.
        run = copy_context().run
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, run, work, *arguments)

    def _is_known(self, scope: Scope) -> bool:
        """Whether a good token or somebody's session comes with a request. It grants nothing but
        that the rest of its body is read: who may what is judged when that is there."""
        with self.turns.taken(self.askers.of(scope)) as fresh:
            if not fresh:
                close_old_connections()
            request, _ = self.create_request(scope, io.BytesIO())
            if request is None:
                return False
            if TokenHandler.serves(request):
                secret = bearer(request.META["HTTP_AUTHORIZATION"])
                return bool(secret and AccessToken.objects.for_secret(secret))
            for middleware in (SessionMiddleware, AuthenticationMiddleware):
                middleware(self.get_response).process_request(request)
            return bool(request.user.is_authenticated)

    def _respond(self, scope: Scope, body: bytes, asker: str) -> tuple[int, Headers, Any]:
        """Status, headers, and the content: bytes, or the response itself when it streams."""
        with self.turns.taken(asker) as fresh:
            set_script_prefix(get_script_prefix(scope))
            request_started.send(sender=type(self), scope=scope)
            if fresh:  # else Django asks it whether it lives: a round trip for every request
                for connection in connections.all(initialized_only=True):
                    connection.health_check_done = True  # type: ignore[attr-defined]
            request, refused = self.create_request(scope, io.BytesIO(body))
            response: Any = refused
            if request is not None:
                handler = self._by_token if TokenHandler.serves(request) else self
                response = handler.get_response(request)
                if handler is self._by_token:
                    secret = bearer(request.META["HTTP_AUTHORIZATION"])
                    self.askers.note(secret or "", getattr(request, "account_id", None))
            if database_file.is_replaced(self._alias):
                response.close()
                end_soon()
                raise Refused(503, database_file.REPLACED)
            headers = _headers(response)
            if response.streaming:
                return response.status_code, headers, response
            response.close()
            return response.status_code, headers, response.content

    async def _stream(
        self, send: Send, status: int, headers: Headers, response: Any, asker: str
    ) -> None:
        """Files have no turn, and no business with the database; what else is streamed has one for
        each of its parts, and none while the client takes them."""
        read = next if isinstance(response, FileResponse) else partial(self._next, asker)
        try:
            await send({"type": "http.response.start", "status": status, "headers": headers})
            parts = iter(response)
            while (part := await self._in_thread(read, parts, None)) is not None:
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body"})
        finally:
            await self._in_thread(response.close)

    def _next(self, asker: str, parts: Iterator[bytes], end: None) -> bytes | None:
        with self.turns.taken(asker) as fresh:
            if not fresh:
                close_old_connections()
            return next(parts, end)


async def _decline(scope: Scope, receive: Receive, send: Send) -> None:
    """Nothing of ours speaks WebSocket, or has work before the first request and after the last:
    a handshake is refused (403), whatever else there is ends here."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1000})


def end_soon() -> None:
    """When the answers under way are out. The server sees a worker of it end, and ends too: whoever
    keeps it running starts it anew."""
    threading.Timer(ENDS_AFTER, os._exit, (1,)).start()


def _headers(response: Any) -> Headers:
    headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
    for cookie in response.cookies.values():
        headers.append((b"Set-Cookie", cookie.OutputString().encode("ascii")))
    return headers


async def _send(send: Send, status: int, headers: Headers, content: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
