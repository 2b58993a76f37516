"""What is measured, one function a candidate: each runs once and tells its figures."""

import time

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
