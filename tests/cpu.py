"""`pytest -p tests.cpu`: CPU seconds of each test and of the processes it started, the dearest at
the end, all of them in the file that `--cpu-to` names. A clock on the wall says little on a machine
that others use, too.

For Linux. Children count once they were waited for. The server of PostgreSQL counts as a whole.
Under `--forks` the processes of the site are started by one server for all, and count for no test.
"""

import json
import os
import re
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

FEW = 40


def pytest_addoption(parser):
    parser.addoption("--cpu-to", help="a file for the CPU seconds of each test, as JSON")


def spent():
    """CPU seconds of this process, of what it has waited for, and so of its children that live."""
    total = sum(os.times()[:4])
    for task in Path("/proc/self/task").glob("*/children"):  # to ask psutil costs 10 ms
        with suppress(OSError, psutil.Error):  # it has just ended
            total += sum(
                sum(psutil.Process(int(pid)).cpu_times()[:4]) for pid in task.read_text().split()
            )
    return total


def spent_by_postgres():
    """CPU seconds of the server that this run started, 0.0 without one."""
    folder = re.search(r"host=([^&]+)", os.environ.get("TEST_DATABASE_URL", ""))
    if folder is None:
        return 0.0
    pid = int((Path(folder[1]) / "postmaster.pid").read_text().split()[0])
    server = psutil.Process(pid)
    return sum(sum(one.cpu_times()[:4]) for one in (server, *server.children()))


class Meter:
    """In the process that runs tests: each phase of a test tells what it cost."""

    def __init__(self):
        self._before = 0.0  # what came before the first test is none of its own
        self._process = os.getpid()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self):
        outcome = yield
        now = spent()
        if self._process != os.getpid():  # it was forked, and has spent nothing before
            self._process, self._before = os.getpid(), 0.0
        outcome.get_result().cpu = now - self._before
        self._before = now

    @pytest.hookimpl
    def pytest_collection_finish(self):
        self._before = spent()


class Sum:
    """In the process that reports."""

    def __init__(self, file):
        self._file = file
        self._by_phase, self._by_test = Counter(), Counter()

    def pytest_runtest_logreport(self, report):
        cost = getattr(report, "cpu", 0.0)
        self._by_phase[report.when] += cost
        self._by_test[report.nodeid] += cost

    def pytest_terminal_summary(self, terminalreporter):
        by_file = Counter()
        for test, cost in self._by_test.items():
            by_file[test.partition("::")[0]] += cost
        write = terminalreporter.write_line
        for title, costs in (("files", by_file), ("tests", self._by_test)):
            terminalreporter.section(f"CPU seconds of the dearest {title}")
            for name, cost in costs.most_common(FEW):
                write(f"{cost:7.2f}  {name}")
        phases = ", ".join(f"{when} {cost:.0f}" for when, cost in self._by_phase.items())
        write(f"CPU seconds of tests: {self._by_phase.total():.0f} ({phases})")
        write(f"CPU seconds of PostgreSQL: {spent_by_postgres():.0f}")
        if self._file:
            Path(self._file).write_text(json.dumps(dict(self._by_test)))


def pytest_configure(config):
    config.pluginmanager.register(Sum(config.getoption("--cpu-to")))
    config.pluginmanager.register(Meter())
