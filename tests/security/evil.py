"""Receivers that mean harm, each by one trick; all of them run for real.

    with playing(EVIL) as urls:
        ...  # urls["slow_head"] is where the trick of that name is played

A trick is a function of a connected socket, or a row of bytes that answer the request; `kind` is
what the exchange is recorded as ("" for a success). Whoever adds
one adds it here, and it is played against the worker, both databases, the console, the API and the
terminal. `python -m tests.security.report` measures them.
"""

import contextlib
import functools
import gzip
import os
import re
import socket
import ssl
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.certificates import authority, server_context
from tests.receivers import Listener

MARK = "<evil onload=alert(1)>"  # in no page may it stand as it is
H = b"HTTP/1.1 200 OK\r\n"
CHUNKED = H + b"Transfer-Encoding: chunked\r\n\r\n"
PAUSE = 0.2  # seconds between two drops


@dataclass(frozen=True)
class Evil:
    name: str
    why: str
    kind: str
    play: Callable[[socket.socket], Any]
    https: bool = False
    payload: bytes = b'{"order": 4711}'


EVIL: list[Evil] = []


def evil(kind: str, **more: Any) -> Callable[[Any], Any]:
    def register(play: Any) -> Any:
        EVIL.append(Evil(play.__name__, play.__doc__.strip(), kind, play, **more))
        return play

    return register


def row(name: str, kind: str, why: str, *parts: bytes | str, end: str = "close") -> None:
    """A trick that reads the request and answers these bytes. end: close, reset or hold."""

    def play(connection: socket.socket) -> None:
        asked(connection)
        for part in parts:
            connection.sendall(part.encode() if isinstance(part, str) else part)
        if end == "hold":
            connection.recv(1)
        elif end == "reset":
            reset(connection)

    EVIL.append(Evil(name, why, kind, play))


def body(
    name: str, kind: str, why: str, content: bytes | str, *headers: str, status: int = 200
) -> None:
    """A trick that is a whole answer with this content."""
    content = content.encode() if isinstance(content, str) else content
    lines = "".join(f"{line}\r\n" for line in headers)
    head = f"HTTP/1.1 {status} X\r\n{lines}Content-Length: {len(content)}\r\n\r\n"
    row(name, kind, why, head.encode() + content)


def asked(connection: socket.socket) -> bytes:
    """The whole request."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(connection)
    head, _, rest = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    while len(rest) < (int(length[1]) if length else 0):
        rest += _some(connection)
    return head + b"\r\n\r\n" + rest


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(65_536)
    if not data:
        raise ConnectionError
    return data


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def drip(connection: socket.socket, drop: bytes) -> None:
    while True:
        connection.sendall(drop)
        time.sleep(PAUSE)


def flood(connection: socket.socket, wave: bytes) -> None:
    while True:
        connection.sendall(wave)


# Slow


@evil("timeout")
def silence(connection):
    """Reads the request and says nothing."""
    asked(connection)
    connection.recv(1)


@evil("timeout")
def slow_head(connection):
    """A letter of the head at a time, for ever."""
    asked(connection)
    connection.sendall(H + b"X: ")
    drip(connection, b"y")


@evil("timeout")
def slow_header_lines(connection):
    """A short header line at a time, for ever."""
    asked(connection)
    connection.sendall(H)
    drip(connection, b"X: y\r\n")


@evil("timeout")
def slow_body(connection):
    """A letter of the body at a time."""
    asked(connection)
    connection.sendall(H + b"Content-Length: 90000\r\n\r\n")
    drip(connection, b"x")


@evil("timeout")
def slow_body_without_length(connection):
    """A letter at a time and no end announced."""
    asked(connection)
    connection.sendall(H + b"\r\n")
    drip(connection, b"x")


@evil("timeout")
def slow_chunks(connection):
    """A chunk of one byte at a time."""
    asked(connection)
    connection.sendall(CHUNKED)
    drip(connection, b"1\r\nx\r\n")


@evil("timeout")
def slow_chunk_size(connection):
    """A digit of the chunk's size at a time."""
    asked(connection)
    connection.sendall(CHUNKED)
    drip(connection, b"0")


@evil("timeout")
def slow_trailers(connection):
    """The body is there, its trailers never end."""
    asked(connection)
    connection.sendall(CHUNKED + b"2\r\nok\r\n0\r\n")
    drip(connection, b"X: y\r\n")


