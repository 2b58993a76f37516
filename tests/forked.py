"""`pytest --forks=3`: the tests are imported and collected once, and run by processes that are
forked from the one that did. In place of pytest-xdist, whose processes each collect all of them
again: a run would cost a minute of CPU more.

Each process asks for some tests, and for more before it runs the last of them, so that it knows
which fixtures the next one needs. One that ends in a test fails that test, and another takes its
place.
"""

import os
import sys
import traceback
import warnings
from collections import deque
from multiprocessing import Pipe
from multiprocessing.connection import wait
from threading import Thread

import pytest
from _pytest.runner import runtestprotocol

from tests import databases

MANY = 24  # tests given at once, of one file where possible: they share fixtures


def pytest_addoption(parser):
    parser.addoption("--forks", type=int, default=0, help="run tests in so many processes")


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    if config.option.forks and not config.option.collectonly:
        config.pluginmanager.register(Forks(config))


class Child:
    """What the first process knows of one that runs tests."""

    def __init__(self, pid, line):
        self.pid, self.line = pid, line
        self.given = deque()  # places of tests, the first of which runs or is next
        self.runs = False


class Forks:
    """In the process that collects, gives and reports."""

    def __init__(self, config):
        self._config = config
        self._children = {}  # by line
        # What all of them need is made while this process collects.
        self._prepared = Thread(target=databases.prepare)
        self._prepared.start()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        if session.testsfailed:  # to collect has failed; pytest says so
            return None
        self._prepared.join()  # no thread is forked
        self._session, self._left = session, deque(range(len(session.items)))
        # Each process has a folder of its own below it.
        self._config._tmp_path_factory.getbasetemp()
        try:
            for _ in range(self._config.option.forks):
                self._fork()
            while self._children:
                for line in wait(list(self._children)):
                    self._hear(self._children[line])
        finally:
            self._end()
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        return True

    def _fork(self):
        ours, theirs = Pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            for line in (ours, *self._children):
                line.close()
            with_room(Runner(self._session, theirs).be)
        theirs.close()
        self._children[ours] = Child(pid, ours)

    def _hear(self, child):
        try:
            what, *told = child.line.recv()
        except (EOFError, ConnectionError):
            self._gone(child)
        else:
            getattr(self, f"_{what}")(child, *told)

    def _more(self, child):
        stop = self._session.shouldfail or self._session.shouldstop
        left = 0 if stop else len(self._left)
        # Less and less, so that all end at about the same time.
        number = min(left, max(1, min(MANY, left // (4 * self._config.option.forks))))
        given = [self._left.popleft() for _ in range(number)]
        child.given.extend(given)
        child.line.send(given)

    def _begun(self, child):
        child.runs = True
        item = self._session.items[child.given[0]]
        self._config.hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)

    def _reported(self, child, data):
        hook = self._config.hook
        report = hook.pytest_report_from_serializable(config=self._config, data=data)
        hook.pytest_runtest_logreport(report=report)

    def _finished(self, child):
        child.runs = False
        item = self._session.items[child.given.popleft()]
        self._config.hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)

    def _warned(self, child, warning, more):
        more["warning_message"] = warnings.WarningMessage(*warning)
        self._config.hook.pytest_warning_recorded.call_historic(kwargs=more)

    def _gone(self, child):
        del self._children[child.line]
        child.line.close()
        code = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
        if not (child.given or code):
            return
        if not child.runs:
            raise RuntimeError(f"a process of the tests ended between two of them: {code}")
        item = self._session.items[child.given[0]]
        report = pytest.TestReport(
            nodeid=item.nodeid,
            location=item.location,
            keywords={},
            outcome="failed",
            longrepr=f"The process that ran it ended: {code}",
            when="call",
        )
        self._config.hook.pytest_runtest_logreport(report=report)
        self._finished(child)
        self._left.extendleft(reversed(child.given))
        if self._left:
            self._fork()

    def _end(self):
        for line, child in self._children.items():
            line.close()  # it ends when it wants to tell something
            os.waitpid(child.pid, 0)


def with_room(run):
    """Call it from so large a frame that Python takes 1 MiB for its stack at once. It would take
    16 KiB, and at the edge of these take and give back others with each call: a twentieth of all
    CPU."""

    def large():
        run()

    large.__code__ = large.__code__.replace(co_stacksize=70_000)  # of eight bytes each
    large()


class Runner:
    """In a process that runs tests."""

    def __init__(self, session, line):
        self._session, self._line = session, line
        self._given = deque()
        self._tells = False  # of warnings: those from before are told again to whoever registers

    def be(self):
        """Never returns."""
        code = 1
        try:
            self._run()
            code = 0
        except (BrokenPipeError, KeyboardInterrupt):
            pass
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)  # what is to be done at exit is the first process's

    def _run(self):
        config = self._session.config
        # Files in which output is kept have one place for all who share them.
        capturing = config.pluginmanager.getplugin("capturemanager")
        capturing.stop_global_capturing()
        capturing.start_global_capturing()
        capturing.suspend_global_capture()
        config._tmp_path_factory._basetemp /= f"of-{os.getpid()}"
        config._tmp_path_factory._basetemp.mkdir()
        config.pluginmanager.register(self)
        self._tells = True
        try:
            item = self._next()
            while item is not None:
                following = self._next()
                config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                item = following
        finally:
            self._session._setupstate.teardown_exact(None)

    def _next(self):
        if not self._given:
            self._line.send(["more"])
            self._given.extend(self._line.recv())
        return self._session.items[self._given.popleft()] if self._given else None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item, nextitem):
        self._line.send(["begun"])
        for report in runtestprotocol(item, log=False, nextitem=nextitem):
            hook = item.config.hook
            data = hook.pytest_report_to_serializable(config=item.config, report=report)
            self._line.send(["reported", data])
        self._line.send(["finished"])
        return True

    @pytest.hookimpl
    def pytest_warning_recorded(self, warning_message, when, nodeid, location):
        if self._tells:
            of = warning_message
            warning = (str(of.message), of.category, of.filename, of.lineno)
            more = {"when": when, "nodeid": nodeid, "location": location}
            self._line.send(["warned", warning, more])
