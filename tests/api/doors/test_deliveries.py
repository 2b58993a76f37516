"""The door of Django's views and the fast one of the site: whoever stores a delivery is judged by
the same rules and answered in the same words."""

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import async_to_sync
from django.core.cache import cache
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.conftest import problem
from tests.api.doors import SiteApi, together, told
from tests.api.test_body import NOT_STRICT
from tests.factories import WebhookFactory
from tests.waiting import PATIENCE
from webhooks_app import actions
from webhooks_app.api.throttling import MINUTE
from webhooks_app.models import AccessToken, Counter, Delivery, FailedAuthentication

pytestmark = pytest.mark.django_db(transaction=True)

FIELDS = [
    *("id", "webhookId", "type", "reference", "state", "reason", "tries", "maxTries"),
    *("createdAt", "dueAt", "finishedAt", "lastStatus", "lastError", "eventId", "form"),
    *("orderingKey", "sequence"),
]


@pytest.fixture
def webhook(account):
    return WebhookFactory(account=account)


@pytest.fixture
def path(webhook):
    return f"/webhooks/{webhook.id}/deliveries"


# --- one delivery ---------------------------------------------------------------------------------


def test_a_delivery_is_stored_byte_for_byte_and_answered_202(api, webhook, path):
    body = b' {"a" : 1.50,\n "\xc3\xa9":[ ]} '
    response = api.post(
        f"{path}?type=order.created&reference=A%204711", body, content_type="application/json"
    )
    assert response.status_code == 202
    shown = response.json()
    assert list(shown) == FIELDS
    row = Delivery.objects.get(pk=shown["id"])
    assert bytes(row.payload) == body
    assert (shown["webhookId"], shown["state"], shown["reason"]) == (webhook.id, "pending", "")
    assert (shown["type"], shown["reference"]) == ("order.created", "A 4711")
    assert (shown["tries"], shown["maxTries"]) == (0, 8)
    assert (shown["finishedAt"], shown["lastStatus"], shown["lastError"]) == (None, None, "")
    assert "Idempotent-Replayed" not in response
    assert api.get(f"/deliveries/{row.id}").json() == shown
    assert api.get(path).json() == [shown]


def test_a_delivery_keeps_the_name_of_its_request(api, path):
    response = api.post(path, {}, HTTP_X_REQUEST_ID="Order-4711")
    assert response["X-Request-Id"] == "Order-4711"
    assert Delivery.objects.get().stored_in == "Order-4711"
    other = api.post(f"{path}/bulk", {"deliveries": [{"payload": 1}]}, HTTP_X_REQUEST_ID="a b")
    name = Delivery.objects.get(pk=other.json()[0]["id"]).stored_in
    assert other["X-Request-Id"] == name != "a b"


@pytest.mark.parametrize("body", [b"null", b"5", b'"text"', b"[]", b"{}"])
def test_any_json_value_is_a_payload(api, path, body):
    assert api.post(path, body, content_type="application/json").status_code == 202


@pytest.mark.once
def test_type_and_reference_have_their_limits(api, path):
    good = f"{path}?type={'t' * 128}&reference={'r' * 255}"
    assert api.post(good, {}).status_code == 202
    assert "type" in problem(api.post(f"{path}?type={'t' * 129}", {}), 400)["details"]
    assert "reference" in problem(api.post(f"{path}?reference={'r' * 256}", {}), 400)["details"]
    problem(api.post(f"{path}?type=%00", {}), 400)


@pytest.mark.once
@pytest.mark.parametrize("text", ["%ff", "%ed%a0%80", "a%c3", "%EF%BF%BD%ff"])
@pytest.mark.parametrize("name", ["type", "reference"])
def test_text_that_is_no_utf8_is_refused_and_not_stored_as_another(api, path, name, text):
    status = problem(api.post(f"{path}?{name}={text}", {}), 400)
    assert status["details"] == {name: ["Must be UTF-8."]}
    problem(api.get(f"{path}?{name}={text}"), 400)
    assert not Delivery.objects.exists()


def test_text_is_stored_as_sent(api, path):
    for raw, text in (("%EF%BF%BD", "\ufffd"), ("%C3%A9%F0%9F%98%80", "é😀"), ("a+b", "a b")):
        assert api.post(f"{path}?reference={raw}", {}).json()["reference"] == text


