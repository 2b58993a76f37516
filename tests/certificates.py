"""Certificates of the TLS receivers: one good authority, and every common mistake of owners."""

import base64
import datetime
import functools
import hashlib
import ipaddress
import ssl
import tempfile
import textwrap
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from webhooks_app.engine.http.tls import tls_context

NAMES = ("127.0.0.1", "localhost", "*.example.com")


@functools.cache
def authority() -> trustme.CA:
    return trustme.CA()


@functools.cache
def clients() -> trustme.CA:
    """Signs the certificates that receivers want to be shown."""
    return trustme.CA(organization_name="Clients of the tests")


def identity(name: str = "shop@example.com", *, ca: trustme.CA | None = None, **more: Any) -> str:
    """The PEM of a client certificate with its key and chain."""
    cert = (ca or clients()).issue_cert(name, **more)
    return (
        cert.private_key_pem.bytes() + b"".join(c.bytes() for c in cert.cert_chain_pems)
    ).decode()


@functools.cache
def huge_key_identity(bits: int = 16_000) -> str:
    """A certificate with its RSA key, whose prime is far larger than the modulus: to sign with it
    takes seconds, and the signature holds all the same."""
    pem = identity(key_type=trustme.KeyType.RSA)
    key: Any = serialization.load_pem_private_key(pem.encode(), None)
    numbers, huge = key.private_numbers(), (1 << bits) - 1
    public = numbers.public_numbers
    fields = (0, public.n, public.e, numbers.d, huge, numbers.q, huge - 2, numbers.dmq1)
    der = _sequence(*fields, numbers.iqmp)
    text = "\n".join(textwrap.wrap(base64.b64encode(der).decode(), 64))
    chain = pem[pem.index("-----BEGIN CERTIFICATE") :]
    return f"-----BEGIN RSA PRIVATE KEY-----\n{text}\n-----END RSA PRIVATE KEY-----\n{chain}"


@functools.cache
def large_key_identity() -> str:
    """A certificate with an RSA key of 4,484 bits, soon made: of two primes of Mersenne's."""
    p, q, e = 2**2203 - 1, 2**2281 - 1, 65537
    d = pow(e, -1, (p - 1) * (q - 1))
    parts = (rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q))
    key = rsa.RSAPrivateNumbers(p, q, d, *parts, rsa.RSAPublicNumbers(e, p * q)).private_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "shop.example.com")])
    now = datetime.datetime.now(datetime.UTC)
    cert = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.PKCS8
    private = key.private_bytes(pem, form, serialization.NoEncryption())
    return (private + cert.public_bytes(pem)).decode()


def _sequence(*numbers: int) -> bytes:
    """DER of a sequence of integers."""
    values = [number.to_bytes(number.bit_length() // 8 + 1, "big") for number in numbers]
    return _of_length(b"\x30", b"".join(_of_length(b"\x02", value) for value in values))


def _of_length(tag: bytes, value: bytes) -> bytes:
    length = bytes([len(value)]) if len(value) < 128 else _long(len(value))
    return tag + length + value


def _long(length: int) -> bytes:
    digits = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(digits)]) + digits


def changed_certificate(old: bytes, new: bytes) -> str:
    """The PEM of one in whose bytes `old` stands as `new`."""
    der = x509.load_pem_x509_certificate(authority_pem().encode())
    changed = der.public_bytes(serialization.Encoding.DER).replace(old, new, 1)
    return ssl.DER_cert_to_PEM_cert(changed)


def authority_pem() -> str:
    return authority().cert_pem.bytes().decode()


def child_of_children(generations: int) -> trustme.CA:
    child = authority()
    for _ in range(generations):
        child = child.create_child_ca()
    return child


@functools.cache
def client_context(*, check_hostname: bool = True) -> ssl.SSLContext:
    """As the sender's own, except that it also trusts the tests' authority."""
    context = tls_context.__wrapped__(check_hostname=check_hostname)
    authority().configure_trust(context)
    return context


