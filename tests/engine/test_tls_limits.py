"""What a receiver sends in TLS beside its answer, seen by the loop alone that works through it."""

import os
import socketserver
import threading

import pytest

from tests.certificates import authority_pem, hello_retry
from tests.engine.exchanges import failed, request
from tests.receivers import Answer, Raw, Receiver
from tests.waiting import PATIENCE
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


class Retrying(socketserver.BaseRequestHandler):
    """Wants a key of the largest finite field in place of the one that came. A client that makes
    one says its hello again, with the id of the session that it said before."""

    def handle(self):
        hello = self.request.recv(65536)
        session = hello[44 : 44 + hello[43]]
        self.request.sendall(hello_retry(0x0104, session=session))
        self.server.said = self.request.recv(65536)
        self.server.done.set()


def test_no_key_of_a_finite_field_is_made_whatever_the_receiver_wants(post):
    with socketserver.TCPServer(("127.0.0.1", 0), Retrying) as server:
        server.done = threading.Event()
        threading.Thread(target=server.handle_request, daemon=True).start()
        outcome = post(f"https://127.0.0.1:{server.server_address[1]}/")
        assert server.done.wait(PATIENCE)
    assert failed(outcome) == "tls_old: finite field keys"
    assert server.said[:1] in (b"", b"\x15")  # no hello once more
