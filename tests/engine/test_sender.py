"""The sender against real receivers on loopback; every test runs on asyncio and on uvloop."""

import asyncio
import contextlib
import errno
import socket
import ssl
import sys
import threading
import time
import warnings
from unittest.mock import Mock

import pytest

from tests.certificates import server_context
from tests.engine.exchanges import failed, request
from tests.receivers import Answer, Each, Listener, Raw, Receiver, StubResolver, closed_port
from tests.waiting import PATIENCE
from webhooks_app.engine.http import sender as senders
from webhooks_app.engine.http import tls
from webhooks_app.engine.http.connection import ANSWER_LIMIT, Connection, open_socket
from webhooks_app.engine.http.pool import Pool
from webhooks_app.engine.http.sender import Sender, retry_after
from webhooks_app.rules import failures

pytestmark = pytest.mark.once

# Milliseconds. A deadline of half a second has passed by then on any machine; what is waited for
# takes a minute, or for ever.
LATE = 30_000
# uvloop counts from the start of its round, which a busy machine makes long: its
# timers may fire that much before their time.
EARLY = 20
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


# Success


def test_a_2xx_answer_is_a_success_with_every_phase_timed(post):
    with Receiver(Answer(201, {"responses": []}, headers=(("X-Seen", "yes"),))) as receiver:
        names = StubResolver({"hook.example.com": ["127.0.0.1"]})
        outcome = post(receiver.url_for("hook.example.com"), b'{"a": 1}', resolver=names)

    assert outcome.failure is None
    assert (outcome.status, outcome.body) == (201, b'{"responses": []}')
    assert ("x-seen", "yes") in outcome.headers
    assert outcome.address == f"127.0.0.1:{receiver.port}"
    phases = (outcome.dns_ms, outcome.connect_ms, outcome.wait_ms, outcome.read_ms)
    assert all(phase is not None for phase in phases)
    assert outcome.tls_ms is None
    assert outcome.duration_ms >= sum(phases) - 3
    assert receiver.requests[0].body == b'{"a": 1}'
    assert receiver.requests[0].header("host") == f"hook.example.com:{receiver.port}"


def test_an_address_needs_no_look_up(post):
    with Receiver() as receiver:
        names = StubResolver({})
        outcome = post(receiver.url, resolver=names)
    assert (outcome.failure, outcome.dns_ms, names.asked) == (None, None, [])


def test_ipv6_is_called_like_ipv4(post):
    with Receiver(host="::1") as receiver:
        outcome = post(receiver.url)
    assert (outcome.failure, outcome.address) == (None, f"[::1]:{receiver.port}")