def test_a_delivery_may_be_due_later(api, path):
    later = timezone.now() + timedelta(days=29)
    shown = api.post(f"{path}?dueAt={later:%Y-%m-%dT%H:%M:%S.000Z}", {}).json()
    assert shown["dueAt"] == f"{later:%Y-%m-%dT%H:%M:%S.000Z}"
    assert shown["createdAt"] < shown["dueAt"]
    past = api.post(f"{path}?dueAt=2018-01-12T13:40:40.260Z", {}).json()
    assert past["dueAt"] == past["createdAt"]  # what is past is now


@pytest.mark.once
@pytest.mark.parametrize("moment", ["tomorrow", "9999-12-31", "%00", "2026-13-01"])
def test_a_moment_that_cannot_be_meant_is_400(api, path, moment):
    assert list(problem(api.post(f"{path}?dueAt={moment}", {}), 400)["details"]) == ["dueAt"]
    far = timezone.now() + timedelta(days=31)
    assert "30 days" in problem(api.post(f"{path}?dueAt={far:%Y-%m-%d}", {}), 400)["message"]


def test_the_same_idempotency_key_and_bytes_are_one_delivery(api, path):
    first = api.post(path, {"a": 1}, HTTP_IDEMPOTENCY_KEY="k" * 255)
    again = api.post(path, {"a": 1}, HTTP_IDEMPOTENCY_KEY="k" * 255)
    assert again.status_code == 202
    assert again["Idempotent-Replayed"] == "true"
    assert again.json() == first.json()
    assert Delivery.objects.count() == 1
    problem(api.post(path, {"a": 2}, HTTP_IDEMPOTENCY_KEY="k" * 255), 409)
    problem(api.post(path, {"a": 2}, HTTP_IDEMPOTENCY_KEY="k" * 256), 400)
    problem(api.post(path, {"a": 2}, HTTP_IDEMPOTENCY_KEY="a\0b"), 400)
    assert Delivery.objects.count() == 1


@pytest.mark.once
def test_an_empty_idempotency_key_protects_nothing_and_is_refused(api, path):
    status = problem(api.post(path, {"a": 1}, HTTP_IDEMPOTENCY_KEY=""), 400)
    assert status["details"] == {"Idempotency-Key": ["Must not be empty."]}
    assert not Delivery.objects.exists()


def test_an_idempotency_key_belongs_to_its_webhook_and_to_its_day(api, account, path):
    other = WebhookFactory(account=account)
    first = api.post(path, {"a": 1}, HTTP_IDEMPOTENCY_KEY="k").json()
    response = api.post(f"/webhooks/{other.id}/deliveries", {"a": 2}, HTTP_IDEMPOTENCY_KEY="k")
    assert response.status_code == 202
    yesterday = timezone.now() - timedelta(hours=25)
    Delivery.objects.filter(pk=first["id"]).update(created_at=yesterday)
    second = api.post(path, {"a": 3}, HTTP_IDEMPOTENCY_KEY="k")
    assert second.json()["id"] != first["id"]
    assert "Idempotent-Replayed" not in second


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"stopped": "paused"}, "paused"),
        ({"stopped": "gone"}, "gone"),
        ({"verified_at": None}, "unverified"),
        ({"health": {"breaker_until": datetime(2999, 1, 1, tzinfo=UTC)}}, "breaker"),
    ],
)
def test_a_held_delivery_is_accepted_and_says_why_it_waits(api, account, state, reason):
    webhook = WebhookFactory(account=account, **state)
    response = api.post(f"/webhooks/{webhook.id}/deliveries", {})
    assert response.status_code == 202
    assert response.json()["reason"] == reason
    assert api.get(f"/webhooks/{webhook.id}/deliveries").json()[0]["reason"] == reason


@pytest.mark.once
@pytest.mark.parametrize("body", NOT_STRICT.values(), ids=NOT_STRICT)
def test_anything_but_strict_json_is_400(api, path, body):
    for address in (path, f"{path}/bulk"):
        response = api.post(address, body, content_type="application/json")
        assert "JSON" in problem(response, 400)["message"]


