"""Where candidates run: databases, processes, and what is seen of them from outside."""

import copy
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import psutil

from tests import plugin

ROOT = Path(__file__).resolve().parents[2]
POLL = 0.01  # seconds between looks at the sink
STUCK = 60  # seconds without a receipt after which a run is given up


def prepare():
    """Settings of a test run; and whoever ends us ends what we started, too."""
    plugin.test_environment("sqlite")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


class Missing(Exception):
    """A candidate cannot run here; the sentence says why."""


def python(*arguments, database="sqlite://:memory:", set_to=None, root=ROOT, **options):
    """A Python of ours, with the settings of an installation and loopback allowed, and what else
    its environment is to be `set_to`; of the checkout `root`."""
    environment = os.environ | {
        "DATABASE_URL": database,
        "WEBHOOKS_ALLOWED_NETWORKS": "127.0.0.0/8",
        **(set_to or {}),
    }
    options.setdefault("stdout", subprocess.PIPE)
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, cwd=root, text=True, **options)


def part(*arguments, database, root=ROOT):
    """Run a part of ours.py to its end; what it found."""
    process = python("-m", "tests.benchmarks.ours", *arguments, database=database, root=root)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, f"{arguments} failed"
    return json.loads(output)


class Server:
    """`root`: the checkout whose tables it has."""

    root = ROOT

    def of(self, root):
        """The same server, with the tables of another checkout."""
        other = copy.copy(self)
        other.__dict__.pop("_empty", None)
        other.root = root
        return self if root == self.root else other


class Sqlite(Server):
    name = "SQLite"

    def __init__(self, folder):
        self._folder = Path(folder)

    @cached_property
    def _empty(self):
        file = self._folder / f"{uuid.uuid4().hex}.empty"
        migrate(f"sqlite:///{file}", self.root)
        return file

    @contextmanager
    def database(self):
        file = self._folder / f"{uuid.uuid4().hex}.sqlite3"
        shutil.copy(self._empty, file)
        yield f"sqlite:///{file}"
        for left in file.parent.glob(f"{file.name}*"):
            left.unlink()

    @contextmanager
    def ask(self, url):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        yield lambda sql: connection.execute(sql).fetchone()
        connection.close()

    def describe(self):
        return f"SQLite {sqlite3.sqlite_version}, journal_mode WAL, synchronous FULL"

    def processes(self):
        return []


class Postgres(Server):
    name = "PostgreSQL"
    SETTINGS = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "autovacuum")

    def __init__(self):
        self._server = plugin.start_postgres()
        with self.ask(self._server) as ask:
            folder = ask("SHOW data_directory")[0]
        self._postmaster = int(Path(folder, "postmaster.pid").read_text().splitlines()[0])

    @cached_property
    def _empty(self):
        url = self._new()
        migrate(url, self.root)
        return url

    def _new(self, template="template1"):
        name = f"bench_{uuid.uuid4().hex}"
        with self.ask(self._server) as ask:
            ask(f"CREATE DATABASE {name} TEMPLATE {template}")
        address, _, query = self._server.partition("?")
        return f"{address.rpartition('/')[0]}/{name}?{query}"

    @contextmanager
    def database(self, *, migrated=True):
        url = self._new(name_of(self._empty) if migrated else "template1")
        with self.ask(url) as ask:
            ask("CHECKPOINT")  # the run before pays its own
        yield url
        with self.ask(self._server) as ask:
            ask(f"DROP DATABASE {name_of(url)} WITH (FORCE)")

    @contextmanager
    def ask(self, url):
        import psycopg

        with psycopg.connect(url, autocommit=True) as connection:

            def ask(sql):
                cursor = connection.execute(sql)
                return cursor.fetchone() if cursor.description else None

            yield ask

    def describe(self):
        with self.ask(self._server) as ask:
            settings = ", ".join(f"{name} {ask(f'SHOW {name}')[0]}" for name in self.SETTINGS)
            return f"PostgreSQL {ask('SHOW server_version')[0]}, {settings}"

    def processes(self):
        return [psutil.Process(self._postmaster)]


