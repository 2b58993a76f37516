"""The documented API, field for field."""

import re
import threading

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.api.conftest import DOCUMENTED, FULL, Api, problem
from tests.factories import AccountFactory, WebhookFactory
from webhooks_app.models import Webhook

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
ID = re.compile(r"[0-9a-f]{24}\Z")


def created(api, **changes):
    response = api.post("/webhooks", {**FULL, **changes})
    assert response.status_code == 200, response.content
    return response.json()["id"]


def is_envelope(response, ident=None):
    assert response.status_code == 200, response.content
    body = response.json()
    assert list(body) == ["id", "timestamp", "status"]
    assert ID.match(body["id"])
    assert ident in (None, body["id"])
    assert TIMESTAMP.match(body["timestamp"])
    assert body["status"] == {"code": 200, "type": "success"}
    return body["id"]


def test_create_update_and_delete_answer_the_envelope(api):
    ident = is_envelope(api.post("/webhooks", DOCUMENTED))
    is_envelope(api.put(f"/webhooks/{ident}", FULL), ident)
    is_envelope(api.patch(f"/webhooks/{ident}", {"name": "new"}), ident)
    is_envelope(api.delete(f"/webhooks/{ident}"), ident)
    problem(api.get(f"/webhooks/{ident}"), 404)


def test_get_shows_exactly_the_documented_fields(api):
    ident = created(api)
    body = api.get(f"/webhooks/{ident}").json()
    assert list(body) == ["id", "name", "url", "token", "headers", "auth", "error"]
    assert body == {**FULL, "id": ident, "error": {"date": "", "message": ""}}


def test_auth_and_error_always_have_their_shape(api):
    ident = is_envelope(api.post("/webhooks", DOCUMENTED))
    body = api.get(f"/webhooks/{ident}").json()
    assert body["auth"] == {"username": "", "password": ""}
    assert body["error"] == {"date": "", "message": ""}
    assert body["headers"] == []
    assert body["token"] == ""


def test_the_last_noted_error_is_shown(api, account):
    at = "2017-12-04T15:06:12.053Z"
    webhook = WebhookFactory(
        account=account,
        health={"last_error_at": at, "last_error_message": "timeout of 10000ms exceeded"},
    )
    error = api.get(f"/webhooks/{webhook.id}").json()["error"]
    assert error == {"date": at, "message": "timeout of 10000ms exceeded"}
    assert api.get("/webhooks").json()[0]["error"] == "timeout of 10000ms exceeded"


def test_the_list_is_a_bare_array_oldest_first(api):
    idents = [created(api, name=f"n{i}") for i in range(3)]
    body = api.get("/webhooks").json()
    assert [item["id"] for item in body] == idents == sorted(idents)
    assert body[0] == {"id": idents[0], "name": "n0", "url": FULL["url"], "error": ""}


def test_the_list_costs_the_same_for_any_number_and_decrypts_nothing(
    api, account, settings, django_assert_num_queries
):
    for index in range(5):
        WebhookFactory(account=account, token="t", headers=[("A", "b")], name=f"{index}")
    api.get("/webhooks")  # the first use of a token is noted
    # The token, the list. No secret is read: with another key it would raise.
    settings.WEBHOOKS_ENCRYPTION_KEYS = ["A" * 43 + "="]
    with django_assert_num_queries(2):
        assert len(api.get("/webhooks").json()) == 5


def test_pages_follow_the_link(api, account):
    idents = [WebhookFactory(account=account).id for _ in range(5)]
    seen, address = [], "/webhooks?limit=2&search=hook"
    while address:
        response = api.get(address)
        seen += [item["id"] for item in response.json()]
        link = response.headers.get("Link", "")
        match = re.fullmatch(r'<http://testserver(/[^>]+)>; rel="next"', link)
        address = match[1] if match else ""
    assert seen == idents


@pytest.mark.once
@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=1001", "limit=x", "limit=-1", "limit=٣", "limit=1e2"),
        *("after=xyz", "after=" + "A" * 24, "failing=maybe", "search=%00", "search=" + "x" * 2049),
        *("host=a/b", "host=%00", "host=" + "x" * 300),
    ],
)
def test_parameters_that_cannot_be_meant_are_400(api, query):
    name = query.partition("=")[0]
    assert name in problem(api.get(f"/webhooks?{query}"), 400)["details"]