@pytest.mark.parametrize("size", [60 * 1024, 70 * 1024, 1024 * 1024])
def test_a_body_of_any_size_up_to_a_mebibyte_is_taken(api, path, size):
    body = b'"' + b"x" * (size - 2) + b'"'
    assert api.post(path, body, content_type="application/json").status_code == 202
    assert bytes(Delivery.objects.get().payload) == body


def test_the_fast_door_leaves_nothing_of_its_own_to_django(open_site, secret, path, settings):
    api = SiteApi(open_site, secret)
    before = open_site.by_django
    api.post(path, {})
    api.post(f"{path}/", {}, HTTP_IDEMPOTENCY_KEY="k")
    api.post(f"{path}?type=order&dueAt=2026-01-01", {"a": 1}, HTTP_IDEMPOTENCY_KEY="k")
    api.post(f"{path}/bulk", {"deliveries": [{"payload": 1}]})
    api.post(path, b"{", content_type="application/json")
    api.post(f"/webhooks/{'0' * 24}/deliveries", {})
    problem(api.post(f"{path}?account=other", {}), 404)
    settings.WEBHOOKS_RATE_PER_TOKEN = 1
    answers = in_one_minute(lambda: [api.post(path, {}) for _ in range(2)])
    problem(answers[-1], 429)
    settings.WEBHOOKS_RATE_PER_TOKEN = 0
    assert open_site.by_django == before
    api.get(path)
    SiteApi(open_site, "whk_wrong").post(path, {})
    assert open_site.by_django == before + 2


def test_what_is_large_is_stored_by_the_fast_door_too(open_site, secret, path):
    api, before = SiteApi(open_site, secret), open_site.by_django
    short = json.dumps({"deliveries": [{"payload": 1}] * 1000}, separators=(",", ":")).encode()
    assert len(short) < 16 * 1024
    answers = together(
        *(api.asked("POST", f"{path}/bulk", short) for _ in range(3)),
        *(api.asked("POST", path, b'"%b"' % (b"x" * 70_000)) for _ in range(3)),
        api.asked("POST", f"{path}/bulk", {"deliveries": [{"payload": "x" * 1_000_000}] * 4}),
        api.asked("POST", f"{path}/bulk", {"deliveries": [{"payload": 1}, {}] * 500}),
    )
    assert [answer.status_code for answer in answers] == [*[202] * 7, 400]
    assert Delivery.objects.count() == 3 * 1000 + 3 + 4
    assert open_site.by_django == before


@pytest.mark.skipif(
    "config.getoption('--db') == 'sqlite'", reason="SQLite has one writer at a time"
)
def test_a_large_bulk_that_waits_for_a_key_holds_up_nobody_else(open_site, secret, webhook, path):
    api = SiteApi(open_site, secret)
    large = [{"payload": "x" * 70_000}]
    with ThreadPoolExecutor() as pool:
        with transaction.atomic():
            actions.deliver(webhook, {}, idempotency_key="taken")
            keyed = [{"payload": {}, "idempotencyKey": "taken"}, *large]
            waits = pool.submit(api.post, f"{path}/bulk", {"deliveries": keyed})
            for address, body in ((path, {}), (f"{path}/bulk", {"deliveries": large})):
                assert pool.submit(api.post, address, body).result(PATIENCE).status_code == 202
            assert not waits.done()
        assert [each["state"] for each in waits.result(PATIENCE).json()] == ["pending"] * 2
    assert Delivery.objects.count() == 2 + 2


def test_more_than_there_is_room_for_is_503_and_may_come_again(open_site, secret, path):
    api = SiteApi(open_site, secret)
    sent = json.dumps({"deliveries": [{"payload": "x" * 1_000_000}] * 5}).encode()

    async def all_of_them():
        return await asyncio.gather(*(api.asked("POST", f"{path}/bulk", sent) for _ in range(20)))

    answers = async_to_sync(all_of_them)()
    assert {answer.status_code for answer in answers} == {202, 503}
    refused = [answer for answer in answers if answer.status_code == 503]
    assert {answer["Retry-After"] for answer in refused} == {"1"}
    assert Delivery.objects.count() == 5 * (20 - len(refused))
    assert api.post(path, {}).status_code == 202


def test_the_access_log_has_one_line_a_request(open_site, secret, path, caplog):
    caplog.set_level("INFO", "webhooks.access")
    for host in ("testserver:8001", "testserver:8002"):
        problem(SiteApi(open_site, secret).post(f"{path}?typ=x", {}, HTTP_HOST=host), 400)
    lines = [record.fields for record in caplog.records if record.name == "webhooks.access"]
    assert [line["status"] for line in lines] == [400, 400]


