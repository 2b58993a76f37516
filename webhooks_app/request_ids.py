"""A name for each request, so that what the logs and a delivery say of it can be put together.

In a host project: `MIDDLEWARE = ["webhooks_app.request_ids.middleware", …]`, as the first. The name
is in the answer as X-Request-Id, in `current` while the request is served, and stays with the
deliveries that it stores. A receiver's X-Request-Id is another: the delivery's own id.
"""

import logging
import string
import time
from collections.abc import Callable
from contextvars import ContextVar

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from .rules.ids import new_id

LIMIT = 64  # characters of a name
_SIGNS = frozenset(string.ascii_letters + string.digits + "-")

# A line for each request, at INFO: method, path, status, milliseconds; never the query.
access = logging.getLogger("webhooks.access")

# Of the request that this thread or task works for; in the worker, of the one that stored the
# delivery which is sent. "" where there is none.
current: ContextVar[str] = ContextVar("webhooks_request_id", default="")


def chosen(given: str) -> str:
    """The client's own name where that is one: 1 to 64 letters, digits and hyphens; else ours."""
    return given if 0 < len(given) <= LIMIT and _SIGNS.issuperset(given) else new_id()


def middleware(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    def handle(request: HttpRequest) -> HttpResponseBase:
        began = time.monotonic()
        name = chosen(request.META.get("HTTP_X_REQUEST_ID", ""))
        request.request_id = name  # type: ignore[attr-defined]
        before = current.set(name)
        try:
            response = get_response(request)
            response["X-Request-Id"] = name
            if access.isEnabledFor(logging.INFO):
                note(str(request.method), request.path, response.status_code, began)
        finally:
            current.reset(before)
        return response

    return handle


def note(method: str, path: str, status: int, began: float) -> None:
    """A line of the access log; `began` by time.monotonic()."""
    ms = round(1000 * (time.monotonic() - began), 1)
    fields = {"method": method, "path": path, "status": status, "duration_ms": ms}
    access.info("%s %s %d in %s ms", method, path, status, ms, extra={"fields": fields})


def of_record(record: logging.LogRecord) -> str:
    """The request that a record of the log is about: Django tells of an error answer when the
    request is over, and names it."""
    return current.get() or getattr(getattr(record, "request", None), "request_id", "")