def test_a_large_body_arrives_whole(post):
    body = b'"' + b"x" * 1_048_574 + b'"'
    with Receiver() as receiver:
        assert post(receiver.url, body).failure is None
    assert receiver.requests[0].body == body


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
        Raw(b"HTTP/1.1 200 OK\r\n\r\nhel", 0.02, b"lo"),
        Raw(b"HTTP/1.0 200 OK\r\n\r\nhello"),
        Raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello"),
        Raw(CHUNKED + b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nTrailer: 1\r\n\r\n", end="hold"),
        Raw(*(bytes([b]) for b in CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"), end="hold"),
        Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 500 No\r\n\r\n"),
        Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\0\1junk", end="hold"),
        Raw(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n",
            0.02,
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        ),
    ],
    ids=[
        "length",
        "ends by close",
        "http 1.0",
        "unknown coding ends by close",
        "chunked",
        "byte by byte",
        "two answers",
        "junk after it",
        "after 1xx",
    ],
)
def test_every_honest_way_to_end_an_answer_is_a_success(post, answer):
    with Receiver(answer) as receiver:
        outcome = post(receiver.url, timeout=20)
    assert (failed(outcome), outcome.status, outcome.body) == ("", 200, b"hello")
    assert not [name for name, _ in outcome.headers if name in ("link", "trailer")]


def test_a_packed_answer_is_not_unpacked(post):
    packed = b"\x1f\x8b\x08 whatever"
    with Receiver(Answer(200, packed, headers=(("Content-Encoding", "gzip"),))) as receiver:
        assert post(receiver.url).body == packed


# Failures, each one readable line


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (302, "redirect: Request failed with status code 302"),
        (400, "http_400: Request failed with status code 400"),
        (401, "http_401: Request failed with status code 401"),
        (404, "http_404: Request failed with status code 404"),
        (410, "gone: Request failed with status code 410"),
        (429, "rate: Request failed with status code 429"),
        (500, "http_500: Request failed with status code 500"),
        (503, "http_502: Request failed with status code 503"),
        (Raw(), "reset: socket hang up"),
        (Raw(end="reset"), "reset: socket hang up"),
        (Raw(b"HTTP/1.1 200 OK\r\nX: y"), "reset: socket hang up"),
        (Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"), "reset: socket hang up"),
        (Raw(CHUNKED + b"5\r\nhello\r\n"), "reset: socket hang up"),
        (Raw(b"HTTP/1.1 100 Continue\r\n\r\n"), "reset: socket hang up"),
        (Raw(b"SSH-2.0-OpenSSH_9.6\r\n"), "not_http: Parse Error: Expected HTTP/"),
        (Raw(b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"), "not_http: Parse Error: "),
        (Raw(b"<html>hello</html>"), "not_http: Parse Error: Expected HTTP/"),
        (Raw(b"Hello, who is there?\r\n\r\n"), "not_http: Parse Error: Expected HTTP/"),
        (Raw(b"\x15\x03\x01\x00\x02\x02\x46"), "not_http: Parse Error: Expected HTTP/"),
        (Raw(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"), "bad_http: Parse Error: "),
        (Raw(CHUNKED + b"x\r\n"), "bad_http: Parse Error: "),
        (Raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), "bad_http: Parse Error: "),
        (Raw(b"HTTP/1.1 000 No\r\nContent-Length: 0\r\n\r\n"), "bad_http: Parse Error: Invalid st"),
        (Raw(b"HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n"), "bad_http: Parse Error: Invalid st"),
        (Raw(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 40_000), "bad_http: Parse Error: Header overflow"),
        (
            Raw(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 33_000 + b"\r\n\r\n"),
            "bad_http: Parse Error: Header overflow",
        ),
        (
            Raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 201 + b"\r\n"),
            "bad_http: Parse Error: Header overflow",
        ),
        (
            Raw(*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 1000, OK),
            "bad_http: Parse Error: Too many informational answers",
        ),
        (
            Raw(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", end="hold"),
            "http_other: Request failed with status code 101",
        ),
        (Answer(200, b"x" * 102_401), "too_big: maxContentLength size of 102400 exceeded"),
        (
            Raw(b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 4096] * 1000),
            "too_big: maxContentLength size of 102400 exceeded",
        ),
        (
            Raw(CHUNKED, *[b"1;" + b"e" * 65_000 + b"\r\nx\r\n"] * 40),
            "too_big: maxContentLength size of 102400 exceeded",
        ),
    ],
)
def test_what_a_receiver_does_wrong_has_its_line(post, answer, line):
    with Receiver(answer) as receiver:
        outcome = post(receiver.url)
    assert failed(outcome).startswith(line)
    assert outcome.duration_ms < LATE
    assert outcome.failure.title


def test_the_largest_answer_is_a_success_and_of_a_larger_one_the_start_is_kept(post):
    with Receiver(Answer(200, b"x" * ANSWER_LIMIT)) as receiver:
        assert post(receiver.url).failure is None
        receiver.answer = Answer(500, b"y" * (ANSWER_LIMIT + 1))
        outcome = post(receiver.url)
    assert (outcome.failure.kind, outcome.status) == ("too_big", 500)
    assert outcome.body == b"y" * ANSWER_LIMIT


def test_a_closed_port_refuses(post):
    with closed_port() as port:
        outcome = post(f"http://127.0.0.1:{port}/")
    assert failed(outcome) == f"refused: connect ECONNREFUSED 127.0.0.1:{port}"
    assert outcome.address == f"127.0.0.1:{port}"


def test_an_unreachable_address_is_told_apart(post, settings):
    settings.WEBHOOKS_ALLOWED_NETWORKS = ["255.255.255.255/32"]
    # The broadcast address is the one place on every machine that TCP can never reach.
    line = failed(post("http://255.255.255.255:9/"))
    assert line.split(":")[0] == "unreachable"


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EHOSTUNREACH, "unreachable"),
        (errno.ENETUNREACH, "unreachable"),
        (errno.ETIMEDOUT, "connect_timeout"),
        (errno.EMFILE, "internal"),
        (errno.EADDRNOTAVAIL, "internal"),
    ],
)
def test_an_error_of_connecting_is_named_as_the_system_names_it(number, kind):
    failure = failures.of_connect(number, "192.0.2.1:443")
    assert failure.message == f"connect {errno.errorcode[number]} 192.0.2.1:443"
    assert failure.kind == kind


