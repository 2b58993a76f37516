"""Whose request it is: X-Forwarded-For is believed as far as our own proxies wrote it."""

import pytest

from webhooks_app.rules.client_address import client_address

pytestmark = pytest.mark.once

PROXY, CLIENT, FORGED = "10.0.0.1", "198.51.100.7", "203.0.113.9"


@pytest.mark.parametrize(
    ("remote", "forwarded", "proxies", "found"),
    [
        (CLIENT, "", 0, CLIENT),
        (CLIENT, FORGED, 0, CLIENT),
        (PROXY, CLIENT, 1, CLIENT),
        (PROXY, f"{FORGED}, {CLIENT}", 1, CLIENT),
        (PROXY, f"{FORGED},{FORGED},{CLIENT}", 1, CLIENT),
        (PROXY, f"{FORGED}, {CLIENT}, 10.0.0.2", 2, CLIENT),
        (PROXY, CLIENT, 2, PROXY),
        (PROXY, "", 1, PROXY),
        (PROXY, f"{FORGED}, nonsense", 1, PROXY),
        (PROXY, f"{CLIENT}:4711", 1, CLIENT),
        ("2001:db8:1:2:3:4:5:6", "", 0, "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::1", "", 0, "2001:db8:1:2::"),
        ("2001:db8:1:3::1", "", 0, "2001:db8:1:3::"),
        (PROXY, "[2001:db8::1]:443", 1, "2001:db8::"),
        ("fe80::1%eth0", "", 0, "fe80::"),
        (f"::ffff:{CLIENT}", "", 0, CLIENT),
        ("", "", 0, ""),
        ("", CLIENT, 1, CLIENT),
        ("unix:", "", 0, ""),
        (PROXY, "\x00, \udcff", 1, PROXY),
    ],
)
def test_the_client_is_found(remote, forwarded, proxies, found):
    assert client_address(remote, forwarded, proxies) == found
