"""The client certificate of a webhook (one PEM with its private key and its chain) and the
authorities it trusts. Sentences for people; nothing here is kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa

from .validators import MASK, text_error

PEM_LIMIT = 32 * 1024  # characters
EXPONENT_BITS = 64  # of a public key; 17 are usual
RSA_BITS = range(2048, 4096 + 1)  # with 8192 each handshake takes 40 ms of the event loop
_CHALLENGE = b"whose key is it?"

IDENTITY_MASK = "This is the mask of a secret, but none is stored; enter the PEM anew."


@dataclass(frozen=True, slots=True)
class Certificate:
    """What may be shown of one. `fingerprint` is SHA-256, as openssl prints it."""

    subject: str
    issuer: str
    ends_at: datetime
    fingerprint: str


def _blocks(pem: str) -> Iterator[tuple[str, str]]:
    """The label and the text of each block; what stands between them is a comment."""
    lines: list[str] = []
    for line in pem.splitlines():
        line = line.strip()
        if line.startswith("-----BEGIN ") and line.endswith("-----"):
            lines = [line]
        elif lines:
            lines.append(line)
            if line.startswith("-----END "):
                yield lines[0][11:-5], "\n".join([*lines, ""])
                lines = []


def _certificates(pem: str) -> str:
    return "".join(text for label, text in _blocks(pem) if label == "CERTIFICATE")


def _key(pem: str) -> str:
    return "".join(text for label, text in _blocks(pem) if label.endswith("PRIVATE KEY"))


def identity(pem: str) -> str:
    """The same without what is neither certificate nor key."""
    return _key(pem) + _certificates(pem)


authorities = _certificates  # the same without what is no certificate


def described(pem: str) -> Certificate:
    """The first certificate of a PEM. Raises ValueError."""
    first = _read(_certificates(pem))[0]
    fingerprint = first.fingerprint(hashes.SHA256()).hex(":").upper()
    subject, issuer = first.subject.rfc4514_string(), first.issuer.rfc4514_string()
    return Certificate(subject, issuer, first.not_valid_after_utc, fingerprint)


def _read(pem: str) -> list[x509.Certificate]:
    """Raises ValueError."""
    try:
        # As ssl does, which reads no other characters, not even in a comment within a block.
        found = x509.load_pem_x509_certificates(pem.encode("ascii"))
        for certificate in found:  # which is read as far as it is asked
            certificate.subject.rfc4514_string()
            certificate.issuer.rfc4514_string()
    except (x509.InvalidVersion, TypeError) as problem:  # no such version; no such kind of text
        raise ValueError(str(problem)) from None
    return found


def identity_error(pem: object, now: datetime) -> str:
    """Why a PEM cannot be the client certificate of a webhook, `""` when it can."""
    if pem == MASK:
        return IDENTITY_MASK
    if error := text_error(pem, "The PEM", 1, PEM_LIMIT):
        return error
    assert isinstance(pem, str)
    key = _key(pem)
    if key.count("-----BEGIN ") != 1:
        return "The PEM must hold exactly one private key, beside its certificate."
    if "ENCRYPTED" in key:
        return "The private key is encrypted: remove its passphrase (openssl pkey -in … -out …)."
    try:
        certificate, *_ = _read(_certificates(pem))
        if certificate.not_valid_after_utc <= now:
            return f"The certificate ended at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC."
        public = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "The PEM holds no certificate that can be read."
    try:
        # Whether the key is sound is seen when it signs; to look for that takes as long as the
        # sender of a huge one likes.
        private = serialization.load_pem_private_key(
            key.encode(), None, unsafe_skip_rsa_key_validation=True
        )
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "The private key of the PEM cannot be read."
    try:
        if _signs(private, public):
            return ""
    except (InvalidSignature, ValueError):
        pass
    except _Unusual as unusual:
        return str(unusual)
    return (
        "The private key is not that of the first certificate: the certificate of the key comes "
        "first, then the chain it rests on."
    )


class _Unusual(Exception):
    pass


_USUAL = (
    *(rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey),
    *(ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey),
)


def _signs(private: Any, public: Any) -> bool:
    """Whether what one signs is what the other verifies. Raises InvalidSignature, ValueError."""
    for key in (private, public):
        if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey) and key.key_size not in RSA_BITS:
            raise _Unusual("An RSA key must have 2048 to 4096 bits.")
    if isinstance(private, rsa.RSAPrivateKey) and not _is_of_its_size(private):
        return False
    match private, public:
        case rsa.RSAPrivateKey(), rsa.RSAPublicKey():
            scheme: tuple[Any, ...] = (padding.PKCS1v15(), hashes.SHA256())
        case ec.EllipticCurvePrivateKey(), ec.EllipticCurvePublicKey():
            scheme = (ec.ECDSA(hashes.SHA256()),)
        case ed25519.Ed25519PrivateKey(), ed25519.Ed25519PublicKey():
            scheme = ()
        case ed448.Ed448PrivateKey(), ed448.Ed448PublicKey():
            scheme = ()
        case _:
            if not isinstance(private, _USUAL):
                raise _Unusual("The private key must be RSA, EC or Ed25519.")
            return False
    public.verify(private.sign(_CHALLENGE, *scheme), _CHALLENGE, *scheme)
    return True


def _is_of_its_size(key: rsa.RSAPrivateKey) -> bool:
    """Whether no number of a key is larger than its bits say. To sign takes as long as the largest
    one wants, and OpenSSL asks after none of them: primes of 32,000 bits held a handshake up for
    24 s."""
    numbers = key.private_numbers()
    modulus, exponent = numbers.public_numbers.n, numbers.public_numbers.e
    others = (numbers.d, numbers.dmp1, numbers.dmq1, numbers.iqmp)
    is_small = exponent.bit_length() <= EXPONENT_BITS
    return numbers.p * numbers.q == modulus and max(others) < modulus and is_small


def authorities_error(pem: object) -> str:
    """Why a PEM cannot be the authorities that a webhook trusts, `""` when it can."""
    if error := text_error(pem, "The PEM", 1, PEM_LIMIT):
        return error
    assert isinstance(pem, str)
    if _key(pem):
        return "There is a private key in it, which nobody needs to trust an authority."
    try:
        if _read(_certificates(pem)):
            return ""
    except (ValueError, UnsupportedAlgorithm):
        pass
    return "The PEM holds no certificate that can be read."


def ends_at(pem: str) -> datetime | None:
    """When a client certificate ends; None where there is none that can be read."""
    if not pem:
        return None
    try:
        return described(pem).ends_at
    except ValueError:
        return None