def test_a_host_without_ipv6_has_no_fault_of_its_own():
    assert failures.of_connect(errno.EADDRNOTAVAIL, "[2001:db8::1]:443").kind == "unreachable"


def test_an_unknown_name_is_not_found(post):
    outcome = post("https://nobody.example.com/")
    assert failed(outcome) == "dns: getaddrinfo ENOTFOUND nobody.example.com"


def test_a_server_that_greets_before_it_is_asked_is_not_http_however_fast(run, loopback):
    async def scenario(sender):
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        return {failed(await sender.send(request(url), timeout=20)) for _ in range(50)}

    def greet():
        for _ in range(50):
            connection, _address = server.accept()
            greeted.append(connection)
            connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

    greeted = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=greet, daemon=True).start()
        assert run(scenario) == {"not_http: Parse Error: Expected HTTP/"}
    for connection in greeted:
        connection.close()


def new_line():
    return Connection(asyncio.get_running_loop(), (1, "http", "a", 80), "", (), lambda line: None)


async def kept_line():
    """A line and its transport, after an exchange."""
    transport = Mock(is_closing=lambda: False, get_write_buffer_size=lambda: 0)
    line = new_line()
    line.connection_made(transport)
    first = asked(line)
    await asyncio.sleep(0)
    line.data_received(OK)
    assert (await first).status == 200
    assert line.reusable
    return line, transport


def asked(line):
    until = time.perf_counter() + 60
    return line.exchange(b"POST / HTTP/1.1\r\n\r\n", b"", until=until, timeout=60.0)


def test_a_line_lost_before_the_request_is_a_hang_up_of_the_receiver():
    async def main():
        line = new_line()
        line.connection_lost(None)
        return await asked(line)

    assert asyncio.run(main()).failure == failures.hang_up()


def test_a_broken_resolver_is_a_fault_of_ours_and_not_an_exception(post, caplog):
    names = StubResolver({"hook.example.com": ValueError("a bug")})
    assert failed(post("http://hook.example.com/", resolver=names)) == "internal: internal error"
    assert "a bug" in caplog.text


def answering(early, tls="", **place):
    """A receiver that answers 413 and closes without reading the body (`early`: any of it)."""

    def play(connection):
        with contextlib.suppress(OSError), connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls:
                connection = server_context(tls).wrap_socket(connection, server_side=True)
            if not early:
                connection.recv(100)
            connection.sendall(b"HTTP/1.1 413 Large\r\nContent-Length: 5\r\n\r\nlarge")
            connection.close()

    return Listener(play, **place)


@pytest.mark.parametrize("tls", ["", "good"])
@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("size", [10, 200_000, 1_000_000])
def test_an_answer_that_does_not_wait_for_the_body_is_read(run, loopback, tls, early, size):
    async def scenario(sender):
        url = listener.url.replace("http", "https") if tls else listener.url
        return [await sender.send(request(url, b"x" * size), timeout=20) for _ in range(10)]

    with answering(early, tls) as listener:
        outcomes = run(scenario)
    assert {(failed(o), o.body) for o in outcomes} == {
        ("http_400: Request failed with status code 413", b"large")
    }


def test_what_comes_between_two_requests_is_never_the_answer_to_the_second():
    async def main():
        line, transport = await kept_line()
        line.data_received(OK)
        assert not line.reusable
        transport.abort.assert_called_once()

    asyncio.run(main())


# TLS


def test_tls_with_a_good_certificate_succeeds_and_is_timed(post):
    with Receiver(Answer(200, "hello"), tls="good") as receiver:
        outcome = post(receiver.url)
    assert (failed(outcome), outcome.body) == ("", b"hello")
    assert outcome.tls_ms > 0
    assert outcome.tls_version == "TLSv1.3"


