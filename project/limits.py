"""The body limit of the site, kept before a body is spooled to disk."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

BODY_LIMIT = 1024 * 1024  # bytes

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class BodyLimit:
    """ASGI wrapper: a body past 1 MiB, chunked or not, is answered 413 and not read on."""

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        if _declared(scope) > BODY_LIMIT:
            await _answer_413(send)
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
        if size > BODY_LIMIT and not started:
            await _answer_413(send)


def _declared(scope: Message) -> int:
    for name, value in scope["headers"]:
        if name.lower() == b"content-length":
            try:
                return int(value)
            except ValueError:
                return 0
    return 0


async def _answer_413(send: Send) -> None:
    # Imported late: this module is loaded before Django is set up.
    from webhooks_app.api.errors import TOO_LARGE, envelope

    body = json.dumps(envelope(413, TOO_LARGE)).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
