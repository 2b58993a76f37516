"""What a TLS server says first, read before anybody computes anything of it: which group it has
chosen for the keys (RFC 8446, sections 4.1.3 and 4.2.8). Pure.

Of a finite field a key takes up to a seventh of a second to agree on. We offer such groups because
Python cannot leave them out; browsers do not, so hardly anybody chooses one.
"""

CCS, ALERT, HANDSHAKE = 20, 21, 22  # kinds of records
SERVER_HELLO = 2
KEY_SHARE = 51
FINITE_FIELDS = range(0x0100, 0x0200)
LIMIT = 4096  # bytes of a ServerHello; a hundred are usual, and 1,200 with a key against quanta


class Refused(Exception):
    """The server has chosen a finite field."""


class Endless(Exception):
    """What should be a ServerHello does not end."""


class ServerHello:
    """Lets through what a server sends, but for its ServerHello: that is kept until it is whole and
    was judged. What is no TLS is left to whoever reads it."""

    def __init__(self) -> None:
        self._kept = b""  # not let through
        self._at = 0  # the record in it that is read next
        self._message = b""
        self._is_over = False

    def pass_on(self, data: bytes) -> bytes:
        """What may be read now. Raises Refused, Endless."""
        if self._is_over:
            return data
        self._kept += data
        free = self._read()
        passed, self._kept, self._at = self._kept[:free], self._kept[free:], self._at - free
        return passed

    def _read(self) -> int:
        """How many bytes of what is kept need be kept no more."""
        free = 0
        while self._at < len(self._kept):
            kind = self._kept[self._at]
            body = self._at + 5
            length = int.from_bytes(self._kept[body - 2 : body], "big")
            if kind not in (CCS, ALERT, HANDSHAKE):
                return self._end()
            if body > len(self._kept):
                break
            end = body + length
            if kind == HANDSHAKE and self._judge(self._message + self._kept[body:end]):
                return self._end()
            if end > len(self._kept):
                break
            if kind == HANDSHAKE:
                self._message += self._kept[body:end]
            self._at = end
            if not self._message:
                free = end
        if len(self._kept) - free > 2 * LIMIT:  # of which records without anything are the most
            raise Endless
        return free

    def _judge(self, message: bytes) -> bool:
        """Whether it is a whole message, or none that matters."""
        if message[:1] not in (b"", bytes([SERVER_HELLO])):
            return True
        if len(message) < 4 or len(message) < 4 + int.from_bytes(message[1:4], "big"):
            if len(message) > LIMIT:
                raise Endless
            return False
        if chosen_group(message) in FINITE_FIELDS:
            raise Refused
        return True

    def _end(self) -> int:
        self._is_over = True
        self._message = b""
        return len(self._kept)


def chosen_group(message: bytes) -> int | None:
    """The group that a whole ServerHello or HelloRetryRequest names; None where it names none."""
    at = 4 + 2 + 32  # its header, the version, the random part
    at += 1 + int.from_bytes(message[at : at + 1], "big") + 2 + 1  # session, cipher, compression
    end = min(len(message), at + 2 + int.from_bytes(message[at : at + 2], "big"))
    at += 2
    while at + 4 <= end:
        kind, length = (int.from_bytes(message[n : n + 2], "big") for n in (at, at + 2))
        if kind == KEY_SHARE and length >= 2:
            return int.from_bytes(message[at + 4 : at + 6], "big")
        at += 4 + length
    return None
