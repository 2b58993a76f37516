"""A webhook whose secrets are encrypted with a key that is missing: explained, held, mended."""

import json
from datetime import timedelta

import pytest
from cryptography.fernet import Fernet
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.admin.pages import page, text_of, url, webhook_form
from tests.api.conftest import Api, problem
from tests.commands.test_webhooks import both, run
from tests.factories import DeliveryFactory, UserFactory, WebhookFactory
from tests.receivers import Receiver
from webhooks_app import actions
from webhooks_app.engine import calls, store, worker
from webhooks_app.engine.handover import Memory
from webhooks_app.fields import WrongKey
from webhooks_app.models import Header, Webhook, WebhookError, WebhookHealth, states
from webhooks_app.rules.validators import MASK

SENTENCE = states.SENTENCES["unreadable"]
FOREIGN = Fernet(Fernet.generate_key()).encrypt(b"lost").decode()


def raw(row, column):
    """The secret as it is stored."""
    table = row._meta.db_table
    with connections["default"].cursor() as cursor:
        cursor.execute(f"SELECT {column} FROM {table} WHERE id = %s", [row.pk])
        return cursor.fetchone()[0]


def write(row, column, stored):
    with connections["default"].cursor() as cursor:
        cursor.execute(
            f"UPDATE {row._meta.db_table} SET {column} = %s WHERE id = %s", [stored, row.pk]
        )


def lock_out(webhook, *columns):
    for column in columns or ("token",):
        write(webhook, column, FOREIGN)
    return webhook


@pytest.fixture
def webhook(account):
    """As it stands once its worker has looked."""
    webhook = WebhookFactory(account=account, token="old", headers=[("X-Key", "k")])
    WebhookHealth.objects.filter(pk=webhook.pk).update(
        last_success_at=timezone.now(), unreadable_since=timezone.now() - timedelta(hours=3)
    )
    return lock_out(webhook)


@pytest.fixture
def api(secret):
    return Api(secret)


@pytest.fixture
def boss(db):
    client = Client()
    client.force_login(UserFactory(is_superuser=True))
    return client


@pytest.fixture
def drain(transactional_db, loopback):
    """Run a worker until nothing is due; returns how many exchanges it made."""
    return lambda: worker.run(until_empty=True)


class TestApi:
    def test_all_but_the_secret_is_shown(self, api, webhook):
        shown = api.get(f"/webhooks/{webhook.id}").json()
        assert shown["token"] == MASK
        assert shown["headers"] == [{"name": "X-Key", "value": "k"}]
        write(Header.objects.get(), "value", FOREIGN)
        assert api.get(f"/webhooks/{webhook.id}").json()["headers"][0]["value"] == MASK

    def test_what_holds_it_is_named(self, api, webhook):
        path = f"/webhooks/{webhook.id}"
        delivery = api.post(f"{path}/deliveries", {}).json()
        assert api.get(f"/deliveries/{delivery['id']}").json()["reason"] == "unreadable"
        assert api.get(f"{path}/deliveries").json()[0]["reason"] == "unreadable"
        assert api.get(f"{path}/settings").json()["health"]["held"] == "unreadable"

    @pytest.mark.parametrize("call", ["interactions", "test", "verify"])
    def test_it_is_not_called(self, api, webhook, call, transactional_db):
        body = {} if call == "interactions" else None
        status = problem(api.post(f"/webhooks/{webhook.id}/{call}", body), 409)
        assert status["message"] == SENTENCE
        assert status["details"] == {"reason": "unreadable"}
        assert not WebhookError.objects.exists()

    def test_a_new_token_mends_it(self, api, webhook):
        assert api.patch(f"/webhooks/{webhook.id}", {"token": "fresh"}).status_code == 200
        assert api.get(f"/webhooks/{webhook.id}").json()["token"] == "fresh"

    def test_new_headers_and_a_new_password_mend_them(self, api, webhook):
        lock_out(webhook, "token", "auth_password")
        write(Header.objects.get(), "value", FOREIGN)
        path = f"/webhooks/{webhook.id}"
        problem(api.patch(path, {"token": "fresh"}), 409)
        anew = {
            "token": "fresh",
            "headers": [{"name": "X-Key", "value": "new"}],
            "auth": {"username": "u", "password": "p"},
        }
        assert api.patch(path, anew).status_code == 200
        shown = api.get(path).json()
        assert {key: shown[key] for key in anew} == anew

    @pytest.mark.parametrize("body", [{"name": "z"}, {"token": MASK}, {"url": "https://b.example"}])
    def test_a_change_that_would_keep_the_secret_is_refused(self, api, webhook, body):
        assert problem(api.patch(f"/webhooks/{webhook.id}", body), 409)["message"] == SENTENCE

    def test_it_can_be_paused_and_deleted(self, api, webhook):
        path = f"/webhooks/{webhook.id}"
        assert api.patch(f"{path}/settings", {"enabled": False}).status_code == 200
        assert api.delete(path).status_code == 200


