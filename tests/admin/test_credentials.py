"""OAuth and client certificate in the console: entered, kept, entered anew, never shown."""

import pytest

from tests.admin.pages import page, text_of, webhook_form
from tests.admin.test_webhook_form import save
from tests.certificates import authority_pem, identity
from tests.factories import WebhookFactory, WorkerFactory
from webhooks_app.models import Webhook, WebhookHealth
from webhooks_app.rules import oauth

GIVEN = {
    "oauth_token_url": "https://login.example.com/token",
    "oauth_client_id": "shop",
    "new_client_secret": "the-secret-of-the-client",
    "oauth_scopes": "a b",
    "oauth_auth_method": "clientSecretPost",
    "oauth_extra_params": "audience=https://api.example.com\r\n\r\nresource = r",
}
STORED = {
    "tokenUrl": "https://login.example.com/token",
    "clientId": "shop",
    "clientSecret": "the-secret-of-the-client",
    "scopes": ["a", "b"],
    "authMethod": "clientSecretPost",
    "extraParams": {"audience": "https://api.example.com", "resource": "r"},
}


@pytest.fixture
def webhook(account):
    return WebhookFactory(account=account, name="Orders", url="https://erp.example.com/hook")


@pytest.fixture
def with_both(webhook):
    webhook.oauth, webhook.identity = oauth.stored(STORED), identity()
    webhook.ca_certificates = authority_pem()
    webhook.save()
    return webhook


def stored(webhook):
    return oauth.client(Webhook.objects.get(pk=webhook.pk).oauth).settings


def test_entered_in_the_form_they_are_stored(boss, webhook):
    pem = identity().replace("\n", "\r\n")
    given = GIVEN | {"new_identity": pem, "ca_certificates": authority_pem()}
    said = boss.post(page(webhook), webhook_form(boss.get(page(webhook))) | given, follow=True)
    assert "Saved: " in text_of(said)
    assert stored(webhook) == STORED
    row = Webhook.objects.get()
    assert row.identity.replace("\n", "\r\n") == pem
    assert row.ca_certificates == authority_pem()
    assert WebhookHealth.objects.get().identity_ends_at is not None


def test_the_page_shows_what_is_no_secret_and_keeps_the_rest(boss, with_both):
    text = text_of(boss.get(page(with_both)))
    assert "https://login.example.com/token" in text
    assert "audience=••••••••" in text
    assert "Clients of the tests" in text
    for secret in ("the-secret-of-the-client", "https://api.example.com", "PRIVATE KEY-----\nM"):
        assert secret not in text
    version = Webhook.objects.get().version
    assert save(boss, with_both).status_code == 302
    assert (Webhook.objects.get().version, stored(with_both)) == (version, STORED)


def test_an_empty_token_url_and_a_ticked_box_remove_them(boss, with_both):
    nothing = {"oauth_token_url": "", "ca_certificates": "", "new_identity-clear": "on"}
    assert save(boss, with_both, **nothing).status_code == 302
    row = Webhook.objects.get()
    assert (row.oauth, row.identity, row.ca_certificates) == ("", "", "")


def test_every_sentence_stands_at_its_field(boss, webhook):
    wrong = GIVEN | {
        "oauth_token_url": "http://localhost/",
        "oauth_scopes": 'a"',
        "oauth_extra_params": "scope=x",
        "new_identity": "nothing",
        "ca_certificates": "nothing",
    }
    text = text_of(save(boss, webhook, **wrong))
    for field in (*wrong.keys() - {"oauth_client_id", "new_client_secret", "oauth_auth_method"},):
        box = text.split(f"field-{field}")[1].split("form-row")[0]
        assert "errorlist" in box, field


def test_basic_auth_beside_oauth_is_refused(boss, webhook):
    text = text_of(save(boss, webhook, **GIVEN, auth_username="u", new_password="p"))
    assert "both set Authorization" in text
    header = {"headers-0-name": "Authorization", "headers-0-new_value": "x"}
    assert "OAuth; clear one of the two" in text_of(save(boss, webhook, **GIVEN, **header))


def test_who_may_not_reveal_enters_them_anew_for_another_origin(editor, with_both):
    text = text_of(save(editor, with_both, url="https://elsewhere.example.com/"))
    for field in ("new_client_secret", "oauth_extra_params", "new_identity"):
        assert "enter them anew" in text.split(f"field-{field}")[1].split("form-row")[0]
    elsewhere = {"oauth_token_url": "https://evil.example.com/token"}
    assert "enter them anew" in text_of(save(editor, with_both, **elsewhere))
    anew = elsewhere | {"new_client_secret": "n", "oauth_extra_params": ""}
    assert save(editor, with_both, **anew).status_code == 302
    assert stored(with_both)["clientSecret"] == "n"


def test_the_secret_is_revealed_and_the_key_is_not(boss, with_both):
    where = page(with_both).replace("change", "reveal")
    assert "the-secret-of-the-client" in text_of(boss.post(where, {"secret": "client-secret"}))
    assert boss.post(where, {"secret": "identity"}).status_code == 302


def test_who_may_only_look_sees_that_there_are_some(viewer, with_both):
    text = text_of(viewer.get(page(with_both)))
    assert "shop at https://login.example.com/token" in text
    assert "issued by" in text


def test_not_beside_a_worker_of_an_older_version(boss, webhook):
    WorkerFactory(version="0.1.0")
    assert "worker of an older version" in text_of(save(boss, webhook, **GIVEN))


def test_the_request_of_a_call_shows_that_they_go_along(boss, with_both):
    text = text_of(boss.get(page(with_both)))
    assert "Authorization: Bearer ••••••••" in text
    assert "--cert client.pem" in text
