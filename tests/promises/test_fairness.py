"""One bad webhook costs the others nothing."""

import time

import pytest

from tests.promises.crew import report
from tests.promises.sink import Sink, overlap
from tests.waiting import until
from webhooks_app.rules.ids import id_time

pytestmark = pytest.mark.slow


def test_a_webhook_that_hangs_does_not_hold_up_the_others(crew):
    with Sink(delay=lambda call: 3600 if call.path == "/0" else 0) as sink:
        hooks = crew.webhooks(10, sink, timeout=60)
        crew.deliver(hooks, 100)
        crew.worker()
        until(lambda: len(sink.by_path()) == 10, "calls to all")
        took = until(lambda: len(sink.calls) - len(hung(sink, 1)) == 900, "all the others'")
        report("one webhook hangs", database=crew.database, others_done_after=round(took, 2))
        # Its cap, and nothing more, hangs.
        assert overlap(hung(sink, 1)) == 10


@pytest.mark.parametrize(
    ("hang", "cap"),
    [pytest.param(2, 1000, marks=pytest.mark.prove), pytest.param(40, 10, marks=pytest.mark.once)],
)
def test_more_hang_than_a_worker_has_places(crew, hang, cap):
    """Two that may have a thousand calls each, or forty with ten: a worker with 10 places lets 100
    calls hang beside them."""
    with Sink(delay=lambda call: 3600 if int(call.path[1:]) < hang else 0) as sink:
        crew.deliver(crew.webhooks(hang, sink, cap=cap, timeout=60), 1000 // hang)
        crew.worker(concurrency=10)
        hanging = until(lambda: len(sink.calls) >= 80, "calls that hang")
        time.sleep(1)
        others = crew.webhooks(20, sink, first=hang)
        crew.deliver(others, 20)
        took = until(lambda: len(sink.calls) - len(hung(sink, hang)) == 400, "all the others'")
        report(
            f"{hang} hang with {cap} calls each",
            database=crew.database,
            hanging=len(hung(sink, hang)),
            hanging_after=round(hanging, 2),
            others_done_after=round(took, 2),
        )
        assert overlap(hung(sink, hang)) <= 110


def hung(sink, hang):
    return [call for call in list(sink.calls) if int(call.path[1:]) < hang]


# The short form's backlog lasts for longer than the slowest machine needs to make deliveries, and
# a disk that stands still may hold up one of them, but not most.
@pytest.mark.parametrize(
    ("backlog", "takes", "in_time"),
    [(5_000, 0.2, 0.5), pytest.param(100_000, 0.02, 1.0, marks=pytest.mark.prove)],
)
def test_a_backlog_of_one_webhook_does_not_delay_another(crew, backlog, takes, in_time):
    with Sink() as sink:
        behind, other = crew.webhooks(2, sink)
        crew.deliver([behind], backlog)
        sink.delay = lambda call: takes if call.path == "/0" else 0
        crew.worker()
        until(lambda: len(sink.calls) > 100, "load")
        crew.site.shell(
            "import time; from webhooks_app import actions, models\n"
            f"hook = models.Webhook.objects.get(pk={other!r})\n"
            "for n in range(20):\n    actions.deliver(hook, {'n': n})\n    time.sleep(0.1)",
        )
        until(lambda: len(sink.by_path()["/1"]) == 20, "all of the other's")
        left = crew.pending()
        to_real_time = time.time() - time.monotonic()
        waits = sorted(
            call.began + to_real_time - id_time(call.ident).timestamp()
            for call in sink.by_path()["/1"]
        )
        report(
            f"a backlog of {backlog}",
            database=crew.database,
            left=left,
            wait_p50=round(waits[10], 3),
            wait_max=round(waits[-1], 3),
        )
        assert left > 1000
        assert waits[int(19 * in_time)] < 1


@pytest.mark.once
def test_a_breaker_trips_probes_and_comes_back_gently(crew):
    pause = 0.8
    crew.site.environment["WEBHOOKS_RETRY_SCHEDULE"] = ",".join(["0.1"] * 20)

    def pauses(calls):
        """The places of calls made after a silence, as long as that of a breaker: a machine may
        stand still for less. Before ten have failed it is no breaker's."""
        return [
            place
            for place in range(10, len(calls))
            if calls[place].began - max(call.ended for call in calls[:place]) > pause * 0.85
        ]

    with Sink(delay=0.05) as sink:
        sink.status = lambda call: 503 if len(pauses(sink.calls)) <= 2 else 200
        hooks = crew.webhooks(1, sink)
        crew.deliver(hooks, 100)
        crew.worker(oddities={"breaker_first": pause})

        until(lambda: len(pauses(list(sink.calls))) >= 3, "three probes")
        crew.drained()

        # What flew when it tripped lands; then there is one probe after each pause.
        tripped = pauses(sink.calls)[0]
        assert tripped < 30
        first, second, probe, *rest = sink.calls[tripped:]
        assert second.began - first.ended > 2 * pause * 0.9
        assert probe.began - second.ended > 4 * pause * 0.9
        for call in rest:
            answered = sum(c.ended < call.began for c in [probe, *rest])
            in_flight = sum(c.began <= call.began <= c.ended for c in [probe, *rest])
            assert in_flight <= min(10, 2**answered)
        report("breaker", database=crew.database, calls_until_tripped=tripped)
