"""`oauth`, `identity`, `caCertificates` of the settings: shown, masked, judged, kept by masks."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.api.conftest import Api, problem
from tests.certificates import (
    authority_pem,
    changed_certificate,
    clients,
    huge_key_identity,
    identity,
    large_key_identity,
)
from tests.factories import WebhookFactory, WorkerFactory
from webhooks_app.fields import encrypt
from webhooks_app.models import Webhook
from webhooks_app.rules import oauth
from webhooks_app.rules.validators import MASK

OAUTH = {
    "tokenUrl": "https://login.example.com/token",
    "clientId": "shop",
    "clientSecret": "the-secret-of-the-client",
    "scopes": ["a", "b"],
    "authMethod": "clientSecretPost",
    "extraParams": {"audience": "https://api.example.com"},
}


@pytest.fixture
def webhook(account):
    return WebhookFactory(account=account)


@pytest.fixture
def path(webhook):
    return f"/webhooks/{webhook.id}/settings"


def stored(webhook):
    return oauth.client(Webhook.objects.get(pk=webhook.pk).oauth).settings


def test_a_webhook_has_none_at_first(api, path):
    shown = api.get(path).json()
    assert (shown["oauth"], shown["identity"], shown["caCertificates"]) == (None, None, None)


def test_oauth_is_set_shown_to_whoever_manages_and_removed(api, webhook, path):
    assert api.patch(path, {"oauth": OAUTH}).json()["oauth"] == OAUTH
    assert stored(webhook) == OAUTH
    assert api.patch(path, {"oauth": None}).json()["oauth"] is None
    assert Webhook.objects.get().oauth == ""


def test_what_is_left_out_has_its_default(api, path):
    short = {name: OAUTH[name] for name in ("tokenUrl", "clientId", "clientSecret")}
    shown = api.patch(path, {"oauth": short}).json()["oauth"]
    more = {"scopes": [], "authMethod": "clientSecretBasic", "extraParams": {}}
    assert shown == short | more


def test_sessions_and_read_tokens_see_masks(api, path, browser, account, api_for):
    api.patch(path, {"oauth": OAUTH})
    for other in (browser, api_for(account, scope="read")):
        shown = other.get(path).json()["oauth"]
        assert shown == OAUTH | {"clientSecret": MASK, "extraParams": {"audience": MASK}}


def test_a_certificate_is_described_and_its_key_is_never_shown(api, path):
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    pem = identity("shop@example.com", not_after=ends)
    answer = api.patch(path, {"identity": pem, "caCertificates": authority_pem()})
    shown = answer.json()["identity"]
    assert set(shown) == {"subject", "issuer", "expiresAt", "fingerprint"}
    assert "Clients of the tests" in shown["issuer"]
    assert shown["expiresAt"] == f"{ends:%Y-%m-%dT%H:%M:%S}.000Z"
    assert len(shown["fingerprint"].split(":")) == 32
    assert answer.json()["caCertificates"] == authority_pem()
    assert "PRIVATE" not in api.get(path).content.decode()


def test_what_get_shows_is_sent_back_and_changes_nothing(api, webhook, path, browser):
    api.patch(path, {"oauth": OAUTH, "identity": identity(), "caCertificates": authority_pem()})
    version = Webhook.objects.get().version
    for who in (api, browser):
        shown = who.get(path).json()
        del shown["note"]
        assert who.patch(path, shown).status_code == 200
    assert Webhook.objects.get().version == version
    assert stored(webhook) == OAUTH


def test_masks_keep_the_secrets(api, webhook, path, browser):
    api.patch(path, {"oauth": OAUTH})
    new = OAUTH | {"clientId": "other", "clientSecret": MASK, "tokenUrl": OAUTH["tokenUrl"] + "/2"}
    new["extraParams"] = {"audience": MASK, "resource": "r"}
    assert browser.patch(path, {"oauth": new}).status_code == 200
    kept = {"audience": "https://api.example.com", "resource": "r"}
    wanted = new | {"clientSecret": OAUTH["clientSecret"], "extraParams": kept}
    assert stored(webhook) == wanted


@pytest.mark.parametrize(
    "url", ["https://evil.example.com/token", "http://login.example.com/token", "nonsense"]
)
def test_who_sees_masks_cannot_send_the_secret_elsewhere(
    api,
    webhook,
    path,
    browser,
    url,
):
    api.patch(path, {"oauth": OAUTH})
    moved = OAUTH | {"tokenUrl": url, "clientSecret": MASK, "extraParams": {"audience": MASK}}
    details = problem(browser.patch(path, {"oauth": moved}), 400)["details"]
    assert set(details["oauth"]) == {"clientSecret", "extraParams"}
    assert "anew" in details["oauth"]["clientSecret"][0]
    assert stored(webhook) == OAUTH
    anew = OAUTH | {"tokenUrl": "https://evil.example.com/token", "clientSecret": "new"}
    assert browser.patch(path, {"oauth": anew}).status_code == 200


@pytest.mark.parametrize("given", [{"oauth": OAUTH}, {"identity": identity()}], ids=" ".join)
def test_who_sees_masks_cannot_have_them_shown_to_another_receiver(
    api,
    webhook,
    path,
    browser,
    given,
):
    api.patch(path, given)
    body = {"url": "https://evil.example.com/"}
    details = problem(browser.patch(f"/webhooks/{webhook.id}", body), 400)["details"]
    assert list(details) == list(given)
    assert api.patch(f"/webhooks/{webhook.id}", body).status_code == 200


def key_of(pem):
    return pem[: pem.index("-----BEGIN CERTIFICATE")]


def chain_of(pem):
    return pem[pem.index("-----BEGIN CERTIFICATE") :]


ENCRYPTED = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n"
OLD = ENCRYPTED.replace("ENCRYPTED", "RSA").replace("MIIB", "Proc-Type: 4,ENCRYPTED\n\nMIIB")
# The version of X.509 as the certificate says it; a name whose kind of text no name has.
VERSION_9 = changed_certificate(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09")
BITS_AS_NAME = changed_certificate(b"\x06\x03\x55\x04\x0a\x0c", b"\x06\x03\x55\x04\x0a\x03")
COMMENTED = chain_of(identity()).replace("-----\n", "-----\nComment: ä\n\n", 1)
WRONG_PEMS = {
    "text": ("hello", "exactly one private key"),
    "a number": (7, "must be text"),
    "an object that is not shown": ({"subject": "x"}, "must be text"),
    "no key": (chain_of(identity()), "exactly one private key"),
    "two keys": (key_of(identity()) + identity(), "exactly one private key"),
    "no certificate": (key_of(identity()), "no certificate"),
    "broken certificate": (
        key_of(identity()) + "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        "no certificate",
    ),
    "encrypted": (ENCRYPTED + chain_of(identity()), "is encrypted"),
    "encrypted as it used to be": (OLD + chain_of(identity()), "is encrypted"),
    "another key": (key_of(identity()) + chain_of(identity()), "not that of the first"),
    "the authority first": (
        key_of(identity()) + clients().cert_pem.bytes().decode() + chain_of(identity()),
        "not that of the first",
    ),
    "a comment within, not in ASCII": (key_of(identity()) + COMMENTED, "no certificate"),
    "a version that is none": (key_of(identity()) + VERSION_9, "no certificate"),
    "a name that is no text": (key_of(identity()) + BITS_AS_NAME, "no certificate"),
    "a key with which to sign takes long": (large_key_identity(), "2048 to 4096 bits"),
    "a key of numbers far too large": (huge_key_identity(), "not that of the first"),
    "ended": (identity(not_after=datetime(2026, 1, 1, tzinfo=UTC)), "ended at 2026-01-01"),
    "too long": (identity() + "x" * 33_000, "at most 32,768"),
    "the mask": (MASK, "mask"),
}


@pytest.mark.once
@pytest.mark.parametrize("name", WRONG_PEMS)
def test_a_pem_that_cannot_be_shown_is_refused(api, path, name):
    pem, words = WRONG_PEMS[name]
    [said] = problem(api.patch(path, {"identity": pem}), 400)["details"]["identity"]
    assert words in said.replace("1 to", "at most")
    assert Webhook.objects.get().identity == ""


@pytest.mark.once
def test_a_key_whose_numbers_are_far_too_large_costs_no_seconds(api, path):
    pem, began = huge_key_identity(40_000), time.thread_time()
    problem(api.patch(path, {"identity": pem}), 400)
    assert time.thread_time() - began < 1


def test_comments_between_the_parts_are_left_out(api, path):
    pem = identity()
    bag = "Bag Attributes\n    localKeyID: 01\nsubject=CN = shop\n"
    api.patch(path, {"identity": bag + chain_of(pem).replace("\n", "\r\n") + bag + key_of(pem)})
    assert Webhook.objects.get().identity == pem


@pytest.mark.once
@pytest.mark.parametrize(
    ("pem", "words"),
    [
        ("hello", "no certificate"),
        (identity(), "a private key in it"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "no certificate"),
        (COMMENTED, "no certificate"),
        (VERSION_9, "no certificate"),
        (BITS_AS_NAME, "no certificate"),
    ],
)
def test_authorities_that_are_none_are_refused(api, path, pem, words):
    [said] = problem(api.patch(path, {"caCertificates": pem}), 400)["details"]["caCertificates"]
    assert words in said


WRONG_OAUTH = {
    "a text": "x",
    "tokenUrl": {"tokenUrl": "http://localhost/token"},
    "clientId": {"clientId": ""},
    "clientSecret": {"clientSecret": ""},
    "scopes": {"scopes": ["a b"]},
    "authMethod": {"authMethod": "none"},
    "extraParams": {"extraParams": {"grant_type": "password"}},
    "tokenUrI": {"tokenUrI": "https://x.example.com"},
}


@pytest.mark.once
@pytest.mark.parametrize("name", WRONG_OAUTH)
def test_bad_oauth_is_named_by_its_field(api, path, name):
    wrong = WRONG_OAUTH[name]
    given = OAUTH | wrong if isinstance(wrong, dict) else wrong
    details = problem(api.patch(path, {"oauth": given}), 400)["details"]["oauth"]
    assert isinstance(details, list) if name == "a text" else list(details) == [name]


@pytest.mark.once
@pytest.mark.parametrize(
    "value", [None, 1, True, [], {}, [[]], "\ud800", "a\0", "x" * 3000, {"a": {"b": []}}]
)
@pytest.mark.parametrize("name", oauth.FIELDS)
def test_any_value_of_any_field_is_judged(api, path, name, value):
    assert api.patch(path, {"oauth": OAUTH | {name: value}}).status_code in (200, 400)


def test_basic_auth_and_an_authorization_header_exclude_it(api, account, path, webhook):
    with_auth = WebhookFactory(account=account, auth_username="u")
    with_header = WebhookFactory(account=account, headers=[("AUTHORIZATION", "x")])
    for other, where in ((with_auth, "oauth"), (with_header, "headers")):
        refused = problem(api.patch(f"/webhooks/{other.id}/settings", {"oauth": OAUTH}), 400)
        assert where in refused["details"]
    api.patch(path, {"oauth": OAUTH})
    for body in (
        {"auth": {"username": "u", "password": "p"}},
        {"headers": [{"name": "authorization", "value": "x"}]},
    ):
        problem(api.patch(f"/webhooks/{webhook.id}", body), 400)


def test_a_certificate_needs_https(api, account, path, webhook):
    plain = WebhookFactory(account=account, url="http://erp.example.com/")
    refused = problem(api.patch(f"/webhooks/{plain.id}/settings", {"identity": identity()}), 400)
    assert "https" in refused["details"]["identity"][0]
    api.patch(path, {"identity": identity()})
    problem(api.patch(f"/webhooks/{webhook.id}", {"url": "http://receiver.example.com/"}), 400)


def test_not_possible_beside_a_worker_of_an_older_version(api, path):
    WorkerFactory(version="0.1.0")
    for given in ({"oauth": OAUTH}, {"identity": identity()}):
        assert "older version" in problem(api.patch(path, given), 409)["message"]


def test_one_that_no_key_opens_is_shown_as_such_and_mended_anew(api, webhook, path, settings):
    sealed = encrypt("x")
    settings.WEBHOOKS_ENCRYPTION_KEYS = ["MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="]
    from tests.test_missing_key import write

    write(webhook, "oauth", sealed)
    write(webhook, "identity", sealed)
    shown = api.get(path).json()
    assert shown["oauth"]["clientSecret"] == MASK
    assert shown["identity"]["subject"] == MASK
    assert api.patch(path, {"oauth": shown["oauth"]}).status_code == 200
    assert api.patch(path, {"oauth": OAUTH, "identity": identity()}).status_code == 200
    assert stored(webhook) == OAUTH


def test_a_session_without_the_permission_may_not_change_them(path, account, db):
    from tests.factories import UserFactory

    user = UserFactory()
    account.members.add(user)
    api = Api()
    api.client.force_login(user)
    assert api.patch(path, {"oauth": OAUTH}).status_code == 403