# --- many -----------------------------------------------------------------------------------------


def test_a_bulk_is_stored_in_its_order_each_payload_byte_for_byte(api, webhook, path):
    sent = (
        b'{ "deliveries" : [ {"payload": {"a" : 1.50,\n "\xc3\xa9":[ ]} , "type":"order"},\n'
        b'{"reference" : "A 4711", "payload":"\\u00e9"}, {"payload": null} ] } '
    )
    response = api.post(f"{path}/bulk", sent, content_type="application/json")
    assert response.status_code == 202
    shown = response.json()
    assert [list(each) for each in shown] == [FIELDS] * 3
    rows = [Delivery.objects.get(pk=each["id"]) for each in shown]
    assert [bytes(row.payload) for row in rows] == [
        b'{"a" : 1.50,\n "\xc3\xa9":[ ]}',
        b'"\\u00e9"',
        b"null",
    ]
    assert [(each["type"], each["reference"]) for each in shown] == [
        ("order", ""),
        ("", "A 4711"),
        ("", ""),
    ]
    assert {each["webhookId"] for each in shown} == {webhook.pk}


def test_a_thousand_are_taken_at_once_and_one_more_is_not(api, path):
    items = [{"payload": {"n": n}} for n in range(1000)]
    response = api.post(f"{path}/bulk", {"deliveries": items})
    assert response.status_code == 202, response.content
    assert len(response.json()) == Delivery.objects.count() == 1000
    more = {"deliveries": [*items, {"payload": 1}]}
    details = problem(api.post(f"{path}/bulk", more), 400)["details"]
    assert details == {"deliveries": ["Must be at most 1,000."]}
    assert Delivery.objects.count() == 1000


@pytest.mark.once
@pytest.mark.parametrize(
    ("item", "field"),
    [
        ({}, "payload"),
        ({"payload": 1, "type": "t" * 129}, "type"),
        ({"payload": 1, "type": 5}, "type"),
        ({"payload": 1, "type": None}, "type"),
        ({"payload": 1, "reference": ["r"]}, "reference"),
        ({"payload": 1, "idempotencyKey": ""}, "idempotencyKey"),
        ({"payload": 1, "idempotencyKey": "k" * 256}, "idempotencyKey"),
        ({"payload": 1, "dueAt": "soon"}, "dueAt"),
        ({"payload": 1, "dueAt": 5}, "dueAt"),
        ({"payload": 1, "dueAt": "9000-01-01"}, "dueAt"),
        ({"payload": 1, "idempotency_key": "k"}, "idempotency_key"),
    ],
)
def test_one_item_that_is_wrong_is_named_by_its_index_and_none_is_stored(api, path, item, field):
    sent = {"deliveries": [{"payload": 1}, {"payload": 2}, item]}
    details = problem(api.post(f"{path}/bulk", sent), 400)["details"]
    assert list(details) == ["deliveries"]
    assert list(details["deliveries"]) == ["2"]
    assert list(details["deliveries"]["2"]) == [field]
    assert not Delivery.objects.exists()


@pytest.mark.once
@pytest.mark.parametrize(
    "sent", [{}, {"deliveries": []}, {"deliveries": {}}, {"deliveries": None}, [], "x", None]
)
def test_a_bulk_of_nothing_is_400(api, path, sent):
    problem(
        api.post(f"{path}/bulk", json.dumps(sent).encode(), content_type="application/json"), 400
    )
    details = problem(api.post(f"{path}/bulk", {"delivreies": []}), 400)["details"]
    assert "did you mean deliveries?" in details["delivreies"][0]


@pytest.mark.once
def test_items_that_are_no_objects_are_named(api, path):
    details = problem(api.post(f"{path}/bulk", {"deliveries": [1, [], {"payload": 1}]}), 400)
    assert details["details"] == {
        "deliveries": {"0": ["Must be an object."], "1": ["Must be an object."]}
    }


