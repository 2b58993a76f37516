import pytest
from django.contrib.admin.models import LogEntry

from tests.admin.conftest import VIEW, log_in
from tests.admin.pages import forms, url
from webhooks_app.models import AccessToken, AuditEntry

ADD = url("accesstoken", "add")


@pytest.fixture
def manager(db):
    return log_in(*VIEW, "add_accesstoken", "change_accesstoken")


def create(client, **data):
    form = forms(client.get(ADD)).forms["accesstoken_form"]
    return client.post(ADD, form | {"name": "shop live", "scope": "send"} | data)


def test_a_new_token_is_shown_once_and_by_nothing_but_its_page(manager, account):
    response = create(manager)
    text = response.content.decode()
    secret = text.split('id="token" class="wh-mono" readonly value="', 1)[1].split('"', 1)[0]
    assert AccessToken.objects.for_secret(secret).account == account
    assert "no-store" in response["Cache-Control"]
    assert text.count(secret) == 1
    carriers = [str(response.cookies), str(LogEntry.objects.values()), str(dict(manager.session))]
    assert not any(secret in carrier for carrier in carriers)
    assert "messagelist" not in text
    token = AccessToken.objects.get()
    for place in (url("accesstoken"), url("accesstoken", token.pk, "change")):
        assert secret not in manager.get(place).content.decode()
    assert token.scope == "send"


def test_a_token_can_be_renamed_but_never_made_wider_or_longer(manager, account):
    create(manager)
    token = AccessToken.objects.get()
    form = {"name": "renamed", "scope": "manage", "account": "x", "digest": "0", "expires_at": ""}
    manager.post(url("accesstoken", token.pk, "change"), form)
    before, token = token, AccessToken.objects.get()
    assert (token.name, token.scope, token.digest) == ("renamed", "send", before.digest)


def test_a_token_is_revoked_by_its_button_and_from_the_list(manager, account):
    secrets = [AccessToken.issue(account)[1] for _ in range(2)]
    first, second = AccessToken.objects.order_by("pk")
    manager.post(url("accesstoken", first.pk, "revoke"))
    data = {"action": "revoke_", "_selected_action": second.pk}
    asked = manager.post(url("accesstoken"), data).content.decode()
    assert "Revoke 1 access token?" in asked
    assert "nobody can undo that" in asked
    assert AccessToken.objects.filter(revoked_at=None).count() == 1, "to be asked revokes nothing"
    form = forms(manager.post(url("accesstoken"), data)).forms[url("accesstoken")]
    manager.post(url("accesstoken"), form)
    assert [AccessToken.objects.for_secret(secret) for secret in secrets] == [None, None]
    assert AuditEntry.objects.filter(action="Revoked.").count() == 2
    assert "Revoked" in manager.get(url("accesstoken", first.pk, "change")).content.decode()


def test_an_expiry_in_the_past_is_refused(manager, account):
    response = create(manager, expires_at="2020-01-01T00:00")
    assert "This moment has passed already." in response.content.decode()
    assert not AccessToken.objects.exists()
