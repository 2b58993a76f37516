"""Values as cells of a CSV file that spreadsheets take for text, whoever wrote it.

A spreadsheet reads a cell that begins with one of FORMULA as a formula, which may fetch an address
or start a program (OWASP: CSV injection). Where a list is cut at semicolons, as in much of Europe,
what follows a semicolon begins a cell too, quotes or not.
"""

import csv
import io
from collections.abc import Iterable
from datetime import UTC, datetime

from .safe_text import shown

FORMULA = "=+-@＝＋－＠"
START = "\ufeff"  # without it a spreadsheet reads UTF-8 as something else


def cell(value: object) -> str:
    """Numbers as they are, moments in UTC, None as nothing; of text no character that acts unseen
    (tab, line break, NUL), and an apostrophe before what would begin a formula."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return str(value)
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    return ";".join(_as_text(part) for part in shown(str(value)).split(";"))


def _as_text(part: str) -> str:
    return f"'{part}" if part.lstrip()[:1] in tuple(FORMULA) else part


def row(values: Iterable[object]) -> bytes:
    """One line as RFC 4180 has it, every cell quoted."""
    line = io.StringIO()
    writer = csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow([cell(value) for value in values])
    return line.getvalue().encode("utf-8", "replace")