@pytest.mark.once
class TestCommands:
    def test_explain_names_the_key(self, webhook):
        delivery = DeliveryFactory(webhook=webhook)
        assert f"It is held: {SENTENCE}" in run("explain", delivery.id)

    def test_send_says_that_it_waits(self, webhook):
        assert f"It waits: {SENTENCE}" in both("send", webhook.id)[1]

    def test_verify_all_goes_on_with_the_others(self, webhook, transactional_db, loopback):
        with Receiver(404) as receiver:
            other = WebhookFactory(url=receiver.url)
            out, err = both("verify", "--all", code=1)
        assert f"failed  {webhook.id}  {webhook}: {SENTENCE}\n" in out
        assert f"failed  {other.id}" in out
        assert "2 webhooks of 2 did not pass." in err
        assert len(receiver.requests) == 1


@pytest.mark.once
class TestConsole:
    def test_the_page_and_its_list_are_shown(self, boss, webhook):
        assert webhook.url in text_of(boss.get(page(webhook)))
        assert webhook.name in text_of(boss.get(url("webhook")))

    def test_a_new_token_mends_it(self, boss, webhook):
        data = webhook_form(boss.get(page(webhook)))
        boss.post(page(webhook), data | {"new_token": "fresh"})
        assert Webhook.objects.get(pk=webhook.pk).token == "fresh"

    def test_another_change_is_refused_with_the_reason(self, boss, webhook):
        data = webhook_form(boss.get(page(webhook)))
        answer = boss.post(page(webhook), data | {"name": "other"}, follow=True)
        assert SENTENCE in text_of(answer)

    @pytest.mark.parametrize(
        ("verb", "data"), [("reveal", {"secret": "token"}), ("test", {}), ("verify", {})]
    )
    def test_its_buttons_say_so(self, boss, webhook, verb, data, transactional_db):
        answer = boss.post(url("webhook", webhook.pk, verb), data, follow=True)
        assert SENTENCE in text_of(answer)


