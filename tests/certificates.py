"""Certificates of the TLS receivers: one good authority, and every common mistake of owners."""

import datetime
import functools
import ssl
import tempfile

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NAMES = ("127.0.0.1", "localhost", "*.example.com")


@functools.cache
def authority() -> trustme.CA:
    return trustme.CA()


def client_context() -> ssl.SSLContext:
    """As the sender's own, except that it also trusts the tests' authority."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


@functools.cache
def server_context(variant: str) -> ssl.SSLContext:
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if variant == "self-signed":
        _self_signed(context, now, day)
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
        "incomplete": lambda: authority().create_child_ca().issue_cert(*NAMES),
    }[variant]()
    if variant == "incomplete":
        with cert.private_key_pem.tempfile() as key, cert.cert_chain_pems[0].tempfile() as chain:
            context.load_cert_chain(chain, key)
    else:
        cert.configure_cert(context)
    return context


def _self_signed(context: ssl.SSLContext, now: datetime.datetime, day: datetime.timedelta) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    with tempfile.NamedTemporaryFile() as file:
        file.write(cert.public_bytes(pem))
        file.write(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        file.flush()
        context.load_cert_chain(file.name)
