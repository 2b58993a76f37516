"""One list says who changed what, by the API, the admin and commands; never a secret."""

from datetime import timedelta

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone

from tests.admin.pages import forms
from tests.api.conftest import DOCUMENTED, Api
from tests.factories import DeliveryFactory, UserFactory, WebhookFactory
from webhooks_app import actions
from webhooks_app.models import AccessToken, AuditEntry, Webhook

KEYS = [Fernet.generate_key().decode() for _ in range(2)]
LIST = "/admin/webhooks_app/auditentry/"


def entries():
    rows = AuditEntry.objects.order_by("id")
    return [(row.by, row.door, row.action, row.kind) for row in rows]


@pytest.fixture
def api(account):
    return Api(AccessToken.issue(account, name="shop live")[1])


def test_what_a_token_changes_is_noted_under_its_name(api, account):
    body = {**DOCUMENTED, "token": "s3cret-token", "auth": {"username": "u", "password": "s3cret"}}
    ident = api.post("/webhooks", body).json()["id"]
    api.put(f"/webhooks/{ident}", {**body, "name": "other", "token": "s3cret-two"})
    api.put(f"/webhooks/{ident}", {**body, "name": "other", "token": "s3cret-two"})
    api.patch(f"/webhooks/{ident}", {"headers": [{"name": "X-One", "value": "s3cret-value"}]})
    api.patch(f"/webhooks/{ident}/settings", {"enabled": False, "note": "a move"})
    api.patch(f"/webhooks/{ident}/settings", {"enabled": True})
    api.delete(f"/webhooks/{ident}")
    assert entries() == [
        ("shop live", "api", action, "webhook")
        for action in (
            *("Created.", "Changed name, token.", "Changed headers.", "Paused: a move", "Resumed."),
            "Deleted.",
        )
    ]
    row = AuditEntry.objects.latest("id")
    assert (row.target, row.name, row.account) == (ident, "other", account)
    assert "s3cret" not in str(list(AuditEntry.objects.values()))


def test_what_is_asked_of_deliveries_is_noted(api, account):
    webhook = WebhookFactory(account=account, stopped="paused")
    failed = DeliveryFactory(webhook=webhook, state="failed", tries=8, finished_at=timezone.now())
    api.post(f"/deliveries/{failed.pk}/retry")
    call_command("webhooks", "replay", "--webhook", webhook.pk, "--since", "2026-01-01")
    assert entries() == [("shop live", "api", "Asked for one more try.", "delivery")]
    assert AuditEntry.objects.get().account == account


def test_reading_and_traffic_are_not_noted(api, account):
    webhook = WebhookFactory(account=account, stopped="paused")
    api.get(f"/webhooks/{webhook.pk}")
    api.post(f"/webhooks/{webhook.pk}/deliveries", {"a": 1})
    assert entries() == []


def test_a_change_that_fails_is_not_noted(api):
    assert api.post("/webhooks", {**DOCUMENTED, "url": "http://localhost/"}).status_code == 400
    assert entries() == []


def test_a_change_that_is_rolled_back_takes_its_line_along(account):
    webhook = WebhookFactory(account=account)
    with transaction.atomic():
        actions.pause(webhook, by="mira")
        transaction.set_rollback(True)
    assert entries() == []


def test_what_staff_do_is_noted_under_their_name(admin_client, account):
    webhook = WebhookFactory(account=account, token="s3cret")
    page = f"/admin/webhooks_app/webhook/{webhook.pk}"
    admin_client.post(f"{page}/pause/")
    admin_client.post(f"{page}/reveal/", {"secret": "token"})
    admin_client.post(f"{page}/delete/", {"post": "yes"})
    data = {"account": account.name, "name": "n", "scope": "read"}
    admin_client.post("/admin/webhooks_app/accesstoken/add/", data)
    token = AccessToken.objects.get()
    admin_client.post(f"/admin/webhooks_app/accesstoken/{token.pk}/revoke/")
    admin_client.post("/admin/webhooks_app/account/add/", {"name": "second"})
    assert entries() == [
        ("admin", "admin", *what)
        for what in (
            ("Paused.", "webhook"),
            ("Revealed the token.", "webhook"),
            ("Deleted.", "webhook"),
            ("Created, scope read.", "accesstoken"),
            ("Revoked.", "accesstoken"),
            ("Created.", "account"),
        )
    ]


