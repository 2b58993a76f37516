"""A restore of the data alone: the sequences of PostgreSQL are behind their tables."""

import re

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection
from django.urls import reverse

from tests.api.conftest import Api, problem
from tests.factories import AccountFactory, DeliveryFactory, UserFactory, WebhookFactory
from tests.receivers import StubResolver
from webhooks_app import actions
from webhooks_app.models import (
    AccessToken,
    Account,
    AuditEntry,
    Delivery,
    Header,
    Job,
    Notice,
    SigningKey,
    Webhook,
    WebhookHealth,
    sequences,
)

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="PostgreSQL's"),
]
NEW = {
    "name": "n",
    "url": "https://receiver.example.com/",
    "headers": [{"name": "A", "value": "b"}],
}


@pytest.fixture
def secret():
    """Every table has some rows, and its sequence gives the key of the last one."""
    account = AccountFactory(name="acme")
    account.members.add(UserFactory())
    secret = AccessToken.issue(account)[1]
    for _ in range(3):
        webhook = WebhookFactory(account=account, headers=[("X", "y")])
        SigningKey.objects.of([webhook.pk])
        AuditEntry.objects.note("somebody", "Created.", webhook)
        Notice.objects.create(webhook=webhook)
        actions.add_note(webhook, "Seen.", by="somebody")
        kind = f"order.{webhook.pk}"
        actions.declare_event_type(account, kind)
        actions.set_subscriptions(webhook, [{"types": [kind]}])
        webhook.form = "standard"
        webhook.save()
        actions.publish(account, kind, {})
    behind()
    return secret


def behind():
    with connection.cursor() as cursor:
        for model in sequences._with_one():
            table = model._meta.db_table
            sql = f"SELECT setval(pg_get_serial_sequence(%s, 'id'), max(id), false) FROM {table}"
            cursor.execute(sql, [table])


def test_all_tables_with_a_sequence_are_known():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname FROM pg_class s JOIN pg_depend d ON d.objid = s.oid AND "
            "d.deptype IN ('a', 'i') JOIN pg_class c ON c.oid = d.refobjid "
            "WHERE s.relkind = 'S' AND c.relname LIKE 'webhooks_app_%'"
        )
        tables = {name for (name,) in cursor.fetchall()}
    # That of a delivery gives its position, beside its key.
    with_one = {model._meta.db_table for model in sequences._with_one()}
    assert tables == with_one | {Delivery._meta.db_table}
    assert Account._meta.db_table in tables


@pytest.mark.django_db(transaction=True)
def test_the_api_says_so_stores_nothing_and_goes_on(secret):
    api = Api(secret)
    refused = api.post("/webhooks", NEW)
    assert problem(refused, 503)["message"] == sequences.WORDS
    assert int(refused["Retry-After"]) == 1
    assert Header.objects.count() == 3
    assert api.post("/webhooks", NEW).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_so_does_the_console(secret, client):
    client.force_login(UserFactory(is_superuser=True))
    page, form = reverse("admin:webhooks_app_account_add"), {"name": "other"}
    refused = client.post(page, form)
    assert (refused.status_code, refused.content.decode()) == (503, sequences.WORDS)
    assert client.post(page, form).status_code == 302
    assert Account.objects.filter(name="other").exists()


@pytest.mark.django_db(transaction=True)
def test_so_does_a_command(secret):
    with pytest.raises(CommandError, match=re.escape(sequences.WORDS)):
        call_command("webhooks", "create-token", "acme")
    call_command("webhooks", "create-token", "acme")


@pytest.mark.django_db(transaction=True)
def test_nobody_takes_the_site_for_held_that_is_not(secret):
    """As the page of operations says to hold it: right after the restore."""
    with pytest.raises(CommandError, match=re.escape(sequences.WORDS)):
        call_command("webhooks", "hold-all", "--timeout", "0")
    assert actions.site_hold() is None
    call_command("webhooks", "hold-all", "--timeout", "0")
    assert actions.site_hold() is not None


VERBS = {
    "retry": lambda: actions.retry(Delivery.objects.first(), by="x"),
    "cancel": lambda: actions.cancel(Delivery.objects.first(), by="x"),
    "clear the error": lambda: actions.clear_error(Webhook.objects.first(), by="x"),
    "ask for a verification": lambda: actions.request_verification(Webhook.objects.first(), by="x"),
    "start a job": lambda: actions.create_job("retry", {}, by="x"),
    "pause a job": lambda: actions.pause_job(Job.objects.first(), by="x"),
}


def rows():
    """All that these verbs write, but the audit log."""
    models = (Delivery, Webhook, WebhookHealth, Job)
    return [list(model.objects.order_by("pk").values()) for model in models]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("verb", VERBS)
def test_what_cannot_be_noted_has_not_happened(secret, verb):
    actions.create_job("retry", {})
    WebhookHealth.objects.update(last_error_message="m")
    Webhook.objects.update(verification_due_at=None)
    before = rows()
    with pytest.raises(IntegrityError):
        VERBS[verb]()
    assert rows() == before
    sequences.catch_up()
    VERBS[verb]()
    assert rows() != before


@pytest.mark.django_db(transaction=True)
def test_an_event_type_is_not_said_to_be_declared_already(secret):
    api = Api(secret)
    assert problem(api.post("/event-types", {"name": "a"}), 503)["message"] == sequences.WORDS
    assert api.post("/event-types", {"name": "a"}).status_code == 200


def test_a_webhook_without_a_signing_secret_gets_one_all_the_same(secret):
    webhook = WebhookFactory(account=Account.objects.get())
    assert actions.reveal_secret(webhook).startswith("whsec_")


@pytest.mark.django_db(transaction=True)
def test_a_worker_moves_them_on_when_it_starts(secret, caplog):
    from webhooks_app.engine import worker
    from webhooks_app.engine.http.sender import Sender

    DeliveryFactory(webhook__account=Account.objects.get(), webhook__url="http://127.0.0.1:9/")
    worker.run(until_empty=True, sender=Sender(StubResolver({})))
    assert sequences.catch_up() == []
    assert "were behind and are moved on" in caplog.text


def test_what_is_not_behind_is_left_alone(secret):
    assert len(sequences.catch_up()) == len(sequences._with_one())
    assert sequences.catch_up() == []
    AccountFactory()
    assert sequences.catch_up() == []


def test_where_that_is_not_allowed_the_log_says_what_to_do(secret, caplog, monkeypatch):
    from django.db import ProgrammingError

    def refuse(execute, sql, params, many, context):
        raise ProgrammingError("permission denied for sequence")

    with connection.execute_wrapper(refuse):
        assert sequences.catch_up() == []
    assert "sqlsequencereset webhooks_app" in caplog.text
