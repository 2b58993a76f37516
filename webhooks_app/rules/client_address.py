"""Whose request it is: the address that limits count by."""

import ipaddress
from functools import lru_cache

ADDRESS_LIMIT = 128  # characters; an IPv6 address with brackets, scope and port has fewer


def client_address(remote: str, forwarded: str, proxies: int) -> str:
    """The client's address; `""` when there is none (a unix socket).

    `forwarded` is X-Forwarded-For, believed as far as `proxies` of our own have written it: each
    appends whom it was called by, so the client is the last but `proxies - 1`. Whatever stands
    before was sent by the client itself. An IPv6 /64 is one address, for one customer has as many.
    """
    chain = forwarded.rsplit(",", proxies)[-proxies:] if forwarded and proxies else []
    return (_unit(chain[0].strip()) if len(chain) == proxies > 0 else "") or _unit(remote)


def _unit(text: str) -> str:
    """IPv4 as it is, IPv6 as its /64; `""` for what is no address. A port is left off."""
    return _address(text) if len(text) <= ADDRESS_LIMIT else ""


@lru_cache(maxsize=1024)  # whoever asks once asks again
def _address(text: str) -> str:
    host = text.split("%")[0]
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((int(address), 64), strict=False).network_address)
        address = address.ipv4_mapped
    return str(address)
