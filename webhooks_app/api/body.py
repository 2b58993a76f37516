"""Reading a request's body: at most 1 MiB, chunked or not, strict JSON or none."""

from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from django.utils.http import parse_header_parameters
from rest_framework.parsers import BaseParser

from ..rules import strictjson
from .errors import Problem, invalid, too_large

LIMIT = 1024 * 1024  # bytes, where a view has none of its own
NO_JSON = "The body is not valid JSON: {}."
NO_OBJECT = "The body must be a JSON object."
ENCODED = "An encoded body is not read: send it without Content-Encoding."
CONTENT_TYPE_LIMIT = 256  # characters


class StrictJSONParser(BaseParser):
    """Names what we read; the reading itself is `read_json`, after the caller has been judged."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        return loads(stream.read(LIMIT + 1))


def read(request: HttpRequest, limit: int = LIMIT) -> bytes:
    """The body, and no byte past the limit. Raises Problem 411, 413 or 415 (an encoded body).

    DRF takes a body without Content-Length for empty; an ASGI server hands chunked bodies (and
    those of HTTP/2) on without one.
    """
    require_plain(request)
    if hasattr(request, "_body"):  # a middleware of the host has read it already
        body = request.body
    else:
        if _declared_length(request) > limit:
            raise Problem(413, too_large(limit))
        body = _read_at_most(_stream(request), limit + 1)
    if len(body) > limit:
        raise Problem(413, too_large(limit))
    return body


def read_json_bytes(request: HttpRequest, limit: int = LIMIT) -> bytes:
    """The body of a request that must say it is JSON. Raises Problem 415 as well."""
    require_json_type(request)
    return read(request, limit)


def loads(body: bytes) -> Any:
    """The value of strict JSON. Raises Problem 400 with a sentence."""
    try:
        return strictjson.loads(body)
    except ValueError as error:
        raise Problem(400, NO_JSON.format(error)) from None


def loads_object(body: bytes) -> dict[str, Any]:
    return _object(loads(body))


def loads_slicing(
    body: bytes, name: str, *, rows: str = "", most: int = 0, too_many: str = ""
) -> dict[str, Any]:
    """`strictjson.loads_slicing` of an object. Raises Problem 400; for an array of more than `most`
    with the sentence `too_many` at its name."""
    try:
        return _object(strictjson.loads_slicing(body, name, rows=rows, most=most))
    except strictjson.TooMany:
        raise invalid({rows: [too_many]}) from None
    except ValueError as error:
        raise Problem(400, NO_JSON.format(error)) from None


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Problem(400, NO_OBJECT)
    return value


def _declared_length(request: HttpRequest) -> int:
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0


def _stream(request: HttpRequest) -> Any:
    chunked = "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower()
    if isinstance(request, ASGIRequest) or not chunked:
        return request
    if request.META.get("wsgi.input_terminated"):
        return request.META["wsgi.input"]
    raise Problem(411, "This server does not read chunked bodies: send a Content-Length instead.")


def _read_at_most(stream: Any, limit: int) -> bytes:
    parts: list[bytes] = []
    missing = limit
    while missing > 0:
        part = stream.read(missing)
        if not part:
            break
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def require_plain(request: HttpRequest) -> None:
    if request.META.get("HTTP_CONTENT_ENCODING", "identity").strip(" ").lower() != "identity":
        raise Problem(415, ENCODED)


def require_json_type(request: HttpRequest) -> None:
    content_type = request.META.get("CONTENT_TYPE") or ""
    if content_type == "application/json":  # as nearly all say
        return
    if len(content_type) > CONTENT_TYPE_LIMIT:
        content_type = ""
    try:
        media_type, parameters = parse_header_parameters(content_type)
    except ValueError:
        media_type, parameters = "", {}
    charset = parameters.get("charset", "utf-8").lower()
    if media_type != "application/json" or charset not in ("utf-8", "utf8", "us-ascii"):
        raise Problem(415, "The content type must be application/json, in UTF-8.")
