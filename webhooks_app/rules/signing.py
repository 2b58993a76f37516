"""Signatures of calls, for whoever sends and whoever receives: HMAC-SHA256 over id, time and body.

Source: the Standard Webhooks specification. A call carries `webhook-id`, `webhook-timestamp`
(seconds) and `webhook-signature`: one `v1,<base64>` for each secret that holds, a space between.
What is signed is `id.timestamp.body`, the body byte for byte.
"""

import base64
import binascii
import hashlib
import hmac
import math
import re
import secrets
from collections.abc import Collection, Iterable

VERSION = "v1"  # of the algorithm, as it stands before each signature
SECRET_PREFIX = "whsec_"  # noqa: S105  (what a secret begins with)
KEY_BYTES = (24, 64)  # the least and the most of a key
TOLERANCE = 300  # seconds by which the clocks of sender and receiver may differ
SIGNATURES_READ = 32  # of one header
NAMES = ("id", "timestamp", "signature")  # of the headers, after their prefix
PREFIX = "webhook-"
_START = f"{VERSION},".encode()

_SECRET_LIMIT = len(SECRET_PREFIX) + 4 * -(-KEY_BYTES[1] // 3)
_HEADER_LIMIT = 64 * SIGNATURES_READ
_ID = re.compile(r"[!-\-/-~]{1,256}\Z")  # visible ASCII; a dot would end it in what is signed
_TIMESTAMP = re.compile(r"[0-9]{1,12}\Z")

# The inner and the outer hash of an HMAC, and until when it signs (seconds since the epoch).
Signer = tuple["hashlib._Hash", "hashlib._Hash", float]
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


class Refused(Exception):
    """A call whose signature does not hold. The text says why, for the log of its receiver."""


def new_secret() -> str:
    """A secret of 32 random bytes."""
    return secret_of(secrets.token_bytes(32))


def secret_of(key: bytes) -> str:
    """A key as people copy it: `whsec_` and base64 with its padding."""
    return SECRET_PREFIX + base64.b64encode(key).decode("ascii")


def key_of(secret: object) -> bytes:
    """The key behind a secret; prefix and padding may be missing, as other libraries allow.

    Raises ValueError with a sentence that does not repeat the secret.
    """
    if not isinstance(secret, str):
        raise ValueError("The secret must be text.")
    if len(secret) <= _SECRET_LIMIT:
        text = secret.removeprefix(SECRET_PREFIX).rstrip("=")
        try:
            key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if KEY_BYTES[0] <= len(key) <= KEY_BYTES[1]:
            return key
    raise ValueError(
        "The secret must be {} and the base64 of {} to {} bytes.".format(SECRET_PREFIX, *KEY_BYTES)
    )


def signer(key: bytes, until: float = math.inf) -> Signer:
    """What makes signatures with a key, of calls before `until`: an HMAC (RFC 2104) with both its
    hashes begun, once, which is most of the work."""
    block = key.ljust(KEY_BYTES[1], b"\0")  # SHA-256 works in blocks of 64 bytes
    return hashlib.sha256(block.translate(_INNER)), hashlib.sha256(block.translate(_OUTER)), until


def signature(signers: Iterable[Signer], ident: bytes, timestamp: int, body: bytes) -> bytes:
    """The value of `webhook-signature`: one for each signer whose time is not over, in order."""
    signed = b"%b.%d.%b" % (ident, timestamp, body)
    made = []
    for begun_inner, begun_outer, until in signers:  # of every call: no function of ours is called
        if timestamp < until:
            inner, outer = begun_inner.copy(), begun_outer.copy()
            inner.update(signed)
            outer.update(inner.digest())
            made.append(_START + binascii.b2a_base64(outer.digest(), newline=False))
    return b" ".join(made)


def check(
    keys: Collection[bytes],
    *,
    ident: str,
    timestamp: str,
    signatures: str,
    body: bytes,
    now: float,
    tolerance: float = TOLERANCE,
) -> int:
    """The time of a call, in seconds, whose headers these are. Raises Refused.

    Signatures of other versions are passed over; any other that one of the keys made will do.
    """
    if not (ident and timestamp and signatures):
        raise Refused("webhook-id, webhook-timestamp or webhook-signature is not there")
    if not _ID.match(ident) or not _TIMESTAMP.match(timestamp):
        raise Refused("webhook-id or webhook-timestamp has no form that is known")
    if len(signatures) > _HEADER_LIMIT:
        raise Refused("webhook-signature is too long")
    apart = int(timestamp) - now
    if abs(apart) > tolerance:
        late = "ahead of" if apart > 0 else "behind"
        raise Refused(f"webhook-timestamp is {abs(apart):.0f} s {late} the clock of this server")
    parts = signatures.encode("utf-8", "replace").split(b" ")[:SIGNATURES_READ]
    given = [part for part in parts if part.startswith(_START)]
    if not given:
        raise Refused(f"webhook-signature holds no signature of version {VERSION}")
    made = signature(map(signer, keys), ident.encode("ascii"), int(timestamp), body)
    expected = made.split(b" ")
    # All are compared, so that the time it takes tells nothing.
    if not sum(hmac.compare_digest(one, other) for one in given for other in expected):
        raise Refused("no signature matches: another secret, or the body was changed on the way")
    return int(timestamp)
