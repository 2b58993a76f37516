"""Which addresses may be reached: every prefix by its first and its last address."""

from ipaddress import ip_address, ip_network

import pytest

from webhooks_app.rules.guard import is_public

pytestmark = pytest.mark.once

REFUSED = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
    *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24"),
    *("192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15"),
    *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32"),
    *("::/128", "::1/128", "::/96", "64:ff9b:1::/48", "100::/64", "1000::/4", "2001::/23"),
    *("2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20", "4000::/2", "5f00::/16"),
    *("8000::/1", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
]


@pytest.mark.parametrize("prefix", REFUSED)
def test_a_special_prefix_is_refused_from_its_first_to_its_last_address(prefix):
    network = ip_network(prefix)
    assert not is_public(network[0])
    assert not is_public(network[-1])
    assert not is_public(str(network[0]))


@pytest.mark.parametrize(
    "neighbour",
    [
        *("1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0"),
        *("126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255"),
        *("172.32.0.0", "191.255.255.255", "192.0.1.0", "192.0.3.0", "192.88.98.255"),
        *("192.88.100.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0"),
        *("198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0", "223.255.255.255"),
        *("2000::", "2000:ffff::1", "2001:200::", "2001:db7:ffff::1", "2001:db9::", "2003::"),
        *("2001:ffff:ffff::1", "3ffe::1", "3fff:1000::", "3fff:ffff::1", "2606:4700::1111"),
    ],
)
def test_the_address_beside_a_special_prefix_is_public(neighbour):
    assert is_public(neighbour)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("::ffff:93.184.216.34", True),
        ("::ffff:127.0.0.1", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::5db8:d822", True),  # 93.184.216.34 on an IPv6-only network
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b:1::5db8:d822", False),
        ("::93.184.216.34", False),
        ("2002:5db8:d822::1", False),
    ],
)
def test_an_ipv4_address_inside_an_ipv6_address_is_judged_itself(address, public):
    assert is_public(address) is public


@pytest.mark.parametrize(
    "text",
    ["", "localhost", "127.1", "0177.0.0.1", "0x7f.0.0.1", "2130706433", "1.1.1.1 ", "[::1]"],
)
def test_text_that_is_no_address_is_refused(text):
    assert not is_public(text)


@pytest.mark.parametrize("address", ["fe80::1%eth0", "2606:4700::1111%eth0", "::1%lo"])
def test_a_scope_id_is_refused_even_inside_an_allowed_network(address):
    assert not is_public(address, [ip_network("::/0")])


def test_allowed_networks_are_the_only_exception():
    allowed = [ip_network("10.1.0.0/16"), ip_network("fd00::/8")]
    assert is_public("10.1.2.3", allowed)
    assert is_public("::ffff:10.1.2.3", allowed)
    assert is_public("64:ff9b::a01:203", allowed)
    assert is_public(ip_address("fd00::1"), allowed)
    assert is_public("93.184.216.34", allowed)
    assert not is_public("10.2.0.0", allowed)
    assert not is_public("fc00::1", allowed)
    assert not is_public("::ffff:127.0.0.1", [ip_network("::/0")])
