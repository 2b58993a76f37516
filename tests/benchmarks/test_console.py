"""Every screen of the console, with every filter, in a small installation: none is left out, none
asks the database more than 12 times. How fast they are at full size says the benchmark.

The short form visits each screen, and half of the kinds of its addresses; on SQLite, where the
tests of the console visit them too, a fifth."""

import re

import pytest
from django.db import connection

from webhooks_app.admin.base import ConsoleAdmin

from . import console, crowd, screens

ROWS = 9  # a page asks more than 12 times where it asks for each of them


def kinds_of(addresses):
    """Of cases that differ in nothing but the values of their filters the first; a state has ways
    of its own, where nothing but the time is chosen beside it."""
    found = {}
    for label, asked in addresses.items():
        alone = re.fullmatch(r"state=\S+( created=\S+)?", label)
        kind = re.sub(r"\b(?!state=)(\w+)=\S*" if alone else r"\b(\w+)=\S*", r"\1", label)
        found.setdefault(kind, (label, asked))
    return dict(list(found.values())[:: 5 if connection.vendor == "sqlite" else 2])


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("all_of_them", [False, pytest.param(True, marks=pytest.mark.prove)])
def test_no_screen_asks_more_than_twelve_times(monkeypatch, all_of_them):
    monkeypatch.setattr(ConsoleAdmin, "list_per_page", ROWS)
    crowd.fill(0.002)
    crowd.workers()
    browser, asked = screens.log_in(crowd.STAFF, crowd.PASSWORD), {}
    cases = screens.cases()
    assert screens.unvisited(cases) == []
    for screen, addresses in cases.items():
        for label, address in (addresses if all_of_them else kinds_of(addresses)).items():
            _, statements, answer = screens.visit(browser, address, anew=False)
            assert screens.is_shown(answer), address
            asked[f"{screen} {label}"] = len(statements)
    assert {case: n for case, n in asked.items() if n > console.MOST_QUERIES} == {}
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA synchronous = FULL")  # as it was before the fill