@functools.cache
def server_context(variant: str) -> ssl.SSLContext:
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if variant.startswith("demanding"):
        authority().issue_cert(*NAMES).configure_cert(context)
        clients().configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        if variant.endswith("1.2"):
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        return context
    if variant == "finite field":
        authority().issue_cert(*NAMES, key_type=trustme.KeyType.RSA).configure_cert(context)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("kDHE")
        group = base64.encodebytes(_sequence((1 << 2048) - 1, 2)).decode()
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(f"-----BEGIN DH PARAMETERS-----\n{group}-----END DH PARAMETERS-----\n")
            file.flush()
            context.load_dh_params(file.name)
        return context
    if variant == "tickets":  # for so many further sessions, behind the handshake
        authority().issue_cert(*NAMES).configure_cert(context)
        context.num_tickets = 3000
        return context
    if variant in _OWN:
        _of_our_own(context, variant, now, day)
        return context
    cert = {
        "good": lambda: authority().issue_cert(*NAMES),
        "expired": lambda: authority().issue_cert(
            *NAMES, not_before=now - 2 * day, not_after=now - day
        ),
        "soon": lambda: authority().issue_cert(*NAMES, not_after=now + 9 * day),
        "future": lambda: authority().issue_cert(
            *NAMES, not_before=now + day, not_after=now + 2 * day
        ),
        "wrong-host": lambda: authority().issue_cert("other.example.net"),
        "grandchild": lambda: child_of_children(5).issue_cert(*NAMES),
        "long": lambda: authority().issue_cert(*NAMES, *(f"{n}.example.com" for n in range(1500))),
        "incomplete": lambda: authority().create_child_ca().issue_cert(*NAMES),
    }[variant]()
    if variant == "incomplete":
        with cert.private_key_pem.tempfile() as key, cert.cert_chain_pems[0].tempfile() as chain:
            context.load_cert_chain(chain, key)
    else:
        cert.configure_cert(context)
    return context


# Without the extensions that RFC 5280 asks for and hardly anybody checks.
_OWN = ("self-signed", "not strict", "weak", "for clients")


def _of_our_own(
    context: ssl.SSLContext, variant: str, now: datetime.datetime, day: datetime.timedelta
) -> None:
    key: Any = ec.generate_private_key(ec.SECP256R1())
    if variant == "weak":
        key = rsa.generate_private_key(65537, 1024)
        context.set_ciphers("DEFAULT@SECLEVEL=0")
    name = issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    signer = key
    if variant != "self-signed":
        issuer = x509.load_pem_x509_certificate(authority().cert_pem.bytes()).subject
        signer = serialization.load_pem_private_key(authority().private_key_pem.bytes(), None)
    addresses = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    names = [x509.DNSName("localhost"), x509.DNSName("*.example.com"), *addresses]
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    if variant == "for clients":
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = builder.add_extension(purpose, critical=False)
    cert = builder.sign(signer, hashes.SHA256())
    pem = serialization.Encoding.PEM
    with tempfile.NamedTemporaryFile() as file:
        file.write(cert.public_bytes(pem))
        file.write(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        file.flush()
        context.load_cert_chain(file.name)


def hello_retry(group: int, record: int = 2**14, session: bytes = b"") -> bytes:
    """What a TLS 1.3 server says that wants a key of another group (a HelloRetryRequest), in
    records of so many bytes."""
    retry = hashlib.sha256(b"HelloRetryRequest").digest()  # RFC 8446, section 4.1.3
    version, share = b"\x00\x2b\x00\x02\x03\x04", b"\x00\x33\x00\x02" + group.to_bytes(2, "big")
    extensions = version + share
    body = b"\x03\x03" + retry + bytes([len(session)]) + session + b"\x13\x02\x00"
    body += len(extensions).to_bytes(2, "big") + extensions
    message = b"\x02" + len(body).to_bytes(3, "big") + body
    parts = [message[at : at + record] for at in range(0, len(message), record)]
    return b"".join(b"\x16\x03\x03" + len(one).to_bytes(2, "big") + one for one in parts)
