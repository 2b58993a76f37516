"""Limits of the site that are kept before Django sees a request."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

BODY_LIMIT = 1024 * 1024  # bytes
# With a charset in its content type a request with more parameters fails inside Django before
# anything can answer it.
QUERY_LIMIT = 1000  # parameters; Django's DATA_UPLOAD_MAX_NUMBER_FIELDS
TOO_MANY = "The query has too many parameters."
BROKEN = "The body cannot be read to its end."

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class BodyLimit:
    """ASGI wrapper: a body past 1 MiB, chunked or not, is answered 413 and not read on; a query
    with too many parameters 400."""

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        if scope["query_string"].count(b"&") >= QUERY_LIMIT:
            await _answer(send, 400, TOO_MANY)
            return
        if _declared(scope) > BODY_LIMIT:
            await _answer(send, 413)
            return
        size = 0
        started = False

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            if message["type"] == "http.request":
                size += len(message.get("body", b""))
                if size > BODY_LIMIT:
                    # Django drops what it has spooled and leaves without an answer.
                    return {"type": "http.disconnect"}
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        await self.application(scope, counted, watched)
        if not started:
            # Without an answer of ours the server says 500 to a client that broke its body off.
            await (_answer(send, 413) if size > BODY_LIMIT else _answer(send, 400, BROKEN))


class QueryLimit:
    """WSGI wrapper: a query with too many parameters is answered 400."""

    def __init__(self, application: Any) -> None:
        self.application = application

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ.get("QUERY_STRING", "").count("&") < QUERY_LIMIT:
            return self.application(environ, start_response)
        body = _envelope(400, TOO_MANY)
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start_response("400 Bad Request", headers)
        return [body]


def _envelope(status: int, message: str) -> bytes:
    # Imported late: this module is loaded before Django is set up.
    from webhooks_app.api.errors import TOO_LARGE, envelope

    return json.dumps(envelope(status, message or TOO_LARGE)).encode()


def _declared(scope: Message) -> int:
    for name, value in scope["headers"]:
        if name.lower() == b"content-length":
            try:
                return int(value)
            except ValueError:
                return 0
    return 0


async def _answer(send: Send, status: int, message: str = "") -> None:
    body = _envelope(status, message)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
