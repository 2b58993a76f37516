"""OAuth and client certificates of webhooks, from the worker and from whoever waits for a call."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.core import mail as box
from django.utils import timezone

from tests.authorization import AuthorizationServer
from tests.certificates import authority_pem, identity
from tests.commands.test_webhooks import run
from tests.factories import AttemptFactory, WebhookFactory, WorkerFactory
from tests.receivers import Answer, Each, Receiver
from tests.test_missing_key import raw
from webhooks_app import actions
from webhooks_app.engine import worker
from webhooks_app.engine.http import bridge
from webhooks_app.engine.maintenance import notices, recount
from webhooks_app.models import Attempt, AuditEntry, Delivery, Webhook, WebhookHealth
from webhooks_app.rules import oauth
from webhooks_app.testing import ACCESS_TOKEN, FakeReceiver
from webhooks_app.testing import drain as fake_drain

SETTINGS = {
    "tokenUrl": "https://login.example.com/token",
    "clientId": "shop",
    "clientSecret": "the-secret-of-the-client",
}


@pytest.fixture
def drain(transactional_db, loopback, monkeypatch):
    """Run a worker until nothing is due; returns how many exchanges it made."""
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
    before = bridge.replace(None)  # no token of an earlier test
    yield lambda: worker.run(until_empty=True)
    own = bridge.replace(before)
    if isinstance(own, bridge.EngineLoop):
        own.close()


def history():
    rows = Attempt.objects.order_by("id")
    return [(row.exchange, row.kind, row.status) for row in rows]


class TestWithOAuth:
    def test_deliveries_carry_a_token_and_the_history_tells_where_it_came_from(self, drain):
        with AuthorizationServer() as server, Receiver() as receiver:
            webhook = WebhookFactory(url=receiver.url, oauth=oauth.stored(server.settings))
            for number in range(3):
                actions.deliver(webhook, {"n": number})
            drain()
        assert {r.header("Authorization") for r in receiver.requests} == {
            f"Bearer {server.issued[0]}"
        }
        assert sorted(history()) == [("delivery", "", 200)] * 3 + [("token", "", 200)]
        asked = Attempt.objects.get(exchange="token")
        assert asked.url == server.token_url
        assert asked.address.startswith("127.0.0.1:")
        assert (asked.answer, asked.answer_headers, asked.delivery_id) == ("", "", None)
        stored = json.dumps(list(Attempt.objects.values()), default=str)
        assert server.issued[0] not in stored

    def test_without_a_token_the_try_counts_and_the_next_one_asks_again(self, drain, settings):
        settings.WEBHOOKS_RETRY_SCHEDULE = "100,200"
        with AuthorizationServer() as server, Receiver() as receiver:
            wrong = server.settings | {"clientSecret": "another"}
            webhook = WebhookFactory(url=receiver.url, oauth=oauth.stored(wrong))
            delivery = actions.deliver(webhook, {"n": 1})
            drain()
            delivery.refresh_from_db()
            assert (delivery.state, delivery.tries, delivery.last_status) == ("pending", 1, None)
            assert delivery.last_error == "no access token: invalid_client (status 401)"
            assert sorted(history()) == [("delivery", "oauth", None), ("token", "oauth", 401)]
            assert receiver.requests == []
            actions.update_webhook(webhook, oauth=server.settings)
            Delivery.objects.update(due_at=timezone.now())
            drain()
        delivery.refresh_from_db()
        assert delivery.state == "delivered"
        assert len(server.asked) == 2

    def test_a_401_counts_as_a_failure_and_the_next_try_brings_a_new_token(self, drain, settings):
        settings.WEBHOOKS_RETRY_SCHEDULE = "0,0"
        with AuthorizationServer() as server, Receiver(Each(401, 200)) as receiver:
            webhook = WebhookFactory(url=receiver.url, oauth=oauth.stored(server.settings))
            delivery = actions.deliver(webhook, {"n": 1})
            drain()
        delivery.refresh_from_db()
        assert (delivery.state, delivery.tries) == ("delivered", 2)
        used = [request.header("Authorization") for request in receiver.requests]
        assert used == [f"Bearer {token}" for token in server.issued]
        assert len(set(used)) == 2

    def test_interactions_tests_and_verifications_carry_one_too(self, drain):
        with AuthorizationServer() as server, Receiver({}, challenge=True) as receiver:
            webhook = WebhookFactory(url=receiver.url, oauth=oauth.stored(server.settings))
            assert actions.verify(webhook).ok
            assert actions.test(webhook).ok
            actions.interact(webhook, {})
            used = {request.header("Authorization") for request in receiver.requests}
        assert used == {f"Bearer {server.issued[0]}"}
        assert history() == [
            ("token", "", 200),
            ("verification", "", 200),
            ("test", "", 200),
            ("interaction", "", 200),
        ]

    def test_the_worker_verifies_with_one(self, drain, settings):
        settings.WEBHOOKS_VERIFICATION = "required"
        with AuthorizationServer() as server, Receiver(challenge=True) as receiver:
            webhook = WebhookFactory(
                url=receiver.url,
                oauth=oauth.stored(server.settings),
                verified_at=None,
                verification_due_at=timezone.now(),
            )
            actions.deliver(webhook, {"n": 1})
            drain()
        webhook.refresh_from_db()
        assert webhook.verified
        assert all(r.header("Authorization") for r in receiver.requests)

    def test_who_waits_hears_why_there_is_no_token(self, drain):
        with Receiver(500) as server, Receiver() as receiver:
            given = SETTINGS | {"tokenUrl": server.url}
            webhook = WebhookFactory(url=receiver.url, oauth=oauth.stored(given))
            with pytest.raises(actions.ExchangeFailed) as refused:
                actions.interact(webhook, {})
        assert refused.value.failure.kind == "oauth"
        assert receiver.requests == []

    def test_what_the_receiver_echoes_of_the_token_is_masked(self, drain):
        def echo(request):
            return Answer(500, json.dumps(request.headers))

        with AuthorizationServer() as server, Receiver(echo) as receiver:
            webhook = WebhookFactory(url=receiver.url, oauth=oauth.stored(server.settings))
            actions.deliver(webhook, {"n": 1})
            drain()
        answer = Attempt.objects.get(exchange="delivery").answer
        assert "Bearer ••••••••" in answer
        assert server.issued[0] not in answer

    def test_a_token_is_no_success_of_the_webhook(self, drain):
        with AuthorizationServer() as server, Receiver(500) as receiver:
            webhook = WebhookFactory(url=receiver.url, oauth=oauth.stored(server.settings))
            for number in range(2):
                actions.deliver(webhook, {"n": number})
            drain()
        health = WebhookHealth.objects.get(pk=webhook.pk)
        assert (health.failures_in_row, health.last_success_at) == (2, None)
        list(recount.rebuild())
        health.refresh_from_db()
        assert (health.failures_in_row, health.last_success_at) == (2, None)

    def test_settings_that_were_written_past_us_send_nothing(self, drain):
        with Receiver() as receiver:
            for text in ("{", "[]", '{"tokenUrl": 1}', oauth.stored(SETTINGS | {"tokenUrl": "x"})):
                webhook = WebhookFactory(url=receiver.url, oauth=text)
                actions.deliver(webhook, {"n": 1})
            both = WebhookFactory(url=receiver.url, oauth=oauth.stored(SETTINGS), auth_username="u")
            actions.deliver(both, {"n": 1})
            drain()
        assert receiver.requests == []
        assert {row.kind for row in Attempt.objects.all()} == {"bad_url"}

    def test_a_fake_receiver_is_shown_a_token_without_any_server(self, db):
        webhook = WebhookFactory(oauth=oauth.stored(SETTINGS))
        actions.deliver(webhook, {"n": 1})
        with FakeReceiver() as receiver:
            fake_drain()
        assert receiver.requests[0].headers["authorization"] == f"Bearer {ACCESS_TOKEN}"


class TestWithAClientCertificate:
    def test_deliveries_interactions_tests_and_verifications_show_it(self, drain):
        with Receiver({}, tls="demanding", challenge=True) as receiver:
            webhook = WebhookFactory(
                url=receiver.url, identity=identity(), ca_certificates=authority_pem()
            )
            actions.deliver(webhook, {"n": 1})
            drain()
            assert actions.verify(webhook).ok
            assert actions.test(webhook).ok
            actions.interact(webhook, {})
        assert len(receiver.requests) == 4
        spoken = Attempt.objects.values_list("tls_version", flat=True)
        assert list(spoken) == ["TLSv1.3"] * 4

    def test_together_with_oauth(self, drain):
        with AuthorizationServer() as server, Receiver(tls="demanding") as receiver:
            webhook = WebhookFactory(
                url=receiver.url,
                oauth=oauth.stored(server.settings),
                identity=identity(),
                ca_certificates=authority_pem(),
            )
            delivery = actions.deliver(webhook, {"n": 1})
            drain()
        delivery.refresh_from_db()
        assert delivery.state == "delivered"

    def test_a_worker_notes_when_one_ends_that_was_written_past_us(self, drain):
        ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=9)
        with Receiver(tls="demanding") as receiver:
            webhook = WebhookFactory(
                url=receiver.url,
                identity=identity(not_after=ends),
                ca_certificates=authority_pem(),
            )
            actions.deliver(webhook, {"n": 1})
            drain()
        assert WebhookHealth.objects.get(pk=webhook.pk).identity_ends_at == ends

    def test_one_over_http_sends_nothing(self, drain):
        with Receiver() as receiver:
            webhook = WebhookFactory(url=receiver.url, identity=identity())
            actions.deliver(webhook, {"n": 1})
            drain()
        assert receiver.requests == []
        assert Attempt.objects.get().kind == "bad_url"


class TestStored:
    @pytest.fixture
    def webhook(self, account):
        return actions.create_webhook(
            account,
            name="Orders",
            url="https://erp.example.com/hook",
            oauth=SETTINGS,
            identity=identity(),
            ca_certificates=authority_pem(),
            by="mira",
        )

    def test_encrypted_and_wiped_with_the_webhook(self, webhook):
        assert "the-secret-of-the-client" not in raw(webhook, "oauth")
        assert "PRIVATE KEY" not in raw(webhook, "identity")
        assert "PRIVATE KEY" in Webhook.objects.get().identity
        actions.delete_webhook(webhook)
        row = Webhook.objects.get()
        assert (row.oauth, row.identity, row.ca_certificates) == ("", "", "")
        assert row.health.identity_ends_at is None

    def test_what_changed_is_noted_without_a_value(self, webhook):
        actions.update_webhook(webhook, oauth=None, identity="", ca_certificates="", by="mira")
        did = AuditEntry.objects.order_by("-pk").first().did
        assert did == "Changed OAuth, client certificate, certificate authorities"

    def test_the_same_again_changes_nothing(self, webhook):
        actions.update_webhook(webhook, oauth=dict(SETTINGS), identity=webhook.identity)
        assert Webhook.objects.get().version == webhook.version

    def test_when_it_ends_is_told_by_letter_once(self, webhook, settings):
        settings.WEBHOOKS_NOTICE_EMAILS = ["ops@example.org"]
        notices.turn()
        assert box.outbox == []
        ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
        actions.update_webhook(webhook, identity=identity(not_after=ends))
        for _ in range(2):
            notices.turn()
        [letter] = box.outbox
        assert letter.subject == f"Webhook Orders client certificate ends on {ends:%-d %b %Y}"
        assert "Enter a new one in the settings" in letter.body

    def test_not_while_a_worker_runs_that_would_call_without_them(self, webhook):
        WorkerFactory(version="0.1.0")
        for given in ({"identity": identity()}, {"oauth": SETTINGS | {"clientId": "other"}}):
            with pytest.raises(actions.OlderWorkers, match="worker of an older version"):
                actions.update_webhook(webhook, **given)
        actions.update_webhook(webhook, oauth=None, identity="")

    def test_explain_tells_of_them(self, webhook):
        said = run("explain", webhook.pk)
        assert "carry an access token of https://login.example.com/token for shop." in said
        assert "They show the client certificate" in said
        assert "the-secret" not in said

    def test_the_history_of_a_token_is_found_by_its_kind(self, webhook):
        AttemptFactory(webhook=webhook, exchange="token", kind="oauth", message="invalid_client")
        assert "invalid_client" in run("explain", webhook.pk)