def test_who_gives_whom_which_rights_stands_in_the_same_list(admin_client, db):
    user = UserFactory(username="mira")
    group = Group.objects.get(name="Webhooks operator")
    path = f"/admin/auth/user/{user.pk}/change/"
    data = forms(admin_client.get(path)).forms["user_form"] | {"groups": group.pk}
    assert admin_client.post(path, data).status_code == 302
    (row,) = AuditEntry.objects.all()
    assert (row.by, row.door, row.kind, row.name) == ("admin", "admin", "user", "mira")
    assert "Groups" in row.action


def test_commands_are_noted(db):
    call_command("webhooks", "create-token", "acme", "--create", "--name", "CI")
    assert entries() == [
        ("command line", "command", "Created.", "account"),
        ("command line", "command", "Created, scope manage.", "accesstoken"),
    ]
    secret_free = str(list(AuditEntry.objects.values()))
    assert "whk_" not in secret_free.replace(AccessToken.objects.get().hint, "")


def test_commands_that_touch_the_whole_installation_are_noted(account, settings):
    settings.WEBHOOKS_ENCRYPTION_KEYS = [KEYS[0]]
    webhook = WebhookFactory(account=account, token="s3cret")
    old = timezone.now() - timedelta(days=40)
    DeliveryFactory(webhook=webhook, state="delivered", finished_at=old)
    settings.WEBHOOKS_ENCRYPTION_KEYS = KEYS[::-1]
    for command in ("purge", "rotate-keys"):
        call_command("webhooks", command, "--dry-run")
    assert entries() == []
    call_command("webhooks", "purge")
    call_command("webhooks", "rotate-keys")
    call_command("webhooks", "create-roles", "--again")
    assert entries()[:2] == [
        ("command line", "command", "Purged: deliveries 1.", "installation"),
        ("command line", "command", "Encrypted 1 secret anew.", "installation"),
    ]
    assert (
        entries()[2:]
        == [("command line", "command", "Given the permissions of its role.", "group")] * 3
    )
    call_command("webhooks", "purge")
    call_command("webhooks", "rotate-keys")
    assert len(entries()) == 5, "nothing was done, nothing is noted"


def test_a_verification_and_a_replay_by_command_are_noted(account):
    webhook = WebhookFactory(account=account, url="http://127.0.0.1:9/")
    failed = {"state": "failed", "tries": 8, "finished_at": timezone.now()}
    DeliveryFactory(webhook=webhook, **failed)
    call_command("webhooks", "replay", "--webhook", webhook.pk)
    with pytest.raises(SystemExit):
        call_command("webhooks", "verify", webhook.pk)
    replayed, verified = entries()
    assert replayed[:2] == verified[:2] == ("command line", "command")
    assert replayed[2].startswith("Replayed 1 failed since ")
    assert verified[2] == "Sent a verification."


def test_python_that_names_itself_is_noted_and_that_does_not_is_not(account):
    webhook = WebhookFactory(account=account)
    actions.pause(webhook)
    actions.enable(webhook, by="billing")
    assert entries() == [("billing", "python", "Resumed.", "webhook")]


def test_the_list_is_found_filtered_and_cannot_be_changed(admin_client, account):
    hooks = [WebhookFactory(account=account, name=f"hook-{n}") for n in range(2)]
    for hook in hooks:
        actions.pause(hook, by="mira")
    text = admin_client.get(LIST).content.decode()
    assert "hook-0" in text
    assert "hook-1" in text
    one = admin_client.get(f"{LIST}?target={hooks[0].pk}").content.decode()
    assert "hook-0" in one
    assert "hook-1" not in one
    assert "hook-0" not in admin_client.get(f"{LIST}?q=nobody").content.decode()
    assert "hook-0" not in admin_client.get(f"{LIST}?door=api").content.decode()
    for odd in ("?q=%00", "?target=%00", "?account=%00", "?before=x", "?created=x&e=1"):
        assert admin_client.get(LIST + odd).status_code in (200, 302, 400)
    row = AuditEntry.objects.first()
    assert admin_client.get(f"{LIST}{row.pk}/change/").status_code == 200
    for verb in ("change", "delete"):
        assert admin_client.post(f"{LIST}{row.pk}/{verb}/", {"by": "x"}).status_code == 403
    assert admin_client.get(f"{LIST}add/").status_code == 403


def test_the_list_costs_few_queries(admin_client, account, django_assert_max_num_queries):
    for n in range(30):
        actions.pause(WebhookFactory(account=account), by=f"user-{n}")
    with django_assert_max_num_queries(12):
        admin_client.get(LIST)
    assert Webhook.objects.count() == 30
