"""Ids sort by the time they were made."""

from datetime import UTC, datetime, timedelta

import pytest

from webhooks_app.rules.ids import first_id, id_time, is_id, new_id

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

pytestmark = pytest.mark.once


def test_an_id_tells_when_it_was_made():
    assert id_time(new_id(NOON.timestamp())) == NOON


def test_ids_made_from_a_moment_on_are_not_below_its_first_id():
    before = new_id((NOON - timedelta(milliseconds=1)).timestamp())
    assert before < first_id(NOON) <= new_id(NOON.timestamp())


@pytest.mark.parametrize("year", [1, 1969, 2107, 9999])
def test_any_year_gives_a_bound_that_is_an_id(year):
    bound = first_id(datetime(year, 1, 1, tzinfo=UTC))
    assert is_id(bound)
    assert (bound > new_id()) == (year > 2026)
