"""The site as it is served: granian, ASGI, real sockets, chunked bodies."""

import contextlib
import http.client
import json
import os
import socket
import sys
import time
from pathlib import Path

import pytest

from project.server import GRANIAN
from tests import databases, processes
from tests.ports import free_port
from tests.processes import MANAGE
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.once, pytest.mark.slow]

LIMIT = 1024 * 1024
WEBHOOK = {"name": "n", "url": "https://receiver.example.com/hook"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A running site with its own database; (port, secret of a token)."""
    folder = tmp_path_factory.mktemp("site")
    environment = os.environ | {
        "DATABASE_URL": databases.new(folder / "db.sqlite3"),
        "PYTHONUNBUFFERED": "1",
    }
    token = [*MANAGE, "webhooks", "create-token", "acme", "--create"]
    made = processes.run(token, env=environment, capture_output=True, text=True, timeout=300)
    secret = made.stdout.strip()
    port = free_port()
    with open(folder / "log", "wb") as log:
        server = processes.start(
            [
                *(sys.executable, "-m", "granian", *GRANIAN),
                *("--port", str(port), "--workers", "1", "project.asgi:application"),
            ],
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 60
        while not answers(port):
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield port, secret
    finally:
        server.terminate()
        server.wait(PATIENCE)
    said = (folder / "log").read_text()
    assert "Traceback" not in said
    assert "ERROR" not in said


def answers(port):
    try:
        return call(port, "GET", "/healthz")[0] == 200
    except OSError:
        return False


def call(port, method, path, body=None, secret="", chunked=False):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {secret}"}
    try:
        # An answer that came before all of the body was sent counts, as it does for curl.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, path, body, headers, encode_chunked=chunked)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_a_chunked_body_is_read_whole(site):
    port, secret = site
    text = json.dumps(WEBHOOK).encode()
    chunks = iter([text[:10], text[10:]])
    status, body = call(port, "POST", "/webhooks", chunks, secret, chunked=True)
    assert status == 200, body
    webhook = call(port, "GET", f"/webhooks/{body['id']}", secret=secret)[1]
    assert webhook["url"] == WEBHOOK["url"]


@pytest.mark.parametrize("chunked", [False, True])
def test_1_mib_passes_and_more_is_413_in_the_envelope(site, chunked):
    port, secret = site
    ident = call(port, "POST", "/webhooks", json.dumps(WEBHOOK).encode(), secret)[1]["id"]
    for size, expected in ((LIMIT, 202), (LIMIT + 1, 413)):
        body = b'"' + b"x" * (size - 2) + b'"'
        sent = iter([body[: LIMIT // 2], body[LIMIT // 2 :]]) if chunked else body
        path = f"/webhooks/{ident}/deliveries"
        status, answer = call(port, "POST", path, sent, secret, chunked)
        assert status == expected, answer
        if expected == 413:
            assert answer["status"]["code"] == 413


def test_an_endless_chunked_body_is_cut_off(site):
    port, secret = site
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as line:
        line.sendall(
            b"POST /webhooks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer " + secret.encode() + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        sent = 0
        try:
            while sent < 64 * LIMIT:
                line.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                sent += 0x10000
                line.setblocking(False)
                try:
                    if line.recv(12, socket.MSG_PEEK):
                        break
                except BlockingIOError:
                    pass
                finally:
                    line.settimeout(20)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert sent < 64 * LIMIT
        assert b" 413 " in line.recv(4096)


@pytest.mark.parametrize("chunk", [b"zz\r\n\r\n", b"-1\r\n\r\n", b"f" * 18 + b"\r\nx\r\n0\r\n\r\n"])
def test_a_body_whose_chunks_are_none_is_400_in_the_envelope(site, chunk):
    port, secret = site
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as line:
        line.sendall(
            b"POST /webhooks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer " + secret.encode() + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        line.sendall(chunk)
        head, _, body = line.makefile("rb").read().partition(b"\r\n\r\n")
    assert b" 400 " in head.split(b"\r\n")[0]
    assert json.loads(body)["status"]["code"] == 400


def answer_to(port, request):
    """The status, head and body of the answer to these bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as line:
        line.sendall(request)
        head, _, body = line.makefile("rb").read().partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), head.lower(), body


CLOSE = b"Connection: close\r\n\r\n"


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize(
    "head", [b"/healthz HTTP/1.0\r\n", b"/healthz HTTP/1.1\r\nHost: 10.1.2.3:8000\r\n"]
)
def test_a_load_balancer_is_answered(site, method, head):
    status, _, body = answer_to(site[0], method + b" " + head + CLOSE)
    assert status == 200
    assert body == (b'{"status": "ok"}' if method == b"GET" else b"")


def test_a_websocket_is_no_error_of_ours(site):
    upgrade = (
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade, close\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert answer_to(site[0], upgrade)[0] == 200  # and no traceback, see the fixture


@pytest.mark.parametrize("name", [b"Content-Type", b"Cookie", b"Authorization", b"X-Any"])
def test_a_head_that_is_too_large_is_431_in_the_envelope_and_costs_nobody_anything(site, name):
    value = b"Bearer x" + b" " * 20_000 + b"y" if name == b"Authorization" else b";" * 60_000
    request = b"GET /webhooks HTTP/1.1\r\nHost: localhost\r\n" + name + b": " + value + b"\r\n"
    status, head, body = answer_to(site[0], request + CLOSE)
    assert status == json.loads(body)["status"]["code"] == 431
    assert b"connection: close" in head


def test_the_documented_command_is_the_one_that_is_tried():
    for page in ("webhooks-web@.service", "Containerfile"):
        said = Path("docs/deploy", page).read_text().replace("\\\n", " ")
        said = " ".join(said.replace('", "', " ").split())
        assert f"{' '.join(GRANIAN)} project.asgi:application" in said