def test_the_list_is_filtered_by_the_host(api, account):
    shop = WebhookFactory(account=account, url="https://Shop.example.com:443/in?token=s")
    other = WebhookFactory(account=account, url="https://shop.example.com:8443/")
    WebhookFactory(url="https://shop.example.com/of-somebody-else")

    def found(host):
        return [item["id"] for item in api.get(f"/webhooks?host={host}").json()]

    assert found("shop.example.com") == found("SHOP.example.com") == [shop.id]
    assert found("shop.example.com:8443") == [other.id]
    assert found("example.com") == []


def test_search_and_failing_filter_the_list(api, account):
    good = WebhookFactory(account=account, name="Good")
    bad = WebhookFactory(
        account=account, url="https://bad.example.com/", health={"failures_in_row": 5}
    )

    def found(query):
        return [item["id"] for item in api.get(f"/webhooks?{query}").json()]

    assert found("search=gOO") == [good.id]
    assert found("search=bad.example") == [bad.id]
    assert found("failing=true") == [bad.id]
    assert found("failing=false") == [good.id]


def test_put_of_what_get_returned_changes_nothing(api):
    ident = created(api)
    before = Webhook.objects.values().get(pk=ident)
    body = api.get(f"/webhooks/{ident}").json()
    is_envelope(api.put(f"/webhooks/{ident}", body), ident)
    assert api.get(f"/webhooks/{ident}").json() == body
    assert Webhook.objects.values().get(pk=ident) == before


def test_put_and_patch_ignore_the_id_and_error_of_a_get(api):
    ident = created(api)
    body = {**FULL, "id": "0" * 24, "error": {"date": "x", "message": "y"}}
    is_envelope(api.patch(f"/webhooks/{ident}", body), ident)
    is_envelope(api.put(f"/webhooks/{ident}", body), ident)
    assert api.get(f"/webhooks/{ident}").json()["error"] == {"date": "", "message": ""}


def test_what_put_leaves_out_stays_and_what_is_empty_is_cleared(api):
    ident = created(api)
    is_envelope(api.put(f"/webhooks/{ident}", {"name": "n", "url": FULL["url"]}))
    body = api.get(f"/webhooks/{ident}").json()
    assert (body["token"], body["headers"], body["auth"]) == (
        FULL["token"],
        FULL["headers"],
        FULL["auth"],
    )
    is_envelope(api.put(f"/webhooks/{ident}", DOCUMENTED))
    body = api.get(f"/webhooks/{ident}").json()
    assert body["token"] == ""
    assert body["headers"] == []
    assert body["auth"] == {"username": "", "password": ""}


@pytest.mark.once
@pytest.mark.parametrize("field", ["name", "url"])
def test_name_and_url_are_required_in_post_and_put_not_in_patch(api, field):
    ident = created(api)
    body = {key: value for key, value in FULL.items() if key != field}
    assert field in problem(api.post("/webhooks", body), 400)["details"]
    assert field in problem(api.put(f"/webhooks/{ident}", body), 400)["details"]
    is_envelope(api.patch(f"/webhooks/{ident}", body))
    is_envelope(api.patch(f"/webhooks/{ident}", {}))


def test_patch_replaces_auth_and_headers_as_a_whole(api):
    ident = created(api)
    is_envelope(api.patch(f"/webhooks/{ident}", {"auth": {"username": "only"}}))
    assert api.get(f"/webhooks/{ident}").json()["auth"] == {"username": "only", "password": ""}
    is_envelope(api.patch(f"/webhooks/{ident}", {"headers": [{"name": "A", "value": "1"}]}))
    assert api.get(f"/webhooks/{ident}").json()["headers"] == [{"name": "A", "value": "1"}]


H = {"name": "X-Key", "value": "v"}
GOOD = {
    "the documented example": {},
    "name of 1": {"name": "n"},
    "name of 1024": {"name": "ä" * 1024},
    "name of 1024 beyond the BMP": {"name": "🦀" * 1024},
    "name with spaces kept": {"name": "  n "},
    "token of 1": {"token": "t"},
    "token of 1024": {"token": "é" * 1024},
    "token with signs": {"token": "a!?=&%20 b+"},
    "99 headers": {"headers": [H] * 99},
    "header name of 1": {"headers": [{"name": "X", "value": "v"}]},
    "header name of 128": {"headers": [{"name": "x" * 128, "value": "v"}]},
    "header value of 1024": {"headers": [{"name": "X", "value": "v" * 1024}]},
    "username of 1024": {"auth": {"username": "u" * 1024, "password": ""}},
    "password of 1024": {"auth": {"username": "u", "password": "ö" * 1024}},
    "auth of empty texts": {"auth": {"username": "", "password": ""}},
    "url of 2048": {"url": "https://example.com/" + "p" * 2028},
    "http": {"url": "http://example.com"},
    "port": {"url": "https://example.com:65535/x"},
    "international host": {"url": "https://bücher.example.com/straße"},
    "public address": {"url": "https://93.184.216.34/x"},
}