class TestEveryFace:
    """What the worker found is told alike, also by a process that has the key."""

    @pytest.fixture(params=["without the key", "with the key"])
    def webhook(self, request, webhook):
        if request.param == "with the key":
            Webhook.objects.filter(pk=webhook.pk).update(token="readable here")
        return webhook

    @pytest.fixture
    def delivery(self, webhook):
        return DeliveryFactory(webhook=webhook)

    def test_the_api(self, api, webhook, delivery):
        assert api.get(f"/deliveries/{delivery.pk}").json()["reason"] == "unreadable"
        assert api.get(f"/webhooks/{webhook.pk}/settings").json()["health"]["held"] == "unreadable"

    def test_the_commands(self, webhook, delivery):
        assert f"It is held: {SENTENCE}" in run("explain", delivery.pk)
        assert json.loads(run("explain", webhook.pk, "--json"))["held"] == "unreadable"
        assert "not called: 1 unreadable" in run("status", code=1)
        shown = json.loads(run("status", "--json", code=1))
        assert shown["webhooks"]["held"]["unreadable"] == 1
        assert shown["deliveries"]["held"]["unreadable"] == 1
        assert (shown["deliveries"]["due"], shown["oldestDueAt"]) == (0, "")

    def test_the_metrics(self, webhook, delivery, settings):
        settings.WEBHOOKS_METRICS_TOKEN = "m"
        told = Client().get("/metrics", headers={"authorization": "Bearer m"}).content.decode()
        assert 'webhooks_held{state="unreadable"} 1.0' in told
        assert 'webhooks_deliveries_held{state="unreadable"} 1.0' in told
        assert "webhooks_deliveries_due 0.0" in told

    def test_the_console(self, boss, webhook, delivery):
        said = text_of(boss.get(page(webhook)))
        assert "Unreadable since" in said
        assert "Working" not in said.split("</main>")[0].split('id="content"')[1].split("<form")[0]
        assert "Held: the webhook is “unreadable”" in text_of(boss.get(page(delivery, "delivery")))
        listed = text_of(boss.get(url("webhook"), {"state": "unreadable"}))
        assert webhook.name in listed
        assert webhook.name not in text_of(boss.get(url("webhook"), {"state": "working"}))
        assert "1 webhook has a secret that cannot be read" in text_of(boss.get("/admin/"))
        held = text_of(boss.get(url("delivery"), {"state": "held", "webhook": webhook.pk}))
        assert delivery.pk in held

    def test_what_comes_before_it(self, api, webhook, delivery):
        actions.pause(webhook)
        assert api.get(f"/deliveries/{delivery.pk}").json()["reason"] == "paused"

    def test_it_comes_before_a_missing_verification(self, api, webhook, delivery):
        Webhook.objects.filter(pk=webhook.pk).update(verified_at=None)
        assert api.get(f"/deliveries/{delivery.pk}").json()["reason"] == "unreadable"

    def test_the_worker_still_tries_it(self, drain, webhook):
        """Told, never asked: who has the key sends."""
        with Receiver() as receiver:
            Webhook.objects.filter(pk=webhook.pk).update(
                url=receiver.url,
                token="readable here",
                verified_at=timezone.now(),
                verification_due_at=None,
            )
            delivery = actions.deliver(webhook, 1)
            drain()
        delivery.refresh_from_db()
        assert delivery.state == "delivered"
        assert WebhookHealth.objects.get(pk=webhook.pk).unreadable_since is None


