"""What comes in and goes out by every address of the console, judged at its door."""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

from django.contrib.admin.views.main import ERROR_FLAG
from django.db import DataError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.utils import translation

from ..presentation.formatting import visible

NUL, STAND_IN = "\0", "\ufffd"
SOUGHT_MOST = 200  # words of a search: Django's makes a condition of each, SQLite takes a thousand


def without_nul(view: Callable[..., Any]) -> Callable[..., Any]:
    """A view that is never asked with a NUL, on which PostgreSQL raises: the sign for what cannot
    be shown stands in for it, and is found nowhere."""

    @wraps(view)
    def judged(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        request.GET = _bounded(_cleaned(request.GET))  # type: ignore[assignment]
        request.POST = _cleaned(request.POST)  # type: ignore[assignment]
        parts = {
            name: part.replace(NUL, STAND_IN) if isinstance(part, str) else part
            for name, part in kwargs.items()
        }
        return view(request, *args, **parts)

    return judged


def found_or_refused(view: Callable[..., Any]) -> Callable[..., Any]:
    """A list that is asked for a number or a moment that no database can hold, answered as Django
    answers other values that a filter cannot use: by the list without them."""

    @wraps(view)
    def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            return view(request, *args, **kwargs)
        except (OverflowError, DataError):
            if request.method != "GET" or not request.GET or ERROR_FLAG in request.GET:
                raise
            return HttpResponseRedirect(f"{request.path}?{ERROR_FLAG}=1")

    return answered


def _bounded(words: QueryDict) -> QueryDict:
    sought = words.get("q", "").split(maxsplit=SOUGHT_MOST)
    if len(sought) <= SOUGHT_MOST:
        return words
    fewer = words.copy()
    fewer["q"] = " ".join(sought[:SOUGHT_MOST])
    return fewer


def _cleaned(words: QueryDict) -> QueryDict:
    if not any(NUL in text for name, values in words.lists() for text in (name, *values)):
        return words
    cleaned = QueryDict(mutable=True)
    for name, values in words.lists():
        texts = [value.replace(NUL, STAND_IN) for value in values]
        cleaned.setlist(name.replace(NUL, STAND_IN), texts)
    return cleaned


def seen(view: Callable[..., Any]) -> Callable[..., Any]:
    """A view whose pages show the unseen characters of whatever text stands on them (what an input
    holds stays as it is: it is saved again), and are in one language, English, and say so: ours
    has no other yet, and half of a page in the site's would be neither."""

    @wraps(view)
    def shown(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        with translation.override("en"):
            response = view(request, *args, **kwargs)
            if hasattr(response, "add_post_render_callback"):
                response.add_post_render_callback(_show)
                response = response.render()
                response["Content-Language"] = "en"
        return response

    return shown


def _show(response: HttpResponse) -> None:
    if response.get("Content-Type", "").startswith("text/html"):
        response.content = visible_page(response.content.decode(response.charset))


def visible_page(html: str) -> str:
    parts = []
    for outer, is_text in apart(html, "<textarea", "</textarea"):
        inner = apart(outer, ' value="', '"') if not is_text else [(outer, True)]
        parts += [part if is_held else visible(part) for part, is_held in inner]
    return "".join(parts)


def apart(text: str, start: str, end: str) -> Iterator[tuple[str, bool]]:
    """The text in pieces, each with whether it stands between `start` and `end`."""
    place = 0
    while (begin := text.find(start, place)) >= 0:
        begin += len(start)
        stop = text.find(end, begin)
        stop = len(text) if stop < 0 else stop
        yield text[place:begin], False
        yield text[begin:stop], True
        place = stop
    yield text[place:], False
