"""From an empty site to the first delivery, without leaving what one is at."""

import subprocess
from datetime import timedelta

import pytest
from django.utils import timezone

from tests.e2e.conftest import follow, press
from tests.factories import WorkerFactory
from tests.waiting import PATIENCE
from webhooks_app.models import AccessToken, Account, AuditEntry, Delivery, Webhook

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.usefixtures("loopback")]


@pytest.fixture
def site(mira, live_server, transactional_db):
    WorkerFactory(seen_at=timezone.now() + timedelta(hours=1))
    mira.goto(f"{live_server.url}/admin/")
    return mira


def ticked(page):
    return page.locator("#steps li.wh-done b").all_inner_texts()


def test_three_steps_lead_to_the_first_delivery_and_tick_themselves_off(site, live_server):
    assert site.inner_text("#verdict") == "No webhooks yet"
    assert ticked(site) == []
    assert site.locator("#content .wh-btn-1").all_inner_texts() == ["Add webhook"]

    follow(site.get_by_role("link", name="Add webhook", exact=True))
    assert site.is_checked("#id_new_account"), "the first webhook has no account to belong to"
    site.fill("#id_account", "acme")
    site.fill("#id_name", "Orders")
    site.fill("#id_url", "http://127.0.0.1:9/hook")
    press(site, "Save")
    webhook = Webhook.objects.get()
    assert webhook.account.name == "acme"
    assert AuditEntry.objects.filter(kind="account", action="Created.").exists()

    site.goto(f"{live_server.url}/admin/")
    assert ticked(site) == ["1. Add a webhook"]
    follow(site.get_by_role("link", name="Add access token", exact=True))
    assert site.input_value("#id_account") == "acme"
    press(site, "Save")
    secret = site.input_value("#token")
    follow(site.get_by_role("link", name="To the home page"))
    assert ticked(site) == ["1. Add a webhook", "2. Make an access token"]

    curl = site.inner_text("#first-curl")
    environment = {"WEBHOOKS_TOKEN": secret, "PATH": "/usr/bin:/bin"}
    subprocess.run(["sh", "-c", curl], env=environment, check=True, timeout=PATIENCE)
    assert bytes(Delivery.objects.get().payload) == b'{"hello": "world"}'
    site.wait_for_selector("text=All three steps are done")  # by itself
    assert len(ticked(site)) == 3
    assert site.troubles == []


def test_a_token_makes_its_account_too_and_a_slip_makes_none(site, live_server):
    place = f"{live_server.url}/admin/webhooks_app/accesstoken/add/"
    site.goto(place)
    site.fill("#id_account", "Not A Name!")
    press(site, "Save")
    assert "Use 1 to 64 of a-z, 0-9 and -." in site.inner_text(".field-account")
    site.fill("#id_account", "acme")
    press(site, "Save")
    assert AccessToken.objects.get().account.name == "acme"

    for model in ("accesstoken", "webhook"):
        site.goto(f"{live_server.url}/admin/webhooks_app/{model}/add/")
        assert not site.is_checked("#id_new_account")
        site.fill("#id_account", "amce")
        site.fill("#id_name", "shop")
        if site.locator("#id_url").count():
            site.fill("#id_url", "http://127.0.0.1:9/hook")
        press(site, "Save")
        assert "Tick “Create it” if it shall be a new one." in site.inner_text(".field-account")
    assert Account.objects.count() == 1
    assert not Webhook.objects.exists()
