"""The body of a request, read by the event loop, so that a slow client holds no thread; of a
stranger's only the beginning.

Neither its views nor the check of CSRF look at what somebody sends of whom nothing is known, and
so nothing of it need be kept until they say so.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from webhooks_app import limits
from webhooks_app.limits import Receive, Refused, Scope

TIMEOUT = 30.0  # seconds for a whole body, however it comes
SLOW = f"The body did not arrive within {TIMEOUT:g} seconds."
STRANGERS_SIZE = 64 * 1024  # bytes that anybody may send
STRANGERS_PARTS = 64  # as the server hands them on: each costs something, however short it is


@dataclass(frozen=True, slots=True)
class Body:
    content: bytes
    is_whole: bool = True  # or the beginning of what a stranger sends


async def read(
    scope: Scope, receive: Receive, length: int | None, is_known: Callable[[], Awaitable[bool]]
) -> Body:
    """`length`: the bytes that are to come, where that is known; `is_known`: whether somebody
    stands behind the request, asked once, of a large one. Raises Refused."""
    try:
        async with asyncio.timeout(TIMEOUT):
            return await _read(scope, receive, length, is_known)
    except TimeoutError:
        raise Refused(408, SLOW) from None


async def _read(
    scope: Scope, receive: Receive, length: int | None, is_known: Callable[[], Awaitable[bool]]
) -> Body:
    parts: list[bytes] = []
    size, is_strangers = 0, True
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            # Without an answer of ours the server says 500 to a client that broke its body off.
            raise Refused(400, limits.BROKEN)
        part = message.get("body", b"")
        size += len(part)
        limits.check_size(scope, size)
        parts.append(part)
        if not message.get("more_body", False):
            return Body(b"".join(parts))
        if is_strangers and (size > STRANGERS_SIZE or len(parts) > STRANGERS_PARTS):
            if not await is_known():
                return Body(b"".join(parts), is_whole=False)
            is_strangers = False
        if size == length:  # the server tells of the end apart, by one more turn of the loop
            return Body(b"".join(parts))
