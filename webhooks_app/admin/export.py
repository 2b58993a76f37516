"""A list as CSV: what its search and filters leave, in the order of the list, all pages of it.

The rows are read a few hundred at a time into a file that is sent piece by piece, so that neither
side holds them all. By POST, and noted in the audit log: it takes data out of the house.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any

from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.http import FileResponse, HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from ..models import Actor, AuditEntry
from ..rules import cells

ROWS_MOST = 10_000
ROWS_AT_ONCE = 500
IN_MEMORY = 1024 * 1024  # bytes of the file; the rest is on the disk

Column = tuple[str, Callable[[Any], object]]  # what its head says, and the value of a row


def sheet(title: str, head: Sequence[str], rows: Iterable[Iterable[object]]) -> FileResponse:
    """Rows as a file for a browser to save. They are all read before it is sent: what is sent
    piece by piece has no turn with the database any more."""
    file: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115  (the response closes it)
    file.write(cells.START.encode() + cells.row(head))
    for row in rows:
        file.write(cells.row(row))
    file.seek(0)
    name = "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in title.lower())
    moment = timezone.now().strftime("%Y-%m-%d-%H%M%S")
    answer = FileResponse(
        file,
        as_attachment=True,
        filename=f"{name[:100]}-{moment}.csv",
        content_type="text/csv; charset=utf-8; header=present",
    )
    answer["Cache-Control"] = "no-store"
    answer["X-Content-Type-Options"] = "nosniff"
    return answer


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
        rows = self._rows(request, changes, keys[:ROWS_MOST])
        answer = sheet(
            f"webhooks {self.list_title}",
            [head for head, _ in self.csv_columns],
            ([value(row) for _, value in self.csv_columns] for row in rows),
        )
        self._note(request, changes, len(keys))
        return answer

    def _rows(self, request: HttpRequest, changes: Any, keys: list[Any]) -> Iterator[Any]:
        for place in range(0, len(keys), ROWS_AT_ONCE):
            yield from self.prepared(request, changes.rows_of(keys[place : place + ROWS_AT_ONCE]))

    def _note(self, request: HttpRequest, changes: Any, found: int) -> None:
        """The names of the filters, never what was typed into them."""
        chosen = {"search" if name == "q" else name for name in changes.params}
        names = ", ".join(sorted(chosen))
        count = f"the first {ROWS_MOST:,}" if found > ROWS_MOST else f"{found:,}"
        words = f"Took {self.list_title.lower()} as CSV: {count} rows"
        words += f", chosen by {names}." if names else "."
        AuditEntry.objects.note(Actor.of(request.user, AuditEntry.Door.ADMIN), words, None)
