"""Client certificates, shown to real TLS servers that demand one."""

import asyncio
import os
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from tests.certificates import authority, authority_pem, identity
from tests.engine.exchanges import failed, request
from tests.receivers import Receiver, StubResolver
from webhooks_app.engine.http.tls import Contexts, Tls, load_identity, own_context, tls_context

pytestmark = pytest.mark.once

LATE = 5.0  # seconds


def asking(url, tls, **more):
    wanted = request(url, **more)
    wanted.tls = tls
    return wanted


def called(run, receiver, tls, **options):
    return run(lambda sender: sender.send(asking(receiver.url, tls), timeout=LATE), **options)


def refused(run, receiver, tls):
    """How a call ends that the receiver refuses with an alert, which the end of the connection may
    overtake: then it is made again."""
    for _ in range(5):
        outcome = called(run, receiver, tls)
        if outcome.failure is None or outcome.failure.kind != "reset":
            break
    return outcome


@pytest.mark.parametrize("demanding", ["demanding", "demanding in TLS 1.2"])
class TestReceiverThatDemandsOne:
    def test_takes_the_right_one_behind_a_private_authority(self, run, loopback, demanding):
        with Receiver(tls=demanding) as receiver:
            outcome = called(run, receiver, Tls.of(identity(), authority_pem()))
        assert (outcome.failure, outcome.status) == (None, 200)
        assert outcome.certificate_ends_at is not None

    def test_refuses_one_of_another_authority(self, run, loopback, demanding):
        strange = Tls.of(identity(ca=trustme.CA()), authority_pem())
        with Receiver(tls=demanding) as receiver:
            outcome = refused(run, receiver, strange)
        assert failed(outcome).startswith("tls_identity: ")
        assert "unknown ca" in outcome.failure.message
        assert receiver.requests == []

    def test_refuses_one_that_has_ended(self, run, loopback, demanding):
        now = datetime.now(UTC)
        old = identity(not_before=now - timedelta(days=2), not_after=now - timedelta(days=1))
        with Receiver(tls=demanding) as receiver:
            outcome = refused(run, receiver, Tls.of(old, authority_pem()))
        assert failed(outcome).startswith("tls_identity: ")
        assert receiver.requests == []

    def test_says_so_to_whoever_has_none(self, run, loopback, demanding):
        with Receiver(tls=demanding) as receiver:
            outcome = refused(run, receiver, Tls.of("", authority_pem()))
        assert outcome.failure.kind in ("tls_client", "tls_refused")
        assert receiver.requests == []


def test_an_identity_alone_trusts_the_public_authorities(run, loopback, monkeypatch, tmp_path):
    public = tmp_path / "public.pem"
    public.write_text(authority_pem())
    monkeypatch.setenv("SSL_CERT_FILE", str(public))
    with Receiver(tls="demanding") as receiver:
        assert called(run, receiver, Tls.of(identity(), "")).failure is None


def test_authorities_of_its_own_are_trusted_in_place_of_the_public_ones(run, loopback):
    stranger = trustme.CA().cert_pem.bytes().decode()
    with Receiver(tls="good") as receiver:
        outcome = called(run, receiver, Tls.of("", stranger))
    assert outcome.failure.kind == "tls_untrusted"


def test_the_certificate_of_the_receiver_is_still_judged_by_its_name(run, loopback):
    with Receiver(tls="wrong-host") as receiver:
        outcome = called(run, receiver, Tls.of("", authority_pem()))
    assert outcome.failure.kind == "tls_host"


def test_certificates_that_could_hold_the_loop_up_are_not_verified(run, loopback):
    with Receiver(tls="long") as receiver:
        outcome = called(run, receiver, Tls.of("", authority_pem()))
    assert failed(outcome).startswith("tls_unusable: ")
    assert "too long" in outcome.failure.message
    assert not outcome.our_fault
    assert receiver.requests == []


def test_a_chain_of_some_authorities_is(run, loopback):
    with Receiver(tls="grandchild") as receiver:
        assert called(run, receiver, Tls.of("", authority_pem())).failure is None


def test_a_name_with_an_underscore_goes_with_them_too(run, loopback):
    names = StubResolver({"my_host.example.com": ["127.0.0.1"]})
    own = Tls.of(identity(), authority_pem())
    with Receiver(tls="demanding") as receiver:
        url = receiver.url_for("my_host.example.com")
        outcome = run(lambda s: s.send(asking(url, own), timeout=LATE), resolver=names)
    assert outcome.failure is None


