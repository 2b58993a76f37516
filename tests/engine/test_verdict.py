"""What becomes of a delivery after a try: delivered, failed, or when to try again."""

from datetime import UTC, datetime

import pytest

from webhooks_app.engine.http.sender import Outcome
from webhooks_app.engine.sending import verdict
from webhooks_app.engine.store import Claimed, microseconds
from webhooks_app.rules import failures

pytestmark = pytest.mark.once

BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)
OVER = 0.25  # seconds that the exchange took
BROKEN = failures.hang_up()


def after(tries, *, schedule="5,300", status=None, failure=None, retry_after=None, jitter=1.0):
    """State, seconds from the end of the exchange to the next try, and whether it is gone."""
    place = (BEGAN, "d" * 24)
    row = Claimed("d" * 24, "5f" + "0" * 22, tries, b"{}", schedule, "mira", place, 1)
    failure = failures.of_status(status) if status else failure
    outcome = Outcome(
        BEGAN,
        status=status,
        failure=failure,
        duration_ms=int(1000 * OVER),
        retry_after=retry_after,
    )
    began = microseconds.of(BEGAN)
    item = verdict(row, "https://receiver.example.com/hook", outcome, began, jitter)
    ended = began + round(OVER * microseconds.SECOND)
    assert item.attempt.ended_at == ended
    assert (item.attempt.number, item.tries) == (tries + 1, tries)
    assert item.attempt.requested_by == "mira"
    assert (item.finished_at is None) == (item.state == "pending")
    wait = None if item.due_at is None else (item.due_at - ended) / microseconds.SECOND
    return item.state, wait, item.stops == "gone"


@pytest.mark.parametrize("tries", [0, 1, 2, 7])
def test_an_answer_2xx_delivers_whatever_came_before(tries):
    assert after(tries, status=200) == ("delivered", None, False)


@pytest.mark.parametrize(
    ("tries", "schedule", "wanted"),
    [
        (0, "5,300", ("pending", 5, False)),
        (1, "5,300", ("pending", 300, False)),
        (2, "5,300", ("failed", None, False)),
        (9, "5,300", ("failed", None, False)),  # the schedule was shorter when it was made
        (0, "", ("failed", None, False)),
        (0, "0", ("pending", 0, False)),
        (0, "0.5", ("pending", 0.5, False)),
    ],
)
@pytest.mark.parametrize("failure", [{"failure": BROKEN}, {"status": 500}, {"status": 404}])
def test_a_failure_is_tried_again_by_the_schedule_it_was_made_with(
    tries, schedule, wanted, failure
):
    assert after(tries, schedule=schedule, **failure) == wanted


@pytest.mark.parametrize("jitter", [0.8, 1.2])
def test_the_wait_varies_so_that_not_all_come_back_together(jitter):
    assert after(0, status=500, jitter=jitter) == ("pending", 5 * jitter, False)


@pytest.mark.parametrize(
    ("status", "said", "wait"),
    [
        (429, 3600, 3600),
        (503, 3600, 3600),
        (429, 1, 5),  # sooner than the schedule is not asked for
        (429, None, 5),
        (500, 3600, 5),
    ],
)
def test_a_receiver_that_says_when_is_not_called_before(status, said, wait):
    assert after(0, status=status, retry_after=said) == ("pending", wait, False)


def test_a_receiver_that_says_when_gets_no_more_tries_than_any_other():
    assert after(2, status=429, retry_after=60) == ("failed", None, False)


@pytest.mark.parametrize("tries", [0, 2])
def test_410_ends_it_at_once(tries):
    assert after(tries, status=410) == ("failed", None, True)
