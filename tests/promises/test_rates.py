"""A webhook's own rate holds, whoever sends for it, and whoever is killed meanwhile."""

from itertools import pairwise

import pytest

from tests.promises.crew import report
from tests.promises.machine import OVERLOADED, Machine
from tests.promises.sink import Sink
from tests.waiting import until
from webhooks_app.rules.rates import TOLERANCE

pytestmark = pytest.mark.slow


def passed(sink):
    """Seconds from the first call to the last one."""
    return sink.calls[-1].began - sink.calls[0].began if sink.calls else 0.0


def play(crew, count, period, seconds, more=1):
    """So long more is due than may go out; half way the worker that sends is killed. The moments
    at which the calls began, and how long the other one took to send."""
    rate = count / period
    with Sink() as sink:
        [hook] = crew.webhooks(1, sink, cap=100)
        crew.change(
            f"UPDATE webhooks_app_webhook SET rate_count = {count}, rate_seconds = {period}"
        )
        crew.deliver([hook], int(rate * seconds * more) + 20)
        workers = crew.workers({}, {})
        until(lambda: passed(sink) > seconds / 2, "calls for half of the time")
        last = sink.calls[-1].line  # while they shared the webhooks, both may have called
        [victim] = [worker for worker in workers if last in sink.lines_of(worker.pid)]
        theirs = set(sink.lines_of(victim.pid))
        killed_at = victim.kill()
        until(lambda: passed(sink) > seconds and sink.calls[-1].line not in theirs, "calls")
        calls = list(sink.calls)
    moments = [call.began for call in calls]
    nobody = min(c.began for c in calls if c.began > killed_at and c.line not in theirs) - killed_at
    return [moment - moments[0] for moment in moments if moment - moments[0] <= seconds], nobody


def busiest(moments, window):
    """The most calls in so many seconds."""
    most = first = 0
    for last, moment in enumerate(moments):
        while moments[first] <= moment - window:
            first += 1
        most = max(most, last - first + 1)
    return most


def test_a_killed_owner_and_the_next_one_together_keep_it(crew):
    """No machine is too slow to call too seldom. Four times as much is due; a machine that stands
    still for a while has some of it arrive at once."""
    moments, _ = play(crew, 60, 1, seconds=2, more=4)
    assert len(moments) <= 60 * (2 + TOLERANCE) * 1.5


@pytest.mark.prove
@pytest.mark.parametrize(
    ("count", "period"), [(100, 60), (4, 1), (50, 1), (1000, 1)], ids=lambda number: str(number)
)
def test_over_a_minute_with_a_take_over_it_is_kept_within_five_percent(crew, count, period):
    """Never more. Less only while nobody sends, or on a machine that is overloaded."""
    machine = Machine()
    moments, nobody = play(crew, count, period, seconds=60)
    idle = machine.idle()
    rate = count / period
    share = len(moments) / (60 * rate)
    kept = len(moments) / ((60 - nobody) * rate)
    report(
        f"{count} in {period} s, a take-over in the middle",
        database=crew.database,
        calls=len(moments),
        share=round(share, 4),
        kept=round(kept, 4),
        nobody=round(nobody, 2),
        longest=round(max(later - earlier for earlier, later in pairwise(moments)), 2),
        busiest_second=busiest(moments, 1.0),
        idle=round(idle, 2),
    )
    assert share <= 1.05
    assert kept >= 0.95 or idle < OVERLOADED