@evil("timeout")
def slow_informational_answers(connection):
    """100 Continue, again and again."""
    asked(connection)
    drip(connection, b"HTTP/1.1 100 Continue\r\n\r\n")


@evil("timeout")
def last_byte_withheld(connection):
    """All but the last byte, and then nothing."""
    asked(connection)
    connection.sendall(H + b"Content-Length: 3\r\n\r\nok")
    connection.recv(1)


@evil("timeout")
def head_without_its_empty_line(connection):
    """A whole head but for its end."""
    asked(connection)
    connection.sendall(H + b"Content-Length: 2\r\n")
    connection.recv(1)


@evil("timeout", payload=b'"' + b"x" * 1_000_000 + b'"')
def never_reads(connection):
    """Accepts and never reads, so that our writing stands still."""
    time.sleep(30)


@evil("timeout", payload=b'"' + b"x" * 1_000_000 + b'"')
def reads_a_byte_at_a_time(connection):
    """Reads a large body a byte at a time."""
    while connection.recv(1):
        time.sleep(PAUSE)


@evil("tls_timeout", https=True)
def tls_silence(connection):
    """Says nothing in the TLS handshake."""
    connection.recv(1)
    time.sleep(30)


@evil("tls_timeout", https=True)
def tls_drip(connection):
    """A byte of a handshake record at a time."""
    connection.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03")
    drip(connection, b"\0")


# Endless


@evil("too_big")
def endless_body(connection):
    """A body without a length that never ends."""
    asked(connection)
    connection.sendall(H + b"\r\n")
    flood(connection, b"x" * 65_536)


@evil("too_big")
def endless_chunks(connection):
    """Tiny chunks without end."""
    asked(connection)
    connection.sendall(CHUNKED)
    flood(connection, b"1\r\nx\r\n" * 10_000)


@evil("too_big")
def endless_chunk_extensions(connection):
    """A byte of body in every 64 kB of extensions."""
    asked(connection)
    connection.sendall(CHUNKED)
    flood(connection, b"1;" + b"e" * 65_536 + b"\r\nx\r\n")


@evil("too_big")
def one_endless_chunk_extension(connection):
    """An extension that never ends."""
    asked(connection)
    connection.sendall(CHUNKED + b"1;")
    flood(connection, b"e" * 65_536)


@evil("bad_http")
def endless_header_line(connection):
    """A header value that never ends."""
    asked(connection)
    connection.sendall(H + b"X: ")
    flood(connection, b"y" * 65_536)


@evil("bad_http")
def endless_headers(connection):
    """Header lines without end."""
    asked(connection)
    connection.sendall(H)
    flood(connection, b"X: y\r\n" * 10_000)


@evil("bad_http")
def endless_trailers(connection):
    """Trailers without end."""
    asked(connection)
    connection.sendall(CHUNKED + b"2\r\nok\r\n0\r\n")
    flood(connection, b"X: y\r\n" * 10_000)


@evil("bad_http")
def endless_reason(connection):
    """A reason phrase without end."""
    asked(connection)
    connection.sendall(b"HTTP/1.1 200 ")
    flood(connection, b"y" * 65_536)


@evil("bad_http")
def endless_informational_answers(connection):
    """1xx without end."""
    asked(connection)
    flood(connection, b"HTTP/1.1 103 Early Hints\r\nLink: </evil>\r\n\r\n" * 1000)


@evil("not_http")
def endless_empty_lines(connection):
    """Empty lines before the answer, without end."""
    asked(connection)
    flood(connection, b"\r\n" * 10_000)


@evil("too_big")
def a_terabyte(connection):
    """A huge length, and bytes to go with it."""
    asked(connection)
    connection.sendall(H + b"Content-Length: 1099511627776\r\n\r\n")
    flood(connection, b"x" * 65_536)


# Lengths and chunks that lie

