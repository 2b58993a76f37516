"""Deliveries, attempts, errors, settings: what we add beside the document."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from tests.api.conftest import problem
from tests.factories import AttemptFactory, DeliveryFactory, WebhookFactory, WorkerFactory
from webhooks_app.models import AuditEntry, Delivery, Webhook, Worker
from webhooks_app.rules.ids import timestamp

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


def finished(webhook, state="failed", **more):
    more.setdefault("finished_at", timezone.now())
    return DeliveryFactory(webhook=webhook, state=state, **more)


def test_the_list_is_newest_first_and_pages_follow_the_link(api, webhook, path):
    idents = [DeliveryFactory(webhook=webhook).id for _ in range(5)]
    DeliveryFactory()
    seen, address = [], f"{path}?limit=2"
    while address:
        response = api.get(address)
        seen += [item["id"] for item in response.json()]
        link = response.headers.get("Link", "")
        address = link.partition("<http://testserver")[2].partition(">")[0]
    assert seen == idents[::-1]


def test_what_is_pending_is_listed_whole_wherever_it_stands(api, webhook, path):
    rows = [
        DeliveryFactory(webhook=webhook) if number % 3 else finished(webhook)
        for number in range(12)
    ]
    # One that is tried again long after newer ones is no newer for that.
    Delivery.objects.filter(pk=rows[1].pk).update(due_at=timezone.now() + timedelta(days=1))
    expected = [row.id for row in rows if row.state == "pending"][::-1]
    for limit in (1, 2, 5, 8, 100):
        seen, address = [], f"{path}?state=pending&limit={limit}"
        while address:
            response = api.get(address)
            seen += [item["id"] for item in response.json()]
            address = response.headers.get("Link", "").partition("<")[2].partition(">")[0]
        assert seen == expected


@pytest.mark.parametrize("words", ["state=delivered", "state=failed&type=a"])
def test_what_lies_behind_very_many_others_is_on_a_later_page(api, webhook, path, words):
    state = words[6:].partition("&")[0]
    wanted = finished(webhook, state, type="a", created_at=timezone.now())
    after = int(wanted.pk[:8], 16) + 1
    ids = [f"{after:08x}{number:016x}" for number in range(5000)]
    Delivery.objects.bulk_create(
        Delivery(pk=pk, webhook=webhook, payload=b"1", type="a") for pk in ids
    )
    first = api.get(f"{path}?{words}&limit=10")
    assert first.json() == []
    address = first["Link"].partition("<http://testserver")[2].partition(">")[0]
    second = api.get(address)
    assert [each["id"] for each in second.json()] == [wanted.pk]
    assert "Link" not in second


def test_the_list_is_filtered_by_state_type_reference_and_time(api, webhook, path):
    past = timezone.now() - timedelta(days=2)
    old = DeliveryFactory(webhook=webhook, created_at=past, type="a", reference="r-1")
    bad = finished(webhook, type="b", reference="r-10")

    def found(query):
        return [item["id"] for item in api.get(f"{path}?{query}").json()]

    yesterday = (timezone.now() - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    assert found("state=failed") == [bad.id]
    assert found("state=pending") == [old.id]
    assert found("type=a") == [old.id]
    assert found("reference=r-1") == [old.id]
    assert found(f"since={yesterday}") == [bad.id]
    assert found(f"until={yesterday}") == [old.id]
    assert found("type=a&state=failed") == []


@pytest.mark.once
@pytest.mark.parametrize(
    "query",
    [
        *("state=odd", "limit=1001", "after=1", "since=yesterday", "until=%00", "since=99999"),
        *("since=0001-01-01T00:00:00%2B14:00", "type=%00", "reference=" + "r" * 256),
    ],
)
def test_filters_that_cannot_be_meant_are_400(api, path, query):
    problem(api.get(f"{path}?{query}"), 400)


@pytest.mark.parametrize("since", ["0001-01-01", "9999-12-31T23:59:59Z", "20260101T000000Z"])
def test_any_moment_of_the_calendar_is_understood(api, path, since):
    assert api.get(f"{path}?since={since}&until={since}").json() == []


@pytest.mark.parametrize("of", ["deliveries/{0.id}/attempts", "webhooks/{0.webhook_id}/errors"])
def test_all_of_time_is_a_span_as_good_as_any(api, account, of):
    delivery = DeliveryFactory(webhook__account=account)
    AttemptFactory(webhook=delivery.webhook, delivery=delivery, kind="refused")
    path = f"/{of.format(delivery)}?since=0001-01-01&until=9999-12-31T23:59:59.999Z"
    assert len(api.get(path).json()) == 1


def test_lists_cost_the_same_for_any_number(api, webhook, path, django_assert_num_queries):
    for _ in range(6):
        delivery = DeliveryFactory(webhook=webhook)
        AttemptFactory(webhook=webhook, delivery=delivery, kind="reset", message="hang up")
    api.get(path)
    for address in (path, f"/webhooks/{webhook.id}/errors"):
        with django_assert_num_queries(3):  # token, webhook with its health, rows
            assert len(api.get(address).json()) == 6
    with django_assert_num_queries(3):
        assert len(api.get(f"/deliveries/{delivery.id}/attempts").json()) == 1


def test_attempts_tell_the_whole_exchange(api, webhook):
    delivery = DeliveryFactory(webhook=webhook)
    ended = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    good = AttemptFactory(
        webhook=webhook,
        delivery=delivery,
        number=2,
        ended_at=ended,
        dns_ms=1,
        connect_ms=2,
        tls_ms=3,
        wait_ms=4,
        read_ms=0,
        address="93.184.216.34:443",
        status=200,
        answer="ok",
    )
    bad = AttemptFactory(
        webhook=webhook,
        delivery=delivery,
        kind="timeout",
        message="timeout of 10000ms exceeded",
        ended_at=ended,
    )
    AttemptFactory(webhook=webhook)
    newest, oldest = api.get(f"/deliveries/{delivery.id}/attempts").json()
    assert oldest == {
        "id": str(good.id),
        "deliveryId": delivery.id,
        "exchange": "delivery",
        "number": 2,
        "date": "2026-01-02T03:04:05.678Z",
        "startedAt": "2026-01-02T03:04:05.666Z",
        "durationMs": 12,
        "phases": {"dnsMs": 1, "connectMs": 2, "tlsMs": 3, "waitMs": 4, "readMs": 0},
        "url": webhook.url,
        "address": "93.184.216.34:443",
        "status": 200,
        "ok": True,
        "error": None,
        "answer": "ok",
    }
    assert (newest["id"], newest["ok"], newest["status"]) == (str(bad.id), False, None)
    assert set(newest["phases"].values()) == {None}
    assert newest["error"] == {
        "date": "2026-01-02T03:04:05.678Z",
        "message": "timeout of 10000ms exceeded",
        "kind": "timeout",
        "advice": bad.advice,
    }


def test_the_error_history_is_newest_first_and_filtered(api, webhook):
    delivery = DeliveryFactory(webhook=webhook)
    first = AttemptFactory(webhook=webhook, delivery=delivery, kind="reset", message="hang up")
    AttemptFactory(webhook=webhook, delivery=delivery, status=200)
    AttemptFactory(webhook=webhook, exchange="verification", kind="v_401", message="401")
    AttemptFactory(kind="reset", message="another webhook's")
    path = f"/webhooks/{webhook.id}/errors"
    body = api.get(path).json()
    assert [entry["message"] for entry in body] == ["401", "hang up"]
    assert set(body[0]) == {"date", "message", "kind", "exchange", "deliveryId", "advice"}
    assert (body[1]["deliveryId"], body[1]["advice"]) == (delivery.id, first.advice)
    assert (body[0]["exchange"], body[0]["deliveryId"]) == ("verification", None)
    assert [e["kind"] for e in api.get(f"{path}?kind=reset").json()] == ["reset"]
    assert [e["kind"] for e in api.get(f"{path}?exchange=verification").json()] == ["v_401"]
    page = api.get(f"{path}?limit=1")
    following = page["Link"].partition("<http://testserver")[2].partition(">")[0]
    assert [e["message"] for e in api.get(following).json()] == ["hang up"]
    assert "Link" not in api.get(following)
    problem(api.get(f"{path}?kind=odd"), 400)
    problem(api.get(f"{path}?after=x"), 400)
    assert len(api.get(f"{path}?after={'9' * 19}").json()) == 2
    problem(api.get(f"{path}?after={'9' * 20}"), 400)


@pytest.mark.parametrize("state", ["failed", "cancelled", "delivered"])
def test_retry_makes_a_delivery_due_now_with_the_same_id(api, webhook, state):
    delivery = finished(webhook, state, tries=8)
    response = api.post(f"/deliveries/{delivery.id}/retry")
    assert response.status_code == 200
    shown = response.json()
    assert list(shown) == FIELDS
    assert (shown["id"], shown["state"], shown["tries"]) == (delivery.id, "pending", 0)
    assert shown["finishedAt"] is None


def test_cancel_gives_a_pending_delivery_up(api, webhook):
    delivery = DeliveryFactory(webhook=webhook)
    response = api.post(f"/deliveries/{delivery.id}/cancel")
    assert response.status_code == 200
    shown = response.json()
    assert list(shown) == FIELDS
    assert shown["state"] == "cancelled"
    assert shown["reason"].startswith("cancelled by")
    assert shown["finishedAt"]
    problem(api.post(f"/deliveries/{delivery.id}/cancel"), 409)


@pytest.mark.parametrize("state", ["failed", "cancelled", "delivered"])
def test_what_has_ended_cannot_be_cancelled(api, webhook, state):
    delivery = finished(webhook, state)
    problem(api.post(f"/deliveries/{delivery.id}/cancel"), 409)
    delivery.refresh_from_db()
    assert delivery.state == state


def test_a_delivery_of_somebody_else_cannot_be_cancelled(api):
    delivery = DeliveryFactory()
    problem(api.post(f"/deliveries/{delivery.id}/cancel"), 404)
    problem(api.post(f"/deliveries/{'0' * 24}/cancel"), 404)
    delivery.refresh_from_db()
    assert delivery.state == "pending"


def test_replay_retries_what_failed_since(api, webhook):
    old = finished(webhook, finished_at=timezone.now() - timedelta(days=2))
    new = finished(webhook)
    finished(webhook, "delivered")
    finished(WebhookFactory())
    since = (timezone.now() - timedelta(days=1)).isoformat()
    response = api.post(f"/webhooks/{webhook.id}/replay", {"since": since})
    assert (response.status_code, response.json()) == (200, {"replayed": 1})
    new.refresh_from_db()
    old.refresh_from_db()
    assert (new.state, old.state) == ("pending", "failed")


@pytest.mark.once
@pytest.mark.parametrize("body", [{}, {"since": None}, {"since": 5}, {"since": "x"}])
def test_replay_wants_a_moment(api, webhook, body):
    details = problem(api.post(f"/webhooks/{webhook.id}/replay", body), 400)["details"]
    assert list(details) == ["since"]


# --- settings ---------------------------------------------------------------------------------


def test_settings_say_what_the_document_has_no_field_for(api, account):
    webhook = WebhookFactory(account=account, verified_at=None, verification_due_at=timezone.now())
    body = api.get(f"/webhooks/{webhook.id}/settings").json()
    assert body == {
        "enabled": True,
        "stopped": "",
        "note": "",
        "verified": False,
        "verification": "waiting",
        "timeout": None,
        "maxInFlight": 10,
        "rateLimit": None,
        "retrySchedule": None,
        "breaker": {"after": 10, "off": False},
        "oauth": None,
        "identity": None,
        "caCertificates": None,
        "form": "payload",
        "order": "",
        "onDead": "continue",
        "subscriptions": [],
        "signature": {"algorithm": "hmac", "prefix": "webhook-"},
        "health": {
            "held": "unverified",
            "failing": False,
            "failuresInRow": 0,
            "failingSince": None,
            "lastAttemptAt": None,
            "lastSuccessAt": None,
            "breakerUntil": None,
            "restsUntil": None,
            "heads": [],
        },
    }
    assert api.patch(f"/webhooks/{webhook.id}/settings", body).json() == body


def test_enabled_false_pauses_and_true_clears_any_stop(api, account, webhook):
    path = f"/webhooks/{webhook.id}/settings"
    body = api.patch(path, {"enabled": False, "note": "moving"}).json()
    assert (body["enabled"], body["stopped"], body["note"]) == (False, "paused", "moving")
    assert body["health"]["held"] == "paused"
    body = api.patch(path, {"enabled": True}).json()
    assert (body["enabled"], body["stopped"], body["health"]["held"]) == (True, "", "")
    gone = WebhookFactory(account=account, stopped="gone")
    assert api.patch(f"/webhooks/{gone.id}/settings", {"enabled": True}).json()["enabled"]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("timeout", [0.1, 5, 60, None]),
        ("maxInFlight", [1, 1000]),
        ("rateLimit", ["1/second", "100000/hour", None]),
        ("retrySchedule", [[5, 300], [0.5], [], [604_800] * 30, None]),
        ("breaker", [{"after": 3, "off": True}, {"after": 100, "off": False}]),
    ],
)
def test_limits_can_be_set(api, webhook, field, values):
    for value in values:
        response = api.patch(f"/webhooks/{webhook.id}/settings", {field: value})
        assert response.json()[field] == value


def test_a_rate_is_answered_in_full_words_and_a_breaker_keeps_what_is_left_out(api, webhook):
    path = f"/webhooks/{webhook.id}/settings"
    assert api.patch(path, {"rateLimit": "100/m"}).json()["rateLimit"] == "100/minute"
    version = Webhook.objects.get(pk=webhook.pk).version
    body = api.patch(path, {"rateLimit": "100/min", "breaker": {}}).json()
    assert Webhook.objects.get(pk=webhook.pk).version == version  # it is the same
    assert api.patch(path, {"breaker": {"after": 5}}).json()["breaker"]["off"] is False
    assert api.patch(path, {"breaker": {"off": True}}).json()["breaker"]["after"] == 5
    said = AuditEntry.objects.filter(target=webhook.id).values_list("action", flat=True)
    assert set(said) == {"Changed rate limit.", "Changed breaker."}
    assert body["rateLimit"] == "100/minute"


def test_no_rate_is_set_beside_a_worker_that_would_not_keep_it(api, webhook):
    path = f"/webhooks/{webhook.id}/settings"
    worker = WorkerFactory(version="0.1.0", host="old-host", pid=4711)
    response = api.patch(path, {"rateLimit": "100/minute"})
    message = problem(response, 409)["message"]
    assert "worker of an older version" in message
    assert "old-host" not in response.text
    assert api.patch(path, {"retrySchedule": [5], "breaker": {"after": 5}}).status_code == 200
    Worker.objects.filter(pk=worker.pk).update(seen_at=timezone.now() - timedelta(minutes=1))
    assert api.patch(path, {"rateLimit": "100/minute"}).status_code == 200
    Worker.objects.update(seen_at=timezone.now())
    assert api.patch(path, {"rateLimit": None}).status_code == 200


def test_a_breaker_that_is_turned_off_is_closed(api, account):
    until = timezone.now() + timedelta(hours=1)
    webhook = WebhookFactory(account=account, health={"breaker_until": until, "breaker_trips": 1})
    body = api.patch(f"/webhooks/{webhook.id}/settings", {"breaker": {"off": True}}).json()
    assert (body["health"]["held"], body["health"]["breakerUntil"]) == ("", None)


def test_a_limited_webhook_says_until_when_and_so_do_its_deliveries(api, account):
    until = timezone.now() + timedelta(hours=1)
    webhook = WebhookFactory(account=account, health={"rests_until": until, "rests": 1})
    health = api.get(f"/webhooks/{webhook.id}/settings").json()["health"]
    assert (health["held"], health["restsUntil"]) == ("rate", timestamp(until))
    made = api.post(f"/webhooks/{webhook.id}/deliveries", {"n": 1}).json()
    assert (made["state"], made["reason"]) == ("pending", "rate")
    assert api.get(f"/deliveries/{made['id']}").json()["reason"] == "rate"
    assert api.post(f"/webhooks/{webhook.id}/close-breaker").status_code == 200
    assert api.get(f"/deliveries/{made['id']}").json()["reason"] == ""


@pytest.mark.once
@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("enabled", value) for value in (None, 1, "true", [])),
        *(("timeout", value) for value in (0.05, 61, "5", True, [])),
        *(("maxInFlight", value) for value in (0, 1001, 1.5, "5", True, None)),
        *(("note", value) for value in (None, 5, "n" * 256)),
        *(("rateLimit", value) for value in ("", "5", "0/minute", "1/day", 5, True, [], {})),
        *(("retrySchedule", value) for value in ("5", 5, {}, [-1], ["5"], [None], [1] * 31)),
        *(("breaker", value) for value in (None, 5, [], {"after": 2}, {"after": 101})),
        *(("breaker", value) for value in ({"after": 3.5}, {"after": True}, {"off": 1}, {"on": 1})),
    ],
)
def test_settings_that_cannot_be_are_400(api, webhook, field, value):
    response = api.patch(f"/webhooks/{webhook.id}/settings", {field: value})
    assert field in problem(response, 400)["details"]


@pytest.mark.once
@pytest.mark.parametrize(
    ("field", "meant"),
    [
        *(("timeOut", "timeout"), ("max_in_flight", "maxInFlight"), ("Enabled", "enabled")),
        *(("url", ""), ("", ""), ("é", ""), ("id", "")),
    ],
)
def test_a_setting_that_there_is_not_is_400_and_nothing_of_the_request_is_done(
    api, webhook, field, meant
):
    response = api.patch(f"/webhooks/{webhook.id}/settings", {"enabled": False, field: 5})
    details = problem(response, 400)["details"]
    hint = f"; did you mean {meant}?" if meant else "."
    assert details == {field: [f"There is no such setting{hint}"]}
    webhook.refresh_from_db()
    assert not webhook.stopped


@pytest.mark.once
def test_of_a_thousand_unknown_settings_ten_are_named(api, webhook):
    body = {f"setting{n}": n for n in range(1000)}
    response = api.patch(f"/webhooks/{webhook.id}/settings", body)
    assert len(problem(response, 400)["details"]) == 10


@pytest.mark.once
def test_a_note_without_a_pause_is_400(api, webhook):
    response = api.patch(f"/webhooks/{webhook.id}/settings", {"note": "moving"})
    assert list(problem(response, 400)["details"]) == ["note"]
