"""A rate as text, and the pace that keeps it, however late the worker wakes up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhooks_app.rules.rates import COUNT_MOST, TOLERANCE, Pace, Rate

pytestmark = pytest.mark.once

BEGIN = 1000.0  # of the clock of these tests


@pytest.mark.parametrize(
    ("text", "count", "seconds", "shown"),
    [
        ("100/minute", 100, 60, "100/minute"),
        ("1/s", 1, 1, "1/second"),
        ("5/sec", 5, 1, "5/second"),
        ("7/m", 7, 60, "7/minute"),
        ("100000/min", 100_000, 60, "100000/minute"),
        ("3/h", 3, 3600, "3/hour"),
        ("3/hour", 3, 3600, "3/hour"),
    ],
)
def test_a_rate_is_written_as_django_rest_framework_writes_them(text, count, seconds, shown):
    rate = Rate.read(text)
    assert (rate.count, rate.seconds, str(rate)) == (count, seconds, shown)
    assert Rate.read(str(rate)) == rate


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "100", "100/", "/minute", "0/minute", "-1/minute", "1.5/minute", "+1/minute"),
        *("100001/minute", "1/day", "1/Minute", "1 /minute", "1/minute ", "1/minute/minute"),
        *("٣/minute", "1e3/minute", "007/minute", "1/minutes", "1/" + "x" * 1_000_000),
        "9" * 1_000_000,
    ],
)
def test_anything_else_is_none(text):
    with pytest.raises(ValueError, match="100/minute"):
        Rate.read(text)


def sent(rate, wake_ups):
    """When calls went, of more than can go, by a worker that wakes up at these moments."""
    pace = Pace.begin(rate, BEGIN)
    moments = []
    for now in wake_ups:
        while pace.next_at <= now:
            pace.went(now)
            moments.append(now)
    return moments


def regular(apart, seconds):
    """Wake-ups that far apart."""
    return [BEGIN + apart * n for n in range(int(seconds / apart) + 1)]


@pytest.mark.parametrize("apart", [0.001, 0.02, 0.06])
@pytest.mark.parametrize(
    "text", ["1000/second", "100/second", "10/second", "4/second", "600/minute", "5000/minute"]
)
def test_in_a_minute_it_loses_nothing_to_a_worker_that_wakes_up_late(text, apart):
    rate = Rate.read(text)
    calls = [moment for moment in sent(rate, regular(apart, 70)) if moment < BEGIN + 60]
    assert 0.998 <= len(calls) / (60 / rate.interval) <= 1.007


@pytest.mark.parametrize("text", ["3/second", "100/minute", "30/minute", "10/minute"])
def test_below_four_a_second_it_is_late_by_no_more_than_the_worker(text):
    rate = Rate.read(text)
    for apart, least in ((0.001, 0.99), (0.02, 0.96)):
        calls = [moment for moment in sent(rate, regular(apart, 70)) if moment < BEGIN + 60]
        assert least <= len(calls) / (60 / rate.interval) <= 1.0


def test_a_new_owner_begins_without_a_burst():
    for text in ("1000/second", "10/second", "100/minute", "1/hour"):
        rate = Rate.read(text)
        pace = Pace.begin(rate, BEGIN)
        assert pace.next_at == BEGIN
        pace.went(BEGIN)
        assert pace.next_at == pytest.approx(BEGIN + rate.interval)


def test_after_an_hour_of_silence_there_is_no_more_of_a_burst_than_the_tolerance():
    rate = Rate.read("100/second")
    calls = sent(rate, [BEGIN, *(BEGIN + 3600 + 0.001 * n for n in range(1001))])
    assert len(calls) - 1 <= 100 * (1 + TOLERANCE) + 1


RATES = st.builds(Rate, st.integers(1, COUNT_MOST), st.sampled_from([1, 60, 3600]))
PAUSES = st.lists(st.floats(0.0005, 0.5), min_size=2, max_size=300)


@given(RATES, PAUSES)
def test_whenever_it_is_asked_no_window_holds_more_than_the_rate_and_the_tolerance(rate, pauses):
    if rate.interval < 0.001:
        rate = Rate(1000, 1)  # not a hundred thousand steps of each example
    moment, wake_ups = BEGIN, []
    for pause in pauses:
        wake_ups.append(moment)
        moment += pause
    calls = sent(rate, wake_ups)
    tolerance = TOLERANCE if rate.interval <= TOLERANCE else 0.0
    for width in (0.0, 0.1, 1.0, 10.0):
        first = 0
        for last, moment in enumerate(calls):
            while calls[first] < moment - width:
                first += 1
            most = (width + tolerance) / rate.interval + 1
            assert last - first + 1 <= most + 1e-6
    whole = wake_ups[-1] - wake_ups[0]
    assert len(calls) <= whole / rate.interval + 1 + 1e-6  # from the beginning: not even that


@given(RATES, st.lists(st.floats(0.001, 0.2), min_size=50, max_size=50))
def test_who_is_late_by_less_than_the_tolerance_loses_nothing(rate, pauses):
    if not 0.001 <= rate.interval <= TOLERANCE:
        rate = Rate(40, 1)
    moment, wake_ups = BEGIN, []
    for pause in pauses:
        wake_ups.append(moment)
        moment += pause
    whole = wake_ups[-1] - wake_ups[0]
    assert len(sent(rate, wake_ups)) >= int(whole / rate.interval)
