"""Names to addresses: asynchronous, cancellable, one seam for tests."""

from collections.abc import Sequence

import aiodns
import pycares

from ..rules.failures import Failure

_NO_SUCH_NAME = frozenset(
    {
        pycares.errno.ARES_ENOTFOUND,
        pycares.errno.ARES_ENODATA,
        pycares.errno.ARES_ENONAME,
        pycares.errno.ARES_EBADNAME,
    }
)


class NameFailure(Exception):
    """A name could not be turned into an address; `failure` says how."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Resolver:
    """Asks the name servers of the machine, or `nameservers` ("ip" or "ip:port").

    Names are absolute: a search domain of resolv.conf never turns `redis.prod` into a name of an
    internal network. What /etc/hosts says is answered too; the sender judges every address.
    One of these belongs to one event loop, the one of its first look-up.
    """

    def __init__(self, nameservers: Sequence[str] | None = None) -> None:
        self._nameservers = nameservers
        self._dns: aiodns.DNSResolver | None = None

    async def resolve(self, host: str) -> list[str]:
        """The addresses of `host`, in the order to try them. Raises NameFailure."""
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError
