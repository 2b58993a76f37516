"""The site as it is deployed: what it refuses to start with, and what every answer carries."""

import asyncio
import json
import os
import sys
from html.parser import HTMLParser
from wsgiref.util import setup_testing_defaults

import pytest
from cryptography.fernet import Fernet

from tests import processes
from tests.factories import AttemptFactory, DeliveryFactory, WebhookFactory
from tests.processes import MANAGE, PROGRAM, ROOT

PRODUCTION = {
    "DJANGO_ENV_FILE": os.devnull,
    "DATABASE_URL": "sqlite://:memory:",
    "SECRET_KEY": "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN",
    "ALLOWED_HOSTS": "hooks.example.com",
    "HTTPS": "true",
    "WEBHOOKS_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
    "WEBHOOKS_TRUSTED_PROXIES": "1",
}


def start(*command, **changed):
    """A process of the site with the documented settings of production, some of them changed."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environment = {**kept, **PRODUCTION, **changed}
    environment = {name: value for name, value in environment.items() if value is not None}
    return processes.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True
    )


@pytest.mark.once
def test_the_documented_settings_of_production_pass_djangos_own_check():
    checked = start(MANAGE[1], "check", "--deploy", "--fail-level", "WARNING")
    assert checked.returncode == 0, checked.stderr
    assert "no issues" in checked.stdout


WRONG = {
    "a default key": ("SECRET_KEY", "django-insecure-0123456789abcdefghijklmnopqrstuvwxyzABC"),
    "a short key": ("SECRET_KEY", "0123456789abcdefghijklmnop"),
    "a key of one letter": ("SECRET_KEY", "x" * 60),
    "no key": ("SECRET_KEY", None),
    "any host": ("ALLOWED_HOSTS", "hooks.example.com,*"),
    "no encryption key": ("WEBHOOKS_ENCRYPTION_KEYS", None),
    "a broken encryption key": ("WEBHOOKS_ENCRYPTION_KEYS", "c2hvcnQ="),
    "a database of no kind": ("DATABASE_URL", "garbage-of-passwords"),
    "a database of another kind": ("DATABASE_URL", "mysql://hooks:pass-word@db.example.com/hooks"),
    "a database at no port": ("DATABASE_URL", "postgres://hooks:pass-word@db:no-port/hooks"),
    "debug, perhaps": ("DEBUG", "perhaps"),
    "https, perhaps": ("HTTPS", "perhaps"),
    "mail of no kind": ("EMAIL_URL", "garbage-of-passwords"),
    "a cache of no kind": ("CACHE_URL", "garbage-of-passwords"),
    "a number that is none": ("HSTS_SECONDS", "a-year-or-so"),
}
# System checks do not run under the first two.
SERVERS = [
    ("-m", "project.asgi"),
    ("-m", "project.wsgi"),
    (MANAGE[1], "webhooks", "deliver", "--once"),
]


@pytest.mark.once
@pytest.mark.parametrize("wrong", WRONG)
def test_production_does_not_start_with(wrong):
    name, value = WRONG[wrong]
    started = start(*SERVERS[list(WRONG).index(wrong) % 3], **{name: value})
    assert started.returncode == 1
    if started.args[1] == MANAGE[1]:
        assert name in started.stderr
        assert "Traceback" not in started.stderr
    else:
        last = started.stderr.strip().splitlines()[-1]
        assert last.startswith("django.core.exceptions.ImproperlyConfigured: " + name)
    assert value is None or value not in started.stderr


@pytest.mark.once
def test_production_starts_with_the_documented_settings_under_both_interfaces():
    assert start(*PROGRAM[1:], "import project.asgi, project.wsgi").returncode == 0


# --- the policy of the browser ----------------------------------------------------------------


class Inline(HTMLParser):
    """Finds what `default-src 'self'` would forbid in a page."""

    def __init__(self):
        super().__init__()
        self.found = []
        self.seen = 0

    def handle_starttag(self, tag, attrs):
        self.seen += 1
        given = dict(attrs)
        inert = given.get("type") in ("application/json", "text/template")
        if tag == "style" or (tag == "script" and "src" not in given and not inert):
            self.found.append(self.get_starttag_text())
        for name, value in attrs:
            address = (value or "").strip().lower()
            outside = name in ("src", "href", "action", "srcset") and address.startswith(
                ("data:", "javascript:", "//")
            )
            loads = tag in ("script", "img", "iframe", "object", "embed", "form") or (
                tag == "link" and given.get("rel") in ("stylesheet", "icon")
            )
            far = loads and name in ("src", "href", "action") and address.startswith("http")
            if name == "style" or name.startswith("on") or outside or far:
                self.found.append(f"{tag} {name}={value}")


@pytest.fixture
def rows(account):
    webhook = WebhookFactory(account=account, token="t", headers=[("X-One", "v")])
    delivery = DeliveryFactory(webhook=webhook)
    attempt = AttemptFactory(
        webhook=webhook,
        delivery=delivery,
        kind="http_500",
        message="Request failed with status code 500",
        answer="<script>alert(1)</script><p style='x' onclick='y'>",
    )
    return {"webhook": webhook.pk, "delivery": delivery.pk, "attempt": attempt.pk}


PAGES = [
    *("/", "/docs", "/webhooks", "/webhooks/{webhook}", "/webhooks/{webhook}/deliveries"),
    *("/deliveries/{delivery}", "/nothing", "/admin/", "/admin/password_change/"),
    *(
        f"/admin/webhooks_app/{model}/"
        for model in ("webhook", "delivery", "attempt", "webhookerror", "account", "accesstoken")
    ),
    *(f"/admin/webhooks_app/{model}/add/" for model in ("webhook", "account", "accesstoken")),
    "/admin/webhooks_app/webhook/{webhook}/change/",
    "/admin/webhooks_app/webhook/{webhook}/delete/",
    "/admin/webhooks_app/webhook/{webhook}/history/",
    "/admin/webhooks_app/delivery/{delivery}/change/",
    "/admin/webhooks_app/attempt/{attempt}/change/",
    *("/admin/auth/user/", "/admin/auth/user/add/", "/admin/auth/group/add/"),
]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_carries_the_policy_and_nothing_that_it_forbids(page, rows, admin_client):
    response = admin_client.get(page.format(**rows), HTTP_ACCEPT="text/html")
    assert response["Content-Type"].startswith("text/html")
    inline = Inline()
    inline.feed(response.content.decode())
    assert inline.seen > 5
    assert inline.found == []
    policy = response["Content-Security-Policy"]
    for directive in ("default-src", "script-src", "style-src", "img-src", "form-action"):
        assert f"{directive} 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert response["X-Frame-Options"] == "DENY"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Referrer-Policy"] == "same-origin"


def test_the_page_of_the_log_in_too(client, db):
    test_a_page_carries_the_policy_and_nothing_that_it_forbids("/admin/login/", {}, client)


def test_an_answer_of_the_api_carries_the_policy(client, db):
    assert "Content-Security-Policy" in client.get("/webhooks")


HTTPS_ANSWER = """
import django; django.setup()
from django.conf import settings
from django.test import Client
plain = Client().get("/admin/login/", HTTP_HOST="hooks.example.com")
health = Client().get("/healthz", HTTP_HOST="hooks.example.com")
proxied = Client().get("/", HTTP_HOST="hooks.example.com", HTTP_X_FORWARDED_PROTO="https")
print(plain.status_code, plain["Location"])
print(health.status_code)
print(proxied.status_code, proxied["Strict-Transport-Security"])
print(settings.SESSION_COOKIE_SECURE, settings.CSRF_COOKIE_SECURE, settings.SESSION_COOKIE_HTTPONLY)
"""


@pytest.mark.once
def test_https_is_insisted_on():
    asked = start(*PROGRAM[1:], HTTPS_ANSWER, DJANGO_SETTINGS_MODULE="project.settings")
    assert asked.stdout.splitlines() == [
        "301 https://hooks.example.com/admin/login/",
        "200",
        "200 max-age=31536000; includeSubDomains",
        "True True True",
    ], asked.stderr


MANY = "&".join(f"a{n}=1" for n in range(1001))
ODD = "application/json; charset=utf-16"


@pytest.mark.once
def test_too_many_parameters_with_a_charset_are_answered_under_wsgi():
    """Django reads the query while it makes the request, where nothing catches what it raises."""
    from project.wsgi import application

    environ = {"PATH_INFO": "/webhooks", "QUERY_STRING": MANY, "CONTENT_TYPE": ODD}
    setup_testing_defaults(environ)
    answered = []
    (body,) = application(environ, lambda status, headers: answered.append(status))
    assert answered == ["400 Bad Request"]
    assert json.loads(body)["status"]["code"] == 400


@pytest.mark.once
def test_too_many_parameters_with_a_charset_are_answered_under_asgi():
    from project.asgi import application

    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/webhooks",
        "query_string": MANY.encode(),
        "headers": [(b"content-type", ODD.encode())],
    }
    asyncio.run(application(scope, None, send))
    assert sent[0]["status"] == 400
    assert json.loads(sent[1]["body"])["status"]["code"] == 400
