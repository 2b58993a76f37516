"""Outcomes are written by a process beside the one that sends: either may die alone."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.promises.sink import Sink
from tests.waiting import PATIENCE, until
from webhooks_app.engine.knobs import Knobs

pytestmark = pytest.mark.slow


def children_of(pid):
    return [child.pid for child in psutil.Process(pid).children()]


def test_a_killed_writer_costs_nothing_and_a_killed_sender_leaves_none_behind(crew):
    with Sink(delay=0.01) as sink:
        webhooks = crew.webhooks(10, sink)
        worker = crew.worker()
        [writer] = children_of(worker.pid)
        crew.deliver(webhooks, 200)
        until(lambda: len(sink.by_ident()) > 200, "a beginning")
        os.kill(writer, signal.SIGKILL)
        crew.drained()
        assert len(sink.by_ident()) == 2000
        assert sink.duplicates() == 0
        assert crew.recorded_twice() == 0
        assert worker.poll() is None

        other = crew.worker()
        [writer] = children_of(other.pid)
        other.kill()
        until(lambda: not Path(f"/proc/{writer}").exists(), "the end of the writer")


def test_nobody_takes_over_from_a_killed_worker_before_its_writer_has_ended(crew):
    """It still writes what it was given; sent by another meanwhile, that would go out twice."""
    with Sink() as sink:
        webhooks = crew.webhooks(8, sink)
        worker = crew.worker()
        until(lambda: "ready" in worker.output, "it owns all")
        [writer] = children_of(worker.pid)
        os.kill(writer, signal.SIGSTOP)
        worker.kill()
        crew.deliver(webhooks)
        heir = crew.worker(ends="--until-empty")
        time.sleep(4 * Knobs().rest)  # it takes what nobody has after one
        assert not sink.calls
        assert heir.poll() is None, "it says that another sends, and nobody does"
        os.kill(writer, signal.SIGCONT)
        assert heir.wait(PATIENCE) == 0
        assert not crew.pending()