class TestWorker:
    def test_it_is_held_and_the_others_are_sent(self, drain):
        with Receiver() as receiver:
            held = lock_out(WebhookFactory(url=receiver.url, token="t"))
            other = WebhookFactory(url=receiver.url)
            waits, sent = actions.deliver(held, 1), actions.deliver(other, 2)
            assert drain() == 1
        waits.refresh_from_db()
        sent.refresh_from_db()
        assert (waits.state, waits.tries, sent.state) == ("pending", 0, "delivered")

    def test_its_verification_waits(self, drain, settings):
        webhook = lock_out(WebhookFactory(token="t", verified_at=None))
        actions.request_verification(webhook)
        other = WebhookFactory()
        actions.deliver(other, 1)
        drain()
        assert not WebhookError.objects.filter(webhook=webhook).exists()

    def claim(self, reader, webhook):
        """What the worker learns of a webhook of which something is due."""
        claims = reader.claim([store.Want(webhook.pk, 1, None)])
        return reader.load([want.webhook_id for want, _ in claims.rows])

    def freed(self, reader, webhook):
        return reader.changes(Memory(held=[webhook.pk])).freed

    def test_it_is_read_again_when_it_was_changed(self, reader):
        webhook = WebhookFactory(token="t")
        DeliveryFactory(webhook=webhook)
        lock_out(webhook)
        assert self.claim(reader, webhook).unreadable == {webhook.pk}
        assert self.freed(reader, webhook) == []
        actions.update_webhook(webhook, token="fresh")
        assert self.freed(reader, webhook) == [webhook.pk]
        answer = self.claim(reader, webhook)
        assert (answer.unreadable, list(answer.loaded)) == (set(), [webhook.pk])

    @pytest.mark.knobs(unreadable_again=0.0)
    def test_it_is_read_again_after_a_while(self, reader):
        webhook = WebhookFactory(token="t")
        DeliveryFactory(webhook=webhook)
        kept = raw(webhook, "token")
        lock_out(webhook)
        assert self.claim(reader, webhook).unreadable == {webhook.pk}
        write(webhook, "token", kept)
        assert self.freed(reader, webhook) == [webhook.pk]
        assert list(self.claim(reader, webhook).loaded) == [webhook.pk]

    def since(self, webhook):
        return WebhookHealth.objects.get(pk=webhook.pk).unreadable_since

    @pytest.mark.knobs(unreadable_again=0.0)
    def test_since_when_is_noted_once_and_cleared_when_it_opens_again(self, reader):
        webhook, other = WebhookFactory(token="t"), WebhookFactory(token="t")
        DeliveryFactory(webhook=webhook)
        kept = raw(webhook, "token")
        lock_out(webhook)
        self.claim(reader, webhook)
        noted = self.since(webhook)
        assert noted is not None
        with CaptureQueriesContext(connections["default"]) as queries:
            for _ in range(5):
                self.claim(reader, webhook)
        assert not [sql for sql in queries if "SET" in sql["sql"] and "unreadable" in sql["sql"]]
        assert (self.since(webhook), self.since(other)) == (noted, None)
        write(webhook, "token", kept)
        self.claim(reader, webhook)
        assert self.since(webhook) is None

    @pytest.mark.knobs(reopened_at_once=2)
    def test_it_is_tried_again_although_it_has_nothing_to_send(self, reader):
        """The key comes back, to a hundred and more webhooks, some of them of another worker."""
        lost = [WebhookFactory(token="t") for _ in range(5)]
        kept = [raw(webhook, "token") for webhook in lost]
        for webhook in lost:
            lock_out(webhook)
        WebhookHealth.objects.update(unreadable_since=timezone.now())
        reader.begin_anew()
        for _ in range(3):
            reader.discover()
        assert all(map(self.since, lost))
        for webhook, stored in zip(lost[:4], kept, strict=False):
            write(webhook, "token", stored)
        reader.begin_anew()
        for _ in range(3):
            reader.discover()
        assert [self.since(webhook) is None for webhook in lost] == [True] * 4 + [False]

    def test_a_lost_key_is_no_storm(self, reader):
        """Looked for again in a minute, however many turns there are."""
        webhook = lock_out(WebhookFactory(token="t"))
        DeliveryFactory(webhook=webhook)
        self.claim(reader, webhook)
        with CaptureQueriesContext(connections["default"]) as queries:
            for _ in range(20):
                reader.discover()
        assert not [sql for sql in queries if "unreadable" in sql["sql"]]

    def test_a_verification_that_opens_it_clears_it(self, reader):
        webhook = lock_out(WebhookFactory(token="t"))
        reader.cannot_read(webhook, WrongKey("its key is missing"))
        actions.update_webhook(webhook, token="fresh")
        reader.prepare(calls.Verification(Webhook.objects.get(pk=webhook.pk)))
        assert self.since(webhook) is None

    def test_a_secret_that_was_changed_under_a_key_of_others_is_not_sent_in_its_old_form(
        self, drain
    ):
        """As when the web side has a new key and the worker was not restarted yet."""
        with Receiver() as receiver:

            def change(request):
                lock_out(webhook)
                Webhook.objects.filter(pk=webhook.pk).update(version=2)
                actions.deliver(webhook, 2)
                connections.close_all()  # this thread's
                return 200

            receiver.answer = change
            webhook = WebhookFactory(url=receiver.url, token="t")
            actions.deliver(webhook, 1)
            assert drain() == 1
