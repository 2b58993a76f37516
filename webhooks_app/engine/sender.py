"""One exchange under one deadline: resolve → guard → connect → send → read → an Outcome.

The only door out. We resolve, judge every address and open the socket to the very address that
was judged, so that nothing can change in between; no redirect or second name look-up, no proxy but
the operator's own, and that one is told the judged address.
"""

import asyncio
import email.utils
import errno
import logging
import re
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from ipaddress import ip_address
from time import perf_counter
from typing import Any, Protocol

from .. import conf
from ..rules import failures
from ..rules.failures import Failure
from ..rules.guard import is_public
from ..rules.unseen import shown
from .connection import ANSWER_LIMIT, Answer, Line, Origin, open_socket
from .pool import Pool
from .proxy import ProxyFailure, open_tunnel
from .resolver import NameFailure, Resolver

__all__ = ["ANSWER_LIMIT", "Names", "Outcome", "Request", "Sender"]

RETRY_AFTER_LIMIT = 86_400.0  # seconds
ADDRESSES_LIMIT = 8  # of one name that are tried; all are judged

logger = logging.getLogger(__name__)


class Names(Protocol):
    """What the sender needs of a resolver; the seam for tests."""

    async def resolve(self, host: str) -> list[str]: ...


@dataclass(slots=True)
class Request:
    """What is sent, and where. `head` runs from the request line to the empty line."""

    method: str
    scheme: str
    host: str
    port: int
    account: int  # whose call it is: lines are kept for each by itself
    head: bytes
    body: bytes = b""
    # For the Outcome alone:
    secrets: tuple[str, ...] = field(default=(), repr=False)
    rotated: bool = False

    @property
    def origin(self) -> Origin:
        return (self.account, self.scheme, self.host, self.port)


@dataclass(slots=True)
class Outcome:
    """How an exchange went. `failure` is None for a complete 2xx answer alone.

    Phases are milliseconds, None when they did not happen: on a kept line there is no dns, connect
    or tls; for an address there is no dns. A phase that failed shows how long it took to.
    """

    started_at: datetime
    duration_ms: int = 0
    dns_ms: int | None = None
    connect_ms: int | None = None
    tls_ms: int | None = None
    wait_ms: int | None = None  # from the request to the first byte of the answer
    read_ms: int | None = None  # from there to its end
    address: str = ""  # "ip:port" that was called; "" when none was
    status: int | None = None
    raw_headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""  # at most ANSWER_LIMIT, as it came
    failure: Failure | None = None
    retry_after: float | None = None  # seconds, 0 to RETRY_AFTER_LIMIT
    certificate_ends_at: datetime | None = None  # the receiver's, when there was a TLS handshake
    secrets: tuple[str, ...] = field(default=(), repr=False)  # masked in what is kept of it
    rotated: bool = False  # the signing secret is new: that may be why the receiver refuses

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Of the answer; names in lower case, latin-1."""
        return [(n.decode("latin-1").lower(), v.decode("latin-1")) for n, v in self.raw_headers]

    @property
    def our_fault(self) -> bool:
        """A fault of this process, no word about the receiver: never recorded as a failure."""
        return self.failure is not None and self.failure.kind == "internal"


class Failed(Exception):
    """Ends an exchange before there is an answer; never leaves the sender."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass(slots=True)
class _Deadline:
    """The end of an exchange; `ms` is how its timeout is told."""

    at: float
    ms: int

    @property
    def seconds(self) -> float:
        return self.at - perf_counter()


