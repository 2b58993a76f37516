"""OAuth and a client certificate are set on the page of a webhook, by hand."""

import pytest

from tests.certificates import authority_pem, identity
from tests.e2e.conftest import page_of, press, said
from tests.factories import WebhookFactory
from webhooks_app.models import Webhook
from webhooks_app.rules import oauth

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_they_are_entered_seen_again_without_secrets_and_kept(mira, live_server, transactional_db):
    webhook = WebhookFactory(name="Orders", url="https://erp.example.com/hook")
    pem = identity()
    mira.goto(page_of(live_server, webhook))
    mira.click("summary:has-text('OAuth 2 and client certificate')")
    mira.fill("#id_oauth_token_url", "https://login.example.com/token")
    mira.fill("#id_oauth_client_id", "shop")
    mira.fill("#id_new_client_secret", "hush-of-the-client")
    mira.fill("#id_oauth_extra_params", "audience=hush-of-the-audience")
    mira.fill("#id_new_identity", pem)
    mira.fill("#id_ca_certificates", authority_pem())
    press(mira, "Save")
    assert "Saved: " in said(mira)
    stored = Webhook.objects.get()
    assert stored.identity == pem
    assert oauth.client(stored.oauth).client_secret == "hush-of-the-client"
    assert "hush-of" not in mira.content()
    assert "PRIVATE KEY" not in mira.content()

    mira.fill("#id_name", "Orders to ERP")
    press(mira, "Save")
    again = Webhook.objects.get()
    assert (again.name, again.oauth) == ("Orders to ERP", stored.oauth)
    assert again.identity == stored.identity
    mira.click("summary:has-text('OAuth 2 and client certificate')")
    mira.locator("summary:has-text('OAuth 2 and client certificate')").scroll_into_view_if_needed()
    assert mira.troubles == []
