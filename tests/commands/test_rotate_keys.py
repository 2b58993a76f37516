"""`manage.py webhooks rotate-keys`: secrets go to the first key and keep their value."""

import json

import pytest
from cryptography.fernet import Fernet
from django.db import connection

from tests.commands.test_webhooks import both, run
from tests.factories import WebhookFactory
from webhooks_app.engine.maintenance import key_rotation
from webhooks_app.models import Header, SigningKey, Webhook

OLD, NEW, OTHER = (Fernet.generate_key().decode() for _ in range(3))


def raw():
    """Every ciphertext in the database, as it is stored."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT token FROM webhooks_app_webhook")
        found = cursor.fetchall()
        cursor.execute("SELECT auth_password FROM webhooks_app_webhook")
        found += cursor.fetchall()
        cursor.execute("SELECT value FROM webhooks_app_header")
        return [text for (text,) in found + cursor.fetchall() if text]


def opens(key, text):
    try:
        return bool(Fernet(key).decrypt(text.encode()))
    except Exception:
        return False


@pytest.fixture
def hooks(account, settings):
    settings.WEBHOOKS_ENCRYPTION_KEYS = [OLD]
    return [
        WebhookFactory(
            account=account,
            token=f"token-{n}",
            auth_username="u",
            auth_password=f"password-{n}",
            headers=[("X-One", f"value-{n}"), ("X-Two", "")],
        )
        for n in range(7)
    ]


def test_every_secret_is_under_the_new_key_and_unchanged(hooks, settings, monkeypatch):
    monkeypatch.setattr(key_rotation, "STEP", 3)
    versions = list(Webhook.objects.values_list("version", flat=True))
    settings.WEBHOOKS_ENCRYPTION_KEYS = [NEW, OLD]
    assert json.loads(run("rotate-keys", "--json")) == {
        "dryRun": False,
        "lookedAt": 21,
        "rotated": 21,
        "unreadable": 0,
    }
    settings.WEBHOOKS_ENCRYPTION_KEYS = [NEW]
    assert len(raw()) == 21
    assert all(opens(NEW, text) for text in raw())
    webhook = Webhook.objects.get(pk=hooks[3].pk)
    assert (webhook.token, webhook.auth_password) == ("token-3", "password-3")
    assert [header.value for header in webhook.headers.all()] == ["value-3", ""]
    assert list(Webhook.objects.values_list("version", flat=True)) == versions


def test_a_dry_run_counts_and_changes_nothing(hooks, settings):
    settings.WEBHOOKS_ENCRYPTION_KEYS = [NEW, OLD]
    before = raw()
    assert "21 secrets of 21 would be encrypted anew" in run("rotate-keys", "--dry-run")
    assert raw() == before


def test_an_interrupted_run_goes_on_where_it_was(hooks, settings, monkeypatch):
    monkeypatch.setattr(key_rotation, "STEP", 2)
    settings.WEBHOOKS_ENCRYPTION_KEYS = [NEW, OLD]
    steps = key_rotation.rotate()
    next(steps)
    next(steps)
    steps.close()
    assert sum(opens(NEW, text) for text in raw()) == 4
    assert json.loads(run("rotate-keys", "--json"))["rotated"] == 17
    assert json.loads(run("rotate-keys", "--json"))["rotated"] == 0


def test_a_secret_that_no_key_opens_is_named_and_left(hooks, settings):
    settings.WEBHOOKS_ENCRYPTION_KEYS = [OTHER]
    Header.objects.filter(webhook=hooks[0], name="X-One").update(value="lost")
    lost = next(text for text in raw() if opens(OTHER, text))
    settings.WEBHOOKS_ENCRYPTION_KEYS = [NEW, OLD]
    out, err = both("rotate-keys", code=1)
    header = Header.objects.defer("value").get(webhook=hooks[0], name="X-One")
    assert f"No key decrypts header.value of {header.pk}." in err
    assert "20 secrets of 21 encrypted anew" in out
    assert lost in raw()


def test_what_is_written_meanwhile_is_not_put_back(hooks, settings):
    settings.WEBHOOKS_ENCRYPTION_KEYS = [NEW, OLD]
    keys = [Fernet(NEW), Fernet(OLD)]
    page = [(hooks[0].pk, keys[1].encrypt(b"what it was before").decode())]
    assert key_rotation._rotate(Webhook, "token", page, keys, False).rotated == 0
    assert Webhook.objects.get(pk=hooks[0].pk).token == "token-0"


def test_signing_secrets_too(hooks, settings):
    key = SigningKey.objects.create(webhook=hooks[0], secret="whsec_x")
    settings.WEBHOOKS_ENCRYPTION_KEYS = [NEW, OLD]
    run("rotate-keys")
    settings.WEBHOOKS_ENCRYPTION_KEYS = [NEW]
    assert SigningKey.objects.get(pk=key.pk).secret == "whsec_x"