class Sender:
    """Sends for one event loop; keeps lines open between exchanges. Tests give a
    resolver, or a pool that keeps less."""

    def __init__(
        self,
        resolver: Names | None = None,
        *,
        ssl_context: Callable[..., ssl.SSLContext] | None = None,
        pool: Pool | None = None,
    ) -> None:
        self._own_resolver = Resolver() if resolver is None else None
        self._resolver: Names = resolver or self._own_resolver  # type: ignore[assignment]
        self._ssl_context = ssl_context or tls_context
        self._pool = Pool() if pool is None else pool
        self._policy: tuple[tuple[conf.Network, ...], conf.Proxy | None] = ((), None)
        self._closed = False

    async def send(self, request: Request, *, timeout: float) -> Outcome:
        """Send `request`; `timeout` seconds cover everything. Raises nothing but CancelledError and
        MemoryError."""
        start = perf_counter()
        outcome = Outcome(datetime.now(UTC), secrets=request.secrets, rotated=request.rotated)
        deadline = _Deadline(start + timeout, round(timeout * 1000))
        line: Line | None = None
        try:
            self._obey_settings(request)
            answer: Answer | None = None
            line = self._pool.take(request.origin)
            if line is not None:
                answer = await line.exchange(
                    request.head, request.body, until=deadline.at, timeout_ms=deadline.ms
                )
            if answer is None or _closed_meanwhile(answer):
                line = await self._open(request, outcome, deadline)
                answer = await line.exchange(
                    request.head, request.body, until=deadline.at, timeout_ms=deadline.ms
                )
            assert line is not None
            self._conclude(line, answer, outcome)
        except (Failed, NameFailure, ProxyFailure) as error:
            outcome.failure = error.failure
            if outcome.our_fault:
                logger.error("an exchange failed on our side: %s", shown(error.failure.message))
        except MemoryError:
            if line is not None:
                line.drop()
            raise
        except Exception:
            logger.exception("an exchange failed inside the sender")
            outcome.failure = failures.internal()
        except BaseException:
            if line is not None:
                line.drop()
            raise
        outcome.duration_ms = _ms(perf_counter() - start)
        return outcome

    async def close(self) -> None:
        """Close the kept lines and the resolver of our own. Exchanges under way go on."""
        self._closed = True
        self._pool.clear()
        if self._own_resolver is not None:
            await self._own_resolver.close()

    def _obey_settings(self, request: Request) -> None:
        ports = conf.allowed_ports()
        if ports and request.port not in ports:
            raise Failed(failures.port_refused(request.port))
        policy = (conf.allowed_networks(), conf.proxy())
        if policy != self._policy:
            self._pool.clear()  # what it let through may not be reached any more
            self._policy = policy

    def _conclude(self, line: Line, answer: Answer, outcome: Outcome) -> None:
        if line.reusable:
            if self._closed or line.policy != self._policy:
                line.drop()
            else:
                self._pool.put(line)
        outcome.address = line.address
        outcome.status = answer.status
        outcome.raw_headers = answer.headers
        outcome.body = bytes(answer.body)
        outcome.wait_ms = _ms((answer.first_at or answer.ended_at) - answer.sent_at)
        if answer.first_at:
            outcome.read_ms = _ms(answer.ended_at - answer.first_at)
        outcome.failure = answer.failure
        if answer.failure is None and answer.status is not None:
            outcome.failure = failures.of_status(answer.status, rotated=outcome.rotated)
        if outcome.failure is not None:
            for name, value in outcome.headers:
                if name == "retry-after":
                    outcome.retry_after = retry_after(value, outcome.started_at)
                    break

    # A new line: resolve → guard → connect → TLS

    async def _open(self, request: Request, outcome: Outcome, deadline: _Deadline) -> Line:
        policy = allowed, proxy = self._policy
        try:
            async with asyncio.timeout(deadline.seconds):
                addresses = await self._resolve(request.host, outcome)
                if not all(is_public(address, allowed) for address in addresses):
                    raise Failed(failures.blocked(request.host))
                sock = await self._connect(addresses, request.port, proxy, outcome, deadline)
                return await self._secure(sock, request, outcome, policy)
        except TimeoutError:
            failure = failures.timeout(
                deadline.ms,
                connecting=True,
                securing=outcome.tls_ms is not None,
                resolving=not outcome.address and outcome.dns_ms is not None,
            )
            raise Failed(failure) from None

    async def _resolve(self, host: str, outcome: Outcome) -> Sequence[str]:
        if literal := _literal(host):
            return [literal]
        start = perf_counter()
        try:
            addresses = await self._resolver.resolve(host)
        finally:
            outcome.dns_ms = _ms(perf_counter() - start)
        if not addresses:
            raise Failed(failures.no_such_name(host))
        return addresses

    async def _connect(
        self,
        addresses: Sequence[str],
        port: int,
        proxy: conf.Proxy | None,
        outcome: Outcome,
        deadline: _Deadline,
    ) -> socket.socket:
        """A socket connected to the first address that accepts.

        One that drops packets gets its share of the time that is left, not all of it.
        """
        start = perf_counter()
        failure = failures.internal()
        addresses = addresses[:ADDRESSES_LIMIT]
        try:
            for number, ip in enumerate(addresses):
                outcome.address = f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
                try:
                    seconds = deadline.seconds / (len(addresses) - number)
                    async with asyncio.timeout(seconds):
                        if proxy is None:
                            return await self._open_socket(ip, port)
                        return await self._tunnel(proxy, outcome.address, seconds)
                except ProxyFailure as error:
                    failure = error.failure
                except OSError as error:
                    if error.errno is None:  # our own timeout, not the system's
                        failure = failures.timeout(deadline.ms, connecting=True)
                    else:
                        failure = failures.of_connect(error.errno, outcome.address)
            raise Failed(failure)
        finally:
            outcome.connect_ms = _ms(perf_counter() - start)

    async def _open_socket(self, ip: str, port: int) -> socket.socket:
        try:
            return await open_socket(ip, port)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE) or not self._pool.shed():
                raise
        await asyncio.sleep(0.01)  # a line that is dropped closes in the next turns of the loop
        return await open_socket(ip, port)

    async def _tunnel(self, proxy: conf.Proxy, address: str, seconds: float) -> socket.socket:
        literal = _literal(proxy.host)
        try:
            known = [literal] if literal else await self._resolver.resolve(proxy.host)
        except NameFailure as error:
            raise ProxyFailure(failures.proxy_fault(error.failure.message)) from None
        return await open_tunnel(proxy, known, address, seconds=seconds)

    async def _secure(
        self, sock: socket.socket, request: Request, outcome: Outcome, policy: object
    ) -> Line:
        """The connected socket as a line, after the TLS handshake where the scheme wants one."""
        loop = asyncio.get_running_loop()
        line = Line(loop, request.origin, outcome.address, policy, self._pool.forget)
        secure = request.scheme == "https"
        # OpenSSL lets no wildcard stand for a name with an underscore; all others do.
        odd = secure and "_" in request.host
        start = perf_counter()
        try:
            transport, _ = await loop.create_connection(
                lambda: line,
                sock=sock,
                ssl=self._ssl_context(check_hostname=not odd) if secure else None,
                server_hostname=request.host if secure else None,
            )
        except ssl.SSLCertVerificationError as error:
            raise Failed(failures.of_certificate(error.verify_code, error.verify_message)) from None
        except ssl.SSLError as error:
            raise Failed(failures.of_tls(error.reason or "")) from None
        except OSError:
            raise Failed(failures.of_tls("") if secure else failures.hang_up()) from None
        finally:
            if secure:
                outcome.tls_ms = _ms(perf_counter() - start)
        if secure:
            certificate = transport.get_extra_info("peercert")
            if odd and not _is_for(certificate, request.host):
                line.drop()
                raise Failed(failures.of_certificate(failures.WRONG_HOST, ""))
            outcome.certificate_ends_at = _ends(certificate)
        return line