@pytest.mark.once
def test_of_a_thousand_wrong_items_a_hundred_are_answered_for(api, path):
    items = [{f"strange{n}": n for n in range(20)}] * 1000
    details = problem(api.post(f"{path}/bulk", {"deliveries": items}), 400)["details"]
    assert len(details["deliveries"]) == 100
    assert len(details["deliveries"]["0"]) == 11  # ten unknown fields, and the payload


@pytest.mark.once
def test_payloads_of_64_levels_are_taken_and_deeper_ones_are_not(api, path):
    for depth, status in ((64, 202), (65, 400)):
        payload = b"[" * depth + b"]" * depth
        sent = b'{"deliveries": [{"payload": ' + payload + b"}]}"
        response = api.post(f"{path}/bulk", sent, content_type="application/json")
        assert response.status_code == status, response.content


def test_keys_of_a_bulk_make_each_delivery_once(api, path):
    items = [{"payload": n, "idempotencyKey": f"k{n}"} for n in range(3)]
    first = api.post(f"{path}/bulk", {"deliveries": items})
    again = api.post(f"{path}/bulk", {"deliveries": items})
    assert again["Idempotent-Replayed"] == "true"
    assert again.json() == first.json()
    more = api.post(f"{path}/bulk", {"deliveries": [*items, {"payload": 9}]})
    assert "Idempotent-Replayed" not in more  # not all of it was there
    assert more.json()[:3] == first.json()
    single = api.post(path, b"1", content_type="application/json", HTTP_IDEMPOTENCY_KEY="k1")
    assert single.json() == first.json()[1]
    assert Delivery.objects.count() == 4


def test_one_key_with_another_body_refuses_the_whole_bulk(api, path):
    api.post(path, {"a": 1}, HTTP_IDEMPOTENCY_KEY="taken")
    items = [{"payload": 0, "idempotencyKey": "new"}, {"payload": 1, "idempotencyKey": "taken"}]
    status = problem(api.post(f"{path}/bulk", {"deliveries": items}), 409)
    assert list(status["details"]["deliveries"]) == ["1"]
    twice = [{"payload": 0, "idempotencyKey": "x"}, {"payload": 1, "idempotencyKey": "x"}]
    problem(api.post(f"{path}/bulk", {"deliveries": twice}), 409)
    assert Delivery.objects.count() == 1
    alike = [{"payload": 0, "idempotencyKey": "x"}] * 2
    shown = api.post(f"{path}/bulk", {"deliveries": alike}).json()
    assert shown[0]["id"] == shown[1]["id"]


def test_a_bulk_has_5_mib_and_each_payload_one(api, path):
    mebibyte = "x" * (1024 * 1024 - 2)
    sent = {"deliveries": [{"payload": mebibyte}] * 4}
    assert api.post(f"{path}/bulk", sent).status_code == 202
    larger = {"deliveries": [{"payload": 1}, {"payload": mebibyte + "x"}]}
    details = problem(api.post(f"{path}/bulk", larger), 400)["details"]
    assert list(details["deliveries"]) == ["1"]
    status = problem(api.post(f"{path}/bulk", {"deliveries": [{"payload": mebibyte}] * 5}), 413)
    assert "5 MiB" in status["message"]
    problem(api.post(path, b'"' + b"x" * 1024 * 1024 + b'"', content_type="application/json"), 413)


# --- limits ---------------------------------------------------------------------------------------


def in_one_minute(ask):
    """What was answered before a minute had ended, in which requests are counted; in another one
    they are counted, and what was stored is, from nought on."""
    while True:
        cache.clear()
        Delivery.objects.all().delete()
        began = time.time() // MINUTE
        answers = ask()
        if time.time() // MINUTE == began:
            return answers


def test_requests_past_the_limit_of_a_token_are_429_and_store_nothing(api, path, settings):
    settings.WEBHOOKS_RATE_PER_TOKEN = 3
    answers = in_one_minute(lambda: [api.post(path, {}) for _ in range(5)])
    assert [answer.status_code for answer in answers] == [202, 202, 202, 429, 429]
    assert "requests a minute from this token" in problem(answers[-1], 429)["message"]
    assert 1 <= int(answers[-1]["Retry-After"]) <= 60
    assert Delivery.objects.count() == 3


def test_requests_past_the_limit_of_an_address_are_429(api, path, settings):
    settings.WEBHOOKS_RATE_PER_ADDRESS = 1
    statuses = in_one_minute(
        lambda: [
            api.post(path, {}, REMOTE_ADDR=f"198.51.100.{host}").status_code for host in (7, 7, 8)
        ]
    )
    assert statuses == [202, 429, 202]


