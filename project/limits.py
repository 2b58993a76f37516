"""Limits of the site that are kept before Django sees a request."""

import json
from collections.abc import Mapping
from typing import Any

BODY_LIMIT = 1024 * 1024  # bytes
# With a charset in its content type a request with more parameters fails inside Django before
# anything can answer it.
QUERY_LIMIT = 1000  # parameters; Django's DATA_UPLOAD_MAX_NUMBER_FIELDS
TOO_MANY = "The query has too many parameters."
BROKEN = "The body cannot be read to its end."


class Refused(Exception):
    """A request that Django shall not see, and the answer to it in the envelope."""

    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body = _envelope(status, message)
        self.headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(self.body)).encode()),
            (b"connection", b"close"),
        ]


def check_head(scope: Mapping[str, Any]) -> None:
    """Judge an ASGI request by its head alone. Raises Refused."""
    if scope["query_string"].count(b"&") >= QUERY_LIMIT:
        raise Refused(400, TOO_MANY)
    if _declared(scope) > BODY_LIMIT:
        raise Refused(413)


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


def _declared(scope: Mapping[str, Any]) -> int:
    for name, value in scope["headers"]:
        if name.lower() == b"content-length":
            try:
                return int(value)
            except ValueError:
                return 0
    return 0
