"""Every screen of the console, with every filter, in a small installation: none is left out, none
asks the database more than 12 times. How fast they are at full size says the benchmark."""

import pytest
from django.db import connection

from . import console, crowd, screens


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.django_db(transaction=True)
def test_no_screen_asks_more_than_twelve_times():
    crowd.fill(0.002)
    crowd.workers()
    browser, asked = screens.log_in(crowd.STAFF, crowd.PASSWORD), {}
    cases = screens.cases()
    assert screens.unvisited(cases) == []
    for screen, addresses in cases.items():
        for label, address in addresses.items():
            _, statements, answer = screens.visit(browser, address)
            assert answer.status_code == 200, address
            asked[f"{screen} {label}"] = len(statements)
    assert {case: n for case, n in asked.items() if n > console.MOST_QUERIES} == {}
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA synchronous = FULL")  # as it was before the fill
