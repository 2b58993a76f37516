"""How many webhooks and access tokens an account may have: settings with generous defaults."""

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from tests.admin.pages import forms, url, webhook_form
from tests.api.conftest import Api, problem
from tests.factories import AccountFactory, UserFactory, WebhookFactory
from webhooks_app import actions
from webhooks_app.models import AccessToken, Webhook

pytestmark = pytest.mark.django_db
NEW = {"name": "n", "url": "https://receiver.example.com/hook"}
DOCUMENTED = NEW | {"token": "", "headers": [], "auth": {}}
FULL = {
    "webhooks": "The account has 2 webhooks, and no more may be.",
    "tokens": "The account has 2 access tokens, and no more may be.",
}


@pytest.fixture(autouse=True)
def _two(settings):
    settings.WEBHOOKS_PER_ACCOUNT = settings.WEBHOOKS_TOKENS_PER_ACCOUNT = 2


@pytest.fixture
def boss(client):
    client.force_login(UserFactory(is_superuser=True))
    return client


def test_the_third_webhook_is_refused_by_every_door(account, secret, boss):
    first, _ = (WebhookFactory(account=account) for _ in range(2))
    api = Api(secret)
    assert problem(api.post("/webhooks", DOCUMENTED), 400)["details"] == {
        "account": [FULL["webhooks"]]
    }
    add = url("webhook", "add")
    answer = boss.post(add, webhook_form(boss.get(add)) | NEW | {"account": account.name})
    assert FULL["webhooks"] in answer.content.decode()
    assert Webhook.objects.count() == 2
    # What is deleted makes room, and cannot come back while there is none.
    actions.delete_webhook(first)
    assert api.post("/webhooks", DOCUMENTED).status_code == 200
    with pytest.raises(actions.Conflict, match="no more may be"):
        actions.restore_webhook(first)
    assert actions.create_webhook(AccountFactory(), **NEW)


def test_the_third_token_is_refused_by_every_door(account, secret, boss):
    token, _ = AccessToken.issue(account)
    with pytest.raises(CommandError, match="no more may be"):
        call_command("webhooks", "create-token", account.name)
    add = url("accesstoken", "add")
    form = forms(boss.get(add)).forms["accesstoken_form"] | {"name": "x", "scope": "read"}
    assert FULL["tokens"] in boss.post(add, form).content.decode()
    # What holds no more is not counted.
    actions.revoke_token(token)
    AccessToken.issue(account, expires_at=timezone.now())
    assert actions.issue_token(account)


def test_0_is_any_number(account, settings):
    settings.WEBHOOKS_PER_ACCOUNT = settings.WEBHOOKS_TOKENS_PER_ACCOUNT = 0
    for _ in range(3):
        actions.create_webhook(account, **NEW)
        actions.issue_token(account)


def test_a_token_that_somebody_else_got_meanwhile_is_told_and_no_server_error(
    account, boss, monkeypatch
):
    add = url("accesstoken", "add")
    form = forms(boss.get(add)).forms["accesstoken_form"]
    form |= {"name": "x", "scope": "read", "account": account.name}
    for _ in range(2):
        AccessToken.issue(account)
    # As it was while the form was judged.
    monkeypatch.setattr("webhooks_app.admin.tokens.TokenForm.full", lambda form, account: "")
    answer = boss.post(add, form, follow=True)
    assert FULL["tokens"] in answer.content.decode()
    assert AccessToken.objects.count() == 2
