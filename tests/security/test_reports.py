"""Reports of errors, the page under DEBUG and the mail to the admins, hold no secret."""

import logging

import pytest
from django.core import mail
from django.test import Client, override_settings
from django.utils.log import AdminEmailHandler

from tests.api.conftest import Api
from tests.factories import UserFactory, WebhookFactory
from webhooks_app import conf, fields
from webhooks_app.engine.http import message
from webhooks_app.models import AccessToken, Webhook

SECRETS = {
    "token": "planted-token",
    "password": "planted-password",
    "value": "planted-value",
    "key": "cGxhbnRlZC1lbmNyeXB0aW9uLWtleS1vZi10ZXN0cyE=",
    "proxy": "planted-proxy",
    "cache": "planted-cache",
}


@pytest.fixture
def webhook(account, settings):
    settings.WEBHOOKS_ENCRYPTION_KEYS = SECRETS["key"]
    settings.WEBHOOKS_PROXY = f"http://user:{SECRETS['proxy']}@10.0.0.1:3128"
    return WebhookFactory(
        account=account,
        token=SECRETS["token"],
        auth_username="user",
        auth_password=SECRETS["password"],
        headers=[("X-One", SECRETS["value"])],
    )


@pytest.fixture
def breaks(monkeypatch):
    """Deep below the doors, with secrets in the variables of every frame."""

    def broken(self, *args, **kwargs):
        token, password = self.token, self.auth_password
        values = [header.value for header in self.headers.all()]
        raise ZeroDivisionError(f"{len(token)} {len(password)} {len(values)}")

    monkeypatch.setattr(Webhook, "save", broken)


def clean(text):
    assert "ZeroDivisionError" in text
    assert not [name for name, secret in SECRETS.items() if secret in text]


FORM = {
    "name": "n",
    "url": "https://receiver.example.com/hook",
    "new_token": "planted-token",
    "auth_username": "user",
    "new_password": "planted-password",
    "max_in_flight": "10",
    "breaker_after": "10",
    "on_dead": "continue",
    "form": "payload",
    "headers-TOTAL_FORMS": "1",
    "headers-INITIAL_FORMS": "0",
    "headers-0-name": "X-One",
    "headers-0-new_value": "planted-value",
}


@override_settings(
    DEBUG=True,
    CACHES={
        "default": {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            "LOCATION": f"redis://:{SECRETS['cache']}@cache",
        }
    },
)
def test_the_page_under_debug(webhook, breaks):
    client = Client(raise_request_exception=False)
    client.force_login(UserFactory(is_superuser=True))
    page = client.post(f"/admin/webhooks_app/webhook/{webhook.pk}/change/", FORM)
    assert page.status_code == 500
    text = page.content.decode()
    clean(text)
    assert "max_in_flight" in text  # it is the full report
    assert client.session.session_key not in text


@pytest.fixture
def mails(settings):
    settings.ADMINS = [("Admin", "admin@example.com")]
    handler = AdminEmailHandler(include_html=True)
    loggers = [logging.getLogger(name) for name in ("django.request", "webhooks_app.api")]
    for logger in loggers:
        logger.addHandler(handler)
    yield lambda: "".join(m.body + str(m.alternatives) for m in mail.outbox)
    for logger in loggers:
        logger.removeHandler(handler)


def test_the_mail_about_the_api(webhook, account, breaks, mails):
    secret = AccessToken.issue(account)[1]
    api = Api(secret)
    api.client = Client(raise_request_exception=False)
    body = {"token": "planted-token", "auth": {"username": "u", "password": "planted-password"}}
    headers = [{"name": "X-One", "value": "planted-value"}]
    response = api.patch(f"/webhooks/{webhook.pk}", {**body, "headers": headers})
    assert response.status_code == 500
    clean(mails())
    assert secret not in mails()


def test_the_mail_about_the_admin(webhook, breaks, mails):
    client = Client(raise_request_exception=False)
    client.force_login(UserFactory(is_superuser=True))
    client.post(f"/admin/webhooks_app/webhook/{webhook.pk}/change/", FORM)
    clean(mails())


@pytest.mark.parametrize("frame", ["encrypt", "head"])
def test_reports_of_frames_below_any_door(webhook, mails, monkeypatch, frame):
    """A worker or a command has no request around it."""
    if frame == "encrypt":
        monkeypatch.setattr(fields, "_cipher", lambda keys: 1 / 0)
    else:
        monkeypatch.setattr(message, "Head", lambda **parts: 1 / 0)
    try:
        fields.encrypt(SECRETS["token"]) if frame == "encrypt" else message.head(webhook)
    except ZeroDivisionError:
        logging.getLogger("webhooks_app.api").exception("broken")
    clean(mails())


def test_no_repr_tells(webhook, account):
    token, secret = AccessToken.issue(account)
    shown = [webhook, *webhook.headers.all(), message.head(webhook), token, conf.settings.proxy]
    text = " ".join(map(repr, shown)) + " ".join(map(str, shown))
    assert not [name for name, planted in SECRETS.items() if planted in text]
    assert secret not in text
