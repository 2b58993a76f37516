"""The page of an account: what one wants to know of a customer before calling back."""

from datetime import timedelta

import pytest
from django.core import mail as outbox
from django.utils import timezone

from tests.admin.conftest import REFUSED, log_in
from tests.admin.pages import text_of, url
from tests.admin.test_home import called, links, plain, shown
from tests.factories import AccountFactory, DeliveryFactory, WebhookFactory
from webhooks_app import actions
from webhooks_app.engine.maintenance import notices
from webhooks_app.models import AccessToken, AuditEntry


@pytest.fixture
def acme(db):
    account = AccountFactory(name="acme", contact_email="ops@acme.example")
    WebhookFactory(account=account, name="Fine", health={"last_success_at": timezone.now()})
    health = REFUSED | {"failures_in_row": 9, "failing_since": timezone.now() - timedelta(hours=2)}
    orders = WebhookFactory(account=account, name="Orders", health=health)
    WebhookFactory(account=account, name="Old", stopped="paused", stopped_at=timezone.now())
    DeliveryFactory.create_batch(3, webhook=orders)
    DeliveryFactory(webhook=orders, state="failed", finished_at=timezone.now())
    called(orders, delivered=3, failed=1)
    WebhookFactory(name="Of another", health=health)
    return account


def page_of(account):
    return url("account", account.pk, "change")


def test_its_webhooks_with_the_worst_first(boss, acme):
    text = text_of(boss.get(page_of(acme)))
    says = plain(text)
    assert "3 webhooks, 1 failing, 1 paused" in says
    table = says.split("Webhooks State")[1]
    assert table.index("Old") < table.index("Fine")
    assert table.index("Orders") < table.index("Fine")
    assert "Of another" not in says
    found = links(text)
    assert shown(boss, found["1 failing"]) == 1
    assert found["75.0 %"]
    assert shown(boss, found["75.0 %"]) == 4
    assert shown(boss, found["1 failed"]) == 1


def test_what_waits_and_what_gave_up(boss, acme):
    text = text_of(boss.get(page_of(acme)))
    tiles = text.split('<dl class="wh-tiles')[1].split("</dl>")[0]
    assert "Waiting 3" in plain(tiles)
    assert "Gave up 1" in plain(tiles)
    found = links(tiles)
    assert shown(boss, found["3"]) == 3
    assert shown(boss, found["1"]) == 1


@pytest.mark.once
def test_its_tokens_events_and_contact(boss, acme):
    AccessToken.issue(acme, name="chat bot")
    used, _ = AccessToken.issue(acme, name="shop")
    AccessToken.objects.filter(pk=used.pk).update(last_used_at=timezone.now())
    actions.publish(acme, "order.paid", {}, reference="order 5")
    says = plain(text_of(boss.get(page_of(acme))))
    assert says.index("shop") < says.index("chat bot")
    assert "never used" in says
    assert "order.paid" in says
    assert "order 5" in says
    assert "Contact: ops@acme.example" in says


@pytest.mark.once
def test_nobody_is_said_to_be_told_who_was_sent_no_letter(boss, acme):
    WebhookFactory(account=acme, health={"failures_in_row": 5, "told": "failing"})
    says = plain(text_of(boss.get(page_of(acme))))
    assert "None was sent." in says
    assert "told that" not in says


def test_the_notices_that_went_out(boss, acme):
    notices.turn()
    assert "Webhook Orders is failing" in [letter.subject for letter in outbox.outbox]
    says = plain(text_of(boss.get(page_of(acme))).split('id="notices"')[1])
    assert "Webhook Orders is failing" in says
    assert "ops@acme.example" not in AuditEntry.objects.get(by="the worker").action


@pytest.mark.once
def test_only_what_may_be_seen(acme):
    AccessToken.issue(acme, name="chat bot")
    text = text_of(log_in("view_account").get(page_of(acme)))
    for hidden in ("Orders", "chat bot", "Last events"):
        assert hidden not in text
    assert "ops@acme.example" in text


def test_of_very_many_webhooks_the_first_are_shown(boss, acme):
    WebhookFactory.create_batch(22, account=acme)
    text = text_of(boss.get(page_of(acme)))
    assert "The first 20 are shown" in text
    assert "Orders" in text


def test_takes_at_most_twelve_queries(boss, acme, django_assert_max_num_queries):
    with django_assert_max_num_queries(12):
        boss.get(page_of(acme))