def test_wrong_tokens_are_counted_by_their_address(api_with, path, settings):
    settings.WEBHOOKS_FAILED_AUTHENTICATIONS = 2
    wrong = api_with("whk_" + "x" * 43)
    statuses = [wrong.post(path, {}).status_code for _ in range(3)]
    assert statuses == [401, 401, 429]
    assert FailedAuthentication.objects.get().count == 2
    assert not Delivery.objects.exists()


def test_the_use_of_a_token_is_noted(api_with, account, path, open_site):
    token, secret = AccessToken.issue(account)
    api_with(secret).post(path, {})
    open_site.close()  # it is noted after the answer
    token.refresh_from_db()
    assert token.last_used_at is not None


def test_a_database_that_does_not_answer_is_503_and_counted(api, path, monkeypatch, open_sites):
    from django.db import OperationalError

    from webhooks_app.engine.store.common import Common

    def broken(*args):
        raise OperationalError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(Common, "put", broken)
        response = api.post(path, {})
        assert "locked" not in problem(response, 503)["message"]
        assert int(response["Retry-After"]) >= 1
    assert not Counter.objects.filter(name="database").exists()
    assert api.post(path, {}).status_code == 202
    for site in open_sites.values():
        site.close()  # it is written down after the answer
    assert Counter.objects.get(name="database").count == 1


# --- alike ----------------------------------------------------------------------------------------


ODD = {
    "a good one": {},
    "a slash at the end": {"path": "{path}/"},
    "HEAD of the list": {"method": "HEAD"},
    "PUT": {"method": "PUT"},
    "no content type": {"content_type": ""},
    "a form": {"content_type": "application/x-www-form-urlencoded"},
    "another charset": {"content_type": "application/json; charset=utf-16"},
    "a charset": {"content_type": 'application/json; charset="UTF-8"'},
    "an encoded body": {"HTTP_CONTENT_ENCODING": "gzip"},
    "an unknown parameter": {"path": "{path}?typ=x"},
    "an empty parameter": {"path": "{path}?type="},
    "its own account": {"path": "{path}?account=acme"},
    "another account": {"path": "{path}?account=other"},
    "a format": {"path": "{path}?format=json"},
    "a parameter twice": {"path": "{path}?type=a&type=b"},
    "a browser's Accept": {"HTTP_ACCEPT": "text/html"},
    "a foreign host": {"HTTP_HOST": "evil.example.com"},
    "a host with a port": {"HTTP_HOST": "testserver:8000"},
    "a forged protocol": {"HTTP_X_FORWARDED_PROTO": "https"},
    "a cookie": {"HTTP_COOKIE": "sessionid=x"},
    "an override": {"HTTP_X_HTTP_METHOD_OVERRIDE": "DELETE"},
    "an unknown webhook": {"path": "/webhooks/000000000000000000000000/deliveries"},
    "no id": {"path": "/webhooks/x/deliveries"},
    "capitals": {"path": "/webhooks/ABCDEFABCDEFABCDEFABCDEF/deliveries"},
    "deeper": {"path": "{path}/bulk/more"},
    "a separator in the reference": {"path": "{path}?reference=%E2%80%A8"},
    "Basic": {"HTTP_AUTHORIZATION": "Basic dTpw"},
    "no token": {"HTTP_AUTHORIZATION": "Bearer "},
    "a wrong token": {"HTTP_AUTHORIZATION": "Bearer whk_x"},
}


@pytest.mark.parametrize("bulk", [False, True], ids=["one", "bulk"])
@pytest.mark.parametrize("scope", ["manage", "send", "read"])
def test_both_doors_answer_alike(open_sites, account, path, scope, bulk):
    """Status, every header and every word, but times and ids."""
    secret = AccessToken.issue(account, scope=scope)[1]
    body = {"deliveries": [{"payload": {"a": 1}}]} if bulk else {"a": 1}
    for name, odd in ODD.items():
        request = {"method": "POST", "path": "{path}", "content_type": "application/json"} | odd
        request.setdefault("HTTP_X_REQUEST_ID", "its-name")
        method, address = request.pop("method"), request.pop("path")
        address = address.format(path=f"{path}/bulk" if bulk else path)
        answers = [
            told(client.send(method, address, body, **request))
            for client in (SiteApi(site, secret) for site in open_sites.values())
        ]
        if method == "HEAD":
            answers = [(status, headers) for status, _, headers in answers]
        assert answers[0] == answers[1], name


