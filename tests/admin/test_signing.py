"""The signing secret in the console: revealed and rotated by who may, by POST, noted."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from tests.admin.pages import forms, page, text_of, url, webhook_form
from tests.factories import UserFactory, WebhookFactory
from tests.test_missing_key import write
from tests.test_signing import LOST, secrets_of
from webhooks_app import actions
from webhooks_app.models import AuditEntry, SigningKey, Webhook
from webhooks_app.models.states import SENTENCES
from webhooks_app.rules import signing

pytestmark = pytest.mark.django_db


def staff(*permissions):
    user = UserFactory()
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def boss():
    client = Client()
    client.force_login(UserFactory(is_superuser=True, username="mira"))
    return client


@pytest.fixture
def webhook(account):
    return WebhookFactory(account=account)


def post(client, webhook, verb, **data):
    return client.post(url("webhook", webhook.pk, verb), data, follow=True)


def notes():
    return list(AuditEntry.objects.order_by("id").values_list("by", "door", "action"))


def test_the_page_tells_of_it_and_makes_none(boss, webhook):
    shown = text_of(boss.get(page(webhook)))
    assert "The secret is made with the first call." in shown
    assert not SigningKey.objects.exists()
    secret = actions.reveal_secret(webhook)
    shown = text_of(boss.get(page(webhook)))
    assert "The present secret holds since" in shown
    assert secret not in shown
    assert secret.removeprefix("whsec_") not in shown


def test_it_is_revealed_by_post_noted_and_never_cached(boss, webhook):
    answer = post(boss, webhook, "reveal", secret="signing")
    assert secrets_of(webhook)[0] in text_of(answer)
    assert "no-store" in answer["Cache-Control"]
    assert notes() == [("mira", "admin", "Revealed the signing secret.")]
    assert secrets_of(webhook)[0] not in text_of(
        boss.get(url("webhook", webhook.pk, "reveal"), follow=True)
    )


def test_it_is_rotated_with_the_overlap_that_was_chosen(boss, webhook):
    old = actions.reveal_secret(webhook)
    form = forms(boss.get(page(webhook))).forms["rotate-secret"]
    assert form["key"] == ""
    shown = text_of(post(boss, webhook, "rotate-secret", grace="3600", key=""))
    assert "Rotated." in shown
    assert "the old one signs beside it until" in shown
    new, kept = secrets_of(webhook)
    assert kept == old
    overlap = SigningKey.objects.get(expires_at__isnull=False)
    row = SigningKey.objects.get(expires_at__isnull=True)
    assert abs(overlap.expires_at - row.created_at - timedelta(hours=1)) < timedelta(minutes=1)
    assert new not in shown
    post(boss, webhook, "end-overlap")
    assert secrets_of(webhook) == [new]
    assert [action for _, _, action in notes()] == [
        "Rotated the signing secret. The old one holds for 1 h.",
        "Ended the overlap of signing secrets.",
    ]


def test_one_of_ones_own_is_taken(boss, webhook):
    own = signing.secret_of(b"o" * 30)
    post(boss, webhook, "rotate-secret", grace="0", key=f" {own} ")
    assert secrets_of(webhook) == [own]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"grace": "5"}, "Choose for how long"),
        ({}, "Choose for how long"),
        ({"grace": "0", "key": "whsec_typed-wrong"}, "Not rotated: The secret must be"),
    ],
)
def test_what_cannot_be_is_said_without_the_secret(boss, webhook, data, says):
    before = actions.reveal_secret(webhook)
    shown = text_of(post(boss, webhook, "rotate-secret", **data))
    assert says in shown
    assert "typed-wrong" not in shown
    assert secrets_of(webhook) == [before]


@pytest.mark.parametrize(
    ("permissions", "may_reveal", "may_rotate"),
    [
        (["view_webhook"], False, False),
        (["view_webhook", "operate_webhook"], False, False),
        (["view_webhook", "reveal_secrets"], True, False),
        (["view_webhook", "change_webhook"], False, True),
    ],
)
def test_each_needs_its_permission(webhook, permissions, may_reveal, may_rotate):
    client = staff(*permissions)
    actions.rotate_secret(webhook)
    secret = actions.reveal_secret(webhook)
    shown = text_of(client.get(page(webhook)))
    assert ('id="reveal-signing"' in shown) == may_reveal
    assert ('action="../rotate-secret/"' in shown) == may_rotate
    assert ('action="../end-overlap/"' in shown) == may_rotate
    answer = client.post(url("webhook", webhook.pk, "reveal"), {"secret": "signing"})
    assert (answer.status_code, secret in answer.content.decode()) == (
        (200, True) if may_reveal else (403, False)
    )
    for verb, data in (("end-overlap", {}), ("rotate-secret", {"grace": "0"})):
        answer = client.post(url("webhook", webhook.pk, verb), data)
        assert answer.status_code == (302 if may_rotate else 403)
        before = secrets_of(webhook)
        client.get(url("webhook", webhook.pk, verb), data)
        assert secrets_of(webhook) == before
    assert (secrets_of(webhook)[0] != secret) == may_rotate


def test_one_that_cannot_be_read_is_explained_and_mended_by_a_rotation(boss, webhook):
    actions.reveal_secret(webhook)
    write(SigningKey.objects.get(), "secret", LOST)
    assert SENTENCES["unreadable"] in text_of(post(boss, webhook, "reveal", secret="signing"))
    assert text_of(boss.get(page(webhook)))
    post(boss, webhook, "rotate-secret", grace="86400")
    assert len(secrets_of(webhook)) == 1
    assert actions.reveal_secret(webhook) == secrets_of(webhook)[0]


def test_second_names_are_a_setting_with_the_rules_of_all_doors(boss, webhook):
    data = webhook_form(boss.get(page(webhook)))
    boss.post(page(webhook), data | {"signature_prefix": "acme-"})
    assert Webhook.objects.get(pk=webhook.pk).signature_prefix == "acme-"
    assert "acme-…" in text_of(boss.get(page(webhook)))
    shown = text_of(boss.post(page(webhook), data | {"signature_prefix": "content-"}))
    assert "have a meaning of their own" in shown
    data = webhook_form(boss.get(page(webhook)))
    boss.post(page(webhook), data | {"signature_prefix": ""})
    assert Webhook.objects.get(pk=webhook.pk).signature_prefix == ""