@pytest.mark.parametrize(
    ("variant", "line"),
    [
        ("expired", "tls_expired: certificate has expired"),
        ("future", "tls_expired: certificate is not yet valid"),
        ("wrong-host", "tls_host: Hostname/IP does not match certificate's altnames"),
        ("self-signed", "tls_untrusted: self-signed certificate"),
        ("incomplete", "tls_untrusted: unable to verify the first certificate"),
        ("weak", "tls_weak: EE certificate key too weak"),
        ("for clients", "tls_unusable: unsuitable certificate purpose"),
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "hook.example.com"])
def test_a_bad_certificate_is_refused_before_anything_is_sent(post, variant, line, host):
    names = StubResolver({"hook.example.com": ["127.0.0.1"]})
    with Receiver(tls=variant) as receiver:
        outcome = post(receiver.url_for(host), resolver=names)
    assert failed(outcome) == line
    assert receiver.requests == []


def test_no_group_of_a_receivers_own_is_reckoned_in(post):
    with Receiver(tls="finite field") as receiver:
        outcome = post(receiver.url)
    assert failed(outcome).startswith("tls_refused: ")
    assert receiver.requests == []


def test_an_authority_nobody_knows_is_refused_by_the_senders_own_context(loopback):
    async def main(url):
        sender = Sender(StubResolver({}))
        outcome = await sender.send(request(url), timeout=20)
        await sender.close()
        return outcome

    with Receiver(tls="good") as receiver:
        assert asyncio.run(main(receiver.url)).failure.kind == "tls_untrusted"
    assert receiver.requests == []


def test_https_to_a_port_without_tls(post):
    with Receiver(Raw(b"HTTP/1.1 400 Bad\r\n\r\n")) as receiver:
        outcome = post(receiver.url.replace("http:", "https:"))
    assert outcome.failure.kind == "tls_protocol"


def test_a_port_that_hangs_up_in_the_handshake(post):
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: server.accept()[0].close(), daemon=True).start()
        outcome = post(f"https://127.0.0.1:{server.getsockname()[1]}/")
    assert failed(outcome).startswith("tls_protocol: Client network socket disconnected")


def shaking(context):
    """A receiver that shakes hands as `context` wants it, and holds the line then."""

    def play(connection):
        secure = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with secure:
            with contextlib.suppress(ssl.SSLError):
                secure.do_handshake()
                secure.recv(4096)  # in TLS 1.3 a missing certificate is found only now
            # Closed while there is something to read it would be reset, and the alert lost.
            held.wait(PATIENCE)

    held = threading.Event()
    return Listener(play), held


def server(version=None, **settings):
    context = server_context.__wrapped__("good")
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    if version is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = version
    for name, value in settings.items():
        setattr(context, name, value)
    return context


def knows_no_name(connection, name, context):
    return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME


CERT_REQUIRED, TLS = ssl.CERT_REQUIRED, ssl.TLSVersion


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (lambda: server(TLS.TLSv1_3, verify_mode=CERT_REQUIRED), "tls_client"),
        (lambda: server(TLS.TLSv1_2, verify_mode=CERT_REQUIRED), "tls_refused"),
        (lambda: server(TLS.TLSv1_1), "tls_old"),
        (lambda: server(sni_callback=knows_no_name), "tls_name"),
    ],
    ids=["client certificate", "client certificate in TLS 1.2", "TLS 1.1", "name not served"],
)
def test_a_receiver_that_speaks_tls_and_refuses_us_says_why(post, made, kind):
    listener, held = shaking(made())
    names = StubResolver({"hook.example.com": ["127.0.0.1"]})
    with listener:
        outcome = post(f"https://hook.example.com:{listener.port}/", resolver=names, timeout=8)
        held.set()
    assert outcome.failure.kind == kind, failed(outcome)


def test_a_wildcard_stands_for_a_name_with_an_underscore_as_it_does_elsewhere(post):
    hosts = ["my_hook.example.com", "a_b.c.example.com", "my_hook.example.net", "_.example.com"]
    names = StubResolver({host: ["127.0.0.1"] for host in hosts})
    with Receiver(tls="good") as receiver:
        outcomes = [post(receiver.url_for(host), resolver=names) for host in hosts]
        assert len(receiver.requests) == 2
    assert [outcome.failure and outcome.failure.kind for outcome in outcomes] == [
        *(None, "tls_host"),
        *("tls_host", None),
    ]
    assert outcomes[0].certificate_ends_at is not None


