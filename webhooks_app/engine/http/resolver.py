"""Names to addresses: asynchronous, cancellable, one seam for tests."""

from collections.abc import Sequence

import aiodns
import pycares

from ...rules import failures
from ...rules.failures import Failure

_NO_SUCH_NAME = frozenset(
    {
        pycares.errno.ARES_ENOTFOUND,
        pycares.errno.ARES_ENODATA,
        pycares.errno.ARES_ENONAME,
        pycares.errno.ARES_EBADNAME,
    }
)
# EDNS is what pycares sets where nothing is said. A dot at the end would make a name absolute, too,
# but none of /etc/hosts has one.
_ABSOLUTE = pycares.ARES_FLAG_NOSEARCH | pycares.ARES_FLAG_NOALIASES | pycares.ARES_FLAG_EDNS


class NameFailure(Exception):
    """A name could not be turned into an address; `failure` says how."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Resolver:
    """Asks the name servers of the machine, or `nameservers` ("ip" or "ip:port").

    Names are absolute: a search domain of resolv.conf never turns `redis.prod` into a name of an
    internal network. What /etc/hosts says is answered too, and `localhost` is always the loopback
    (RFC 6761); the sender judges every address.
    One of these belongs to one event loop, the one of its first look-up. `wait`: seconds for the
    first answer of a name server, of `tries`; the second one waits twice as long.
    """

    def __init__(
        self, nameservers: Sequence[str] | None = None, *, wait: float = 2.0, tries: int = 2
    ) -> None:
        self._wait = wait
        self._tries = tries
        self._nameservers = nameservers
        self._dns: aiodns.DNSResolver | None = None

    async def resolve(self, host: str) -> list[str]:
        """The IPv4 and IPv6 addresses of `host`, in the order to try them. Raises NameFailure."""
        if self._dns is None:
            self._dns = aiodns.DNSResolver(
                self._nameservers, timeout=self._wait, tries=self._tries, flags=_ABSOLUTE
            )
        try:
            found = await self._dns.getaddrinfo(host.removesuffix("."))
        except aiodns.error.DNSError as error:
            known = error.args and error.args[0] in _NO_SUCH_NAME
            failure = failures.no_such_name(host) if known else failures.no_name_answer(host)
            raise NameFailure(failure) from None
        return list(dict.fromkeys(node.addr[0].decode("ascii") for node in found.nodes))

    async def close(self) -> None:
        if self._dns is not None:
            await self._dns.close()
            self._dns = None
