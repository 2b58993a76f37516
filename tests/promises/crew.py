"""Workers, load and rows of a site: what the proofs are played with."""

import json
import os
import re
import signal
import sys
import time
from contextlib import closing
from pathlib import Path

from tests import processes
from tests.processes import MANAGE, ROOT, STDOUT, TimeoutExpired
from tests.promises.sink import Sink
from tests.waiting import PATIENCE, until

MAKE_WEBHOOKS = """
from webhooks_app import actions
from webhooks_app.models import Account
account, _ = Account.objects.get_or_create(name='acme')
for n in range({count}):
    print(actions.create_webhook(account, name=f'W{{n}}', url='{url}' + str(n + {first}),
                                 max_in_flight={cap}, timeout={timeout}).id)
"""


class Process:
    """A command under way; its output goes to a file, so that it never waits for a reader."""

    def __init__(self, command, environment, file, cwd=ROOT):
        self._file = file
        with file.open("wb") as output:
            self._process = processes.start(
                command, env=environment, cwd=cwd, stdout=output, stderr=STDOUT
            )
        self.pid = self._process.pid
        self.wait, self.poll = self._process.wait, self._process.poll

    @property
    def output(self):
        return self._file.read_text()

    def signal(self, number):
        self._process.send_signal(number)

    def kill(self):
        """SIGKILL; returns the moment just before."""
        now = time.monotonic()
        self._process.kill()
        self._process.wait(PATIENCE)
        return now

    def stop(self, seconds=PATIENCE):
        """SIGTERM; returns how long it took to end."""
        started = time.monotonic()
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(seconds)
        return time.monotonic() - started


class Crew:
    """Starts processes on a site and looks at its rows with the plain driver."""

    def __init__(self, site, folder):
        self.site, self._folder = site, folder
        self._processes = []
        self.url = site.environment["DATABASE_URL"]
        self.postgres = self.url.startswith("postgres")
        self.database = "postgres" if self.postgres else "sqlite"

    def _start(self, command, cwd=ROOT, **environment):
        file = self._folder / f"output-{len(self._processes)}"
        process = Process(command, self.site.environment | environment, file, cwd)
        self._processes.append(process)
        return process

    def worker(self, **options):
        """A worker that is there (its row is), though it may only stand by."""
        return self.workers(options)[0]

    def workers(self, *each):
        """Several, each with `concurrency`, `oddities`, `ends` and environment variables."""
        workers = [self._worker(**options) for options in each]
        for worker in workers:
            sql = f"SELECT count(*) FROM webhooks_app_worker WHERE pid = {worker.pid}"
            until(lambda sql=sql: self.value(sql), "a worker's row")
        return workers

    def _worker(self, concurrency=20, oddities=None, ends=None, **environment):
        arguments = ["deliver", "--concurrency", str(concurrency), *([ends] if ends else [])]
        command = [*MANAGE, "webhooks", *arguments]
        if oddities:
            odd = [sys.executable, "-m", "tests.promises.odd_worker"]
            command = [*odd, json.dumps(oddities), *arguments]
        return self._start(command, **environment)

    def producer(self, per_second):
        return self._start(
            [sys.executable, "-m", "tests.promises.producer", str(per_second)],
            PYTHONUNBUFFERED="1",
        )

    def web(self, port, **environment):
        command = [sys.executable, "-m", "granian", "--interface", "asginl", "--no-ws"]
        command += ["--log-level", "warning", "--host", "127.0.0.1", "--port", str(port)]
        return self._start([*command, "project.asgi:application"], **environment)

    def stop(self):
        for process in self._processes:
            if process.poll() is None:
                process.signal(signal.SIGCONT)
                process.signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(20)
            except TimeoutExpired:
                process.kill()

    def tell(self):
        """Print the last words of each process; pytest shows them when a test fails."""
        for process in self._processes:
            print(f"--- {process.pid}, exit code {process.poll()}:\n{process.output[-2000:]}")

    # --- rows ---------------------------------------------------------------------------------

    def webhooks(self, count, sink: Sink, *, first=0, cap=10, timeout=10.0):
        """Ids of new webhooks, called at /0, /1 … of the sink (from `first` on)."""
        code = MAKE_WEBHOOKS.format(
            count=count, url=sink.url("/"), first=first, cap=cap, timeout=timeout
        )
        return self.site.shell(code)

    def deliver(self, webhook_ids, count=1):
        """`count` deliveries for each, numbered from 0, in one transaction."""
        code = (
            "from webhooks_app import actions; from webhooks_app.models import Webhook;"
            f"hooks = Webhook.objects.in_bulk({list(webhook_ids)!r}).values();"
            f"actions.deliver_many([(hook, {{'n': n}}) for n in range({count}) for hook in hooks])"
        )
        self.site.shell(code)

    def connect(self):
        if self.postgres:
            import psycopg

            return psycopg.connect(self.url, autocommit=True)
        import sqlite3

        return sqlite3.connect(self.url.removeprefix("sqlite:///"), timeout=20)

    def rows(self, sql):
        with closing(self.connect()) as connection:
            return connection.execute(sql).fetchall()

    def value(self, sql):
        return self.rows(sql)[0][0]

    def change(self, sql):
        with closing(self.connect()) as connection:
            connection.execute(sql)
            connection.commit()

    def pending(self):
        return self.value("SELECT count(*) FROM webhooks_app_delivery WHERE state = 'pending'")

    def pending_ids(self):
        rows = self.rows("SELECT id FROM webhooks_app_delivery WHERE state = 'pending'")
        return {ident for (ident,) in rows}

    def drained(self, seconds=PATIENCE):
        return until(lambda: not self.pending(), "nothing pending", seconds)

    def recorded_twice(self):
        """Deliveries that were answered with 200 and written down, and sent again all the same."""
        return self.value(
            "SELECT count(*) FROM (SELECT delivery_id FROM webhooks_app_attempt WHERE status = 200 "
            "GROUP BY delivery_id HAVING count(*) > 1) AS twice"
        )

    def shares(self):
        """PostgreSQL: how many slots each worker owns, the fewest first."""
        return [
            row[0]
            for row in self.rows(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted "
                "AND classid = 'webhooks_app_delivery'::regclass AND database = "
                "(SELECT oid FROM pg_database WHERE datname = current_database()) "
                "GROUP BY pid ORDER BY 1"
            )
        ]


def sends(worker, sink, since=0.0):
    """Whether it has called since that moment."""
    lines = set(sink.lines_of(worker.pid))
    return any(call.line in lines for call in sink.calls[-1000:] if call.began > since)


def acknowledged(producer):
    """End the load; the ids of all deliveries that were stored."""
    producer.stop()
    assert producer.poll() == 0, producer.output[-2000:]
    return stored_by(producer)


def stored_by(producer):
    """The ids of all that it has stored until now."""
    return set(re.findall(r"^([0-9a-f]{24})(?: late)?$", producer.output, re.MULTILINE))


def late_of(producer):
    """The ids of those of them that may have become visible too late for their place."""
    return set(re.findall(r"^([0-9a-f]{24}) late$", producer.output, re.MULTILINE))


def report(name, **figures):
    """Keep the figures of a whole proof: a line of JSON in the file PROOFS names."""
    if file := os.environ.get("PROOFS"):
        with Path(file).open("a") as lines:
            lines.write(json.dumps({"proof": name} | figures) + "\n")
    print(name, figures)