def name_of(url):
    return url.partition("?")[0].rpartition("/")[2]


def migrate(database, root=ROOT):
    process = python("manage.py", "migrate", "-v0", database=database, root=root, stdout=None)
    assert process.wait(timeout=120) == 0


class Meter:
    """CPU and memory of processes and their children, as the system counts them."""

    def __init__(self, processes):
        self._roots = [psutil.Process(getattr(process, "pid", process)) for process in processes]
        self._cpu = {}
        self.peak = 0

    def cpu(self):
        """Seconds so far, user and system; those of the children that ended stay counted."""
        memory = 0
        for root in self._roots:
            try:
                family = [root, *root.children(recursive=True)]
            except psutil.NoSuchProcess:
                continue
            for process in family:
                try:
                    with process.oneshot():
                        times = process.cpu_times()
                        memory += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
                self._cpu[process.pid] = times.user + times.system
        self.peak = max(self.peak, memory)
        return sum(self._cpu.values())


def watch(sink, before, count, processes, *, database=None, finished=lambda: True):
    """Follow a run from before its first receipt to the last one and what is written of it.

    `before`: the sink's count at the start. `finished` says when nothing is left to be written.
    """
    meter, sinks = Meter(processes), Meter([sink.process])
    server = Meter(database.processes() if database else [])
    meters = (meter, sinks, server)
    first = moved = looked = time.perf_counter()
    start, seen = [each.cpu() for each in meters], 0
    while True:
        now = time.perf_counter()
        received = sink.count() - before
        if received == 0 and now - looked > 0.1:
            start = [each.cpu() for each in meters]
            looked = now
        if received == 0:
            first = now
        if received > seen:
            seen, moved = received, now
        if seen >= count and finished():
            break
        if now - moved > STUCK:
            raise RuntimeError(f"{count - seen} of {count} did not come")
        if now - looked > 0.25:
            meter.cpu()
            looked = now
        time.sleep(POLL)
    seconds = now - first
    used = [each.cpu() - earlier for each, earlier in zip(meters, start, strict=True)]
    assert sink.count() - before == count, "the sink must have received each once"
    cpu = [seconds_used / count * 1e6 for seconds_used in used]
    return {
        "per_second": count / seconds,
        "cpu_us": cpu[0],
        "sink_cpu_us": cpu[1],
        "database_cpu_us": cpu[2],
        "peak_mb": meter.peak / 2**20,
    }


def pace(sink, before, after, until):
    """Receipts a second between two counts of them, from a start that nobody has seen."""
    moved, seen = time.perf_counter(), 0
    while seen < after:
        seen, moved = _look(sink, before, seen, moved)
    first, started = seen, time.perf_counter()
    while seen < until:
        seen, moved = _look(sink, before, seen, moved)
    return (seen - first) / (time.perf_counter() - started)


def _look(sink, before, seen, moved):
    time.sleep(POLL)
    received, now = sink.count() - before, time.perf_counter()
    if received > seen:
        return received, now
    if now - moved > STUCK:
        raise RuntimeError(f"nothing came for {STUCK} s, after {seen} receipts")
    return seen, moved


@contextmanager
def workers(number, database, *arguments, root=ROOT):
    """Worker processes as an installation starts them, ready to send."""
    command = arguments or ("manage.py", "webhooks", "deliver")
    started = [python(*command, database=database, root=root) for _ in range(number)]
    try:
        for worker in started:
            line = worker.stdout.readline()
            assert "ready" in line, line
        yield started
        for worker in started:
            worker.terminate()
        for worker in started:
            assert worker.wait(timeout=30) == 0, "a worker ended badly"
    finally:
        for worker in started:
            worker.send_signal(signal.SIGCONT)
            worker.kill()
            worker.communicate()


@contextmanager
def frozen(processes):
    """Nothing of them runs meanwhile, whatever is stored for them."""
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


@contextmanager
def folder():
    path = tempfile.mkdtemp(prefix="webhooks-bench-")
    try:
        yield Path(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)