@pytest.mark.parametrize("variant", ["expired", "self-signed", "incomplete", "wrong-host"])
def test_a_name_with_an_underscore_opens_no_door_to_bad_certificates(post, variant):
    names = StubResolver({"my_hook.example.com": ["127.0.0.1"]})
    with Receiver(tls=variant) as receiver:
        outcome = post(receiver.url_for("my_hook.example.com"), resolver=names)
    assert outcome.failure.kind.startswith("tls_")
    assert receiver.requests == []


def test_a_certificate_is_judged_alike_on_every_version_of_python(post):
    """Python 3.13 is stricter by itself than curl, browsers, Go and Node are."""
    for check_hostname in (True, False):
        flags = tls.tls_context(check_hostname=check_hostname).verify_flags
        assert not flags & ssl.VERIFY_X509_STRICT
        assert flags & ssl.VERIFY_X509_PARTIAL_CHAIN
    with Receiver(tls="not strict") as receiver:
        assert failed(post(receiver.url)) == ""


# The deadline


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, "late", delay=60),
        Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 601\r\n\r\n", *[b"x", 0.1] * 600),
        Raw(*[b"HTTP/1.1 100 Go\r\n\r\n", 0.6] * 100),
        Raw(b"HTTP/1.1 200 OK\r\n\r\nnever closed", end="hold"),
    ],
    ids=["silence", "a slow drip", "1xx for ever", "no end"],
)
def test_one_deadline_covers_the_whole_answer(post, answer):
    with Receiver(answer) as receiver:
        outcome = post(receiver.url, timeout=0.6)
    assert failed(outcome) == "timeout: timeout of 600ms exceeded"
    assert 600 - EARLY <= outcome.duration_ms < LATE


def test_a_name_server_that_hangs_is_told_by_its_kind(post):
    names = StubResolver({"hook.example.com": lambda: asyncio.sleep(60)})
    outcome = post("http://hook.example.com/", timeout=0.3, resolver=names)
    assert failed(outcome) == "dns_timeout: timeout of 300ms exceeded"
    assert outcome.dns_ms >= 300 - EARLY
    assert outcome.connect_ms is None
    assert 300 - EARLY <= outcome.duration_ms < LATE


def test_dropped_packets_are_a_connection_timeout(post, full_backlog):
    outcome = post(f"http://127.0.0.1:{full_backlog}/", timeout=0.5)
    assert failed(outcome) == "connect_timeout: timeout of 500ms exceeded"
    assert 500 - EARLY <= outcome.duration_ms < LATE


def test_a_tls_handshake_that_hangs_ends_at_the_deadline(post):
    with socket.create_server(("127.0.0.1", 0)) as server:
        outcome = post(f"https://127.0.0.1:{server.getsockname()[1]}/", timeout=0.4)
    assert failed(outcome) == "tls_timeout: timeout of 400ms exceeded"
    assert 400 - EARLY <= outcome.duration_ms < LATE


def test_a_cancelled_exchange_closes_its_line_at_once(run, loopback):
    async def scenario(sender):
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            url = f"http://127.0.0.1:{server.getsockname()[1]}/"
            task = asyncio.create_task(sender.send(request(url), timeout=30))
            connection, _ = await loop.sock_accept(server)
            with connection:
                assert await loop.sock_recv(connection, 4096)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                return await asyncio.wait_for(loop.sock_recv(connection, 1), PATIENCE)

    assert run(scenario) == b""


# Several addresses


def test_the_next_address_is_tried_when_one_refuses(post):
    with Receiver() as receiver:
        names = StubResolver({"hook.example.com": ["127.0.0.2", "::1", "127.0.0.1"]})
        outcome = post(receiver.url_for("hook.example.com"), resolver=names)
    assert (failed(outcome), outcome.address) == ("", f"127.0.0.1:{receiver.port}")


def test_an_address_that_drops_packets_leaves_time_for_the_next(post, full_backlog):
    names = StubResolver({"hook.example.com": ["127.0.0.1", "127.0.0.2"]})
    with answering(early=False, at=("127.0.0.2", full_backlog)):
        outcome = post(f"http://hook.example.com:{full_backlog}/", timeout=8, resolver=names)
    assert outcome.address == f"127.0.0.2:{full_backlog}"
    assert outcome.status == 413
    assert outcome.connect_ms >= 3500