L = "Content-Length: "
T = "Transfer-Encoding: "
row("negative_length", "bad_http", "A length below zero.", H, f"{L}-1\r\n\r\nok")
row("huge_length", "bad_http", "A length past 64 bits.", H, f"{L}{'9' * 40}\r\n\r\nok")
row("hex_length", "bad_http", "A length in hex.", H, f"{L}0x2\r\n\r\nok")
row("signed_length", "bad_http", "A length with a sign.", H, f"{L}+2\r\n\r\nok")
row("list_of_lengths", "bad_http", "Two lengths in one line.", H, f"{L}2, 2\r\n\r\nok")
row("two_lengths", "bad_http", "Two lengths that differ.", H, f"{L}2\r\n{L}40\r\n\r\nok")
row("same_length_twice", "bad_http", "The same length twice.", H, f"{L}2\r\n{L}2\r\n\r\nok")
row("empty_length", "bad_http", "A length that is empty.", H, f"{L}\r\n\r\nok")
row(
    "length_and_chunks", "bad_http", "A length and chunks: which?", H, f"{L}9\r\n{T}chunked\r\n\r\n"
)
row("length_too_long", "reset", "Hangs up before the length is there.", H, f"{L}90\r\n\r\nok")
row("length_too_short", "", "More body than its length.", H, f"{L}2\r\n\r\nok and more")
row(
    "chunk_of_garbage",
    "bad_http",
    "A chunk size that is no number.",
    CHUNKED,
    "zz\r\nok\r\n0\r\n\r\n",
)
row("chunk_negative", "bad_http", "A chunk size below zero.", CHUNKED, "-2\r\nok\r\n0\r\n\r\n")
row("chunk_huge", "bad_http", "A chunk size past 64 bits.", CHUNKED, "f" * 40 + "\r\nok\r\n")
row("chunk_too_long", "reset", "Hangs up inside a chunk.", CHUNKED, "ff\r\nok")
row("chunk_too_short", "bad_http", "A chunk longer than its size.", CHUNKED, "1\r\nok\r\n0\r\n\r\n")
row("chunks_without_end", "reset", "Hangs up before the last chunk.", CHUNKED, "2\r\nok\r\n")
row(
    "chunked_twice",
    "",
    "Chunked and chunked again.",
    H,
    f"{T}chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
)
row(
    "chunked_disguised",
    "bad_http",
    "Chunked behind a control character.",
    H,
    f"{T}\x0bchunked\r\n\r\nok",
)
row("chunk_line_feeds", "bad_http", "Chunks with bare line feeds.", CHUNKED, "2\nok\n0\n\n")
row("many_lengths", "bad_http", "A hundred lengths.", H, f"{L}2\r\n" * 100, "\r\nok")

# The line breaks

row("closed_at_once", "reset", "Hangs up without a word.")
row("reset_at_once", "reset", "Resets without a word.", end="reset")
row("reset_in_head", "reset", "Resets inside the head.", H, "X: y", end="reset")
row("reset_in_body", "reset", "Resets inside the body.", H, f"{L}90\r\n\r\nok", end="reset")
row("closed_in_head", "reset", "Hangs up inside the head.", H, "X: y")
row("closed_after_100", "reset", "Goes on, and hangs up.", "HTTP/1.1 100 Continue\r\n\r\n")