def _closed_meanwhile(answer: Answer) -> bool:
    """The receiver closed a kept line just as we wrote: that was no answer to us."""
    return answer.failure is not None and not answer.first_at and answer.failure.kind != "timeout"


def _literal(host: str) -> str:
    """The address that `host` is, in one spelling; `""` for a name."""
    try:
        return str(ip_address(host))
    except ValueError:
        return ""


@cache
def tls_context(*, check_hostname: bool = True) -> ssl.SSLContext:
    """One for all: reading the authorities costs more than a whole exchange.

    The verdict on a certificate is that of curl, browsers, Go and Node on every version of Python,
    whose own defaults differ: an authority that is trusted ends the chain wherever it stands, and
    no stricter reading of RFC 5280 is asked for (3.13 does). Without `check_hostname` the caller
    must look at the names.
    """
    context = ssl.create_default_context()
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["http/1.1"])
    context.check_hostname = check_hostname
    return context


def _is_for(certificate: Mapping[str, Any], host: str) -> bool:
    """Whether a verified certificate holds the name (RFC 6125): itself, or a wildcard in place of
    its first label."""
    wildcard = f"*.{host.partition('.')[2]}"
    names = [name.lower() for kind, name in certificate.get("subjectAltName", ()) if kind == "DNS"]
    return host in names or wildcard in names


def _ends(certificate: Mapping[str, Any] | None) -> datetime | None:
    """When a verified certificate ends, as ssl reads it."""
    text = certificate.get("notAfter") if certificate else None
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC) if text else None


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def retry_after(value: str, now: datetime) -> float | None:
    """Seconds to wait by a Retry-After of any shape, 0 to a day; None when it says nothing."""
    value = value[:100].strip()  # a date has some thirty, and so many digits are past any clamp
    if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]*)?", value):
        return min(max(float(value), 0.0), RETRY_AFTER_LIMIT)
    try:
        moment = email.utils.parsedate_to_datetime(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return min(max((moment - now).total_seconds(), 0.0), RETRY_AFTER_LIMIT)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
