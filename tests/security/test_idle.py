"""Connections that say nothing, or begin and never end, do not stop the site for long."""

import os
import resource
import socket
import subprocess
import sys
import time

import pytest

from project.server import GRANIAN
from tests.api.test_granian import answers
from tests.ports import free_port
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.once, pytest.mark.slow]

MANY = 1025  # one more than the files that a process may have open where nobody asked for more
HALF = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
SHAPES = {
    "nothing": b"",
    "half a head": HALF,
    "one request, and then nothing": HALF + b"\r\n",
    "a body that does not come": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx",
}


@pytest.fixture(scope="module")
def files():
    """Room for as many connections in this process; the server starts with 1,024 files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, before[1]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture(scope="module")
def server(tmp_path_factory, files):
    folder, port = tmp_path_factory.mktemp("site"), free_port()
    flags = ["1000" if flag == "10000" else flag for flag in GRANIAN]
    flags += ["--port", str(port), "tests.hasty_site:application"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "granian", *flags],
            env={**os.environ, "DATABASE_URL": f"sqlite:///{folder}/db.sqlite3"},
            stdout=log,
            stderr=log,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024)),
        )
    try:
        wait_for(lambda: answers(port))
        yield port
    finally:
        server.terminate()
        server.wait(PATIENCE)
    assert "Traceback" not in (folder / "log").read_text()


def wait_for(condition, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def ended(line):
    """Waits until the server has closed a line."""
    line.settimeout(60)
    try:
        while line.recv(4096):
            pass
    except ConnectionResetError:
        pass


@pytest.mark.parametrize("shape", SHAPES)
def test_the_site_answers_again(server, shape):
    lines = []
    try:
        for _ in range(MANY):
            line = socket.create_connection(("127.0.0.1", server), timeout=PATIENCE)
            lines.append(line)
            line.sendall(SHAPES[shape])
        wait_for(lambda: answers(server))
        for line in lines:
            ended(line)
    finally:
        for line in lines:
            line.close()
    assert answers(server)
