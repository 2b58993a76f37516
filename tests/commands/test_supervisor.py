"""The supervisor with real processes."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.waiting import PATIENCE

pytestmark = [pytest.mark.once, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
SUPERVISE = """
import sys
from webhooks_app.management import supervisor
from webhooks_app.management.supervisor import Child, Supervisor
supervisor.OUTLIVES_MOST = {outlives}
if {first_process}:
    supervisor._libc.prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
report = lambda line: print(line, flush=True)
children = [Child(f"child {{n}}", [sys.executable, "-c", code], finishes={finishes})
            for n, code in enumerate(sys.argv[1:], 1)]
sys.exit(Supervisor(children, report, grace={grace}, give_up={give_up}).run())
"""
# One write, so that two processes saying it at once do not mix their words.
SAY_AND_SLEEP = "import os, time; os.write(1, b'pid %d\\n' % os.getpid()); time.sleep(60)"
STUBBORN = f"""import os, signal
signal.signal(signal.SIGTERM, lambda *_: os.write(1, b'told\\n'))
{SAY_AND_SLEEP}"""
WITH_CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SAY_AND_SLEEP!r}])"

OUTLIVED = """
import os, time
from tests.waiting import PATIENCE
parent = os.getpid()
if orphan := os.fork():
    os.write(1, b"pid %d\\npid %d\\n" % (parent, orphan))
    time.sleep(60)
else:
    while os.getppid() == parent:
        time.sleep(0.01)
    time.sleep({seconds})
    os.write(1, b"finished\\n")
"""


@pytest.fixture
def supervise():
    started = []

    def start(*codes, finishes=False, give_up=None, grace=10.0, outlives=5.0, first_process=False):
        script = SUPERVISE.format(
            finishes=finishes,
            give_up=give_up,
            grace=grace,
            outlives=outlives,
            first_process=first_process,
        )
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", script, *codes],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)
        process.stdout.close()


def child_pid(process):
    line = process.stdout.readline()
    assert line.startswith("pid "), line
    return int(line.split()[1])


def gone(pid):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        with suppress(OSError):  # gone meanwhile
            if ") Z " in Path(f"/proc/{pid}/stat").read_text():
                return True  # dead; whoever adopted it has not looked yet
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_all_children_and_ends_well(supervise, number):
    process = supervise(SAY_AND_SLEEP, SAY_AND_SLEEP)
    pids = [child_pid(process), child_pid(process)]

    process.send_signal(number)

    assert process.wait(PATIENCE) == 0
    assert all(gone(pid) for pid in pids)


def test_a_child_that_dies_is_reported_and_started_again(supervise):
    process = supervise(SAY_AND_SLEEP)
    first = child_pid(process)

    os.kill(first, signal.SIGKILL)

    report = process.stdout.readline()
    assert report == "child 1 was ended by SIGKILL; starting it again in 0.5 s\n"
    assert child_pid(process) != first


def test_what_a_child_that_died_left_behind_may_finish(supervise):
    process = supervise(OUTLIVED.format(seconds=1), outlives=60)
    child, _ = child_pid(process), child_pid(process)

    os.kill(child, signal.SIGKILL)

    assert process.stdout.readline() == "finished\n"
    assert process.stdout.readline().startswith("child 1 was ended by SIGKILL")


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_CHILD_SUBREAPER is Linux")
def test_in_a_container_too_it_is_seen_that_this_has_finished(supervise):
    """Where the supervisor is the first process, it inherits what its children leave behind."""
    process = supervise(OUTLIVED.format(seconds=0), outlives=2 * PATIENCE, first_process=True)
    child, _ = child_pid(process), child_pid(process)

    os.kill(child, signal.SIGKILL)

    since = time.monotonic()
    lines = {process.stdout.readline()[:7] for _ in range(2)}
    assert lines == {"finishe", "child 1"}
    assert time.monotonic() - since < PATIENCE


def test_what_does_not_finish_is_killed_before_the_child_is_started_again(supervise):
    process = supervise(OUTLIVED.format(seconds=60), outlives=0.3)
    child, orphan = child_pid(process), child_pid(process)

    os.kill(child, signal.SIGKILL)

    assert process.stdout.readline().startswith("child 1 was ended by SIGKILL")
    assert gone(orphan)


def test_pauses_grow_and_after_the_last_death_all_stop(supervise):
    process = supervise("import sys; sys.exit(3)", SAY_AND_SLEEP, give_up=3)

    lines = [process.stdout.readline() for _ in range(4)]

    said = [line for line in lines if line.startswith("child 1")]
    assert said == [
        "child 1 ended with exit code 3; starting it again in 0.5 s\n",
        "child 1 ended with exit code 3; starting it again in 1 s\n",
        "child 1 ended with exit code 3; stopping\n",
    ]
    assert process.wait(PATIENCE) == 3


def test_wrong_usage_is_not_tried_again(supervise):
    process = supervise("import sys; sys.exit(2)")

    assert process.stdout.readline() == "child 1 ended with exit code 2; stopping\n"
    assert process.wait(PATIENCE) == 2


def test_children_that_finish_end_it(supervise):
    assert supervise("pass", "pass", finishes=True).wait(PATIENCE) == 0


def test_a_second_signal_kills_a_child_that_will_not_stop(supervise):
    process = supervise(STUBBORN, grace=60)
    pid = child_pid(process)

    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "told\n"
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)

    assert process.wait(PATIENCE) == 0
    assert gone(pid)


def test_a_child_that_will_not_stop_is_killed_after_the_grace(supervise):
    process = supervise(STUBBORN, grace=0.3)
    pid = child_pid(process)

    process.send_signal(signal.SIGTERM)

    assert process.wait(PATIENCE) == 0
    assert gone(pid)


def test_the_children_of_children_go_too(supervise):
    process = supervise(WITH_CHILD)
    grandchild = child_pid(process)

    process.send_signal(signal.SIGTERM)

    assert process.wait(PATIENCE) == 0
    assert gone(grandchild)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux")
def test_children_end_when_the_supervisor_is_killed(supervise):
    process = supervise(SAY_AND_SLEEP)
    pid = child_pid(process)

    process.kill()

    assert process.wait(PATIENCE) == -signal.SIGKILL
    assert gone(pid)
