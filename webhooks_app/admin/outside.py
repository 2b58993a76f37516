"""What comes in and goes out by every address of the console, judged at its door."""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse

from ..templatetags.webhooks_console import visible


def without_nul(view: Callable[..., Any]) -> Callable[..., Any]:
    """A view that is never asked with a NUL, on which PostgreSQL raises: that is a 400."""

    @wraps(view)
    def judged(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        texts = [request.path_info]
        for words in (request.GET, request.POST):
            for name, values in words.lists():
                texts += [name, *values]
        if any("\0" in text for text in texts):
            raise BadRequest("a NUL in a request")
        return view(request, *args, **kwargs)

    return judged


def seen(view: Callable[..., Any]) -> Callable[..., Any]:
    """A view whose pages show the unseen characters of whatever text stands on them. What an input
    holds stays as it is: it is saved again."""

    @wraps(view)
    def shown(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        response = view(request, *args, **kwargs)
        if hasattr(response, "add_post_render_callback"):
            response.add_post_render_callback(_show)
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
