"""A tab that was opened before somebody else changed the row reverts nothing unseen."""

import pytest

from tests.e2e.conftest import page_of, press, said
from tests.factories import AccountFactory, WebhookFactory
from webhooks_app import actions
from webhooks_app.models import Account, Webhook
from webhooks_app.models.audit import Actor

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NEW = "https://new.example.com/hook"
HUSH = "hush-of-an-old-header"


@pytest.fixture
def webhook(transactional_db):
    return WebhookFactory(
        name="Orders",
        url="https://old.example.com/hook",
        token="hush-of-the-token",
        headers=[("X-Tenant", HUSH), ("X-Old", "old")],
    )


@pytest.fixture
def tab(mira, live_server, webhook):
    """Opened before ada sent the webhook elsewhere."""
    mira.goto(page_of(live_server, webhook))
    actions.update_webhook(webhook, url=NEW, by=Actor("ada", "admin"))
    return mira


def test_a_stale_tab_says_who_when_and_shows_both_texts(tab, webhook):
    tab.fill("#id_name", "Orders to ERP")
    tab.fill("#id_new_token", "a new token")
    press(tab, "Save")
    webhook.refresh_from_db()
    assert (webhook.url, webhook.name) == (NEW, "Orders"), "nothing is saved unseen"
    said = tab.inner_text(
        "#content-main .errornote + .errorlist, #content-main .errorlist.nonfield"
    )
    assert "ada" in said
    assert "Changed URL" in said
    assert tab.locator(".errorlist.nonfield time").count() == 1
    assert tab.input_value("#id_name") == "Orders to ERP"
    assert tab.input_value("#id_new_token") == "a new token"
    assert tab.input_value("#id_url") == "https://old.example.com/hook"
    assert f"Stored now: “{NEW}”" in tab.inner_text(".field-url")
    assert "hush-of-the-token" not in tab.content()

    tab.locator(".field-url").get_by_role("button", name="Take it").click()
    assert tab.input_value("#id_url") == NEW
    press(tab, "Save")
    webhook.refresh_from_db()
    assert (webhook.url, webhook.name, webhook.token) == (NEW, "Orders to ERP", "a new token")
    assert tab.troubles == []


def test_saved_once_more_it_is_taken_as_it_stands(tab, webhook):
    press(tab, "Save")
    assert Webhook.objects.get().url == NEW
    press(tab, "Save")
    assert Webhook.objects.get().url == "https://old.example.com/hook"


def test_headers_that_were_stored_anew_keep_their_values(tab, webhook):
    headers = [("X-Tenant", HUSH), ("X-New", "new")]
    actions.update_webhook(webhook, headers=headers, by=Actor("ada", "admin"))
    tab.fill("#id_headers-2-name", "X-Mine")
    tab.fill("#id_headers-2-new_value", "typed")
    press(tab, "Save")
    assert "Changed headers" in tab.inner_text(".errorlist.nonfield")
    assert "Somebody took this header away meanwhile" in tab.inner_text(".wh-headers")
    assert tab.input_value("#id_headers-2-new_value") == "typed"
    assert HUSH not in tab.content()
    tab.locator("#id_headers-1-DELETE").check()
    tab.locator(".field-url").get_by_role("button", name="Take it").click()
    press(tab, "Save")
    assert "Saved: headers." in said(tab)
    saved = {header.name: header.value for header in webhook.headers.all()}
    assert saved == {"X-Tenant": HUSH, "X-New": "new", "X-Mine": "typed"}


def test_a_tab_that_is_not_stale_is_saved_at_once(mira, live_server, webhook):
    mira.goto(page_of(live_server, webhook))
    mira.fill("#id_name", "Orders to ERP")
    press(mira, "Save")
    assert "Saved: name." in said(mira)


def test_so_is_an_account(mira, live_server, transactional_db):
    account = AccountFactory(name="acme")
    mira.goto(page_of(live_server, account))
    Account.objects.update(contact_email="ops@acme.example")
    mira.fill("#id_name", "acme-logistics")
    press(mira, "Save")
    assert Account.objects.get().contact_email == "ops@acme.example"
    assert "after you had opened this page" in mira.inner_text("#content-main")
    assert "Stored now: “ops@acme.example”" in mira.inner_text(".field-contact_email")
    mira.locator(".field-contact_email").get_by_role("button", name="Take it").click()
    press(mira, "Save")
    account.refresh_from_db()
    assert (account.name, account.contact_email) == ("acme-logistics", "ops@acme.example")