# The guard


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["93.184.216.34", "127.0.0.1"],
        ["127.0.0.1", "93.184.216.34"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["127.0.0.1%lo"],
        ["not an address"],
    ],
)
def test_one_bad_address_spoils_the_name_and_opens_no_connection(run, addresses):
    with Receiver() as canary:
        names = StubResolver({"hook.example.com": addresses})
        url = canary.url_for("hook.example.com")
        outcome = run(lambda s: s.send(request(url), timeout=20), resolver=names)
    assert failed(outcome) == (
        "blocked: blocked: hook.example.com is not a public address (WEBHOOKS_ALLOWED_NETWORKS)"
    )
    assert (canary.connections, outcome.address, outcome.connect_ms) == (0, "", None)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"])
def test_an_address_in_the_url_passes_the_same_guard(run, host):
    with Receiver() as canary:
        outcome = run(lambda s: s.send(request(canary.url_for(host)), timeout=20))
    assert outcome.failure.kind == "blocked"
    assert canary.connections == 0


def test_open_closed_and_silent_internal_ports_are_told_alike(run, full_backlog):
    with Receiver() as canary, closed_port() as closed:
        ports = (canary.port, closed, full_backlog)
        outcomes = [
            run(lambda s, p=p: s.send(request(f"http://127.0.0.1:{p}/"), timeout=20)) for p in ports
        ]
    assert len({failed(outcome) for outcome in outcomes}) == 1
    # Nothing was called, so nothing was waited for.
    assert {(outcome.address, outcome.connect_ms) for outcome in outcomes} == {("", None)}
    assert max(outcome.duration_ms for outcome in outcomes) < 10_000  # of 20 s


# Kept lines


def many(url, count):
    async def scenario(sender):
        return [await sender.send(request(url), timeout=20) for _ in range(count)]

    return scenario


def test_a_line_is_used_again(run, loopback):
    with Receiver(Answer(200, "ok")) as receiver:
        first, second, third = run(many(receiver.url, 3))
    assert receiver.connections == 1
    assert first.connect_ms is not None
    assert (second.connect_ms, third.connect_ms) == (None, None)
    assert second.address == first.address
    assert third.failure is None


def test_a_tls_line_is_used_again(run, loopback):
    with Receiver(Answer(200, "ok"), tls="good") as receiver:
        outcomes = run(many(receiver.url, 3))
    assert [failed(outcome) for outcome in outcomes] == ["", "", ""]
    assert [outcome.tls_version for outcome in outcomes] == ["TLSv1.3"] * 3
    assert receiver.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, "ok", close=True),
        Raw(OK + b"H", end="hold"),
        Raw(OK + b"junk", end="hold"),
        Raw(OK + OK, end="hold"),
        Raw(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", end="hold"),
        Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n", end="close"),
    ],
    ids=["close", "a letter more", "junk", "two answers", "http 1.0", "broken"],
)
def test_a_line_is_not_kept_after(run, loopback, answer):
    async def scenario(sender):
        await sender.send(request(receiver.url), timeout=20)
        return len(sender._pool)

    with Receiver(answer) as receiver:
        assert run(scenario) == 0


def test_who_shares_a_host_with_others_never_answers_for_them(run, loopback):
    """He keeps the line of his own call and writes on it whenever something comes."""

    async def scenario(sender):
        his, mine = listener.url + "his", listener.url + "mine"
        assert (await sender.send(request(his, account=1), timeout=20)).body == b"ok"
        return [
            (await sender.send(request(mine, account=2), timeout=20)).body,
            (await sender.send(request(his, account=1), timeout=20)).body,
        ]

    def play(connection):
        asked = connection.recv(4096)
        if b"/mine" in asked:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine")
            return
        connection.sendall(OK)
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")

    with Listener(play) as listener:
        assert run(scenario) == [b"mine", b"evil"]


def test_a_line_is_not_kept_when_the_answer_came_before_all_was_sent(run, loopback):
    async def scenario(sender):
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            url = f"http://127.0.0.1:{server.getsockname()[1]}/"
            task = asyncio.create_task(sender.send(request(url, b"x" * 20_000_000), timeout=20))
            connection, _ = await loop.sock_accept(server)
            with connection:
                assert await loop.sock_recv(connection, 1)
                await loop.sock_sendall(connection, OK)
                return await task, len(sender._pool)

    outcome, kept = run(scenario)
    assert (failed(outcome), outcome.body, kept) == ("", b"ok", 0)


