"""Which addresses may be reached. Our own table, because `ipaddress.is_global` is no guard.

It is true for 224.0.0.1, 192.88.99.1, `::127.0.0.1` and `4000::1`, and patch releases of one
Python disagree about others. Sources: the IANA special-purpose address registries of IPv4 and
IPv6; from the IPv4 registry everything is refused, also what it calls globally reachable: nobody
receives webhooks on an anycast sink.
"""

from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

REFUSED_V4 = tuple(
    IPv4Network(prefix)
    for prefix in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, cloud metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
)
GLOBAL_V6 = IPv6Network("2000::/3")  # everything allocated so far; the rest is refused
REFUSED_V6 = tuple(
    IPv6Network(prefix)
    for prefix in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
NAT64 = IPv6Network("64:ff9b::/96")


def is_public(ip: str | Address, allowed: Iterable[Network] = ()) -> bool:
    """Whether a connection to `ip` may be opened.

    `allowed` are networks that may be reached although they are not public
    (WEBHOOKS_ALLOWED_NETWORKS). IPv4-mapped and NAT64 addresses are judged, here too, as the IPv4
    address they lead to. Text that is no address, and any address with a scope id, is refused.
    """
    try:
        address = ip_address(ip)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return False
        address = _carried(address) or address
    if any(address in network for network in allowed):
        return True
    if isinstance(address, IPv4Address):
        return not any(address in network for network in REFUSED_V4)
    return address in GLOBAL_V6 and not any(address in network for network in REFUSED_V6)


def _carried(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address inside an IPv4-mapped or NAT64 address."""
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped
