"""Nobody reads what a long-lived process says: it goes on all the same."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from tests import processes
from tests.api.test_granian import answers, call
from tests.ports import free_port
from tests.processes import MANAGE, ROOT
from tests.receivers import Receiver
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.slow


@pytest.fixture
def full_pipe():
    """The writing end of a pipe that nobody reads, full already."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"." * 4096)
    except BlockingIOError:
        pass
    os.set_blocking(writer, True)
    yield writer
    os.close(reader)
    os.close(writer)


@pytest.fixture
def start(site, full_pipe):
    started = []

    def start(*command):
        started.append(
            processes.start(
                command, env=site.environment, cwd=ROOT, stdout=full_pipe, stderr=full_pipe
            )
        )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait(PATIENCE)


@pytest.mark.parametrize("more", [[], pytest.param(["--processes", "2"], marks=pytest.mark.once)])
def test_a_worker_whose_output_nobody_reads_sends_and_ends_when_told(site, start, more):
    worker = start(*MANAGE, "webhooks", "deliver", *more)
    with Receiver() as receiver:
        webhook = site.webhook(receiver.url)
        site.manage("webhooks", "send", webhook)
        receiver.wait()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE) == 0


@pytest.mark.once
def test_a_web_process_whose_log_nobody_reads_answers_and_ends_when_it_is_broken(site, start):
    port = free_port()
    web = start(
        *(sys.executable, "-m", "granian", "--interface", "asginl", "--no-ws"),
        *("--no-log", "--port", str(port), "project.asgi:application"),
    )
    until(lambda: answers(port), "the web process")
    for _ in range(10):  # each is a line of the log
        assert call(port, "GET", "/webhooks/nothing", secret="wrong")[0] in (401, 404)
        assert call(port, "GET", "/healthz")[0] == 200
    # Without --no-log the server's main process waits here, to say that its worker has ended.
    psutil.Process(web.pid).children()[0].kill()
    assert web.wait(PATIENCE) == 1


TALK = """
import os, sys, time
from webhooks_app.engine import output
output.never_block()
print("first", flush=True)
for number in range(100_000):
    sys.stderr.write(f"{number} {'x' * 40}\\n")
os.write(int(sys.argv[1]), b"said")
time.sleep(60) if "stay" in sys.argv else None
"""


def talk(*arguments):
    """A process that says 5 MB to a pipe, once it has said it; nothing was read till then."""
    told, tells = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", TALK, str(tells), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=[tells],
    )
    os.close(tells)
    assert os.read(told, 4) == b"said"
    os.close(told)
    return process


@pytest.mark.once
def test_lines_that_were_lost_are_counted_once_somebody_reads():
    process = talk("stay")
    lines, lost = [], 0
    for line in process.stdout:
        if b"were lost" in line:
            lost = int(line.split()[0])
            break
        lines.append(line)
    process.kill()
    process.wait(PATIENCE)
    process.stdout.close()
    whole = [line for line in lines if line.endswith(b"x\n")]
    assert lines[0] == b"first\n"
    assert lost > 50_000
    assert len(whole) + lost >= 100_000 - 1000


@pytest.mark.once
def test_who_ends_waits_for_its_reader_for_a_moment_only():
    process = talk()
    assert process.wait(PATIENCE) == 0
    process.stdout.close()


@pytest.mark.once
def test_a_reader_that_is_gone_harms_nobody():
    process = talk("stay")
    process.stdout.close()
    assert process.poll() is None
    process.kill()
    process.wait(PATIENCE)
