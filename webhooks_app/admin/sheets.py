"""CSV of what a page shows: streamed, bounded, and harmless in a spreadsheet."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from django.http import StreamingHttpResponse

ROWS_MOST = 10_000
# With these a spreadsheet begins a formula; so it does after white space.
FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "＝", "＋", "－", "＠")


class _Line:
    """The file that `csv` writes to: it hands each line on."""

    def write(self, line: str) -> str:
        return line


def harmless(cell: object) -> str:
    """A cell that no spreadsheet takes for a formula."""
    text = "" if cell is None else str(cell)
    return f"'{text}" if text.lstrip(" \u00a0\ufeff").startswith(FORMULAS) else text


def sheet(
    name: str, head: Sequence[str], rows: Iterable[Sequence[object]]
) -> StreamingHttpResponse:
    """The first ROWS_MOST of some rows, for a browser to save as `name`."""
    writer: Any = csv.writer(_Line())

    def lines() -> Iterator[str]:
        yield "\ufeff" + writer.writerow(head)  # by the mark spreadsheets know that it is UTF-8
        for row in islice(rows, ROWS_MOST):
            yield writer.writerow([harmless(cell) for cell in row])

    answer = StreamingHttpResponse(lines(), content_type="text/csv; charset=utf-8")
    kept = "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in name)
    answer["Content-Disposition"] = f'attachment; filename="{kept[:100]}.csv"'
    answer["Cache-Control"] = "no-store"
    answer["X-Content-Type-Options"] = "nosniff"
    return answer
