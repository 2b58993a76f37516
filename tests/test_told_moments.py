"""How pages tell a moment: with its clock while the day says which year it is of."""

from datetime import UTC, datetime

import pytest

from webhooks_app.presentation.formatting import short_moment

NEW_YEARS_EVE = datetime(2026, 12, 31, 23, 50, tzinfo=UTC)

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        ("2026-12-31T00:10:01", "00:10:01"),
        ("2026-12-30T23:00:00", "yesterday 23:00:00"),
        ("2027-01-01T00:50:00", "1 Jan 00:50:00"),
        ("2026-01-02T10:00:00", "2 Jan 10:00:00"),
        ("2027-06-01T10:00:00", "1 Jun 10:00:00"),
        ("2027-08-01T10:00:00", "1 Aug 2027"),
        ("2025-12-31T23:50:00", "31 Dec 2025"),
    ],
)
def test_it_has_its_day_and_its_year_where_they_are_needed(moment, words):
    assert short_moment(datetime.fromisoformat(f"{moment}+00:00"), NEW_YEARS_EVE) == words
