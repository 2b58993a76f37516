"""Query parameters: read strictly, 400 for what cannot be meant; and pages of lists."""

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from rest_framework.request import Request
from rest_framework.response import Response

from ..rules import ids
from ..rules.ids import is_id
from ..rules.nearest import UNKNOWN_MOST, shortened, unknown
from .errors import invalid

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
LOOKED_THROUGH = 5000  # rows, for one page, where no index tells which of them are wanted
SHORT = f"A page looks through {LOOKED_THROUGH:,}, and may be short or empty: `Link` leads on."
# Whose account, for sessions that may act for several; and what the browsable API asks for JSON by.
EVERYWHERE = frozenset({"account", "format"})
REPLACED = "\ufffd"
_BIGGEST_KEY = 2**63 - 1


class Head(Protocol):
    """What is read of a request: DRF's, or that of another door."""

    META: Any

    @property
    def query_params(self) -> Any: ...


def only(request: Head, known: frozenset[str]) -> None:
    """Raises Problem 400 for parameters that are unknown or empty: a misspelled filter would pass
    for one that was heard."""
    if not request.META.get("QUERY_STRING"):
        return
    known |= EVERYWHERE
    problems = {}
    for name, values in request.query_params.lists():
        if name not in known:
            problems[shortened(name)] = [unknown(name, known, "parameter")]
        elif "" in values:
            problems[name] = ["Must not be empty; leave it out instead."]
        if len(problems) == UNKNOWN_MOST:
            break
    if problems:
        raise invalid(problems)


def text(request: Head, name: str, limit: int) -> str:
    """A text of at most `limit` characters; `""` when it is left out."""
    if name not in request.query_params:
        return ""
    value: str = request.query_params[name]
    if len(value) > limit:
        raise invalid({name: [f"Must have at most {limit:,} characters."]})
    if "\0" in value:
        raise invalid({name: ["Must not contain NUL characters."]})
    if REPLACED in value and not _is_utf8(request):
        raise invalid({name: ["Must be UTF-8."]})
    return value


def _is_utf8(request: Head) -> bool:
    """Whether the query is what it seems: Django puts REPLACED where bytes were no UTF-8."""
    raw = request.META.get("QUERY_STRING", "")
    try:
        # WSGI hands bytes over as Latin-1.
        unquote_to_bytes(raw if raw.isascii() else raw.encode("latin-1")).decode()
    except UnicodeDecodeError:
        return False
    except UnicodeEncodeError:
        return True  # ASGI has decoded it
    return True


def choice(request: Request, name: str, allowed: Collection[str]) -> str:
    """One of `allowed`; `""` when it is left out."""
    value: str = request.query_params.get(name, "")
    if value and value not in allowed:
        raise invalid({name: [f"Must be one of: {', '.join(allowed)}."]})
    return value


def moment(request: Head, name: str) -> datetime | None:
    value = request.query_params.get(name, "")
    return read_moment(name, value) if value else None


def read_moment(name: str, value: object) -> datetime:
    """An ISO 8601 moment (UTC where it names no offset). Raises Problem 400."""
    try:
        if isinstance(value, str):
            return ids.read_moment(value)
    except ValueError:
        pass
    raise invalid({name: ["Must be a moment like 2018-01-12T13:40:40.260Z."]})


def limit(request: Request, default: int | None = DEFAULT_LIMIT) -> int | None:
    return whole(request, "limit", MAX_LIMIT) or default


def whole(request: Request, name: str, most: int) -> int:
    """A whole number from 1 to `most`; 0 when it is left out."""
    value = request.query_params.get(name, "")
    if not value:
        return 0
    if not (value.isascii() and value.isdigit() and len(value) <= len(str(most))):
        value = "0"
    if not 1 <= int(value) <= most:
        raise invalid({name: [f"Must be a whole number from 1 to {most}."]})
    return int(value)


def ident(request: Request, name: str) -> str:
    """An id; `""` when it is left out."""
    value: str = request.query_params.get(name, "")
    if value and not is_id(value):
        raise invalid({name: ["Must be an id: 24 hexadecimal digits, lower case."]})
    return value


def after_id(request: Request) -> str:
    """The id after which the page begins; `""` for the first page."""
    return ident(request, "after")


def after_key(request: Request) -> int | None:
    """The number after which the page begins; None for the first page."""
    value = request.query_params.get("after", "")
    if not value:
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= 19):
        raise invalid({"after": ["Must be an id of this list."]})
    return min(int(value), _BIGGEST_KEY)


def looked_through(rows: Any) -> tuple[Any, Any]:
    """The newest LOOKED_THROUGH of some rows, to choose from; and the key of the last of them where
    there may be more."""
    keys = rows.order_by("-pk").values_list("pk", flat=True)
    last = keys[LOOKED_THROUGH - 1 : LOOKED_THROUGH].first()
    return (rows if last is None else rows.filter(pk__gte=last)), last


def page(
    request: Request,
    rows: Any,
    size: int | None,
    show: Callable[[Any], Any],
    key: Callable[[Any], Any],
    last: Any = None,
) -> Response:
    """A bare array of at most `size` rows (all for None), with `Link` when there are more. `last`:
    the key of the last row that was looked at, where so many are and no more."""
    found = list(rows if size is None else rows[: size + 1])
    response = Response([show(row) for row in (found if size is None else found[:size])])
    if size is not None and len(found) > size:
        link(request, response, size, key(found[size - 1]))
    elif size is not None and last is not None:
        link(request, response, size, last)
    return response


def link(request: Request, response: Response, size: int, after: Any) -> None:
    """Say where the next page is."""
    parameters = request.query_params.copy()
    parameters["limit"] = str(size)
    parameters["after"] = str(after)
    address = request.build_absolute_uri(f"{request.path}?{parameters.urlencode()}")
    response["Link"] = f'<{address}>; rel="next"'