def test_a_kept_line_that_broke_is_replaced_without_a_word(run, loopback):
    async def scenario(sender):
        await sender.send(request(receiver.url), timeout=20)
        return await sender.send(request(receiver.url), timeout=20)

    # The second request on the first line finds it closed before any byte of an answer.
    calls = []

    def answer(received):
        calls.append(received)
        return Raw() if len(calls) == 2 else Answer(200, "ok")

    with Receiver(answer) as receiver:
        outcome = run(scenario)
    assert (failed(outcome), receiver.connections, len(calls)) == ("", 2, 3)


def test_kept_lines_give_way_when_no_file_can_be_opened_any_more(run, loopback, monkeypatch):
    """Each name is a receiver of its own, whose line is kept."""
    names = {f"r{n}.example.com": ["127.0.0.1"] for n in range(5)}

    async def scenario(sender):
        async def few_files(ip, port):
            if len(sender._pool) >= 2:
                raise OSError(errno.EMFILE, "Too many open files")
            return await open_socket(ip, port)

        monkeypatch.setattr(senders, "open_socket", few_files)
        urls = [f"http://{name}:{receiver.port}/" for name in names]
        return [await sender.send(request(url), timeout=20) for url in urls]

    with Receiver() as receiver:
        outcomes = run(scenario, resolver=StubResolver(names))
    assert [outcome.status for outcome in outcomes] == [200] * 5
    assert receiver.connections == 5


def test_a_fresh_line_that_broke_is_not_tried_again(post):
    with Receiver(Raw()) as receiver:
        assert failed(post(receiver.url)) == "reset: socket hang up"
    assert len(receiver.requests) == 1


def test_a_kept_line_that_broke_inside_an_answer_is_not_tried_again(run, loopback):
    with Receiver(Each(Answer(200, "ok"), Raw(b"HTTP/1.1 2"))) as receiver:
        outcomes = run(many(receiver.url, 2))
    assert failed(outcomes[1]) == "reset: socket hang up"
    assert len(receiver.requests) == 2


def test_a_kept_line_that_times_out_is_not_tried_again(run, loopback):
    async def scenario(sender):
        await sender.send(request(receiver.url), timeout=20)
        return await sender.send(request(receiver.url), timeout=0.3)

    with Receiver(Each(Answer(200, "ok"), Answer(200, delay=60))) as receiver:
        assert failed(run(scenario)) == "timeout: timeout of 300ms exceeded"
        assert len(receiver.wait(2)) == 2


def test_the_timeout_of_one_exchange_is_none_of_the_next_on_the_line(run, loopback):
    async def scenario(sender):
        await sender.send(request(receiver.url), timeout=20)
        return await sender.send(request(receiver.url), timeout=20)

    with Receiver(Each(Answer(200, "ok"), Answer(200, delay=3))) as receiver:
        outcome = run(scenario)
    assert (failed(outcome), receiver.connections) == ("", 1)


def test_a_kept_line_lost_before_the_request_is_written_is_told_as_such():
    async def main():
        line, transport = await kept_line()
        second = asked(line)
        line.connection_lost(None)
        return await second, transport.write.call_count

    answer, written = asyncio.run(main())
    assert (answer.failure, answer.first_at, written) == (failures.hang_up(), 0, 1)


async def emptied(pool):
    """Once it keeps no line."""
    async with asyncio.timeout(PATIENCE):
        while len(pool):
            await asyncio.sleep(0.01)


def test_unasked_bytes_on_an_idle_line_close_it(run, loopback):
    async def scenario(sender):
        first = await sender.send(request(listener.url), timeout=20)
        assert len(sender._pool) == 1
        kept.set()
        await emptied(sender._pool)
        return first

    def play(connection):
        connection.recv(4096)
        connection.sendall(OK)
        assert kept.wait(PATIENCE)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        connection.recv(1)

    kept = threading.Event()
    with Listener(play) as listener:
        assert run(scenario).body == b"ok"


def test_a_receiver_that_closes_an_idle_line_is_noticed(run, loopback):
    async def scenario(sender):
        await sender.send(request(receiver.url), timeout=20)
        await emptied(sender._pool)

    with Receiver(Raw(OK)) as receiver:
        run(scenario)


def test_kept_lines_go_when_the_allowed_networks_change(run, settings, loopback):
    async def scenario(sender):
        await sender.send(request(receiver.url), timeout=20)
        settings.WEBHOOKS_ALLOWED_NETWORKS = []
        return await sender.send(request(receiver.url), timeout=20)

    with Receiver(Answer(200, "ok")) as receiver:
        assert run(scenario).failure.kind == "blocked"
    assert len(receiver.requests) == 1


