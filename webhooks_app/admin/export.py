"""A list as CSV: what its search and filters leave, in the order of the list, all pages of it.

Which rows these are is known before the first is sent; they are read a few hundred at a time, while
the file is sent, so that neither side holds them all and no transaction stays open. By POST, and
noted in the audit log before anything leaves: it takes data out of the house.
"""

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db import Error
from django.http import HttpRequest, HttpResponseRedirect, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.http import content_disposition_header

from ..models import Actor, AuditEntry
from ..rules import cells

log = logging.getLogger("webhooks")

ROWS_MOST = 10_000
ROWS_AT_ONCE = 500
CUT = "The rest could not be read: this list is not whole. Take it again."

Column = tuple[str, Callable[[Any], object]]  # what its head says, and the value of a row
Read = Callable[[Sequence[Any]], Iterable[Iterable[object]]]  # the cells of the rows of some keys


class Sheet(StreamingHttpResponse):
    """Its parts are made as they are sent: under ASGI, too, where Django would make all of them
    before the first is sent."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts = iter(self)
        following = sync_to_async(lambda: next(parts, None))
        while (part := await following()) is not None:
            yield part


def sheet(title: str, head: Sequence[str], keys: Sequence[Any], read: Read) -> Sheet:
    """The rows of some keys as a file for a browser to save; `read` is asked for ROWS_AT_ONCE of
    them at a time."""
    name = "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in title.lower())
    moment = timezone.now().strftime("%Y-%m-%d-%H%M%S")
    saved = content_disposition_header(True, f"{name[:100]}-{moment}.csv")
    return Sheet(
        _lines(head, keys, read),
        content_type="text/csv; charset=utf-8; header=present",
        headers={
            "Content-Disposition": saved,
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        },
    )


def _lines(head: Sequence[str], keys: Sequence[Any], read: Read) -> Iterator[bytes]:
    yield cells.START.encode() + cells.row(head)
    try:
        for place in range(0, len(keys), ROWS_AT_ONCE):
            yield b"".join(map(cells.row, read(keys[place : place + ROWS_AT_ONCE])))
    except Error:  # the answer has begun: the file itself has to say it
        log.exception("a list as CSV was cut off")
        yield cells.row([CUT])


class Exporting:
    """Of a list with `csv_columns`: the button and what it does."""

    csv_columns: tuple[Column, ...] = ()
    opts: Any
    admin_site: Any
    list_title: str

    def get_urls(self) -> list[URLPattern]:
        stock: Any = super()
        name = f"{self.opts.app_label}_{self.opts.model_name}_export"
        own = [path("export/", self.admin_site.admin_view(self.export), name=name)]
        return [*(own if self.csv_columns else []), *stock.get_urls()]

    def prepared(self, request: HttpRequest, rows: list[Any]) -> list[Any]:
        """Rows with what the cells say beside their columns, in few queries for all of them."""
        return rows

    def export(self, request: HttpRequest) -> HttpResponseBase:
        here: Any = self
        if not here.has_view_permission(request):
            raise PermissionDenied
        listed = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
        if request.method != "POST":
            return HttpResponseRedirect(listed)
        request.GET = whole = request.GET.copy()  # type: ignore[assignment]
        whole.pop("before", None)  # all pages
        try:
            changes = here.get_changelist_instance(request)
        except IncorrectLookupParameters:
            here.message_user(request, "These filters cannot be read.", messages.ERROR)
            return HttpResponseRedirect(listed)
        keys = changes.keys(ROWS_MOST + 1)

        def read(some: Sequence[Any]) -> Iterator[list[object]]:
            for row in self.prepared(request, changes.rows_of(some)):
                yield [value(row) for _, value in self.csv_columns]

        self._note(request, changes, len(keys))
        head = [head for head, _ in self.csv_columns]
        return sheet(f"webhooks {self.list_title}", head, keys[:ROWS_MOST], read)

    def _note(self, request: HttpRequest, changes: Any, found: int) -> None:
        """The names of the filters, never what was typed into them."""
        chosen = {"search" if name == "q" else name for name in changes.params}
        names = ", ".join(sorted(chosen))
        count = f"the first {ROWS_MOST:,}" if found > ROWS_MOST else f"{found:,}"
        words = f"Took {self.list_title.lower()} as CSV: {count} rows"
        words += f", chosen by {names}." if names else "."
        AuditEntry.objects.note(Actor.of(request.user, AuditEntry.Door.ADMIN), words, None)
