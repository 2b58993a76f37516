"""The breaker of one receiver, call by call: what it says, and until when it is open."""

import pytest

from webhooks_app.engine.breaker import Breaker
from webhooks_app.engine.knobs import DEFAULT
from webhooks_app.models.webhook import BREAKER_AFTER

NOW = 1000.0


def told(breaker, calls, now=NOW):
    """What each call makes of it: `-` nobody answered, `+` somebody did."""
    said = ""
    for call in calls:
        if call == "+":
            said += "closed " if breaker.answered() else ". "
        else:
            said += "opened " if breaker.failed(now, DEFAULT) else ". "
    return said.split()


@pytest.mark.parametrize(
    ("calls", "opens_at"),
    [
        ("-" * 9, []),
        ("-" * 10, [10]),
        ("-" * 9 + "+", []),  # an answer, even a refusal: somebody is there
        ("-" * 9 + "+" + "-" * 9, []),
        ("-" * 9 + "+" + "-" * 10, [20]),
        ("-" * 30, [10]),  # what was under way opens it once
    ],
)
def test_opens_after_ten_in_a_row_that_nobody_answered(calls, opens_at):
    assert BREAKER_AFTER == 10
    said = told(Breaker(), calls)
    assert [number for number, word in enumerate(said, 1) if word == "opened"] == opens_at


@pytest.mark.parametrize(("after", "opens_at"), [(3, 3), (25, 25), (0, None)])
def test_opens_after_as_many_as_its_webhook_says_or_never(after, opens_at):
    said = told(Breaker(after=after), "-" * 40)
    assert (said.index("opened") + 1 if "opened" in said else None) == opens_at


def test_opens_for_longer_each_time_its_probe_fails():
    breaker, now, pauses = Breaker(), NOW, []
    told(breaker, "-" * 9)
    for _ in range(7):
        assert told(breaker, "-", now) == ["opened"]
        pauses.append(breaker.until - now)
        now = breaker.until + 1
    assert pauses == [30, 60, 120, 240, 480, 600, 600]
    assert breaker.trips == 7


def test_closes_with_the_first_answer_and_begins_from_the_start():
    breaker = Breaker()
    assert told(breaker, "-" * 10 + "++")[-2:] == ["closed", "."]
    assert breaker == Breaker()
    told(breaker, "-" * 10)
    assert breaker.until == NOW + 30


@pytest.mark.parametrize(
    ("knows", "hears", "is_news"),
    [
        (0.0, NOW + 30, True),
        (NOW + 30, NOW + 30.2, False),  # the same, read again
        (NOW + 30, NOW + 61, True),
        (0.0, NOW + 0.2, False),  # it is over as soon as it is heard
        (NOW + 30, NOW + 10, False),
    ],
)
def test_that_others_opened_is_heard_where_it_lasts_longer_than_was_known(knows, hears, is_news):
    breaker = Breaker()
    if knows:
        breaker.open(knows, 1)
    assert breaker.heard(hears, 2, NOW, DEFAULT) == is_news
    assert breaker.until == (hears if is_news else knows)
    if is_news:
        assert told(breaker, "-", breaker.until + 1) == ["opened"]  # its probe
        assert breaker.trips == 3


def test_a_pause_for_a_fault_of_our_own_says_nothing_of_the_receiver():
    breaker = Breaker()
    breaker.pause(NOW + 1)
    assert told(breaker, "+") == ["."]
    assert (breaker.until, breaker.trips, breaker.failures) == (NOW + 1, 0, 0)
    breaker.open(NOW + 30, 1)
    breaker.pause(NOW + 1)
    assert breaker.until == NOW + 30