def test_a_line_in_use_is_not_kept_when_the_allowed_networks_changed_meanwhile(
    run, settings, loopback
):
    async def scenario(sender):
        slow = asyncio.create_task(sender.send(request(receiver.url), timeout=20))
        while not receiver.requests:
            await asyncio.sleep(0.01)
        settings.WEBHOOKS_ALLOWED_NETWORKS = ["10.0.0.0/8"]
        await sender.send(request("http://127.0.0.1:9/"), timeout=20)
        changed.set()
        assert (await slow).status == 200
        return len(sender._pool)

    def answer(received):
        assert changed.wait(PATIENCE)
        return "ok"

    changed = threading.Event()
    with Receiver(answer) as receiver:
        assert run(scenario) == 0


def test_lines_idle_too_long_are_closed(run, loopback):
    async def scenario(sender):
        await sender.send(request(receiver.url), timeout=20)
        assert len(sender._pool) == 1
        await emptied(sender._pool)

    with Receiver(Answer(200, "ok")) as receiver:
        run(scenario, pool=Pool(idle=0.2))


def test_no_more_lines_are_kept_than_the_caps_say(run, loopback):
    async def scenario(sender):
        kept = []
        for receiver in (one, two):
            calls = [sender.send(request(receiver.url), timeout=20) for _ in range(6)]
            await asyncio.gather(*calls)
            kept.append(len(sender._pool))
        return kept

    slow = Answer(200, "ok", delay=0.1)
    with Receiver(slow) as one, Receiver(slow) as two:
        assert run(scenario, pool=Pool(each=3, most=4)) == [3, 4]


def test_a_line_that_is_old_is_not_kept(run, loopback):
    with Receiver(Answer(200, "ok")) as receiver:
        run(many(receiver.url, 2), pool=Pool(age=-1))
    assert receiver.connections == 2


# Retry-After


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("1.5", 1.5),
        ("-5", 0),
        ("9" * 5000, 86_400),
        ("Tue, 24 Nov 2026 00:01:00 GMT", 60),
        ("Tue, 24 Nov 2020 00:00:00 GMT", 0),
        ("Tue, 24 Nov 2099 00:00:00 GMT", 86_400),
        ("Tue, 24 Nov 2026 00:01:00 -0000", 60),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("²", None),
        ("Tue, 99 Nov 2026 99:99:99 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 86_400),
    ],
)
def test_retry_after_of_any_shape_is_seconds_up_to_a_day(value, seconds):
    from datetime import UTC, datetime

    assert retry_after(value, datetime(2026, 11, 24, tzinfo=UTC)) == seconds


def test_retry_after_is_part_of_the_outcome(post):
    with Receiver(Answer(503, headers=(("Retry-After", "30"),))) as receiver:
        assert post(receiver.url).retry_after == 30


@pytest.mark.parametrize(("number", "kind"), [(256, "blocked"), (257, "dns"), (6000, "dns")])
def test_a_name_of_very_many_addresses_is_not_judged(run, number, kind):
    found = [f"8.8.{n >> 8}.{n & 255}" for n in range(number - 1)] + ["127.0.0.1"]
    names = StubResolver({"many.example.com": found})
    wanted = request("http://many.example.com/")
    outcome = run(lambda sender: sender.send(wanted, timeout=LATE / 1000), resolver=names)
    assert outcome.failure.kind == kind


@pytest.mark.parametrize(
    "begin",
    [b"HTTP/1.1 200 OK\r\n", CHUNKED + b"0\r\n", OK + b"HTTP/1.1 200 OK\r\n"],
    ids=["head", "trailers", "junk behind an answer"],
)
def test_of_headers_without_end_no_more_is_looked_at_than_may_be(run, loopback, begin):
    looked_at = 0

    def note(frame, event, argument):
        nonlocal looked_at
        looked_at += event == "call" and frame.f_code.co_name == "on_header"

    async def scenario(sender):
        sys.setprofile(note)
        try:
            return await sender.send(request(receiver.url), timeout=LATE / 1000)
        finally:
            sys.setprofile(None)

    with Receiver(Raw(begin + b"a: b\r\n" * 100_000)) as receiver:
        run(scenario)
    assert looked_at <= 210
