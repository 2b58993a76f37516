"""An account goes, with all that is its own, and nobody waits for it."""

import re
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.factories import (
    AccountFactory,
    AttemptFactory,
    DeliveryFactory,
    HourlyCountFactory,
    UserFactory,
    WebhookFactory,
)
from webhooks_app import actions
from webhooks_app.models import (
    AccessToken,
    Account,
    Attempt,
    AuditEntry,
    Delivery,
    Event,
    EventBody,
    EventType,
    Header,
    HourlyCount,
    Note,
    SigningKey,
    Subscription,
    Webhook,
    WebhookHealth,
)

OWN = (Account, AccessToken, Webhook, Header, SigningKey, WebhookHealth, HourlyCount, Delivery)
OWN += (Attempt, Event, EventBody, EventType, Subscription, Note)


def filled(name):
    """An account with something of everything."""
    account = AccountFactory(name=name)
    account.members.add(UserFactory())
    AccessToken.issue(account)
    webhook = actions.create_webhook(
        account, name="w", url="https://one.example.com/", headers=[("X-One", "1")], form="thin"
    )
    actions.add_note(account, "Calls at night.", by="somebody")
    actions.add_note(webhook, "Theirs.", by="somebody")
    actions.set_subscriptions(webhook, [{"types": ["order.*"]}])
    actions.publish(account, "order.paid", {"n": 1})
    actions.declare_event_type(account, "order.paid")
    done = DeliveryFactory(webhook=webhook, state="delivered", finished_at=timezone.now())
    AttemptFactory(webhook=webhook, delivery=done)
    AttemptFactory(webhook=webhook, exchange="test")
    for day in range(3):
        HourlyCountFactory(webhook=webhook, at=timezone.now() - timedelta(days=day))
    actions.delete_webhook(WebhookFactory(account=account))
    return account


def rows():
    return {model: set(model._default_manager.values_list("pk", flat=True)) for model in OWN}


@pytest.mark.django_db(transaction=True)
def test_an_account_goes_with_all_that_is_its_own_and_no_other():
    filled("stays")
    before = rows()
    assert all(before.values())
    account = filled("goes")
    removed = actions.delete_account(account, by="mira")
    assert rows() == before
    assert removed == {"attempts": 2, "deliveries": 2, "events": 1, "webhooks": 2}
    said = AuditEntry.objects.filter(kind="account", name="goes").order_by("pk")
    lines = [(line.by, line.action, line.account) for line in said if "Noted" not in line.action]
    assert lines == [("mira", "Began to delete it.", None), ("mira", "Deleted.", None)]


@pytest.mark.django_db(transaction=True)
def test_cut_short_it_is_said_to_have_begun_and_the_next_call_ends_it(account):
    for webhook in WebhookFactory.create_batch(2, account=account):
        DeliveryFactory(webhook=webhook)

    def cut(execute, sql, *arguments):
        is_next = sql.startswith("DELETE") and Delivery._meta.db_table in sql
        if is_next and Delivery.objects.count() < 2:
            raise KeyboardInterrupt
        return execute(sql, *arguments)

    with connection.execute_wrapper(cut), pytest.raises(KeyboardInterrupt):
        actions.delete_account(account, by="mira")
    of_account = AuditEntry.objects.filter(kind="account").values_list("action", flat=True)
    assert list(of_account) == ["Began to delete it."]
    assert Delivery.objects.count() == 1
    assert not Webhook.objects.live().exists()
    removed = actions.delete_account(account, by="mira")
    assert (removed["deliveries"], removed["webhooks"]) == (1, 1)
    assert "Deleted." in of_account.all()
    assert not Account.objects.filter(pk=account.pk).exists()


@pytest.mark.django_db(transaction=True)
def test_very_many_rows_go_in_steps_between_which_others_write(account):
    webhook = WebhookFactory(account=account)
    many = [DeliveryFactory.build(webhook=webhook) for _ in range(2500)]
    Delivery.objects.bulk_create(many)
    with CaptureQueriesContext(connection) as asked:
        assert actions.delete_account(account)["deliveries"] == 2500
    statements = [query["sql"] for query in asked]
    deletes = [sql for sql in statements if sql.startswith("DELETE")]
    assert max(len(re.findall(r"[0-9a-f]{24}", sql)) for sql in deletes) <= 1000
    assert sum(sql == "COMMIT" for sql in statements) > 2500 / 1000


@pytest.mark.django_db(transaction=True)
def test_inside_a_transaction_it_is_refused(account):
    with pytest.raises(RuntimeError, match="transaction"), transaction.atomic():
        actions.delete_account(account)
    assert Account.objects.filter(pk=account.pk).exists()
