"""`POST /events` and `/events/bulk` at both doors: bytes, repeats, limits, and who is stored with
whom."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.conftest import problem
from tests.api.doors import SiteApi, together, told
from tests.api.test_body import NOT_STRICT
from tests.factories import AccountFactory, WebhookFactory
from tests.waiting import PATIENCE
from webhooks_app import actions
from webhooks_app.models import AccessToken, Delivery, Event
from webhooks_app.rules.ids import timestamp
from webhooks_app.testing import FakeReceiver, drain

pytestmark = pytest.mark.django_db(transaction=True)
ORDER = {"type": "order.created", "payload": {"order": 4711}}


@pytest.fixture
def webhook(account):
    webhook = WebhookFactory(account=account)
    actions.set_subscriptions(webhook, [{"types": ["*"]}])
    return webhook


class TestPublish:
    def test_it_is_answered_202_with_the_event(self, api, webhook):
        answer = api.post("/events", {**ORDER, "eventId": "o-1", "channels": ["eu"]})
        assert answer.status_code == 202, answer.content
        delivery = Delivery.objects.get()
        event = Event.objects.get()
        assert answer.json() == {
            "id": event.pk,
            "eventId": "o-1",
            "type": "order.created",
            "time": timestamp(event.time),
            "createdAt": timestamp(event.created_at),
            "createdBy": event.created_by,
            "channels": ["eu"],
            "orderingKey": "",
            "subject": "",
            "reference": "",
            "deliverAt": None,
            "matched": 1,
            "filtered": 0,
            "fanOut": "done",
            "deliveries": [{"id": delivery.pk, "webhookId": webhook.pk}],
        }

    def test_the_payload_is_sent_byte_for_byte(self, api, webhook):
        payload = b'{ "n" :1.0, "big":12345678901234567890,"t":"\\u00e9 \xc3\xa9"  }'
        sent = (
            b'{"type" : "a", "subject":"payload", "payload":\n '
            + payload
            + b' , "time":"2026-01-01"}'
        )
        assert api.post("/events", sent).status_code == 202
        with FakeReceiver() as receiver:
            drain()
        assert receiver.requests[0].body == payload

    @pytest.mark.parametrize("payload", [None, [], "", 0, False, {"payload": {"payload": 1}}])
    def test_a_payload_is_any_json(self, api, webhook, payload):
        assert api.post("/events", {"type": "a", "payload": payload}).status_code == 202
        assert json.loads(bytes(Event.objects.get().payload)) == payload

    def test_a_payload_of_1_mebibyte_will_do_and_a_byte_more_will_not(self, api, webhook):
        text = "x" * (1024 * 1024 - 2)
        assert api.post("/events", {"type": "a", "payload": text}).status_code == 202
        told = problem(api.post("/events", {"type": "a", "payload": text + "x"}), 400)
        assert "1 MiB" in told["details"]["payload"][0]
        problem(api.post("/events", {"type": "a", "payload": "x" * (1024 * 1024 + 17_000)}), 413)

    def test_the_same_id_again_is_answered_with_the_first(self, api, webhook):
        first = api.post("/events", {**ORDER, "eventId": "o-1"})
        by_header = api.post("/events", ORDER, HTTP_IDEMPOTENCY_KEY="o-1")
        assert by_header.json() == first.json()
        assert (by_header.status_code, by_header["Idempotent-Replayed"]) == (202, "true")
        assert "Idempotent-Replayed" not in first
        problem(api.post("/events", {**ORDER, "payload": 1, "eventId": "o-1"}), 409)
        told = problem(
            api.post("/events", {**ORDER, "eventId": "x"}, HTTP_IDEMPOTENCY_KEY="y"), 400
        )
        assert set(told["details"]) == {"eventId"}

    @pytest.mark.once
    @pytest.mark.parametrize(
        ("body", "at"),
        [
            ({"payload": 1}, "type"),
            ({"type": "a"}, "payload"),
            ({"type": "a..b", "payload": 1}, "type"),
            ({"type": "a", "payload": 1, "channels": "eu"}, "channels"),
            ({"type": "a", "payload": 1, "channels": ["a", "b c"]}, "channels"),
            ({"type": "a", "payload": 1, "chanels": ["a"]}, "chanels"),
            ({"type": "a", "payload": 1, "time": "yesterday"}, "time"),
            ({"type": "a", "payload": 1, "deliverAt": "2999-01-01"}, "deliverAt"),
            ({"type": "a", "payload": 1, "eventId": "ä"}, "eventId"),
            ({"type": "a", "payload": 1, "subject": "x" * 256}, "subject"),
            ({"type": "a", "payload": 1, "eventId": None}, "eventId"),
        ],
    )
    def test_bad_input_is_400_and_says_where(self, api, body, at):
        assert set(problem(api.post("/events", body), 400)["details"]) == {at}

    @pytest.mark.once
    @pytest.mark.parametrize("body", [b"", b"[]", b'{"type": "a", "payload": NaN}', b"{", b'"x"'])
    def test_what_is_no_object_of_strict_json_is_400(self, api, body):
        problem(api.post("/events", body), 400)


class TestBulk:
    def test_all_are_stored_and_answered_in_their_order(self, api, webhook):
        events = [{"type": f"a.{n}", "payload": n} for n in range(3)]
        answer = api.post("/events/bulk", {"events": events})
        assert answer.status_code == 202, answer.content
        stored = Event.objects.in_bulk()
        assert [stored[each["id"]].type for each in answer.json()] == ["a.0", "a.1", "a.2"]
        assert [(each["matched"], each["replayed"]) for each in answer.json()] == [(1, False)] * 3

    def test_each_payload_is_stored_byte_for_byte(self, api):
        body = b'{"events": [ {"payload": [1.0 ], "type":"a"},{"type":"b","payload":"]}" }]}'
        assert api.post("/events/bulk", body).status_code == 202
        stored = dict(Event.objects.values_list("type", "payload"))
        assert {type: bytes(payload) for type, payload in stored.items()} == {
            "a": b"[1.0 ]",
            "b": b'"]}"',
        }

    def test_one_that_is_wrong_is_named_and_none_is_stored(self, api):
        events = [ORDER, {"type": "", "payload": 1}, {**ORDER, "time": "x"}]
        told = problem(api.post("/events/bulk", {"events": events}), 400)
        assert set(told["details"]["events"]) <= {"1", "2"}
        assert not Event.objects.exists()

    def test_up_to_5_mebibytes(self, api):
        events = [{"type": "a", "payload": "x" * 900_000} for _ in range(6)]
        problem(api.post("/events/bulk", {"events": events}), 413)
        assert api.post("/events/bulk", {"events": events[:5]}).status_code == 202

    @pytest.mark.once
    @pytest.mark.parametrize("events", [[], {}, "x", [1], [ORDER] * 1001])
    def test_1_to_1000_events(self, api, events):
        problem(api.post("/events/bulk", {"events": events}), 400)


@pytest.mark.once
@pytest.mark.parametrize("body", NOT_STRICT.values(), ids=NOT_STRICT)
def test_anything_but_strict_json_is_400(api, body):
    for address in ("/events", "/events/bulk"):
        assert "JSON" in problem(api.post(address, body), 400)["message"]


def test_its_deliveries_keep_the_name_of_their_request(api, webhook):
    answer = api.post("/events", ORDER, HTTP_X_REQUEST_ID="Order-4711")
    assert answer["X-Request-Id"] == "Order-4711"
    assert Delivery.objects.get().stored_in == "Order-4711"


def test_a_key_of_a_whole_bulk_is_refused_because_it_would_protect_nothing(api, webhook):
    for path, name in (
        ("/events/bulk", "events"),
        (f"/webhooks/{webhook.pk}/deliveries/bulk", "deliveries"),
    ):
        answer = api.post(path, {name: [ORDER]}, HTTP_IDEMPOTENCY_KEY="k")
        assert set(problem(answer, 400)["details"]) == {"Idempotency-Key"}


def test_of_a_bulk_that_was_there_each_event_is_replayed(api, webhook):
    sent = {"events": [{**ORDER, "eventId": f"o-{n}"} for n in range(3)]}
    first, again = api.post("/events/bulk", sent), api.post("/events/bulk", sent)
    assert "Idempotent-Replayed" not in first
    assert again["Idempotent-Replayed"] == "true"
    assert [(e["id"], e["replayed"]) for e in again.json()] == [
        (e["id"], True) for e in first.json()
    ]
    other = {"events": [*sent["events"], {**ORDER, "payload": 1, "eventId": "o-1"}]}
    details = problem(api.post("/events/bulk", other), 409)["details"]
    assert list(details["events"]) == ["3"]
    assert Event.objects.count() == 3


def test_requests_past_the_limit_of_a_token_are_429_and_store_nothing(api, settings):
    settings.WEBHOOKS_RATE_PER_TOKEN = 1
    assert 429 in [api.post("/events", ORDER).status_code for _ in range(3)]
    assert Event.objects.count() <= 2  # a minute may have ended meanwhile


def test_undeclared_types_are_refused_where_they_must_be_declared(api, account, settings):
    settings.WEBHOOKS_EVENT_TYPES = "declared"
    actions.declare_event_type(account, "order.created")
    assert api.post("/events", ORDER).status_code == 202
    told = problem(api.post("/events", {**ORDER, "type": "order.craeted"}), 400)
    assert "did you mean order.created?" in told["details"]["type"][0]


@pytest.mark.skipif(
    "config.getoption('--db') == 'sqlite'", reason="SQLite has one writer at a time"
)
def test_an_event_in_a_transaction_that_stays_open_holds_up_its_twin_alone(
    open_site, secret, account, webhook
):
    twin = SiteApi(open_site, secret)
    other = SiteApi(open_site, AccessToken.issue(AccountFactory())[1])
    with ThreadPoolExecutor() as pool:
        with transaction.atomic():
            actions.publish(account, ORDER["type"], {}, event_id="o-1")
            waits = pool.submit(twin.post, "/events", {**ORDER, "eventId": "o-1"})
            for _ in range(3):
                stored = pool.submit(other.post, "/events", ORDER)
                assert stored.result(PATIENCE).status_code == 202
            assert not waits.done()
        problem(waits.result(PATIENCE), 409)  # its payload is another


# --- alike ----------------------------------------------------------------------------------------

ODD = {
    "a good one": {},
    "a slash at the end": {"path": "{path}/"},
    "HEAD": {"method": "HEAD"},
    "PUT": {"method": "PUT"},
    "no content type": {"content_type": ""},
    "another charset": {"content_type": "application/json; charset=utf-16"},
    "an encoded body": {"HTTP_CONTENT_ENCODING": "gzip"},
    "an unknown parameter": {"path": "{path}?typ=x"},
    "its own account": {"path": "{path}?account=acme"},
    "another account": {"path": "{path}?account=other"},
    "a browser's Accept": {"HTTP_ACCEPT": "text/html"},
    "a foreign host": {"HTTP_HOST": "evil.example.com"},
    "a cookie": {"HTTP_COOKIE": "sessionid=x"},
    "a key": {"HTTP_IDEMPOTENCY_KEY": "k"},
    "deeper": {"path": "/events/bulk/more"},
    "Basic": {"HTTP_AUTHORIZATION": "Basic dTpw"},
    "a wrong token": {"HTTP_AUTHORIZATION": "Bearer whk_x"},
}


@pytest.mark.parametrize("path", ["/events", "/events/bulk"])
@pytest.mark.parametrize("scope", ["manage", "send", "read"])
def test_both_doors_answer_alike(open_sites, account, path, scope):
    """Status, every header and every word, but times and ids."""
    secret = AccessToken.issue(account, scope=scope)[1]
    body = {"events": [ORDER]} if path.endswith("bulk") else ORDER
    for name, odd in ODD.items():
        request = {"method": "POST", "path": "{path}", "content_type": "application/json"} | odd
        request.setdefault("HTTP_X_REQUEST_ID", "its-name")
        method, address = request.pop("method"), request.pop("path").format(path=path)
        answers = []
        for site in open_sites.values():
            Event.objects.all().delete()
            answers.append(told(SiteApi(site, secret).send(method, address, body, **request)))
        if method == "HEAD":
            answers = [(status, headers) for status, _, headers in answers]
        assert answers[0] == answers[1], name


ODD_VALUES = st.sampled_from(
    ["order.created", "a b", "", None, 5, [], ["eu"], ["a b"], {}, "2026-01-01", "9999-01-01", "é"]
)


@given(
    item=st.dictionaries(
        st.sampled_from(
            ["type", "payload", "eventId", "channels", "time", "deliverAt", "subject", "typ"]
        ),
        ODD_VALUES,
    ),
    bulk=st.booleans(),
    key=st.none() | st.sampled_from(["", "k", "é"]),
)
@settings(max_examples=30, suppress_health_check=list(HealthCheck))
def test_whatever_is_sent_both_doors_answer_alike(both, item, bulk, key):
    path, body = ("/events/bulk", {"events": [ORDER, item]}) if bulk else ("/events", item)
    more = {"HTTP_X_REQUEST_ID": "its-name"}
    if key is not None:
        more["HTTP_IDEMPOTENCY_KEY"] = key.encode().decode("latin-1")
    answers = []
    for api in both:
        Event.objects.all().delete()
        answers.append(told(api.post(path, body, **more)))
    assert answers[0] == answers[1]


@pytest.fixture
def both(open_sites, secret):
    return [SiteApi(site, secret) for site in open_sites.values()]


# --- together -------------------------------------------------------------------------------------


def test_the_fast_door_leaves_nothing_of_its_own_to_django(open_site, secret, webhook):
    api = SiteApi(open_site, secret)
    before = open_site.by_django
    api.post("/events", ORDER)
    api.post("/events/", {**ORDER, "eventId": "k"})
    api.post("/events", {**ORDER, "eventId": "k"})
    api.post("/events", {**ORDER, "payload": 1, "eventId": "k"})
    api.post("/events", b"{")
    api.post("/events/bulk", {"events": [ORDER]})
    large = {"type": "a", "payload": "x" * 70_000}
    assert api.post("/events", large).status_code == 202
    assert api.post("/events/bulk", {"events": [large] * 50}).status_code == 202
    assert open_site.by_django == before
    assert Delivery.objects.count() == 3 + 1 + 50


def test_requests_at_once_are_each_judged_by_itself(open_site, account, secret, webhook):
    """One group: good ones of two accounts, twins, deliveries, and everything that is refused."""
    api, path = SiteApi(open_site, secret), f"/webhooks/{webhook.pk}/deliveries"
    other = WebhookFactory()
    actions.set_subscriptions(other, [{"types": ["order.*"]}])
    theirs, reader = (
        SiteApi(open_site, AccessToken.issue(of, scope=scope)[1])
        for of, scope in ((other.account, "send"), (account, "read"))
    )
    keyed = {**ORDER, "eventId": "k"}
    answers = together(
        *(api.asked("POST", "/events", {"type": "order.paid", "payload": n}) for n in range(10)),
        *(theirs.asked("POST", "/events", {**ORDER, "eventId": "k"}) for _ in range(2)),
        *(api.asked("POST", "/events", keyed) for _ in range(5)),
        api.asked("POST", "/events", {**keyed, "payload": 2}),
        api.asked("POST", "/events/bulk", {"events": [ORDER] * 10}),
        *(api.asked("POST", path, {"n": n}) for n in range(3)),
        reader.asked("POST", "/events", ORDER),
        api.asked("POST", "/events", {"type": "a b", "payload": 1}),
    )
    statuses = [answer.status_code for answer in answers]
    assert statuses[:12] == [202] * 12
    assert sorted(statuses[12:18]) == [202] * 5 + [409]
    assert statuses[18:] == [202, 202, 202, 202, 403, 400]
    twins = {answer.json()["id"] for answer in answers[12:18] if answer.status_code == 202}
    assert len(twins) == 1
    ours = Event.objects.filter(account=account)
    assert ours.count() == 10 + 1 + 10
    assert Event.objects.filter(account=other.account).count() == 1
    assert Delivery.objects.filter(event__in=ours, webhook=webhook).count() == 21
    assert Delivery.objects.filter(event__isnull=False).count() == 22
    told = answers[0].json()
    assert [each["webhookId"] for each in told["deliveries"]] == [webhook.pk]


def test_an_event_of_more_than_100_receivers_takes_a_transaction_of_its_own(
    open_site, account, secret
):
    for _ in range(101):
        actions.set_subscriptions(WebhookFactory(account=account), [{"types": ["order.*"]}])
    few = WebhookFactory(account=account)
    actions.set_subscriptions(few, [{"types": ["user.*"]}])
    api, before = SiteApi(open_site, secret), open_site.by_django
    many = {**ORDER, "eventId": "many"}
    answers = together(
        *(api.asked("POST", "/events", {"type": "user.new", "payload": n}) for n in range(5)),
        *(api.asked("POST", "/events", many) for _ in range(3)),
    )
    assert [answer.status_code for answer in answers] == [202] * 8
    assert [answer.json()["matched"] for answer in answers] == [1] * 5 + [101] * 3
    assert len({answer.json()["id"] for answer in answers[5:]}) == 1
    assert [len(answer.json()["deliveries"]) for answer in answers[5:]] == [100] * 3
    assert open_site.by_django >= before + 3
    assert Event.objects.count() == 6


def test_an_event_that_is_dear_to_judge_takes_a_transaction_of_its_own(
    open_site, account, secret, webhook
):
    dear = AccountFactory()
    wanted = [
        {"types": ["*"], "filter": {"$or": [{"a": {"b": -n, "c": m}} for m in range(15)]}}
        for n in range(1, 13)
    ]
    actions.set_subscriptions(WebhookFactory(account=dear), wanted)
    payload = {"a": [{"b": n, "c": "x"} for n in range(900)]}
    theirs, ours = (SiteApi(open_site, AccessToken.issue(a)[1]) for a in (dear, account))
    before = open_site.by_django
    answers = together(
        theirs.asked("POST", "/events", {"type": "a", "payload": payload}),
        *(ours.asked("POST", "/events", {"type": "user.new", "payload": n}) for n in range(5)),
    )
    assert [answer.status_code for answer in answers] == [202] * 6
    assert (answers[0].json()["matched"], answers[0].json()["filtered"]) == (0, 1)
    assert open_site.by_django == before + 1
    assert Event.objects.count() == 6


def test_whatever_the_keys_of_others_are_nobody_waits_in_vain(open_site, account, webhook):
    """More keys at once than a look-up takes, each twice, in requests of many and of one."""
    clients = [SiteApi(open_site, AccessToken.issue(account)[1]) for _ in range(4)]
    asked = [
        client.asked("POST", "/events", {"type": "a", "payload": n, "eventId": f"k{n % 20}"})
        for n, client in enumerate(clients * 20)
    ]
    answers = together(*asked)
    accepted = [answer for answer in answers if answer.status_code == 202]
    assert {answer.status_code for answer in answers} == {202, 409}
    assert len({answer.json()["id"] for answer in accepted}) == 20
    assert Event.objects.count() == Delivery.objects.count() == 20