def test_a_connection_is_shared_by_calls_with_the_same_certificate_and_account_alone(run, loopback):
    one, other = (Tls.of(identity(), authority_pem()) for _ in range(2))

    async def scenario(sender):
        for own, account in ((one, 1), (one, 1), (other, 1), (one, 2), (other, 1)):
            sent = asking(receiver.url, own, account=account)
            assert (await sender.send(sent, timeout=LATE)).failure is None

    with Receiver(tls="demanding") as receiver:
        run(scenario)
    assert (len(receiver.requests), receiver.connections) == (5, 3)


def test_a_certificate_that_openssl_does_not_take_is_a_failure_and_no_fault_of_ours(run, loopback):
    with Receiver(tls="demanding") as receiver:
        outcome = called(run, receiver, Tls.of("-----BEGIN nothing", authority_pem()))
    assert outcome.failure.kind == "bad_url"
    assert "client certificate not usable" in outcome.failure.message
    assert not outcome.our_fault


def test_a_second_handshake_is_refused_but_where_there_is_a_certificate_to_be_asked_for():
    once, again = own_context(Tls.of("", authority_pem())), own_context(Tls.of(identity(), ""))
    for context in (tls_context(), once):
        assert context.options & ssl.OP_NO_RENEGOTIATION
    assert not again.options & ssl.OP_NO_RENEGOTIATION


def test_contexts_are_made_once_and_the_one_used_least_recently_goes():
    owns = [Tls.of("", trustme.CA().cert_pem.bytes().decode()) for _ in range(3)]

    async def scenario():
        contexts = Contexts(most=2)
        first, same = await asyncio.gather(
            *(contexts.get(owns[0], check_hostname=True) for _ in range(2))
        )
        assert first is same
        await contexts.get(owns[1], check_hostname=True)
        assert await contexts.get(owns[0], check_hostname=True) is first
        await contexts.get(owns[2], check_hostname=True)
        assert len(contexts) == 2
        assert await contexts.get(owns[0], check_hostname=True) is first
        contexts.close()

    asyncio.run(scenario())


def in_memory():
    """The descriptors of this process that are files in memory."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found += [number] if "memfd:" in os.readlink(f"/proc/self/fd/{number}") else []
        except FileNotFoundError:  # that of the listing itself
            continue
    return found


SEES = """
import os
links = []
for number in os.listdir("/proc/self/fd"):
    try:
        links.append(os.readlink(f"/proc/self/fd/{number}"))
    except FileNotFoundError:
        pass
print(links)
"""


class Watching(ssl.SSLContext):
    """Starts a program while the key is read."""

    def load_cert_chain(self, certfile, keyfile=None, password=None):
        self.open = in_memory()
        started = subprocess.run(
            [sys.executable, "-c", SEES], close_fds=False, capture_output=True, check=True
        )
        self.child_sees = started.stdout.decode()
        super().load_cert_chain(certfile, keyfile, password)


def test_the_key_is_no_file_and_no_program_that_is_started_inherits_it():
    context = Watching(ssl.PROTOCOL_TLS_CLIENT)
    load_identity(context, identity().encode())
    assert len(context.open) == 1
    assert "memfd" not in context.child_sees
    assert in_memory() == []


@pytest.mark.parametrize("pem", [b"", b"-----BEGIN CERTIFICATE-----\n", b"x" * 40_000])
def test_the_key_is_closed_on_an_error_too(pem):
    with pytest.raises(ssl.SSLError):
        load_identity(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), pem)
    assert in_memory() == []


def test_a_child_that_is_forked_meanwhile_finds_it_empty():
    class Forking(ssl.SSLContext):
        def load_cert_chain(self, certfile, keyfile=None, password=None):
            super().load_cert_chain(certfile, keyfile, password)
            self.inherited = os.dup(int(certfile.rpartition("/")[2]))

    context = Forking(ssl.PROTOCOL_TLS_CLIENT)
    load_identity(context, identity().encode())
    try:
        assert os.fstat(context.inherited).st_size == 0
    finally:
        os.close(context.inherited)


def test_an_encrypted_key_never_asks_the_terminal():
    encrypted = subprocess.run(
        ["openssl", "genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:x"],
        capture_output=True,
        check=True,
    ).stdout
    chain = identity(ca=authority()).split("-----END", 2)[2]
    with pytest.raises(ssl.SSLError):
        load_identity(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), encrypted + chain.encode())
