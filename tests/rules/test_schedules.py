"""Retry schedules as they are typed, kept and judged."""

import pytest

from webhooks_app.rules import schedules

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("typed", "delays"),
    [
        ("", None),
        ("  ", None),
        ("none", []),
        ("None", []),
        ("5, 300", [5, 300]),
        ("0.5,604800", [0.5, 604_800]),
        (",".join(["1"] * 30), [1] * 30),
    ],
)
def test_what_a_person_types(typed, delays):
    assert schedules.read(typed) == delays
    assert schedules.read(schedules.typed(delays)) == delays


@pytest.mark.parametrize(
    "typed",
    [
        *("x", "5;6", "5,,6", "-1", "604801", "nan", "inf", "1e9", "none, 5", "5, none", ","),
        *("1," * 31, "1" * 1_000_000, "1," * 1_000_000),
    ],
)
def test_what_is_no_schedule(typed):
    with pytest.raises(ValueError, match="Must"):
        schedules.read(typed)


def test_what_clients_send_is_judged_by_its_places():
    assert schedules.problems([5, 0.5, 0, 604_800]) == {}
    assert schedules.problems([]) == {}
    bad = [5, -1, "5", None, True, float("nan"), 604_801]
    assert schedules.problems(bad).keys() == {"1", "2", "3", "4", "5", "6"}
    assert schedules.problems([1] * 31) == ["Must have at most 30 delays."]
    for other in ("5,300", 5, {"0": 5}, None):
        assert schedules.problems(other) == ["Must be a list of seconds, or null."]


def test_six_digits_of_a_delay_are_kept():
    kept = schedules.delays(schedules.text((604_799.0, 86_400.5, 12_345.678, 999.9994, 0.0004)))
    assert kept == (604_799.0, 86_400.5, 12_345.7, 999.999, 0.0)


def test_every_schedule_that_is_allowed_fits_its_column():
    longest = schedules.text((123_456.789,) * 30), schedules.text((0.123456789,) * 30)
    assert max(map(len, longest)) <= 255
    assert schedules.delays(schedules.text((5.0, 0.25, 604_800.0))) == (5.0, 0.25, 604_800.0)
    assert schedules.text(()) == ""
    assert schedules.delays("") == ()
