"""TLS contexts: one for all, and those of webhooks with a certificate or authorities of their own.

The private key of a client certificate is read by OpenSSL from a file; that file is memory, has no
name, is emptied and closed as soon as it was read, and no program that is started inherits it.
"""

import asyncio
import os
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256

from .tls_limits import OWN_HANDSHAKE_LIMIT, BoundedContext

KEPT_MOST = 64  # contexts, of which each takes 0.8 MiB


@dataclass(frozen=True, slots=True)
class Tls:
    """What connections of a webhook have of their own. `key` tells two of them apart."""

    key: str
    identity: str = field(repr=False)  # PEM of the certificate that we show, with its key
    authorities: str = field(repr=False)  # PEM of those trusted in place of the public ones

    @classmethod
    def of(cls, identity: str, authorities: str) -> "Tls | None":
        """None for a webhook that has neither."""
        if not identity and not authorities:
            return None
        digest = sha256(f"{len(identity)} {identity}{authorities}".encode())
        return cls(digest.hexdigest(), identity, authorities)


@cache
def tls_context(*, check_hostname: bool = True) -> ssl.SSLContext:
    """One for all: reading the authorities costs more than a whole exchange.

    The verdict on a certificate is that of curl, browsers, Go and Node on every version of Python,
    whose own defaults differ: an authority that is trusted ends the chain wherever it stands, and
    no stricter reading of RFC 5280 is asked for (3.13 does). Without `check_hostname` the caller
    must look at the names.
    """
    return _lenient(_public(), check_hostname)


def _public() -> BoundedContext:
    """What `ssl.create_default_context` makes."""
    context = BoundedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    return context


def _lenient(
    context: ssl.SSLContext, check_hostname: bool, *, identified: bool = False
) -> ssl.SSLContext:
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["http/1.1"])
    context.check_hostname = check_hostname
    if not identified:  # some servers ask for a certificate in a second handshake, for that alone
        context.options |= ssl.OP_NO_RENEGOTIATION
    # The other side chooses the group of a finite-field Diffie-Hellman, and one of 10,000 bits took
    # a second of the event loop. Browsers and Go have given it up, too; that on curves is left.
    ciphers = [one["name"] for one in context.get_ciphers() if one["kea"] != "kx-dhe"]
    context.set_ciphers(":".join(ciphers))
    return context


def own_context(tls: Tls, check_hostname: bool = True) -> ssl.SSLContext:
    """The context of one webhook; takes some 20 ms. Raises ssl.SSLError, OSError or ValueError for
    what OpenSSL does not take."""
    if tls.authorities:
        context = BoundedContext(ssl.PROTOCOL_TLS_CLIENT)
        context.handshake_limit = OWN_HANDSHAKE_LIMIT
        context.load_verify_locations(cadata=tls.authorities)
    else:
        context = _public()
    if tls.identity:
        load_identity(context, tls.identity.encode())
    return _lenient(context, check_hostname, identified=bool(tls.identity))


def load_identity(context: ssl.SSLContext, pem: bytes) -> None:
    """Have `context` show the certificate of a PEM and sign with its key. Raises ssl.SSLError."""
    file = os.memfd_create("identity", os.MFD_CLOEXEC)
    try:
        os.write(file, pem)
        # A password, or OpenSSL would ask the terminal for that of an encrypted key.
        context.load_cert_chain(f"/proc/self/fd/{file}", password="")
    finally:
        os.ftruncate(file, 0)  # a child that was forked meanwhile has it, too
        os.close(file)


def problem(tls: Tls) -> str:
    """Why OpenSSL does not take this certificate and key, `""` when it does."""
    try:
        own_context(tls)
    except (ssl.SSLError, OSError, ValueError) as error:
        return reason_of(error)
    return ""


def reason_of(error: Exception) -> str:
    """OpenSSL's own word for an error, where it has one."""
    return getattr(error, "reason", None) or type(error).__name__


class Contexts:
    """The TLS contexts of webhooks that have one of their own, for one event loop. They are made in
    a thread, because that takes longer than many exchanges; the one that was used least recently
    goes."""

    def __init__(self, most: int = KEPT_MOST) -> None:
        self._most = most
        self._kept: dict[tuple[str, bool], asyncio.Future[ssl.SSLContext]] = {}
        self._thread: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        return len(self._kept)

    async def get(self, tls: Tls, *, check_hostname: bool) -> ssl.SSLContext:
        """Raises as `own_context`."""
        key = (tls.key, check_hostname)
        made = self._kept.pop(key, None)
        if made is None or (made.done() and (made.cancelled() or made.exception() is not None)):
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="webhooks-tls")
            loop = asyncio.get_running_loop()
            made = loop.run_in_executor(self._thread, own_context, tls, check_hostname)
        self._kept[key] = made
        if len(self._kept) > self._most:
            del self._kept[next(iter(self._kept))]
        # Others may wait for the same one: whoever gives up does not take it from them.
        return await asyncio.shield(made)

    def close(self) -> None:
        self._kept.clear()
        if self._thread is not None:
            self._thread.shutdown(wait=False)
