"""What is measured, one function a candidate: each runs once and tells its figures."""

import socket
import statistics
import time
from contextlib import contextmanager

from project.server import GRANIAN
from tests.ports import free_port

from . import stage

NOTHING_PENDING = """
    SELECT NOT EXISTS (SELECT 1 FROM webhooks_app_delivery WHERE state = 'pending')
"""


def yardstick(sink, count):
    return _without_database(sink, count, "-m", "tests.benchmarks.yardstick", sink.url(), count)


def alone(sink, count):
    return _without_database(sink, count, "-m", "tests.benchmarks.ours", "alone", sink.url(), count)


def _without_database(sink, count, *command):
    before = sink.count()
    process = stage.python(*command)
    result = stage.watch(sink, before, count, [process])
    assert process.wait(timeout=30) == 0
    process.stdout.close()
    return result


def durable(server, number=1):
    """The whole pipeline: rows of committed deliveries -> receipts -> outcomes committed."""

    def run(sink, count):
        with server.database() as url, server.ask(url) as ask:
            with stage.workers(number, url) as processes:
                if number > 1:
                    time.sleep(1.5)  # until each has its even share of the webhooks
                with stage.frozen(processes):
                    stored = stage.part("fill", sink.url(), count, database=url)
                    before = sink.count()
                result = stage.watch(
                    sink,
                    before,
                    count,
                    processes,
                    database=server,
                    finished=lambda: ask(NOTHING_PENDING)[0],
                )
            attempts = ask("SELECT count(*) FROM webhooks_app_attempt WHERE status = 200")[0]
            assert attempts == count, f"{attempts} attempts are recorded for {count} deliveries"
        return result | stored

    return run


def latency(server, pace, sink, seconds):
    """From commit to receipt, in milliseconds, while deliveries are stored at an even pace."""
    with server.database() as url, stage.workers(1, url):
        return produced(sink, url, sink.url("timed"), pace, seconds)


def produced(sink, database, urls, pace, seconds, *number):
    before = sink.count()
    committed = stage.part("produce", urls, pace, seconds + 1, *number, database=database)
    stage.pace(sink, before, len(committed) - 1, len(committed))
    arrivals = sink.arrivals()
    warm = min(committed.values()) + 1  # the first second is start-up
    waits = [(arrivals[key] - at) * 1000 for key, at in committed.items() if at > warm]
    percentiles = statistics.quantiles(waits, n=100)
    return {"p50_ms": percentiles[49], "p99_ms": percentiles[98]}


def with_latency(server, seconds):
    """One worker, and its latency at half of the rate that it has just reached."""
    run = durable(server)

    def both(sink, count):
        result = run(sink, count)
        return result | latency(server, result["per_second"] / 2, sink, seconds)

    return both


def enqueue(server):
    """Deliveries stored a second: by `deliver`, by `deliver_many`."""

    def run(sink, count):
        count = max(100, count // 30)
        with server.database() as url:
            return stage.part("enqueue", sink.url(), count, database=url)

    return run


@contextmanager
def web(database, **environment):
    """A web process as an installation starts it, and its port."""
    port = free_port()
    granian = ("-m", "granian", *GRANIAN, "--host", "127.0.0.1", "--port", port)
    quiet = ("--log-level", "warning", "project.asgi:application")
    server = stage.python(*granian, *quiet, database=database, set_to=environment)
    try:
        _await_port(port)
        yield server, port
    finally:
        server.terminate()
        server.communicate()


def _await_port(port):
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