@pytest.mark.parametrize("change", GOOD.values(), ids=GOOD)
def test_what_is_within_the_limits_is_stored_as_it_was_sent(api, change):
    sent = {**DOCUMENTED, **change}
    ident = is_envelope(api.post("/webhooks", sent))
    shown = api.get(f"/webhooks/{ident}").json()
    for field in ("name", "url", "token", "headers"):
        assert shown[field] == sent[field]
    assert shown["auth"] == {"username": "", "password": "", **sent["auth"]}
    is_envelope(api.put(f"/webhooks/{ident}", sent))


BAD = {
    "name empty": ("name", {"name": ""}),
    "name of 1025": ("name", {"name": "n" * 1025}),
    "name of white space": ("name", {"name": " \t\n"}),
    "name a number": ("name", {"name": 5}),
    "name a flag": ("name", {"name": True}),
    "name a list": ("name", {"name": ["n"]}),
    "name an object": ("name", {"name": {}}),
    "name null": ("name", {"name": None}),
    "url empty": ("url", {"url": ""}),
    "url of 2049": ("url", {"url": "https://example.com/" + "p" * 2029}),
    "url null": ("url", {"url": None}),
    "url a number": ("url", {"url": 1}),
    "url without scheme": ("url", {"url": "example.com"}),
    "url ftp": ("url", {"url": "ftp://example.com/"}),
    "url with space before": ("url", {"url": " https://example.com/"}),
    "url with space after": ("url", {"url": "https://example.com/\n"}),
    "url with user": ("url", {"url": "https://u:p@example.com/"}),
    "url with fragment": ("url", {"url": "https://example.com/#x"}),
    "url to loopback": ("url", {"url": "http://127.0.0.1/"}),
    "url to a private address": ("url", {"url": "http://10.0.0.1/"}),
    "url to localhost": ("url", {"url": "http://localhost/"}),
    "url port 65536": ("url", {"url": "http://example.com:65536/"}),
    "url with backslash": ("url", {"url": "http://127.0.0.1\\@example.com/"}),
    "token of 1025": ("token", {"token": "t" * 1025}),
    "token a number": ("token", {"token": 7}),
    "token null": ("token", {"token": None}),
    "headers null": ("headers", {"headers": None}),
    "headers an object": ("headers", {"headers": {"name": "X", "value": "v"}}),
    "headers a text": ("headers", {"headers": "X: v"}),
    "100 headers": ("headers", {"headers": [H] * 100}),
    "header without name": ("headers.0.name", {"headers": [{"value": "v"}]}),
    "header without value": ("headers.0.value", {"headers": [{"name": "X"}]}),
    "header name empty": ("headers.0.name", {"headers": [{"name": "", "value": "v"}]}),
    "header name of 129": ("headers.0.name", {"headers": [{"name": "x" * 129, "value": "v"}]}),
    "header name a number": ("headers.0.name", {"headers": [{"name": 1, "value": "v"}]}),
    "header name null": ("headers.0.name", {"headers": [{"name": None, "value": "v"}]}),
    "header value empty": ("headers.0.value", {"headers": [{"name": "X", "value": ""}]}),
    "header value of 1025": (
        "headers.1.value",
        {"headers": [H, {"name": "X", "value": "v" * 1025}]},
    ),
    "header value a number": ("headers.0.value", {"headers": [{"name": "X", "value": 1}]}),
    "header value with newline": (
        "headers.0.value",
        {"headers": [{"name": "X", "value": "a\r\nB: c"}]},
    ),
    "header a text": ("headers.2", {"headers": [H, H, "X: v"]}),
    "header null": ("headers.0", {"headers": [None]}),
    "header of ours": ("headers.0.name", {"headers": [{"name": "Host", "value": "v"}]}),
    "auth null": ("auth", {"auth": None}),
    "auth a list": ("auth", {"auth": []}),
    "auth a text": ("auth", {"auth": "u:p"}),
    "username of 1025": ("auth.username", {"auth": {"username": "u" * 1025}}),
    "username null": ("auth.username", {"auth": {"username": None}}),
    "username with colon": ("auth.username", {"auth": {"username": "a:b"}}),
    "password of 1025": ("auth.password", {"auth": {"username": "u", "password": "p" * 1025}}),
    "password a number": ("auth.password", {"auth": {"username": "u", "password": 1}}),
    "password alone": ("auth", {"auth": {"password": "p"}}),
}


