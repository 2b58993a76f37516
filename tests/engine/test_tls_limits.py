"""What a receiver sends in TLS beside its answer, seen by the loop alone that works through it."""

import os

import pytest

from tests.certificates import authority_pem
from tests.engine.exchanges import failed, request
from tests.receivers import Answer, Raw, Receiver
from webhooks_app.engine.http.tls import Tls

pytestmark = pytest.mark.once

LATE = 5.0  # seconds
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("authorities", ["public ones", "its own"])
def test_tickets_without_end_end_the_call(run, loopback, authorities):
    with Receiver(tls="tickets") as receiver:
        wanted = request(receiver.url)
        if authorities == "its own":
            wanted.tls = Tls.of("", authority_pem())
        outcome = run(lambda sender: sender.send(wanted, timeout=LATE))
    assert failed(outcome) == "bad_http: messages of TLS without end in place of an answer"
    assert not outcome.our_fault


def test_an_answer_in_very_many_small_records_is_one(post):
    chunks = [b"4\r\n1234\r\n"] * 2000
    with Receiver(Raw(HEAD, *chunks, b"0\r\n\r\n"), tls="good") as receiver:
        outcome = post(receiver.url)
    assert (outcome.failure, len(outcome.body)) == (None, 8_000)


def test_the_largest_answer_comes_whole(post):
    body = os.urandom(100 * 1024)
    answer = Answer(body=body, headers=(("Content-Type", "application/octet-stream"),))
    with Receiver(answer, tls="good") as receiver:
        outcome = post(receiver.url)
    assert (outcome.failure, outcome.body) == (None, body)


def test_many_calls_on_one_connection_are_answered(run, loopback):
    async def scenario(sender):
        for _ in range(50):
            sent = await sender.send(request(receiver.url), timeout=LATE)
            assert (sent.failure, sent.status) == (None, 200)

    with Receiver({"a": 1}, tls="good") as receiver:
        run(scenario)
    assert receiver.connections == 1
