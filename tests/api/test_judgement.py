"""Who may do what: 401, then 404, then 403, before 400 and 409; every error in one envelope."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import OperationalError
from django.db.models.functions import Now
from django.test import Client

from tests.api.conftest import DOCUMENTED, Api, problem
from tests.factories import (
    AccountFactory,
    AttemptFactory,
    DeliveryFactory,
    UserFactory,
    WebhookFactory,
)
from webhooks_app.api import errors
from webhooks_app.models import AccessToken, Account, Webhook

CALLING_OUT = ("/interactions", "/verify", "/test")  # done in test_calls.py
SINCE = {"since": "2026-01-01T00:00:00.000Z"}
BULK = {"deliveries": [{"payload": {"a": 1}}]}
# (method, path below a webhook, body, scopes that may, permission of a session)
WEBHOOK_CALLS = [
    ("GET", "", None, "manage read", "view_webhook"),
    ("PUT", "", DOCUMENTED, "manage", "change_webhook"),
    ("PATCH", "", {}, "manage", "change_webhook"),
    ("DELETE", "", None, "manage", "delete_webhook"),
    ("GET", "/settings", None, "manage read", "view_webhook"),
    ("PATCH", "/settings", {}, "manage", "change_webhook"),
    ("PATCH", "/settings", {"enabled": True}, "manage", "operate_webhook"),
    ("GET", "/deliveries", None, "manage read send", "view_delivery"),
    ("POST", "/deliveries", {"a": 1}, "manage send", "add_delivery"),
    ("POST", "/deliveries/bulk", BULK, "manage send", "add_delivery"),
    ("POST", "/replay", SINCE, "manage", "operate_webhook"),
    ("GET", "/errors", None, "manage read", "view_webhookerror"),
    ("POST", "/interactions", {}, "manage send", "operate_webhook"),
    ("POST", "/verify", None, "manage", "operate_webhook"),
    ("POST", "/test", None, "manage", "operate_webhook"),
    ("POST", "/close-breaker", None, "manage", "operate_webhook"),
]
DELIVERY_CALLS = [
    ("GET", "", None, "manage read send", "view_delivery"),
    ("GET", "/attempts", None, "manage read send", "view_attempt"),
    ("POST", "/retry", None, "manage", "operate_webhook"),
    ("POST", "/cancel", None, "manage", "operate_webhook"),
]
LIST_CALLS = [
    ("GET", "/webhooks", None, "manage read", "view_webhook"),
    ("POST", "/webhooks", DOCUMENTED, "manage", "add_webhook"),
]
CALLS = [
    *LIST_CALLS,
    *((m, "/webhooks/{webhook}" + p, *rest) for m, p, *rest in WEBHOOK_CALLS),
    *((m, "/deliveries/{delivery}" + p, *rest) for m, p, *rest in DELIVERY_CALLS),
]
IDS = [f"{call[0]} {call[1]}" for call in CALLS]


@pytest.fixture
def mine(account):
    """A paused webhook (so that nothing calls out) and its delivery, by the names of the paths."""
    webhook = WebhookFactory(account=account, stopped="paused")
    delivery = DeliveryFactory(webhook=webhook)
    AttemptFactory(webhook=webhook, delivery=delivery, kind="reset", message="socket hang up")
    return {"webhook": webhook.id, "delivery": delivery.id}


@pytest.mark.once
@pytest.mark.parametrize("call", CALLS, ids=IDS)
def test_without_a_token_everything_is_401(anonymous, mine, call):
    response = anonymous.send(call[0], call[1].format(**mine), call[2])
    problem(response, 401)
    assert response["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("call", CALLS[2:], ids=IDS[2:])
@pytest.mark.parametrize("ident", ["foreign", "0" * 24, "ABCDEF" * 4, "x", "%00", "é", "1" * 3000])
def test_unknown_malformed_and_foreign_ids_are_the_same_404(api, mine, call, ident):
    if ident == "foreign":
        webhook = WebhookFactory()
        ids = {"webhook": webhook.id, "delivery": DeliveryFactory(webhook=webhook).id}
    else:
        ids = {"webhook": ident, "delivery": ident}
    status = problem(api.send(call[0], call[1].format(**ids), call[2]), 404)
    assert status["message"] == errors.NOT_FOUND
    assert Webhook.objects.live().count() == 1 + (ident == "foreign")


@pytest.mark.parametrize("call", CALLS, ids=IDS)
@pytest.mark.parametrize("scope", ["manage", "send", "read"])
def test_each_scope_may_do_its_part_and_no_more(account, mine, call, scope):
    method, path, body, scopes, _ = call
    if scope in scopes.split() and path.endswith(CALLING_OUT):
        return
    api = Api(AccessToken.issue(account, scope=scope)[1])
    response = api.send(method, path.format(**mine), body)
    if scope not in scopes.split():
        assert scope in problem(response, 403)["message"]
    else:
        assert response.status_code in (200, 202), response.content


@pytest.mark.parametrize("call", CALLS, ids=IDS)
def test_a_session_needs_the_django_permission_of_the_verb(account, mine, call):
    method, path, body, _, permission = call
    user = UserFactory()
    account.members.add(user)
    client = Api()
    client.client.force_login(user)
    refused = problem(client.send(method, path.format(**mine), body), 403)
    assert permission in refused["message"]
    if path.endswith(CALLING_OUT):
        return
    user.user_permissions.add(Permission.objects.get(codename=permission))
    response = client.send(method, path.format(**mine), body)
    assert response.status_code in (200, 202), response.content


def test_404_comes_before_403_and_403_before_400(account, mine):
    reader = Api(AccessToken.issue(account, scope="read")[1])
    problem(reader.put("/webhooks/" + "0" * 24, b"{"), 404)
    problem(reader.put(f"/webhooks/{mine['webhook']}", b"{"), 403)
    problem(reader.put(f"/webhooks/{mine['webhook']}", b"x", content_type="text/plain"), 403)


@pytest.mark.parametrize("header", ["Bearer {}", "bearer {}", "BEARER   {}", "Bearer {}  "])
def test_the_scheme_is_read_in_any_case_with_any_run_of_spaces(secret, header):
    response = Client().get("/webhooks", HTTP_AUTHORIZATION=header.format(secret))
    assert response.status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        *("", "Bearer", "Bearer ", "Bearer x", "Bearer whk_x", "Bearer \xe9\xff", "Basic dTpw"),
        *("{}", "Token {}", "Bearer{}", "Bearer {} x", "Bearer {},{}", "Bearer a\0b"),
    ],
)
def test_any_other_authorization_is_401(secret, header):
    response = Client().get("/webhooks", HTTP_AUTHORIZATION=header.format(secret, secret))
    problem(response, 401)
    assert response["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("name", ["token", "access_token", "authorization", "bearer"])
def test_a_token_in_the_query_never_authenticates(secret, name):
    problem(Client().get(f"/webhooks?{name}={secret}"), 401)


def test_a_revoked_or_expired_token_is_401_at_once(account):
    token, secret = AccessToken.issue(account)
    assert Api(secret).get("/webhooks").status_code == 200
    token.revoke()
    problem(Api(secret).get("/webhooks"), 401)
    # The database judges, by its own clock, whatever ours says.
    past = Account.objects.values_list(Now(), flat=True)[0] - timedelta(seconds=1)
    problem(Api(AccessToken.issue(account, expires_at=past)[1]).get("/webhooks"), 401)


def test_an_invalid_token_is_401_even_beside_a_good_session(admin_client):
    problem(admin_client.get("/webhooks", HTTP_AUTHORIZATION="Bearer nonsense"), 401)


def test_the_use_of_a_token_is_noted(account):
    token, secret = AccessToken.issue(account)
    Api(secret).get("/webhooks")
    token.refresh_from_db()
    assert token.last_used_at is not None


# --- sessions ---------------------------------------------------------------------------------


@pytest.fixture
def member(account):
    """A staff user of one account with every permission of the app."""
    user = UserFactory()
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="webhooks_app"))
    account.members.add(user)
    return user


def session(user, **defaults):
    api = Api()
    api.client = Client(**defaults)
    api.client.force_login(user)
    return api


def test_a_session_acts_for_the_accounts_of_its_user(member, account):
    own = WebhookFactory(account=account)
    foreign = WebhookFactory()
    api = session(member)
    assert [item["id"] for item in api.get("/webhooks").json()] == [own.id]
    problem(api.get(f"/webhooks/{foreign.id}"), 404)
    problem(api.delete(f"/webhooks/{foreign.id}"), 404)
    assert api.post("/webhooks", DOCUMENTED).status_code == 200
    assert Webhook.objects.filter(account=account).count() == 2


def test_a_superuser_acts_for_all(admin_user):
    webhook = WebhookFactory()
    WebhookFactory()
    api = session(admin_user)
    assert len(api.get("/webhooks").json()) == 2
    assert api.get(f"/webhooks/{webhook.id}").status_code == 200


def test_account_chooses_where_there_are_several(member, account):
    second = AccountFactory(name="second")
    second.members.add(member)
    one, two = WebhookFactory(account=account), WebhookFactory(account=second)
    api = session(member)
    assert [item["id"] for item in api.get("/webhooks").json()] == [one.id, two.id]
    assert [item["id"] for item in api.get("/webhooks?account=second").json()] == [two.id]
    problem(api.get(f"/webhooks/{one.id}?account=second"), 404)
    assert "account" in problem(api.post("/webhooks", DOCUMENTED), 400)["details"]
    created = api.post("/webhooks?account=second", DOCUMENTED)
    assert Webhook.objects.get(pk=created.json()["id"]).account == second


@pytest.mark.parametrize("name", ["other", "nobody", "", "%00", "A", "x" * 70])
def test_an_account_that_is_not_ones_own_is_404(member, name):
    AccountFactory(name="other")
    problem(session(member).get(f"/webhooks?account={name}"), 404)


def test_without_any_account_the_list_is_empty_and_post_says_why(member, account):
    account.members.clear()
    WebhookFactory(account=account)
    api = session(member)
    assert api.get("/webhooks").json() == []
    assert "account" in problem(api.post("/webhooks", DOCUMENTED), 400)["details"]


def test_a_session_that_writes_needs_the_csrf_token(member, account):
    webhook = WebhookFactory(account=account)
    api = session(member, enforce_csrf_checks=True)
    assert api.get("/webhooks").status_code == 200
    assert "CSRF" in problem(api.delete(f"/webhooks/{webhook.id}"), 403)["message"]
    problem(api.post("/webhooks", DOCUMENTED), 403)
    # A form that smuggles the token's field in is looked at, and still is no JSON.
    form = api.post("/webhooks", b"a=b", content_type="application/x-www-form-urlencoded")
    problem(form, 403)
    broken = api.post("/webhooks", b"--x", content_type="multipart/form-data; boundary=\xff")
    assert broken.status_code in (400, 403)


def test_an_inactive_user_is_nobody(member):
    api = session(member)
    member.is_active = False
    member.save()
    problem(api.get("/webhooks"), 401)


# --- everything else --------------------------------------------------------------------------


@pytest.mark.once
@pytest.mark.parametrize("call", CALLS, ids=IDS)
def test_other_methods_are_405_and_name_those_that_work(api, mine, call):
    path = call[1].format(**mine)
    known = {method for method, other, *_ in CALLS if other == call[1]}
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"} - known:
        response = api.send(method, path)
        problem(response, 405)
        assert known <= set(response["Allow"].split(", "))


@pytest.mark.parametrize(
    "path",
    [
        *("/webhooks/x/y/z", "/webhooks//", "/webhooks/{}/nothing", "/webhooks/{}/settings/more"),
        *("/deliveries", "/deliveries/", "/deliveries/a/b/c", "/webhooks/a%0Ab/c", "/webhooks/%2F"),
    ],
)
@pytest.mark.once
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_an_unknown_path_below_ours_is_a_json_404(api, mine, path, method):
    problem(api.send(method, path.format(mine["webhook"])), 404)


@pytest.mark.parametrize("path", ["/webhooksx", "/web", "/deliveriesx/1", "/eventsx"])
def test_other_paths_are_left_to_the_host(path):
    from django.urls import Resolver404, resolve

    with pytest.raises(Resolver404):
        resolve(path)


@pytest.mark.parametrize(
    "accept",
    ["image/png", "application/xml;q=1", "", "garbage;;;", "text/html", "*/*;q=0", "\xff"],
)
def test_an_accept_that_we_cannot_meet_gets_json(api, accept):
    for path, status in (("/webhooks", 200), ("/webhooks/x", 404)):
        response = api.get(path, HTTP_ACCEPT=accept)
        assert response.status_code == status
        assert response["Content-Type"] == "application/json"


def test_too_many_query_parameters_are_400(api, member):
    query = "&".join(f"a{n}=1" for n in range(1500))
    problem(api.get(f"/webhooks?{query}"), 400)
    problem(session(member).get(f"/webhooks?{query}"), 400)


def test_a_database_that_does_not_answer_is_503(api, monkeypatch):
    def broken(*args):
        raise OperationalError("database is locked")

    monkeypatch.setattr(AccessToken.objects, "for_secret", broken)
    response = api.get("/webhooks")
    status = problem(response, 503)
    assert "locked" not in status["message"]
    assert int(response["Retry-After"]) >= 1


def test_what_nobody_foresaw_is_a_500_in_the_envelope_that_tells_nothing(api, monkeypatch):
    def broken(*args):
        raise ZeroDivisionError("s3cret")

    monkeypatch.setattr(AccessToken.objects, "for_secret", broken)
    api.client.raise_request_exception = False
    response = api.get("/webhooks")
    problem(response, 500)
    assert b"s3cret" not in response.content


def test_nothing_of_the_hosts_rest_framework_settings_reaches_us(api, account, settings):
    settings.REST_FRAMEWORK = {
        "DEFAULT_RENDERER_CLASSES": [],
        "DEFAULT_PARSER_CLASSES": [],
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_PERMISSION_CLASSES": ["nothing.Real"],
        "EXCEPTION_HANDLER": "nothing.real",
        "UNAUTHENTICATED_USER": None,
        "NON_FIELD_ERRORS_KEY": "odd",
        "DATETIME_FORMAT": "%d",
        "UNICODE_JSON": False,
        "COMPACT_JSON": False,
        "FORMAT_SUFFIX_KWARG": "id",
        "VIEW_NAME_FUNCTION": "nothing.real",
    }
    webhook = WebhookFactory(account=account, name="ä")
    assert '"name":"ä"'.encode() in api.get(f"/webhooks/{webhook.id}").content
    assert problem(api.post("/webhooks", {**DOCUMENTED, "auth": 5}), 400)["details"] == {
        "auth": ["Must be an object."]
    }
    problem(Api().get("/webhooks"), 401)


def test_views_run_outside_a_hosts_atomic_requests(db):
    from django.urls import resolve

    view = resolve("/webhooks").func
    assert "default" in view._non_atomic_requests
