"""Secrets: in clear to a token that manages, masked to everyone else; a mask sent back keeps."""

import pytest

from tests.api.conftest import FULL, problem
from tests.factories import WebhookFactory
from webhooks_app.models import Webhook
from webhooks_app.rules.validators import MASK

SECRETS = ["qwerty", "k-1", "first", "second", " pass word "]


@pytest.fixture
def webhook(account):
    return WebhookFactory(
        account=account,
        name=FULL["name"],
        url=FULL["url"],
        token=FULL["token"],
        auth_username=FULL["auth"]["username"],
        auth_password=FULL["auth"]["password"],
        headers=[(header["name"], header["value"]) for header in FULL["headers"]],
    )


def stored(webhook):
    row = Webhook.objects.get(pk=webhook.pk)
    headers = [{"name": header.name, "value": header.value} for header in row.headers.all()]
    return {
        "name": row.name,
        "url": row.url,
        "token": row.token,
        "headers": headers,
        "auth": {"username": row.auth_username, "password": row.auth_password},
    }


def test_sessions_and_read_tokens_see_the_mask(webhook, browser, account, api_for):
    for api in (browser, api_for(account, scope="read")):
        body = api.get(f"/webhooks/{webhook.id}").json()
        assert body["token"] == MASK
        assert [header["value"] for header in body["headers"]] == [MASK] * 3
        assert body["auth"] == {"username": "user", "password": MASK}


def test_an_empty_secret_is_shown_empty(account, browser):
    body = browser.get(f"/webhooks/{WebhookFactory(account=account).id}").json()
    assert body["token"] == ""
    assert body["auth"]["password"] == ""


def test_masked_means_not_in_the_page(webhook, browser):
    for path in (f"/webhooks/{webhook.id}", f"/webhooks/{webhook.id}/settings", "/webhooks"):
        page = browser.get(path, HTTP_ACCEPT="text/html").content.decode()
        assert "<html" in page
        assert not [secret for secret in SECRETS if f"{secret}" in page and secret != "first"]


def test_a_masked_get_put_back_changes_nothing(webhook, browser):
    before = Webhook.objects.values().get(pk=webhook.pk), stored(webhook)
    body = browser.get(f"/webhooks/{webhook.id}").json()
    assert browser.put(f"/webhooks/{webhook.id}", body).status_code == 200
    assert (Webhook.objects.values().get(pk=webhook.pk), stored(webhook)) == before


def test_header_masks_keep_the_nth_value_of_the_same_name(webhook, api):
    headers = [
        {"name": "x-twice", "value": "new first"},
        {"name": "X-New", "value": "new"},
        {"name": "X-TWICE", "value": MASK},
        {"name": "X-Api-Key", "value": MASK},
    ]
    assert api.patch(f"/webhooks/{webhook.id}", {"headers": headers}).status_code == 200
    assert stored(webhook)["headers"] == [
        {"name": "x-twice", "value": "new first"},
        {"name": "X-New", "value": "new"},
        {"name": "X-TWICE", "value": "second"},
        {"name": "X-Api-Key", "value": "k-1"},
    ]


def test_a_mask_of_the_password_survives_a_new_username(webhook, api):
    body = {"auth": {"username": "other", "password": MASK}}
    assert api.patch(f"/webhooks/{webhook.id}", body).status_code == 200
    assert stored(webhook)["auth"] == {"username": "other", "password": " pass word "}


NOTHING_BEHIND = {
    "token": {"token": MASK},
    "auth": {"auth": {"username": "u", "password": MASK}},
    "headers": {"headers": [{"name": "X-Api-Key", "value": MASK}]},
}


@pytest.mark.parametrize("field", NOTHING_BEHIND)
def test_a_mask_with_nothing_behind_it_is_400(account, api, field):
    bare = WebhookFactory(account=account)
    body = NOTHING_BEHIND[field]
    assert field in problem(api.patch(f"/webhooks/{bare.id}", body), 400)["details"]
    assert field in problem(api.post("/webhooks", {**FULL, **body}), 400)["details"]


def test_a_third_mask_of_a_name_stored_twice_is_400(webhook, api):
    headers = [{"name": "X-Twice", "value": MASK}] * 3
    details = problem(api.patch(f"/webhooks/{webhook.id}", {"headers": headers}), 400)["details"]
    assert list(details["headers"]) == ["2"]


@pytest.mark.parametrize("mask", ["•" * 7, "•" * 9, MASK + " ", "********"])
def test_only_the_exact_mask_keeps(webhook, api, mask):
    assert api.patch(f"/webhooks/{webhook.id}", {"token": mask}).status_code == 200
    assert stored(webhook)["token"] == mask


NEW_ORIGINS = [
    "http://receiver.example.com/hook",
    "https://other.example.com/hook",
    "https://receiver.example.com:8443/hook",
]


@pytest.mark.parametrize("url", NEW_ORIGINS)
@pytest.mark.parametrize("kept", ["token", "headers", "auth"])
@pytest.mark.parametrize("how", ["mask", "left out"])
def test_who_sees_the_mask_cannot_send_kept_secrets_elsewhere(webhook, browser, url, kept, how):
    before = stored(webhook)
    body = {"name": "n", "url": url, "token": "", "headers": [], "auth": {}}
    masked = browser.get(f"/webhooks/{webhook.id}").json()
    body[kept] = masked[kept]
    if how == "left out":
        del body[kept]
    for send in (browser.put, browser.patch):
        details = problem(send(f"/webhooks/{webhook.id}", body), 400)["details"]
        assert list(details) == [kept]
        assert "enter the secrets anew" in details[kept][0]
    assert stored(webhook) == before


@pytest.mark.parametrize("url", NEW_ORIGINS)
def test_with_the_secrets_entered_anew_the_origin_may_change(webhook, browser, url):
    body = {**FULL, "url": url, "token": "new"}
    assert browser.put(f"/webhooks/{webhook.id}", body).status_code == 200
    assert stored(webhook) == body


def test_path_and_query_may_change_behind_the_mask(webhook, browser):
    body = browser.get(f"/webhooks/{webhook.id}").json()
    body["url"] = "https://RECEIVER.example.com:443/other?x=1"
    assert browser.put(f"/webhooks/{webhook.id}", body).status_code == 200
    assert stored(webhook)["token"] == "qwerty"


def test_a_token_that_manages_may_move_the_secrets(webhook, api):
    body = {"url": NEW_ORIGINS[1], "token": MASK}
    assert api.patch(f"/webhooks/{webhook.id}", body).status_code == 200
    assert stored(webhook)["token"] == "qwerty"
