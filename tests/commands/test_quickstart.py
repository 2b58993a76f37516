"""`make run` as its user sees it: a real start, a real stop, in a folder of its own."""

import json
import os
import re
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import processes
from tests.ports import free_port
from tests.processes import MANAGE
from tests.waiting import PATIENCE

# It brings its own SQLite.
pytestmark = [pytest.mark.once, pytest.mark.slow]


def clean_environment(folder):
    """What a fresh clone has: no keys, no settings of ours."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("WEBHOOKS_") and name not in ("SECRET_KEY", "DEBUG")
    }
    return kept | {
        "DJANGO_ENV_FILE": str(folder / ".env"),
        "DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
        "PYTHONUNBUFFERED": "1",
    }


class Quickstart:
    def __init__(self, folder, port):
        self.port = port
        self.process = processes.start(
            [*MANAGE, "quickstart", "--port", str(port)],
            env=clean_environment(folder),
            cwd=folder,
            stdout=processes.PIPE,
            stderr=processes.STDOUT,
            text=True,
        )
        self.output = ""

    def read_until(self, text):
        for line in self.process.stdout:
            self.output += line
            if text in line:
                return line
        raise AssertionError(self.output)

    def word(self, name):
        return re.search(rf"^  {name} +(\S+)$", self.output, re.M)[1]

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.output += self.process.stdout.read()
        return self.process.wait(PATIENCE)

    def children(self):
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return {int(pid): Path(f"/proc/{pid}/cmdline").read_text() for pid in listed.split()}


@pytest.fixture
def quickstart():
    """Starts one in a folder."""
    started = []

    def start(folder, port=None):
        one = Quickstart(folder, port or free_port(3))
        started.append(one)
        return one

    yield start
    for one in started:
        if one.process.poll() is None:
            one.stop()
        one.process.stdout.close()


def refused(folder, *arguments, **environment):
    """The sentence of a quickstart that ends at once, with exit code 1 or 2."""
    ended = processes.run(
        [*MANAGE, "quickstart", *arguments],
        env=clean_environment(folder) | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ended.returncode in (1, 2)
    return ended.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_whole_of_it_from_the_first_start_to_the_second(quickstart, tmp_path):
    """One test, because a start takes seconds."""
    first = quickstart(tmp_path)
    curl = first.read_until("curl ")
    the_printed_curl_works(curl)
    one_delivery_arrives_another_shows_its_error(first)
    secrets_are_kept_where_only_the_owner_reads(tmp_path)
    assert "running already" in refused(tmp_path, "--port", str(free_port(3)))
    a_death_is_reported_and_no_process_is_left(first)

    second = quickstart(tmp_path, first.port)
    assert second.read_until("curl ") == curl
    for name in ("Password", "Token"):
        assert second.word(name) == first.word(name)
    assert second.stop(signal.SIGTERM) == 0


def the_printed_curl_works(curl):
    answer = subprocess.run(shlex.split(curl), capture_output=True, text=True, timeout=PATIENCE)

    assert json.loads(answer.stdout) == {
        "responses": [{"type": "text", "delay": 0, "message": "Hello Ada!"}],
        "attributes": {"greeted": "yes"},
    }


def one_delivery_arrives_another_shows_its_error(demo):
    list_them = [
        *("curl", "-sS", f"http://127.0.0.1:{demo.port}/webhooks"),
        *("-H", f"Authorization: Bearer {demo.word('Token')}"),
    ]

    deadline = time.monotonic() + PATIENCE
    errors = {}
    while time.monotonic() < deadline and not (errors.get("Broken") and errors["Switched off"]):
        listed = json.loads(subprocess.run(list_them, capture_output=True, timeout=PATIENCE).stdout)
        errors = {webhook["name"].split(" (")[0]: webhook["error"] for webhook in listed}
        time.sleep(0.2)

    assert errors["Greeter"] == ""
    assert errors["Broken"] == "Request failed with status code 500"
    assert errors["Switched off"].startswith("connect ECONNREFUSED 127.0.0.1:")


def secrets_are_kept_where_only_the_owner_reads(home):
    kept = [home / ".env", home / ".run" / "quickstart.json"]
    assert [oct(path.stat().st_mode & 0o777) for path in kept] == ["0o600", "0o600"]
    assert re.findall(r"^\w+", kept[0].read_text(), re.M) == [
        "SECRET_KEY",
        "WEBHOOKS_ENCRYPTION_KEYS",
    ]


def a_death_is_reported_and_no_process_is_left(demo):
    children = demo.children()
    assert len(children) == 3
    [worker] = [pid for pid, command in children.items() if "deliver" in command]

    os.kill(worker, signal.SIGKILL)

    said = demo.read_until("SIGKILL")
    assert said.startswith("worker was ended by SIGKILL; starting it again")
    demo.read_until("ready")
    children |= demo.children()
    assert demo.stop(signal.SIGINT) == 0
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []


def test_a_port_in_use_is_a_clear_message(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        said = refused(tmp_path, "--port", str(port))

    assert f"Port {port} of 127.0.0.1 cannot be used (address already in use)" in said


def test_postgresql_is_refused_without_a_look_at_it(tmp_path):
    said = refused(tmp_path, DATABASE_URL="postgres://nobody@127.0.0.1:1/none")

    assert "it runs on SQLite only" in said


def test_a_database_with_users_of_its_own_is_left_alone(tmp_path):
    with sqlite3.connect(tmp_path / "db.sqlite3") as database:
        database.execute("CREATE TABLE auth_user (id INTEGER PRIMARY KEY, username TEXT)")
        database.execute("INSERT INTO auth_user VALUES (1, 'the boss')")

    said = refused(tmp_path)

    assert "it leaves such a database alone" in said
    with sqlite3.connect(tmp_path / "db.sqlite3") as database:
        assert database.execute("SELECT count(*) FROM sqlite_master").fetchone() == (1,)


def test_an_env_file_of_the_users_keeps_its_lines(tmp_path):
    path = tmp_path / ".env"
    path.write_text("SECRET_KEY=mine\nDEBUG=false")

    refused(tmp_path, "--port", "0")

    lines = path.read_text().splitlines()
    assert lines[:2] == ["SECRET_KEY=mine", "DEBUG=false"]
    assert lines[2].startswith("WEBHOOKS_ENCRYPTION_KEYS=")
    assert len(lines) == 3