@pytest.mark.once
@pytest.mark.parametrize(("path", "change"), BAD.values(), ids=BAD)
def test_what_is_past_the_limits_is_400_at_its_place(api, path, change):
    ident = created(api)
    before = api.get(f"/webhooks/{ident}").json()
    responses = [
        api.post("/webhooks", {**DOCUMENTED, **change}),
        api.put(f"/webhooks/{ident}", {**DOCUMENTED, **change}),
        api.patch(f"/webhooks/{ident}", change),
    ]
    for response in responses:
        found = problem(response, 400)["details"]
        for key in path.split("."):
            assert key in found, response.content
            found = found[key]
    assert api.get(f"/webhooks/{ident}").json() == before
    assert Webhook.objects.count() == 1


def test_the_result_as_a_whole_is_validated(api):
    ident = created(api, headers=[{"name": "Authorization", "value": "Basic x"}], auth={})
    refused = api.patch(f"/webhooks/{ident}", {"auth": {"username": "u", "password": "p"}})
    assert "headers" in problem(refused, 400)["details"]


def test_every_field_is_judged_at_once(api):
    body = {"name": "", "url": "x", "token": 1, "headers": [{"name": "", "value": "v"}]}
    assert set(problem(api.post("/webhooks", body), 400)["details"]) == {
        "name",
        "url",
        "token",
        "headers",
    }


def test_the_trailing_slash_is_served_alike(api):
    ident = is_envelope(api.post("/webhooks/", DOCUMENTED))
    assert api.get("/webhooks/").json() == api.get("/webhooks").json()
    assert api.get(f"/webhooks/{ident}/").json() == api.get(f"/webhooks/{ident}").json()
    is_envelope(api.put(f"/webhooks/{ident}/", DOCUMENTED), ident)
    is_envelope(api.delete(f"/webhooks/{ident}/"), ident)


@pytest.mark.once
@pytest.mark.parametrize("content_type", ["", "application/json", "text/plain"])
def test_delete_needs_no_content_type(api, account, content_type):
    webhook = WebhookFactory(account=account)
    is_envelope(api.delete(f"/webhooks/{webhook.id}", content_type=content_type), webhook.id)


def test_answers_are_not_kept_by_caches(api, account):
    webhook = WebhookFactory(account=account, token="t")
    assert api.get(f"/webhooks/{webhook.id}")["Cache-Control"] == "no-store"


def test_head_is_served_as_get_is(api):
    response = api.send("HEAD", "/webhooks")
    assert response.status_code == 200
    assert response.content == b""


@pytest.mark.django_db(transaction=True)
def test_of_two_puts_at_once_one_wins_whole(secret):
    ident = created(Api(secret))
    bodies = [
        {
            "name": letter * 500,
            "url": f"https://{letter}.example.com/",
            "token": letter,
            "headers": [{"name": f"X-{letter}", "value": letter}] * 20,
            "auth": {"username": letter, "password": letter},
        }
        for letter in "ab"
    ]
    start, statuses = threading.Barrier(2), []

    def put(body):
        try:
            start.wait()
            for _ in range(4):
                statuses.append(Api(secret).put(f"/webhooks/{ident}", body).status_code)
        finally:
            connection.close()

    threads = [threading.Thread(target=put, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 8
    shown = Api(secret).get(f"/webhooks/{ident}").json()
    assert {key: shown[key] for key in bodies[0]} in bodies


def test_one_account_never_sees_the_other(api, api_for):
    other = api_for(AccountFactory())
    mine, theirs = created(api), created(other)
    assert [item["id"] for item in api.get("/webhooks").json()] == [mine]
    assert [item["id"] for item in other.get("/webhooks").json()] == [theirs]


def test_the_shown_webhook_costs_a_constant_number_of_queries(api, account):
    few = WebhookFactory(account=account, headers=[("A", "1")])
    many = WebhookFactory(account=account, headers=[(f"A{i}", "1") for i in range(50)])
    api.get("/webhooks")
    counts = []
    for webhook in (few, many):
        with CaptureQueriesContext(connection) as queries:
            api.get(f"/webhooks/{webhook.id}")
        counts.append(len(queries))
    assert counts[0] == counts[1] == 3
