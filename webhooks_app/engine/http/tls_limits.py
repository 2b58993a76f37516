"""How much a receiver may send beside its answer: certificates in the handshake, and what TLS says
to itself later. The event loop works through that before anybody sees a byte of an answer."""

import ssl
from typing import Any

from ...rules import server_hello
from ...rules.failures import ENDLESS, FINITE_FIELD, TOO_LONG
from ...rules.server_hello import ServerHello

HANDSHAKE_LIMIT = 128 * 1024  # bytes of one; of its certificates OpenSSL takes 100 KiB
OWN_HANDSHAKE_LIMIT = 16 * 1024  # the same by authorities of a webhook's own
UNREAD_LIMIT = 32 * 1024  # bytes that bring nothing of an answer, a record in parts too
WORTH = 2  # of them each byte of an answer makes up for
PIECE = 16 * 1024  # bytes that OpenSSL is given at once


class BoundedTls(ssl.SSLObject):
    """One whose keys are soon made, whose handshake has an end, and what comes behind it unseen.

    The receiver of a webhook with authorities of its own may have made them, and under them a
    hundred certificates, each of which takes milliseconds to verify; a chain that the public
    authorities do not know is not verified at all. Behind the handshake come tickets for the next
    session, new keys, wishes for another handshake: a few from whoever means well, else without
    end. A MiB of tickets takes half a second, and none of them is an answer that could be too long.
    """

    _incoming: ssl.MemoryBIO  # where the event loop puts what came
    _given: ssl.MemoryBIO  # what OpenSSL has of it
    _handshake_left: int
    _hello: ServerHello
    _unread = 0

    def bound(self, incoming: ssl.MemoryBIO, given: ssl.MemoryBIO, handshake: int) -> None:
        self._incoming, self._given, self._handshake_left = incoming, given, handshake
        self._hello = ServerHello()

    def do_handshake(self) -> None:
        while True:
            came = self._incoming.read(PIECE)
            self._handshake_left -= len(came)
            if self._handshake_left < 0:
                raise _error(TOO_LONG)
            self._given.write(self._judged(came))
            try:
                return super().do_handshake()
            except ssl.SSLWantReadError:
                if not self._incoming.pending:
                    raise

    def _judged(self, came: bytes) -> bytes:
        try:
            return self._hello.pass_on(came)
        except server_hello.Refused:
            raise _error(FINITE_FIELD) from None
        except server_hello.Endless:
            raise _error(TOO_LONG) from None

    def read(self, *arguments: Any) -> Any:
        if not self._given.pending:
            self._give()
        while True:
            there = self._given.pending
            try:
                found = super().read(*arguments)
            except ssl.SSLWantReadError:
                self._count(there - self._given.pending)
                if not self._incoming.pending:
                    raise
                self._give()
                continue
            size = found if isinstance(found, int) else len(found)
            self._count(there - self._given.pending - WORTH * size)
            return found

    def pending(self) -> int:
        """An event loop reads on as long as there is something here or where it puts what came."""
        return super().pending() + self._given.pending

    def _give(self) -> None:
        self._given.write(self._incoming.read(PIECE))

    def _count(self, size: int) -> None:
        self._unread = max(0, self._unread + size)
        if self._unread > UNREAD_LIMIT:
            raise _error(ENDLESS)


class BoundedContext(ssl.SSLContext):
    """Made as its base is, of a protocol."""

    sslobject_class = BoundedTls
    handshake_limit = HANDSHAKE_LIMIT

    def wrap_bio(self, incoming: ssl.MemoryBIO, *args: Any, **kwargs: Any) -> BoundedTls:
        given = ssl.MemoryBIO()
        made = super().wrap_bio(given, *args, **kwargs)
        assert isinstance(made, BoundedTls)
        made.bound(incoming, given, self.handshake_limit)
        return made


def _error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(ssl.SSL_ERROR_SSL, "the receiver sends too much beside its answer")
    error.reason = reason
    return error
