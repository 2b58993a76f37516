"""Limits on a request that are kept before Django sees it, for any server.

Django parses Content-Type in the request's constructor and cookies in its first middleware, both in
time that grows with the square of what was sent: inside of Django no place is early enough. A host
project wraps what its server calls:

    application = ASGIHeadLimit(get_asgi_application())  # asgi.py
    application = WSGIHeadLimit(get_wsgi_application())  # wsgi.py

What is refused is answered in the envelope of the API, in JSON, whoever asks.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from encodings import aliases, normalize_encoding
from functools import lru_cache
from typing import Any

from django.utils.http import parse_header_parameters

HEAD_LIMIT = 16 * 1024  # bytes of request line and headers
CONTENT_TYPE_LIMIT = 256  # bytes; two names of RFC 6838 have 255, a boundary 70
BACKSLASHES_LIMIT = 32  # in all cookies; each is looked for up to the end of its cookie
# With a charset in its content type a request with more parameters fails inside Django before
# anything can answer it.
QUERY_LIMIT = 1000  # parameters; Django's DATA_UPLOAD_MAX_NUMBER_FIELDS
BODY_LIMIT = 1024 * 1024  # bytes, of all paths but these
BULK_LIMIT = 5 * 1024 * 1024
BULK_PATHS = (
    "/deliveries/bulk",
    "/deliveries/bulk/",
    "/events/bulk",
    "/events/bulk/",
)  # their ends
EVENT_LIMIT = BODY_LIMIT + 16 * 1024  # a payload, and what stands beside it
EVENT_PATHS = ("/events", "/events/")

HEAD_TOO_LARGE = "The head of the request is larger than 16 KiB."
CONTENT_TYPE_TOO_LARGE = f"Content-Type has more than {CONTENT_TYPE_LIMIT} characters."
CONTENT_TYPE_UNREADABLE = "Content-Type cannot be read, or names a charset that nobody knows."
COOKIES = "The cookies of the request cannot be read."
TOO_MANY = "The query has too many parameters."
BROKEN = "The body cannot be read to its end."

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_REASONS = {
    400: "Bad Request",
    408: "Request Timeout",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    431: "Request Header Fields Too Large",
}


class Refused(Exception):
    """A request that Django shall not see, and the answer to it in the envelope."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = _envelope(status, message)
        self.headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(self.body))),
            ("Connection", "close"),
        ]
        if status == 503:
            self.headers.append(("Retry-After", "1"))

    async def answer(self, send: Send) -> None:
        """Say so to an ASGI server."""
        headers = [(name.lower().encode(), value.encode()) for name, value in self.headers]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def check_scope(scope: Mapping[str, Any]) -> int | None:
    """Judge an ASGI request by its head alone; returns how many bytes of a body it has, None where
    only the end tells. Raises Refused."""
    length, is_chunked = None, False
    query = scope.get("query_string", b"")
    size = len(scope.get("raw_path") or scope["path"]) + len(query)
    content_types, cookies = [], []
    for name, value in scope["headers"]:
        size += len(name) + len(value) + 4
        match name.lower():
            case b"content-type":
                content_types.append(value)
            case b"cookie":
                cookies.append(value)
            case b"content-length":
                length = _number(value)
            case b"transfer-encoding":
                is_chunked = True
    content_type = b",".join(content_types).decode("latin-1")  # as Django has it
    _judge(size, content_type, query.count(b"&"), b";".join(cookies).decode("latin-1"))
    check_size(scope, length or 0)
    return None if is_chunked else length


def check_size(scope: Mapping[str, Any], size: int) -> None:
    """Judge the body of an ASGI request by what came of it so far. Raises Refused."""
    limit = BULK_LIMIT if scope["path"].endswith(BULK_PATHS) else BODY_LIMIT
    if scope["path"].endswith(EVENT_PATHS):
        limit = EVENT_LIMIT
    if size > limit:
        raise Refused(413, _too_large(limit))


def check_environ(environ: Mapping[str, Any]) -> None:
    """Judge a WSGI request by its head alone. Raises Refused."""
    content_type, query = environ.get("CONTENT_TYPE") or "", environ.get("QUERY_STRING") or ""
    size = len(environ.get("PATH_INFO") or "") + len(query) + len(content_type)
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            size += len(name) - 1 + len(value)
    cookies = environ.get("HTTP_COOKIE") or ""
    _judge(size, content_type, query.count("&"), cookies)


def _judge(size: int, content_type: str, separators: int, cookies: str) -> None:
    if size > HEAD_LIMIT:
        raise Refused(431, HEAD_TOO_LARGE)
    if len(content_type) > CONTENT_TYPE_LIMIT:
        raise Refused(431, CONTENT_TYPE_TOO_LARGE)
    if ";" in content_type and not _is_readable(content_type):
        raise Refused(415, CONTENT_TYPE_UNREADABLE)
    if separators >= QUERY_LIMIT:
        raise Refused(400, TOO_MANY)
    # A quoted NUL would pass for text, until a database is asked for it.
    if cookies.count("\\") > BACKSLASHES_LIMIT or "\\000" in cookies:
        raise Refused(400, COOKIES)


@lru_cache(maxsize=128)
def _is_readable(content_type: str) -> bool:
    """Whether Django can make a request of it and read its form. It decodes with any codec that is
    named, also one that takes no text; and Python keeps each name of a codec that it looked for."""
    if "*" in content_type:  # parameters with a charset of their own (RFC 2231)
        return False
    try:
        charset = parse_header_parameters(content_type)[1].get("charset", "utf-8")
        name = normalize_encoding(charset).lower()
        if name not in aliases.aliases and name not in aliases.aliases.values():
            return False
        b"a".decode(charset, "replace")
    except (LookupError, ValueError):
        return False
    return True


class ASGIHeadLimit:
    """An ASGI application in front of which no head is too large."""

    limits_head = True  # what the system check looks for

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                check_scope(scope)
            except Refused as refusal:
                await refusal.answer(send)
                return
        await self.application(scope, receive, send)


class WSGIHeadLimit:
    """A WSGI application in front of which no head is too large."""

    limits_head = True

    def __init__(self, application: Any) -> None:
        self.application = application

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            check_environ(environ)
        except Refused as refusal:
            # WSGI forbids hop-by-hop headers to applications (PEP 3333).
            headers = [pair for pair in refusal.headers if pair[0] != "Connection"]
            start_response(f"{refusal.status} {_REASONS[refusal.status]}", headers)
            return [refusal.body]
        answer: Iterable[bytes] = self.application(environ, start_response)
        return answer


# Imported late: a host wraps its application before anything else of ours is loaded.


def _envelope(status: int, message: str) -> bytes:
    from .api.errors import envelope

    return json.dumps(envelope(status, message)).encode()


def _too_large(limit: int) -> str:
    from .api.errors import too_large

    return too_large(limit)


def _number(value: bytes) -> int:
    if not value.isdigit():
        return 0  # the server has judged it
    return int(value) if len(value) <= 18 else BULK_LIMIT + 1