VALUES = st.sampled_from(["", "x", "é", "\0", "t" * 129, "k" * 256, "\u2028", "5", "null", "%"])


@given(
    query=st.dictionaries(st.sampled_from(["type", "reference", "dueAt", "typ"]), VALUES),
    key=st.none() | st.sampled_from(["", "k", "é", "k" * 256, "a\0b"]),
    body=st.sampled_from([b"{}", b"", b"{", b'{"a":1,"a":2}', b"\xff", b'{"a":\xe2\x80\xa8}'])
    | st.sampled_from(
        [
            b'{"deliveries":[{"payload":%s,"type":%s}]}' % pair
            for pair in [(b"1", b'"t"'), (b"", b"1")]
        ]
    ),
    bulk=st.booleans(),
    content_type=st.sampled_from(["application/json"] * 4 + ["text/plain", "\xff", ";"]),
)
@settings(max_examples=30, suppress_health_check=list(HealthCheck))
def test_whatever_is_sent_both_doors_answer_alike(both, query, key, body, bulk, content_type):
    from urllib.parse import urlencode

    clients, path = both
    address = f"{path}/bulk" if bulk else path
    address += f"?{urlencode(query)}" if query else ""
    more = {"HTTP_X_REQUEST_ID": "its-name"}
    if key is not None:
        more["HTTP_IDEMPOTENCY_KEY"] = key.encode().decode("latin-1")
    Delivery.objects.all().delete()
    first = clients[0].post(address, body, content_type=content_type, **more)
    Delivery.objects.all().delete()
    second = clients[1].post(address, body, content_type=content_type, **more)
    assert told(first) == told(second)


@pytest.fixture
def both(open_sites, secret, path):
    return [SiteApi(site, secret) for site in open_sites.values()], path


# --- together -------------------------------------------------------------------------------------


def test_requests_that_come_at_once_are_each_judged_by_itself(open_site, account, secret):
    """One group: good ones, a twin, and everything that is refused."""
    hook = WebhookFactory(account=account).pk
    foreign = WebhookFactory().pk
    good, reader = (
        SiteApi(open_site, AccessToken.issue(account, scope=scope)[1]) for scope in ("send", "read")
    )
    revoked_token, revoked = AccessToken.issue(account)
    revoked_token.revoke()
    path = f"/webhooks/{hook}/deliveries"
    answers = together(
        *(good.asked("POST", path, {"n": n}) for n in range(20)),
        *(good.asked("POST", path, {"k": 1}, HTTP_IDEMPOTENCY_KEY="k") for _ in range(5)),
        good.asked("POST", path, {"k": 2}, HTTP_IDEMPOTENCY_KEY="k"),
        good.asked("POST", f"/webhooks/{foreign}/deliveries", {}),
        reader.asked("POST", path, {}),
        SiteApi(open_site, revoked).asked("POST", path, {}),
        good.asked("POST", path, b"{"),
        good.asked("POST", f"{path}/bulk", {"deliveries": [{"payload": n} for n in range(10)]}),
    )
    statuses = [answer.status_code for answer in answers]
    assert statuses[:20] == [202] * 20
    assert sorted(statuses[20:26]) == [202] * 5 + [409]
    assert statuses[26:] == [404, 403, 401, 400, 202]
    twins = {answer.json()["id"] for answer in answers[20:26] if answer.status_code == 202}
    assert len(twins) == 1
    assert Delivery.objects.filter(webhook=hook).count() == 31
    assert not Delivery.objects.exclude(webhook=hook).exists()


def test_of_requests_at_once_as_many_pass_as_the_limit_leaves(open_site, secret, path, settings):
    settings.WEBHOOKS_RATE_PER_TOKEN = 7
    api = SiteApi(open_site, secret)
    answers = in_one_minute(lambda: together(*(api.asked("POST", path, {}) for _ in range(20))))
    assert sorted(answer.status_code for answer in answers) == [202] * 7 + [429] * 13
    assert Delivery.objects.count() == 7
