"""Signing secrets, from Python: made when needed, rotated with an overlap, wiped, held if lost."""

import base64
import json
import os
import shutil
import subprocess
import threading
import time
from datetime import timedelta

import pytest
from django.db import close_old_connections, connection, connections, transaction
from django.utils import timezone
from standardwebhooks import Webhook as Library
from standardwebhooks import WebhookVerificationError

from tests.examples.test_receivers import EXAMPLES, needed
from tests.factories import WebhookFactory
from tests.receivers import Answer, Each, Receiver
from tests.test_missing_key import write
from tests.waiting import PATIENCE
from webhooks_app import actions
from webhooks_app.engine import worker
from webhooks_app.engine.maintenance import upkeep
from webhooks_app.models import AuditEntry, Delivery, SigningKey, Webhook, WebhookError
from webhooks_app.rules import signing
from webhooks_app.rules.ids import new_id
from webhooks_app.testing import FakeReceiver, make_due

DAY = timedelta(days=1)
VERIFY = """
const { Webhook } = require("standardwebhooks");
const { secrets, calls } = JSON.parse(require("fs").readFileSync(process.argv[1]));
const passes = (secret, body, headers) => {
  try { new Webhook(secret).verify(body, headers, { jsonParse: false }); return 1; }
  catch (error) {
    if (error.name !== "WebhookVerificationError") throw error;
    return 0;
  }
};
console.log(JSON.stringify(secrets.map((secret) => calls.map(({ body, headers }) => {
  const bytes = Buffer.from(body, "base64");
  const time = String(Number(headers["webhook-timestamp"]) + 1);
  return [
    passes(secret, bytes, headers),
    passes(secret, Buffer.concat([bytes, Buffer.from(" ")]), headers),
    passes(secret, bytes, { ...headers, "webhook-id": headers["webhook-id"] + "0" }),
    passes(secret, bytes, { ...headers, "webhook-timestamp": time }),
  ];
}).reduce((sum, each) => sum.map((count, place) => count + each[place])))));
"""
LOST = "gAAAAABnothing-opens-this"


def secrets_of(webhook):
    """Those that sign now, the present one first."""
    return [key.secret for key in SigningKey.objects.filter(webhook=webhook).usable()]


def passes(secret, request):
    """Whether the official library verifies a request that a receiver got with this secret."""
    try:
        Library(secret).verify(request.body, dict(request.headers), json_parse=False)
    except WebhookVerificationError:
        return False
    return True


@pytest.fixture
def webhook(db):
    return actions.create_webhook(
        WebhookFactory().account, name="x", url="https://receiver.example.com/"
    )


class TestMaking:
    def test_a_new_webhook_has_one(self, webhook):
        (secret,) = secrets_of(webhook)
        assert len(signing.key_of(secret)) == 32
        assert actions.reveal_secret(webhook) == secret

    def test_a_row_of_the_orm_gets_one_with_its_first_call(self, db):
        webhook = WebhookFactory()
        assert secrets_of(webhook) == []
        with FakeReceiver({"responses": []}) as receiver:
            actions.interact(webhook, {})
            actions.interact(webhook, {})
        (secret,) = secrets_of(webhook)
        assert all(passes(secret, request) for request in receiver.requests)

    def test_it_is_stored_encrypted(self, webhook):
        (secret,) = secrets_of(webhook)
        with connection.cursor() as cursor:
            cursor.execute("SELECT secret FROM webhooks_app_signingkey")
            (stored,) = cursor.fetchone()
        assert secret not in stored
        assert secret.removeprefix("whsec_") not in stored

    def test_an_insert_of_an_older_version_works(self, db):
        """A web process that knows no signature_prefix is still there after the migration."""
        webhook = WebhookFactory()
        table = Webhook._meta.db_table
        names = ", ".join(
            connection.ops.quote_name(field.column)
            for field in Webhook._meta.concrete_fields
            if field.name not in ("id", "signature_prefix") and not field.generated
        )
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {table} (id, {names}) SELECT %s, {names} FROM {table}", [new_id()]
            )
        assert Webhook.objects.exclude(pk=webhook.pk).get().signature_prefix == ""


