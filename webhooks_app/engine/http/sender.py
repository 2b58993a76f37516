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
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from time import perf_counter
from typing import Any, Protocol

from ... import conf
from ...rules import failures
from ...rules.failures import Failure
from ...rules.guard import is_public
from ...rules.safe_text import shown
from .connection import ANSWER_LIMIT, Answer, Connection, open_socket
from .exchange import Outcome, Request
from .oauth import Tokens
from .pool import Pool
from .proxy import ProxyFailure, open_tunnel
from .resolver import NameFailure, Resolver
from .tls import Contexts, reason_of, tls_context

__all__ = ["ANSWER_LIMIT", "Names", "Outcome", "Request", "Sender"]

RETRY_AFTER_LIMIT = 86_400.0  # seconds
ADDRESSES_LIMIT = 8  # of one name that are tried; all are judged
ADDRESSES_MOST = 256  # of one name: to judge a thousand takes 10 ms of the loop

logger = logging.getLogger(__name__)


class Names(Protocol):
    """What the sender needs of a resolver; the seam for tests."""

    async def resolve(self, host: str) -> list[str]: ...


class Failed(Exception):
    """Ends an exchange before there is an answer; never leaves the sender."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass(slots=True)
class _Deadline:
    """The end of an exchange, and how many seconds it was given."""

    at: float
    timeout: float

    @property
    def ms(self) -> int:
        """How the timeout is told."""
        return _ms(self.timeout)

    @property
    def seconds(self) -> float:
        return self.at - perf_counter()


class Sender:
    """Sends for one event loop; keeps connections open between exchanges. Tests give a
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
        self._contexts = Contexts()
        self._tokens = Tokens(lambda request, seconds: self.send(request, timeout=seconds))
        self._policy: tuple[tuple[conf.Network, ...], conf.Proxy | None] = ((), None)
        self._closed = False

    async def send(self, request: Request, *, timeout: float) -> Outcome:
        """Send `request`; `timeout` seconds cover everything, but for the call for an access token
        before it, which has as many. Raises nothing but CancelledError and MemoryError."""
        if request.access is not None:
            return await self._tokens.send(request, request.access, timeout)
        start = perf_counter()
        outcome = Outcome(datetime.now(UTC), secrets=request.secrets, rotated=request.rotated)
        until = start + timeout
        connection: Connection | None = None
        try:
            self._obey_settings(request)
            answer: Answer | None = None
            connection = self._pool.take(request.origin)
            if connection is not None:
                answer = await connection.exchange(
                    request.head, request.body, until=until, timeout=timeout
                )
            if answer is None or _closed_meanwhile(answer):
                connection = await self._open(request, outcome, _Deadline(until, timeout))
                answer = await connection.exchange(
                    request.head, request.body, until=until, timeout=timeout
                )
            assert connection is not None
            self._conclude(connection, answer, outcome)
        except (Failed, NameFailure, ProxyFailure) as error:
            outcome.failure = error.failure
            if outcome.our_fault:
                logger.error("an exchange failed on our side: %s", shown(error.failure.message))
        except MemoryError:
            if connection is not None:
                connection.drop()
            raise
        except Exception:
            logger.exception("an exchange failed inside the sender")
            outcome.failure = failures.internal()
        except BaseException:
            if connection is not None:
                connection.drop()
            raise
        outcome.duration_ms = _ms(perf_counter() - start)
        return outcome

    async def close(self) -> None:
        """Close the kept connections and the resolver of our own. Exchanges under way go on."""
        self._closed = True
        self._pool.clear()
        self._contexts.close()
        if self._own_resolver is not None:
            await self._own_resolver.close()

    def _obey_settings(self, request: Request) -> None:
        ports = conf.settings.allowed_ports
        if ports and request.port not in ports:
            raise Failed(failures.port_refused(request.port))
        policy = (conf.settings.allowed_networks, conf.settings.proxy)
        if policy != self._policy:
            self._pool.clear()  # what it let through may not be reached any more
            self._policy = policy

    def _conclude(self, connection: Connection, answer: Answer, outcome: Outcome) -> None:
        if connection.reusable:
            if self._closed or connection.policy != self._policy:
                connection.drop()
            else:
                self._pool.put(connection)
        outcome.address = connection.address
        outcome.tls_version = connection.tls_version
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

    # A new connection: resolve → guard → connect → TLS

    async def _open(self, request: Request, outcome: Outcome, deadline: _Deadline) -> Connection:
        policy = allowed, proxy = self._policy
        try:
            async with asyncio.timeout(deadline.seconds):
                addresses = await self._resolve(request.host, outcome)
                if not all(is_public(address, allowed) for address in addresses):
                    raise Failed(failures.blocked(request.host))
                context = await self._context(request) if request.scheme == "https" else None
                sock = await self._connect(addresses, request.port, proxy, outcome, deadline)
                return await self._secure(sock, context, request, outcome, policy)
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
        if len(addresses) > ADDRESSES_MOST:
            raise Failed(failures.too_many_addresses(host, ADDRESSES_MOST))
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
        await asyncio.sleep(0.01)  # what is dropped closes in the next turns of the loop
        return await open_socket(ip, port)

    async def _tunnel(self, proxy: conf.Proxy, address: str, seconds: float) -> socket.socket:
        literal = _literal(proxy.host)
        try:
            known = [literal] if literal else await self._resolver.resolve(proxy.host)
        except NameFailure as error:
            raise ProxyFailure(failures.proxy_fault(error.failure.message)) from None
        return await open_tunnel(proxy, known, address, seconds=seconds)

    async def _context(self, request: Request) -> ssl.SSLContext:
        check_hostname = not _is_odd(request.host)
        if request.tls is None:
            return self._ssl_context(check_hostname=check_hostname)
        try:
            return await self._contexts.get(request.tls, check_hostname=check_hostname)
        except (ssl.SSLError, ValueError) as error:
            raise Failed(failures.unusable_certificate(reason_of(error))) from None

    async def _secure(
        self,
        sock: socket.socket,
        context: ssl.SSLContext | None,
        request: Request,
        outcome: Outcome,
        policy: object,
    ) -> Connection:
        """The connection on a socket, after the TLS handshake where the scheme wants one."""
        loop = asyncio.get_running_loop()
        identified = request.tls is not None and bool(request.tls.identity)
        forget = self._pool.forget
        connection = Connection(
            loop, request.origin, outcome.address, policy, forget, identified=identified
        )
        secure = context is not None
        start = perf_counter()
        try:
            transport, _ = await loop.create_connection(
                lambda: connection,
                sock=sock,
                ssl=context,
                server_hostname=request.host if secure else None,
            )
        except ssl.SSLCertVerificationError as error:
            raise Failed(failures.of_certificate(error.verify_code, error.verify_message)) from None
        except ssl.SSLError as error:
            raise Failed(failures.of_tls(error.reason or "", identified=identified)) from None
        except OSError:
            raise Failed(failures.of_tls("") if secure else failures.hang_up()) from None
        finally:
            if secure:
                outcome.tls_ms = _ms(perf_counter() - start)
        if secure:
            connection.tls_version = transport.get_extra_info("ssl_object").version()
            certificate = transport.get_extra_info("peercert")
            if _is_odd(request.host) and not _is_for(certificate, request.host):
                connection.drop()
                raise Failed(failures.of_certificate(failures.WRONG_HOST, ""))
            outcome.certificate_ends_at = _ends(certificate)
        return connection


def _closed_meanwhile(answer: Answer) -> bool:
    """The receiver closed a kept connection just as we wrote: that was no answer to us."""
    return answer.failure is not None and not answer.first_at and answer.failure.kind != "timeout"


def _is_odd(host: str) -> bool:
    """OpenSSL lets no wildcard stand for a name with an underscore; all others do."""
    return "_" in host


def _literal(host: str) -> str:
    """The address that `host` is, in one spelling; `""` for a name."""
    try:
        return str(ip_address(host))
    except ValueError:
        return ""


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
