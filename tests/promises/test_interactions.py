"""Calls that somebody waits for, many at once, through a real web server."""

import asyncio
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.ports import free_port
from tests.promises.crew import report
from tests.promises.sink import Sink
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.slow

RECEIVER_TAKES = 2.0


@pytest.mark.parametrize(
    ("callers", "slowest"), [(40, 30), pytest.param(200, 4, marks=pytest.mark.prove)]
)
def test_many_simultaneous_interactions_with_a_slow_receiver(crew, callers, slowest):
    with Sink(delay=RECEIVER_TAKES) as sink:
        [hook] = crew.webhooks(1, sink, timeout=30)
        token = crew.site.manage("webhooks", "create-token", "acme").strip()
        port = free_port()
        # A webhook may have a third of the places.
        web = crew.web(port, WEBHOOKS_CONCURRENCY="600")
        until(lambda: listens(port), "the web server")
        call = request(f"/webhooks/{hook}/interactions", token)

        sink.delay = 0.0
        asyncio.run(all_at_once(port, call, 1, crew))  # imports what is imported late
        sink.delay = RECEIVER_TAKES
        answers, times, connections = asyncio.run(all_at_once(port, call, callers, crew))

        times.sort()
        report(
            f"{callers} simultaneous interactions",
            database=crew.database,
            answered_200=answers.count(200),
            p50=round(times[len(times) // 2], 2),
            slowest=round(times[-1], 2),
            connections=connections,
        )
        assert answers == [200] * callers, web.output
        assert times[-1] < slowest
        assert connections <= 10


async def all_at_once(port, call, callers, crew):
    async def one():
        started = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(call)
        answer = await reader.read()
        writer.close()
        return int(answer.split(maxsplit=2)[1]), time.monotonic() - started

    most = 0

    async def count():
        nonlocal most
        with crew.connect() as connection:
            while crew.postgres:
                rows = connection.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                    "AND pid <> pg_backend_pid()"
                )
                most = max(most, rows.fetchone()[0])
                await asyncio.sleep(0.05)

    counting = asyncio.create_task(count())
    done = await asyncio.gather(*(one() for _ in range(callers)))
    counting.cancel()
    await asyncio.gather(counting, return_exceptions=True)
    return [status for status, _ in done], [seconds for _, seconds in done], most


def request(path, token):
    """A POST of an empty object, on a line of its own."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + b"{}"


def listens(port):
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


def test_who_waits_is_answered_by_a_web_process_that_is_told_to_end(crew):
    with Sink(delay=1.0) as sink:
        [hook] = crew.webhooks(1, sink, timeout=30)
        token = crew.site.manage("webhooks", "create-token", "acme").strip()
        port = free_port()
        web = crew.web(port)
        until(lambda: listens(port), "the web server")
        ask = partial(answered, port, request(f"/webhooks/{hook}/interactions", token))
        with ThreadPoolExecutor(3) as people:
            answers = [people.submit(ask) for _ in range(3)]
            until(lambda: len(sink.calls) == 3, "calls of the receiver")
            web.stop()
            assert [answer.result()[:12] for answer in answers] == [b"HTTP/1.1 200"] * 3
        assert web.poll() == 0, web.output
        assert not listens(port)


def answered(port, asked):
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as line:
        line.sendall(asked)
        return line.makefile("rb").read()