@pytest.mark.django_db(transaction=True)
def test_many_that_need_the_first_one_at_the_same_moment_end_with_one():
    webhooks = [WebhookFactory() for _ in range(5)]
    ids, found, start = [row.pk for row in webhooks], [], threading.Barrier(4)

    def need():
        start.wait(PATIENCE)
        try:
            keys = SigningKey.objects.of(ids)
            found.append({ident: keys[ident][0].secret for ident in ids})
        finally:
            close_old_connections()
            connections.close_all()

    threads = [threading.Thread(target=need) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(found) == 4
    assert all(each == found[0] for each in found)
    assert SigningKey.objects.count() == 5


class TestRotation:
    def test_both_sign_until_the_overlap_is_over(self, webhook):
        (old,) = secrets_of(webhook)
        before = Webhook.objects.get(pk=webhook.pk).version
        new = actions.rotate_secret(webhook, by="mira")
        assert secrets_of(webhook) == [new, old]
        row = SigningKey.objects.get(webhook=webhook, expires_at__isnull=False)
        assert abs(row.expires_at - timezone.now() - DAY) < timedelta(minutes=5)
        assert Webhook.objects.get(pk=webhook.pk).version == before + 1
        SigningKey.objects.filter(pk=row.pk).update(expires_at=timezone.now())
        assert secrets_of(webhook) == [new]

    def test_without_grace_the_old_one_is_gone_at_once(self, webhook):
        new = actions.rotate_secret(webhook, grace=timedelta(0))
        assert [key.secret for key in SigningKey.objects.all()] == [new]

    def test_a_given_secret_is_stored_as_every_library_reads_it(self, webhook):
        bare = signing.secret_of(b"k" * 25).removeprefix("whsec_").rstrip("=")
        assert actions.rotate_secret(webhook, bare) == signing.secret_of(b"k" * 25)
        assert Library(secrets_of(webhook)[0])

    def test_back_to_the_one_before(self, webhook):
        (old,) = secrets_of(webhook)
        new = actions.rotate_secret(webhook)
        actions.rotate_secret(webhook, old)
        assert secrets_of(webhook) == [old, new]

    @pytest.mark.parametrize("again", [0, 1])
    def test_the_present_one_is_refused(self, webhook, again):
        (present,) = secrets_of(webhook)
        with pytest.raises(actions.Invalid) as refused:
            actions.rotate_secret(webhook, present.rstrip("=") if again else present)
        assert "already" in str(refused.value.details)
        assert secrets_of(webhook) == [present]

    @pytest.mark.parametrize("grace", [timedelta(days=7, seconds=1), timedelta(seconds=-1)])
    def test_an_overlap_has_bounds(self, webhook, grace):
        with pytest.raises(actions.Invalid):
            actions.rotate_secret(webhook, grace=grace)

    @pytest.mark.parametrize("key", ["", "whsec_short", "••••••••", 5])
    def test_what_is_no_secret_is_refused(self, webhook, key):
        with pytest.raises(actions.Invalid) as refused:
            actions.rotate_secret(webhook, key)
        assert list(refused.value.details) == ["key"]

    def test_ten_sign_at_the_most_the_newest(self, webhook):
        made = [*secrets_of(webhook), *(actions.rotate_secret(webhook) for _ in range(12))]
        assert secrets_of(webhook) == made[:2:-1]
        assert SigningKey.objects.count() == 10

    def test_the_end_of_the_overlap(self, webhook):
        new = actions.rotate_secret(webhook)
        assert actions.end_overlap(webhook, by="mira") == 1
        assert secrets_of(webhook) == [new]
        assert actions.end_overlap(webhook, by="mira") == 0

    def test_who_did_it_is_noted_without_the_secret(self, webhook):
        new = actions.rotate_secret(webhook, by="mira")
        actions.rotate_secret(webhook, grace=timedelta(0), by="mira")
        actions.end_overlap(webhook, by="mira")
        actions.reveal_secret(webhook, by="mira")
        notes = list(AuditEntry.objects.order_by("id").values_list("action", flat=True))
        assert notes == [
            "Rotated the signing secret. The old one holds for 24 h.",
            "Rotated the signing secret.",
            "Ended the overlap of signing secrets.",
            "Revealed the signing secret.",
        ]
        assert new not in str(list(AuditEntry.objects.values_list()))

    def test_a_rotation_that_is_rolled_back_changes_nothing(self, webhook):
        before = secrets_of(webhook)
        with transaction.atomic():
            actions.rotate_secret(webhook)
            transaction.set_rollback(True)
        assert secrets_of(webhook) == before

    def test_what_is_over_is_removed(self, webhook):
        present = actions.rotate_secret(webhook)
        SigningKey.objects.filter(expires_at__isnull=False).update(expires_at=timezone.now() - DAY)
        assert upkeep.purge_records(dry_run=True)["old signing secrets"] == 1
        assert upkeep.purge_records()["old signing secrets"] == 1
        assert [key.secret for key in SigningKey.objects.all()] == [present]


class TestDeleting:
    def test_all_are_wiped_and_a_webhook_that_is_brought_back_gets_a_new_one(self, webhook):
        old = [*secrets_of(webhook), actions.rotate_secret(webhook)]
        actions.delete_webhook(webhook)
        assert not SigningKey.objects.exists()
        with pytest.raises(actions.NotCallable):
            actions.reveal_secret(webhook)
        with pytest.raises(Webhook.DoesNotExist):
            actions.rotate_secret(webhook)
        # As a call that was under way beside the delete leaves one:
        SigningKey.objects.create(webhook=webhook, secret=old[0])
        actions.restore_webhook(webhook)
        assert actions.reveal_secret(webhook) not in old


class TestALostKey:
    @pytest.fixture
    def lost(self, webhook):
        Webhook.objects.filter(pk=webhook.pk).update(verified_at=timezone.now())
        write(SigningKey.objects.get(), "secret", LOST)
        return Webhook.objects.get(pk=webhook.pk)

    def test_the_webhook_is_held_as_with_any_secret(self, lost):
        for call in (actions.reveal_secret, lambda row: actions.interact(row, {})):
            with pytest.raises(actions.NotCallable) as held:
                call(lost)
            assert held.value.reason == "unreadable"
        assert not WebhookError.objects.exists()

    def test_a_rotation_mends_it_and_keeps_nothing_that_cannot_sign(self, lost):
        new = actions.rotate_secret(lost)
        assert [key.secret for key in SigningKey.objects.all()] == [new]
        assert actions.reveal_secret(lost) == new

    def test_the_worker_holds_it_until_then(self, lost, transactional_db):
        delivery = actions.deliver(lost, {"n": 1})
        worker.run(until_empty=True)
        delivery.refresh_from_db()
        assert (delivery.state, delivery.tries) == ("pending", 0)
        assert actions.hold_reason(Webhook.objects.get(pk=lost.pk)) == "unreadable"


@pytest.mark.once
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("loopback")
class TestEveryCall:
    """The official library verifies what a real receiver got."""

    @pytest.fixture
    def receiver(self):
        with Receiver({"responses": []}, challenge=True) as receiver:
            yield receiver

    @pytest.fixture
    def webhook(self, receiver):
        return WebhookFactory(url=receiver.url, verified_at=None)

    def all_pass(self, secret, requests):
        return [passes(secret, request) for request in requests] == [True] * len(requests)

    def run_of_calls(self, webhook, receiver):
        """Of every kind: verification by the worker and by hand, test, interaction, deliveries, of
        which one is tried again."""
        actions.request_verification(webhook)
        receiver.answer = Each(500, {"responses": []})
        bodies = [
            b"{}",
            json.dumps({"name": "Zoë 𝒳 \u202e"}, ensure_ascii=False).encode(),
            b'"' + "é".encode() * (512 * 1024 - 1) + b'"',  # 1 MiB
            b' {"a":  1.0}\n',
        ]
        for body in bodies:
            actions.deliver(webhook, body)
        worker.run(until_empty=True)
        Webhook.objects.filter(pk=webhook.pk).update(verified_at=timezone.now())
        worker.run(until_empty=True)
        make_due(state="pending")
        worker.run(until_empty=True)
        actions.verify(webhook)
        actions.test(webhook)
        actions.interact(webhook, {"attributes": {"città": "Zürich"}})
        methods = [request.method for request in receiver.requests]
        assert methods.count("GET") == 2
        assert methods.count("POST") == len(bodies) + 3
        assert {bytes(request.body) for request in receiver.requests} >= set(bodies)
        return receiver.requests

    def test_of_a_run_is_verified(self, webhook, receiver):
        requests = self.run_of_calls(webhook, receiver)
        (secret,) = secrets_of(webhook)
        assert self.all_pass(secret, requests)
        assert not any(passes(signing.new_secret(), request) for request in requests)

    def test_is_verified_by_either_secret_in_the_middle_of_a_rotation(self, webhook, receiver):
        old = actions.reveal_secret(webhook)
        new = actions.rotate_secret(webhook)
        requests = self.run_of_calls(webhook, receiver)
        assert self.all_pass(old, requests)
        assert self.all_pass(new, requests)

    def test_follows_a_rotation_while_the_worker_runs(self, webhook, receiver):
        """Its built heads are told by the webhook's version."""
        Webhook.objects.filter(pk=webhook.pk).update(verified_at=timezone.now())
        old = actions.reveal_secret(webhook)

        def rotate(request):
            if len(receiver.requests) == 1:
                actions.rotate_secret(webhook, grace=timedelta(0))
                actions.deliver(webhook, {"n": 2})
                connections.close_all()  # this thread's
            return 200

        receiver.answer = rotate
        actions.deliver(webhook, {"n": 1})
        worker.run(until_empty=True)
        first, second = receiver.requests
        assert passes(old, first)
        assert not passes(old, second)
        assert passes(secrets_of(webhook)[0], second)

    @pytest.mark.node
    def test_is_verified_by_the_library_for_node(self, webhook, receiver, tmp_path):
        """In a rotation, by either secret, and by no other."""
        node, packages = shutil.which("node"), EXAMPLES / "express" / "node_modules"
        needed(node, "Node.js is not installed")
        needed((packages / "standardwebhooks").is_dir(), "run npm ci in docs/examples/express")
        secrets = [actions.reveal_secret(webhook), actions.rotate_secret(webhook)]
        requests = self.run_of_calls(webhook, receiver)
        told = {
            "secrets": [*secrets, signing.new_secret()],
            "calls": [
                {"body": base64.b64encode(call.body).decode(), "headers": dict(call.headers)}
                for call in requests
            ],
        }
        (tmp_path / "calls.json").write_text(json.dumps(told))
        done = subprocess.run(
            [node, "-e", VERIFY, tmp_path / "calls.json"],
            env={**os.environ, "NODE_PATH": str(packages)},
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        every = len(requests)
        # Each call: as it came, then with another byte, id and time.
        assert json.loads(done.stdout) == [[every, 0, 0, 0], [every, 0, 0, 0], [0, 0, 0, 0]]

    def test_fails_with_a_changed_byte_id_or_time(self, webhook, receiver):
        actions.test(webhook)
        (request,) = receiver.requests
        (secret,) = secrets_of(webhook)
        assert passes(secret, request)
        request.body = request.body.replace(b"Test", b"Tess")
        assert not passes(secret, request)
        request.body = request.body.replace(b"Tess", b"Test")
        for name, value in (
            ("webhook-id", new_id()),
            ("webhook-timestamp", str(int(request.header("webhook-timestamp")) + 1)),
            ("webhook-timestamp", str(int(request.header("webhook-timestamp")) - 301)),
        ):
            kept = request.headers
            request.headers = [(n, value if n == name else v) for n, v in kept]
            assert not passes(secret, request)
            request.headers = kept
        assert passes(secret, request)

    def test_a_retry_has_the_same_id_and_a_time_of_its_own(self, webhook, receiver):
        Webhook.objects.filter(pk=webhook.pk).update(verified_at=timezone.now())
        receiver.answer = Each(500, 200)
        delivery = actions.deliver(webhook, {"n": 1})
        worker.run(until_empty=True)
        time.sleep(1.1)  # so that the second try has another second
        make_due(pk=delivery.pk)
        worker.run(until_empty=True)
        first, second = receiver.requests
        (secret,) = secrets_of(webhook)
        assert self.all_pass(secret, [first, second])
        assert first.header("webhook-id") == second.header("webhook-id") == delivery.pk
        assert first.body == second.body
        assert first.header("webhook-timestamp") != second.header("webhook-timestamp")

    def test_carries_second_names_where_a_team_wants_them(self, webhook, receiver):
        actions.update_webhook(webhook, signature_prefix="acme-")
        actions.verify(webhook)
        actions.test(webhook)
        for request in receiver.requests:
            for name in signing.NAMES:
                assert request.header(f"acme-{name}") == request.header(f"webhook-{name}") != ""

    def test_a_secret_that_comes_back_is_masked(self, webhook, receiver):
        secret = actions.reveal_secret(webhook)
        bare = secret.removeprefix("whsec_")
        receiver.answer = Answer(500, f"SECRET={secret}\nKEY={bare}")
        attempt = actions.test(webhook)
        assert bare not in attempt.answer
        assert "SECRET=" in attempt.answer

    @pytest.mark.parametrize("status", [400, 401, 403])
    def test_a_refusal_after_a_rotation_has_its_own_advice(self, webhook, receiver, status):
        receiver.answer, receiver.challenge = status, False
        before = actions.test(webhook)
        assert before.kind in ("http_400", "http_401")
        actions.rotate_secret(webhook)
        Webhook.objects.filter(pk=webhook.pk).update(verified_at=timezone.now())
        delivery = actions.deliver(webhook, {})
        worker.run(until_empty=True)
        tried = Delivery.objects.get(pk=delivery.pk)
        assert (tried.state, tried.last_error) == (
            "pending",
            f"Request failed with status code {status}",
        )
        attempt = tried.attempts.get()
        assert attempt.kind == "signature"
        assert "signing secret" in attempt.advice
        # A second apart from the test before.
        webhook.health.__class__.objects.update(verify_asked_at=None)
        assert actions.verify(webhook).kind == "signature"

    def test_other_failures_after_a_rotation_keep_theirs(self, webhook, receiver):
        receiver.answer = 404
        actions.rotate_secret(webhook)
        assert actions.test(webhook).kind == "http_404"
