"""Access tokens: what makes them, what they look like, what else never authenticates."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client

from tests.api.conftest import DOCUMENTED, Api, problem
from tests.factories import UserFactory
from tests.security.test_tenancy import OPERATIONS, one_of_everything
from webhooks_app.models import AccessToken

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def test_a_token_can_be_found_by_scanners_and_not_in_the_database(account):
    token, secret = AccessToken.issue(account)
    assert re.fullmatch(r"whk_[\w-]{43}", secret)
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM webhooks_app_accesstoken")
        stored = str(cursor.fetchall())
    assert secret not in stored
    assert secret[:12] not in stored
    assert token.digest in stored


def test_two_tokens_are_never_alike(account):
    assert len({AccessToken.issue(account)[1][4:] for _ in range(50)}) == 50


@pytest.mark.parametrize("scope", AccessToken.Scope.values)
def test_no_request_of_a_token_makes_or_changes_a_token(account, scope):
    """Whatever a body asks for: nothing wider, longer or foreign comes of it."""
    ids = one_of_everything(account, "ours")
    secret = AccessToken.issue(account, scope=scope)[1]
    columns = ("pk", "account", "scope", "expires_at", "digest")
    stored = list(AccessToken.objects.values_list(*columns))
    asked = {"scope": "manage", "expiresAt": None, "account": "other", "tokens": [{}]}
    for method, path, view in OPERATIONS:
        body = {**(view.example or {}), **asked}
        response = Api(secret).send(method, path.format(id=ids[view.target]), body)
        assert response.status_code < 500
        assert "whk_" not in response.content.decode()
    assert list(AccessToken.objects.values_list(*columns)) == stored


@pytest.mark.parametrize(
    "header",
    [
        *("REMOTE_USER", "HTTP_REMOTE_USER", "HTTP_X_REMOTE_USER", "HTTP_X_FORWARDED_USER"),
        *("HTTP_X_AUTH_REQUEST_USER", "HTTP_X_FORWARDED_EMAIL", "HTTP_X_API_KEY", "HTTP_TOKEN"),
        *("HTTP_PROXY_AUTHORIZATION", "HTTP_X_AUTHORIZATION"),
    ],
)
def test_no_other_header_says_who_calls(account, header):
    UserFactory(username="mira", is_superuser=True)
    secret = AccessToken.issue(account)[1]
    for value in ("mira", secret, f"Bearer {secret}"):
        problem(Client().get("/webhooks", **{header: value}), 401)


def test_the_use_of_a_token_is_written_once_a_minute(account, django_assert_num_queries):
    api = Api(AccessToken.issue(account)[1])
    api.get("/webhooks")
    used_at = AccessToken.objects.get().last_used_at - timedelta(seconds=50)
    AccessToken.objects.update(last_used_at=used_at)
    with django_assert_num_queries(2):
        api.get("/webhooks")
    assert AccessToken.objects.get().last_used_at == used_at
    AccessToken.objects.update(last_used_at=used_at - timedelta(seconds=20))
    api.get("/webhooks")
    assert AccessToken.objects.get().last_used_at >= used_at + timedelta(seconds=50)


def test_a_revoked_token_is_refused_in_the_middle_of_its_work(account):
    token, secret = AccessToken.issue(account)
    api = Api(secret)
    ident = api.post("/webhooks", DOCUMENTED).json()["id"]
    token.revoke()
    for response in (api.get("/webhooks"), api.delete(f"/webhooks/{ident}")):
        assert response.status_code == 401
    assert account.webhooks.live().count() == 1


def test_unknown_revoked_and_expired_tokens_are_told_the_same(account):
    revoked, first = AccessToken.issue(account)
    revoked.revoke()
    second = AccessToken.issue(account, expires_at=NOON)[1]
    third = "whk_" + "x" * 43
    said = {problem(Api(s).get("/webhooks"), 401)["message"] for s in (first, second, third)}
    assert len(said) == 1