@evil("http_400", payload=b'"' + b"x" * 1_000_000 + b'"')
def answers_before_the_body(connection):
    """Answers after the head and hangs up without reading the body."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.recv(100)
    connection.sendall(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")


@evil("http_502")
def answers_before_it_is_asked(connection):
    """Answers at once, as a server that is full does."""
    connection.sendall(b"HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n")
    asked(connection)


row(
    "two_answers",
    "",
    "A second answer right behind the first.",
    (H + b"Content-Length: 2\r\n\r\nok") * 2,
)


@evil("")
def a_second_answer_later(connection):
    """A second answer on the kept line, a moment later: whose is it?"""
    asked(connection)
    connection.sendall(H + b"Content-Length: 2\r\n\r\nok")
    time.sleep(PAUSE)
    connection.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")


# Other protocols


def banner(name: str, text: bytes, *, first: bool = True, kind: str = "not_http") -> None:
    def play(connection: socket.socket) -> None:
        if first:
            connection.sendall(text)
        asked(connection)
        if not first:
            connection.sendall(text)
        connection.recv(1)

    EVIL.append(Evil(name, f"Speaks {name.upper().replace('_', ' ')}.", kind, play))


banner("ssh", b"SSH-2.0-OpenSSH_9.6\r\n")
banner("smtp", b"220 mail.example.com ESMTP\r\n")
banner("ftp", b"220 Welcome\r\n")
banner("pop3", b"+OK ready\r\n")
banner("telnet", b"\xff\xfd\x18\xff\xfd\x20")
banner("mysql", b"\x4a\0\0\0\x0a8.0.36\0\x08\0\0\0" + b"\0" * 60)
banner("redis", b"-ERR wrong number of arguments\r\n", first=False)
banner("postgresql", b"E\0\0\0\x0cFATAL\0\0", first=False)
banner("rtsp", b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", first=False)
banner("icy", b"ICY 200 OK\r\n\r\n", first=False)
banner("http_0_9", b"<html>hello</html>", first=False)
banner("http_2", b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80\0\x04\0\x01\0\0\0\x05\0\xff\xff\xff")
banner("http_9", b"HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n", first=False, kind="bad_http")
banner("tls_on_http", b"\x15\x03\x01\0\x02\x02\x46", first=False)
banner("zeros", bytes(1000), first=False)

# Status lines and heads

row("status_000", "bad_http", "A status of zero.", "HTTP/1.1 000 No\r\nContent-Length: 0\r\n\r\n")
row("status_999", "bad_http", "A status past 599.", "HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n")
row("status_long", "bad_http", "A status of forty digits.", f"HTTP/1.1 {'2' * 40} OK\r\n\r\n")
row("status_letters", "bad_http", "A status of letters.", "HTTP/1.1 2OO OK\r\n\r\n")
row("status_negative", "bad_http", "A status below zero.", "HTTP/1.1 -200 OK\r\n\r\n")
row(
    "upgrade",
    "http_other",
    "Changes the protocol.",
    "HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    end="hold",
)
row("header_without_colon", "bad_http", "A header line without a colon.", H, "evil\r\n\r\n")
row("header_with_nul", "bad_http", "A NUL in a header.", H, "X: a\0b\r\nContent-Length: 0\r\n\r\n")
row(
    "header_with_space",
    "bad_http",
    "A space in a header's name.",
    H,
    "X y : z\r\nContent-Length: 0\r\n\r\n",
)
row(
    "header_folded",
    "bad_http",
    "A header on two lines.",
    H,
    "X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
)
row(
    "header_line_feed",
    "bad_http",
    "Bare line feeds for line ends.",
    "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
)
row(
    "head_of_33_kb", "bad_http", "A head just past the limit.", H, "X: " + "y" * 33_000 + "\r\n\r\n"
)
row("head_of_201_lines", "bad_http", "One header too many.", H, "X: y\r\n" * 201 + "\r\n")
row(
    "reason_html",
    "http_500",
    "HTML in the reason phrase.",
    f"HTTP/1.1 500 {MARK}\r\nContent-Length: 0\r\n\r\n",
)
row(
    "reason_ansi",
    "http_500",
    "Terminal commands in the reason.",
    "HTTP/1.1 500 \t[2J\r\nX: \t]0;evil\r\nContent-Length: 0\r\n\r\n",
)
row(
    "headers_html",
    "http_500",
    "HTML in the headers.",
    f"HTTP/1.1 500 No\r\nContent-Type: {MARK}\r\n{MARK[1:5]}: {MARK}\r\nContent-Length: 0\r\n\r\n",
)
row(
    "headers_latin_1",
    "http_500",
    "Bytes that are no UTF-8 in the headers.",
    b"HTTP/1.1 500 N\xf6\r\nServer: \xff\xfe\x80 \xe2\x80\xae\xc2\x9b\r\nContent-Length: 0\r\n\r\n",
)
row(
    "retry_after_absurd",
    "rate",
    "A Retry-After of five thousand digits.",
    f"HTTP/1.1 429 No\r\nRetry-After: {'9' * 5000}\r\nContent-Length: 0\r\n\r\n",
)
row(
    "retry_after_date",
    "rate",
    "A Retry-After in the year 9999.",
    "HTTP/1.1 429 No\r\nRetry-After: Fri, 31 Dec 9999 23:59:59 -2359\r\nContent-Length: 0\r\n\r\n",
)

# Redirects

for name, place in {
    "redirect_to_itself": "/",
    "redirect_to_metadata": "http://169.254.169.254/latest/meta-data/",
    "redirect_to_a_file": "file:///etc/passwd",
    "redirect_to_gopher": "gopher://127.0.0.1:6379/_FLUSHALL",
    "redirect_to_script": "javascript:alert(1)",
}.items():
    body(name, "redirect", f"Redirects to {place}", "", f"Location: {place}", status=302)

# Bombs


@functools.cache
def zeros(pack: Callable[[bytes], bytes]) -> bytes:
    return pack(bytes(20_000_000))


def bomb(name: str, coding: str, packed: Callable[[], bytes]) -> None:
    def play(connection: socket.socket) -> None:
        asked(connection)
        content = packed()
        head = f"Content-Encoding: {coding}\r\nContent-Length: {len(content)}\r\n\r\n"
        connection.sendall(H + head.encode() + content)

    EVIL.append(Evil(name, f"Twenty megabytes of zeros by {coding}.", "", play))


BROTLI = bytes.fromhex(
    "cfffff7ff82700e2b14020f7fe3fff5962f04f00c46101802e490c"
)  # twenty megabytes of zeros
bomb("gzip_bomb", "gzip", lambda: zeros(gzip.compress))
bomb("deflate_bomb", "deflate", lambda: zeros(zlib.compress))
bomb("brotli_bomb", "br", lambda: BROTLI)
bomb("gzip_twice_bomb", "gzip, gzip", lambda: gzip.compress(zeros(gzip.compress)))

# TLS


def tls(
    name: str, kind: str, why: str, context: Callable[[], ssl.SSLContext], play: Any = None
) -> None:
    def wrapped(connection: socket.socket) -> None:
        with context().wrap_socket(
            connection, server_side=True, do_handshake_on_connect=False
        ) as secure:
            try:
                secure.do_handshake()
            except ssl.SSLError:
                # Closing with something unread is a reset, and that may overtake the alert.
                while socket.socket.recv(secure, 65_536):
                    pass
                return
            if play is not None:
                play(secure)
                return
            asked(secure)
            secure.sendall(H + b"Content-Length: 2\r\n\r\nok")

    EVIL.append(Evil(name, why, kind, wrapped, https=True))


@functools.cache
def demanding() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert("127.0.0.1").configure_cert(context)
    authority().configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _ended_without_goodbye(secure: ssl.SSLSocket) -> None:
    asked(secure)
    secure.sendall(H + b"Content-Length: 90\r\n\r\nok")
    reset(secure)


def _plain_inside(secure: ssl.SSLSocket) -> None:
    asked(secure)
    with socket.socket(fileno=os.dup(secure.fileno())) as bare:
        bare.sendall(H + b"Content-Length: 2\r\n\r\nok")
        time.sleep(PAUSE)


tls("tls_expired", "tls_expired", "A certificate of yesterday.", lambda: server_context("expired"))
tls("tls_future", "tls_expired", "A certificate of tomorrow.", lambda: server_context("future"))
tls(
    "tls_other_host",
    "tls_host",
    "A certificate of somebody else.",
    lambda: server_context("wrong-host"),
)
tls(
    "tls_self_signed",
    "tls_untrusted",
    "A certificate of its own.",
    lambda: server_context("self-signed"),
)
tls(
    "tls_incomplete",
    "tls_untrusted",
    "No intermediate certificate.",
    lambda: server_context("incomplete"),
)
tls("tls_demanding", "tls_client", "Demands a certificate of ours.", demanding)
tls(
    "tls_cut",
    "reset",
    "Hangs up in the body without a goodbye.",
    lambda: server_context("good"),
    _ended_without_goodbye,
)
tls(
    "tls_plain_inside",
    "tls_protocol",
    "Goes on in plain text after the handshake.",
    lambda: server_context("good"),
    _plain_inside,
)


def raw_tls(name: str, why: str, answer: bytes, kind: str = "tls_protocol") -> None:
    def play(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(answer)
        time.sleep(PAUSE)

    EVIL.append(Evil(name, why, kind, play, https=True))


raw_tls("tls_alert", "An alert for an answer.", b"\x15\x03\x03\0\x02\x02\x28", kind="tls_refused")
raw_tls(
    "tls_version_3_0",
    "A handshake of SSL 3.",
    b"\x16\x03\0\0\x2a\x02\0\0\x26\x03\0" + b"\0" * 36,
    kind="tls_old",
)
raw_tls("tls_garbage", "A record of garbage.", b"\x16\x03\x03\0\xff" + b"\xee" * 255)
raw_tls(
    "tls_huge_record", "A record longer than records are.", b"\x16\x03\x03\xff\xff" + b"\0" * 65_535
)
raw_tls("plain_on_https", "Plain HTTP where TLS was asked.", H + b"Content-Length: 2\r\n\r\nok")
raw_tls("closed_in_handshake", "Hangs up in the handshake.", b"")

# Text that is none, and text that does something

body(
    "utf_8_broken",
    "http_500",
    "Bytes that are no UTF-8.",
    b"\xff\xfe\x80\xc0\xaf\xed\xa0\x80" * 20,
    status=500,
)
body("utf_16", "http_500", "UTF-16.", "hellö".encode("utf-16"), status=500)
body("utf_32", "http_500", "UTF-32.", "hellö".encode("utf-32"), status=500)
body("nuls", "http_500", "NUL bytes.", b"a\0b" * 100, status=500)
body("every_byte", "http_500", "Every byte there is.", bytes(range(256)) * 20, status=500)
body("surrogates", "http_500", "Halves of surrogate pairs.", '"\\ud800 \\udc00"', status=500)
body("html", "http_500", "HTML.", f"<html>{MARK}</html>", "Content-Type: text/html", status=500)
body(
    "script",
    "http_500",
    "A script that closes ours.",
    f"</script></pre></textarea>--></style>{MARK}",
    status=500,
)
body("attribute", "http_500", "An attribute that closes ours.", f"\"'>{MARK}", status=500)
body(
    "template",
    "http_500",
    "A template.",
    "{{7*7}}{% include '/etc/passwd' %}${7*7}<%= 7*7 %>",
    status=500,
)
body(
    "ansi",
    "http_500",
    "Commands to a terminal.",
    "\x1b[2J\x1b]0;evil\x07\x1b]52;c;ZXZpbA==\x07\x9b31m",
    status=500,
)
body(
    "c1_controls",
    "http_500",
    "Controls of 8 bits, in UTF-8.",
    "\x80\x9b2J\x9d0;evil\x9c\x85",
    status=500,
)
body(
    "bidi",
    "http_500",
    "Text that runs backwards.",
    "\u202egnp.live\u2066\u200f\ufeff\u2028\u2029",
    status=500,
)
body("csv_formula", "http_500", "A formula.", "=cmd|' /C calc'!A0,+1,-1,@SUM(1)", status=500)
body(
    "log_forgery",
    "http_500",
    "A line of a log.",
    "x\r\n2026-01-01 INFO admin logged in\n",
    status=500,
)
body(
    "combining", "http_500", "A thousand accents on one letter.", "e" + "\u0301" * 1000, status=500
)
body(
    "long_line",
    "http_500",
    "A hundred thousand letters without a break.",
    "x" * 100_000,
    status=500,
)
body(
    "cut_in_a_letter",
    "http_500",
    "A letter across the end of what is kept.",
    "x" * 4095 + "ü",
    status=500,
)
body("just_too_large", "too_big", "One byte more than is read.", "x" * 102_401)
body("json_deep", "", "A hundred thousand brackets.", "[" * 100_000)
body(
    "json_deep_objects",
    "",
    "Ten thousand objects in each other.",
    '{"a":' * 10_000 + "1" + "}" * 10_000,
)
body(
    "json_long_number",
    "",
    "A number of five thousand digits.",
    '{"responses": [' + "9" * 5000 + "]}",
)
body("json_infinity", "", "A number past all numbers.", '{"attributes": {"n": 1e999}}')
body("json_nan", "", "What is not a number.", '{"attributes": {"n": NaN}}')
body("json_utf_16", "", "JSON in UTF-16.", '{"responses": []}'.encode("utf-16"))
body("json_surrogate", "", "Half a surrogate pair.", '{"attributes": {"x": "\\ud800"}}')
body("json_nul", "", "A NUL in a string.", '{"attributes": {"x": "\\u0000"}}')
body("json_same_key", "", "A key twice.", '{"responses": 1, "responses": []}')
body(
    "json_html",
    "",
    "HTML in a response.",
    '{"responses": [{"type": "text", "message": "' + MARK + '"}]}',
)
body(
    "json_prototype",
    "",
    "Keys that mean something elsewhere.",
    '{"attributes": {"__proto__": {"x": 1}, "__class__": 2}}',
)
body("json_many_responses", "", "A hundred responses.", '{"responses": [' + "1," * 99 + "1]}")
body("json_list", "", "A list.", "[]")
body("json_cut", "", "Half an object.", '{"responses": [')
body(
    "json_many_keys",
    "",
    "Ten thousand keys.",
    "{" + ",".join(f'"k{n}":1' for n in range(9000)) + "}",
)


@contextlib.contextmanager
def playing(tricks: list[Evil]) -> Iterator[dict[str, str]]:
    """The URL of each trick, while all of them are played."""
    zeros(gzip.compress), zeros(zlib.compress)  # takes a moment that no trick should wait for
    with contextlib.ExitStack() as stack:
        urls = {}
        for trick in tricks:
            listener = stack.enter_context(Listener(trick.play))
            urls[trick.name] = (
                listener.url.replace("http:", "https:") if trick.https else listener.url
            )
        yield urls
