"""What a TLS server says first: whose groups are refused, and that nothing else is kept back."""

import ssl
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.certificates import hello_retry, server_context
from webhooks_app.rules.server_hello import LIMIT, Endless, Refused, ServerHello, chosen_group

X25519, FFDHE_2048, FFDHE_8192 = 0x001D, 0x0100, 0x0104


def said(version):
    """What a real server says first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = version
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(back, there)
    server = server_context("good").wrap_bio(there, back, server_side=True)
    for side in (client, server):
        with pytest.raises(ssl.SSLWantReadError):
            side.do_handshake()
    return back.read()


REAL = [said(ssl.TLSVersion.TLSv1_3), said(ssl.TLSVersion.TLSv1_2)]
ALERT, CCS = b"\x15\x03\x03\x00\x02\x01\x70", b"\x14\x03\x03\x00\x01\x01"


def in_parts(data, cuts):
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(places)]


def test_a_real_one_names_its_group():
    assert chosen_group(REAL[0][5:]) not in (None, *range(0x0100, 0x0200))
    assert chosen_group(REAL[1][5:]) is None


@given(st.sampled_from(REAL), st.sampled_from([b"", CCS, ALERT + CCS]), st.lists(st.integers(0)))
def test_all_of_it_is_passed_on_however_it_is_cut(data, before, cuts):
    hello, data = ServerHello(), before + data + b"\x17and more"
    assert b"".join(hello.pass_on(part) for part in in_parts(data, cuts)) == data


@given(
    st.integers(FFDHE_2048, FFDHE_8192),
    st.sampled_from([b"", CCS, ALERT + CCS]),
    st.integers(1, 200),
    st.lists(st.integers(0)),
)
def test_finite_fields_are_refused_before_any_of_it_is_passed_on(group, before, record, cuts):
    hello, passed = ServerHello(), []

    def pass_all_on():
        for part in in_parts(before + hello_retry(group, record), cuts):
            passed.append(hello.pass_on(part))

    with pytest.raises(Refused):
        pass_all_on()
    assert before.startswith(b"".join(passed))


@given(st.binary(max_size=300))
def test_whatever_else_is_said_is_passed_on_or_waited_for(data):
    hello = ServerHello()
    with suppress(Refused, Endless):
        assert data.startswith(hello.pass_on(data))
    if data[:1] not in (b"\x14", b"\x15", b"\x16", b""):
        assert ServerHello().pass_on(data) == data


def test_one_without_end_ends():
    hello, begun = ServerHello(), b"\x16\x03\x03\x00\x04\x02\x00\xff\xff"
    assert hello.pass_on(begun) == b""
    with pytest.raises(Endless):
        [hello.pass_on(b"\x16\x03\x03\x00\x01\x02") for _ in range(LIMIT)]


def test_an_alert_alone_is_not_kept_back():
    assert ServerHello().pass_on(ALERT) == ALERT
