"""Nobody sends us to an address that is not public: by no spelling, no name and no door."""

import asyncio
import json
import socket
from io import StringIO

import pytest
from django.core.management import call_command

from tests.admin.pages import url as admin_url
from tests.admin.pages import webhook_form
from tests.api.conftest import DOCUMENTED, problem
from tests.engine.exchanges import request
from tests.factories import WebhookFactory
from tests.nameserver import AAAA, A, Alias, NameServer
from tests.receivers import Answer, Receiver, StubResolver, closed_port
from tests.security.hostile import GOOD, POINTING_INSIDE, URLS
from webhooks_app import actions
from webhooks_app.engine.http.resolver import Resolver
from webhooks_app.engine.http.sender import Sender
from webhooks_app.models import Attempt, Webhook


class EveryName:
    """Leads any name to loopback: whatever reaches it would find the canary."""

    async def resolve(self, host):
        return ["127.0.0.1"]


def at(port, urls=URLS):
    return [url.replace("{port}", str(port)) for url in urls]


def storable(url):
    """No row can hold an empty URL, and on PostgreSQL none a NUL."""
    return url and "\0" not in url


# The tables


@pytest.mark.once
def test_every_hostile_url_is_refused_when_it_is_saved(api, account, canary):
    urls = at(canary.port)
    assert len(set(urls)) >= 300
    for place, url in enumerate(urls):
        if place % 8:
            with pytest.raises(actions.Invalid) as refused:
                actions.create_webhook(account, name="W", url=url)
            assert list(refused.value.details) == ["url"], url
        else:  # through the door
            status = problem(api.post("/webhooks", DOCUMENTED | {"url": url}), 400)
            assert list(status.get("details", {})) == ["url"] or "NUL" in status["message"], url
    assert not Webhook.objects.exists()


@pytest.mark.once
def test_every_good_url_is_saved(api):
    assert len(set(GOOD)) >= 40
    for url in GOOD:
        response = api.post("/webhooks", DOCUMENTED | {"url": url})
        assert response.status_code == 200, (url, response.content)
    assert sorted(Webhook.objects.values_list("url", flat=True)) == sorted(GOOD)


def test_a_row_written_past_every_rule_is_refused_by_the_worker(doors, account, canary):
    doors.use(EveryName())
    urls = [url for url in at(canary.port) if storable(url)]
    webhooks = [WebhookFactory(account=account, url=url) for url in urls]
    actions.deliver_many([(webhook, {}) for webhook in webhooks])
    doors.drain()
    assert Attempt.objects.count() == len(urls)
    assert {a.kind for a in Attempt.objects.all()} == {"bad_url", "blocked"}
    assert not Attempt.objects.exclude(address="").exists()


def test_a_name_that_leads_inside_is_refused_when_it_is_called(doors, account, api, canary):
    doors.use(StubResolver(POINTING_INSIDE))
    for name in POINTING_INSIDE:
        url = f"http://{name}:{canary.port}/hook"
        assert api.post("/webhooks", DOCUMENTED | {"url": url}).status_code == 200, name
    doors.drain()  # the verifications
    assert {(a.exchange, a.kind) for a in Attempt.objects.all()} == {("verification", "blocked")}
    Webhook.objects.update(verified_at="2026-01-01T00:00:00Z")
    actions.deliver_many([(webhook, {}) for webhook in Webhook.objects.all()])
    doors.drain()
    calls = Attempt.objects.filter(exchange="delivery")
    assert calls.count() == len(POINTING_INSIDE)
    for attempt in calls:
        host = attempt.url.split("/")[2].partition(":")[0]
        line = f"blocked: {host} is not a public address (WEBHOOKS_ALLOWED_NETWORKS)"
        assert (attempt.kind, attempt.message, attempt.address) == ("blocked", line, "")


# The doors

FEW = [
    "http://127.0.0.1:{port}/hook",
    "http://[::ffff:127.0.0.1]:{port}/hook",
    "http://2130706433:{port}/hook",
    "http://localhost:{port}/hook",
    "http://example.com@127.0.0.1:{port}/hook",
]
LEADS_INSIDE = "http://hook.example.com:{port}/hook"


def create(api, webhook, url):
    return problem(api.post("/webhooks", DOCUMENTED | {"url": url}), 400)["details"]


def put(api, webhook, url):
    return problem(api.put(f"/webhooks/{webhook.pk}", DOCUMENTED | {"url": url}), 400)["details"]


def patch(api, webhook, url):
    return problem(api.patch(f"/webhooks/{webhook.pk}", {"url": url}), 400)["details"]


def from_python(api, webhook, url):
    with pytest.raises(actions.Invalid) as refused:
        actions.update_webhook(webhook, url=url)
    return refused.value.details


@pytest.mark.django_db
@pytest.mark.parametrize("door", [create, put, patch, from_python])
def test_no_door_saves_a_hostile_url(api, account, canary, door):
    webhook = WebhookFactory(account=account)
    for url in at(canary.port, FEW):
        assert "url" in door(api, webhook, url)
    assert [w.url for w in Webhook.objects.all()] == [webhook.url]


@pytest.mark.django_db
def test_the_settings_of_a_webhook_do_not_hold_its_url(api, account, canary):
    webhook = WebhookFactory(account=account)
    for url in at(canary.port, FEW):
        refused = api.patch(f"/webhooks/{webhook.pk}/settings", {"url": url, "timeout": 5})
        assert refused.status_code == 400
    webhook.refresh_from_db()
    assert (webhook.url, webhook.timeout) == ("https://receiver.example.com/hook", None)


@pytest.mark.django_db
@pytest.mark.parametrize("page", ["add", "change"])
def test_the_admin_saves_no_hostile_url(boss, account, canary, page):
    webhook = WebhookFactory(account=account)
    path = admin_url("webhook", "add" if page == "add" else webhook.pk)
    path = path if page == "add" else f"{path}change/"
    for url in at(canary.port, FEW):
        data = webhook_form(boss.get(path)) | {"account": account.name, "name": "x", "url": url}
        response = boss.post(path, data)
        assert response.status_code == 200
        assert "errornote" in response.content.decode()
    assert [w.url for w in Webhook.objects.all()] == [webhook.url]


def api_test(api, boss, webhook):
    assert api.post(f"/webhooks/{webhook.pk}/test").json()["ok"] is False


def api_verify(api, boss, webhook):
    assert api.post(f"/webhooks/{webhook.pk}/verify").json()["ok"] is False


def api_interaction(api, boss, webhook):
    problem(api.post(f"/webhooks/{webhook.pk}/interactions", {}), 502)


def api_delivery(api, boss, webhook):
    assert api.post(f"/webhooks/{webhook.pk}/deliveries", {}).status_code == 202


def api_retry(api, boss, webhook):
    delivery = actions.deliver(webhook, {})
    actions.cancel(delivery)
    assert api.post(f"/deliveries/{delivery.pk}/retry").status_code in (200, 202)


def admin_verify(api, boss, webhook):
    boss.post(admin_url("webhook", webhook.pk, "verify"))


def admin_test(api, boss, webhook):
    boss.post(admin_url("webhook", webhook.pk, "test"))


def admin_pages(api, boss, webhook):
    for path in (admin_url("webhook"), admin_url("webhook", webhook.pk, "change")):
        assert boss.get(path).status_code == 200


def command(*arguments):
    call_command("webhooks", *arguments, stdout=StringIO(), stderr=StringIO())


def command_verify(api, boss, webhook):
    with pytest.raises(SystemExit):  # its exit code says that it failed
        command("verify", webhook.pk)


def command_send(api, boss, webhook):
    command("send", webhook.pk)


def command_explain(api, boss, webhook):
    command("explain", webhook.pk)


DOORS = [
    *(api_test, api_verify, api_interaction, api_delivery, api_retry),
    *(admin_verify, admin_test, admin_pages),
    *(command_verify, command_send, command_explain),
]


@pytest.mark.once
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("url", [FEW[0], LEADS_INSIDE])
def test_no_door_calls_a_hostile_url_that_is_in_the_database(
    doors, account, api, boss, canary, door, url
):
    doors.use(EveryName())
    webhook = WebhookFactory(account=account, url=url.replace("{port}", str(canary.port)))
    door(api, boss, webhook)
    doors.drain()
    assert {a.kind for a in Attempt.objects.all()} <= {"blocked"}
    silent = door in (admin_pages, command_explain)
    assert Attempt.objects.exists() != silent, "the door was really tried"


@pytest.mark.parametrize("location", ["/again", "http://127.0.0.1:{port}/", "file:///etc/passwd"])
def test_where_a_redirect_points_is_never_requested(doors, account, loopback, canary, location):
    doors.use(EveryName())
    location = location.replace("{port}", str(canary.port))
    with Receiver(Answer(302, headers=(("Location", location),))) as receiver:
        actions.deliver(WebhookFactory(account=account, url=receiver.url), {})
        doors.drain()
    assert len(receiver.requests) == 1
    assert Attempt.objects.get().kind == "redirect"


# Names, asked of a real name server

INSIDE, PUBLIC = b"\x7f\0\0\1", b"\x5d\xb8\xd8\x22"
OPEN = b"\x7f\0\0\2"  # 127.0.0.2 stands for the internet: WEBHOOKS_ALLOWED_NETWORKS opens it
SIX_LOOPBACK = b"\0" * 15 + b"\1"
NAT64 = bytes.fromhex("0064ff9b") + b"\0" * 8


@pytest.fixture
def call(settings):
    """Exchanges with http://hook.example.com, one after the other; their outcomes."""
    settings.WEBHOOKS_ALLOWED_NETWORKS = ["127.0.0.2/32"]

    def call(records, port, times=1):
        async def main():
            sender = Sender(Resolver([names.place]))
            url = f"http://hook.example.com:{port}/"
            outcomes = [await sender.send(request(url), timeout=3) for _ in range(times)]
            await sender.close()
            return outcomes

        with NameServer(records, ttl=0) as names:
            outcomes = asyncio.run(main())
            call.asked = names.asked
        return outcomes

    return call


@pytest.mark.once
def test_a_name_that_changes_its_mind_after_a_good_answer_is_refused(call):
    with Receiver(Answer(200, "ok", close=True), host="127.0.0.2") as receiver:
        turns = iter([[OPEN], [INSIDE], [OPEN]])
        with socket.create_server(("127.0.0.1", receiver.port)) as trap:
            trap.setblocking(False)
            records = {("hook.example.com", A): lambda: next(turns), "hook.example.com": []}
            first, second, third = call(records, receiver.port, times=3)
            with pytest.raises(BlockingIOError):
                trap.accept()
    assert (first.status, third.status) == (200, 200)
    assert (second.failure.kind, second.address) == ("blocked", "")
    assert len(receiver.requests) == 2


@pytest.mark.once
def test_a_name_is_looked_up_once_for_the_check_and_the_connection(call):
    with Receiver(Answer(200, "ok", close=True), host="127.0.0.2") as receiver:
        turns = iter([[OPEN], [INSIDE]])
        records = {("hook.example.com", A): lambda: next(turns), "hook.example.com": []}
        [outcome] = call(records, receiver.port)
    assert (outcome.status, outcome.address) == (200, f"127.0.0.2:{receiver.port}")
    assert call.asked == ["hook.example.com"] * 2, "one question for each family of addresses"


@pytest.mark.once
@pytest.mark.parametrize(
    "records",
    [
        {A: [INSIDE], AAAA: []},
        {A: [OPEN, INSIDE], AAAA: []},
        {A: [INSIDE, OPEN], AAAA: []},
        {A: [OPEN, PUBLIC, b"\x0a\0\0\1"], AAAA: []},
        {A: [OPEN], AAAA: [SIX_LOOPBACK]},
        {A: [], AAAA: [SIX_LOOPBACK]},
        {A: [], AAAA: [b"\0" * 10 + b"\xff\xff" + INSIDE]},
        {A: [], AAAA: [NAT64 + INSIDE]},
        {A: [OPEN], AAAA: [NAT64 + b"\xa9\xfe\xa9\xfe"]},
        {A: [], AAAA: [bytes.fromhex("2002") + INSIDE + b"\0" * 10]},
        {A: Alias("redis.internal", [INSIDE]), AAAA: []},
        {A: Alias("cdn.example.com", [OPEN, b"\xc0\xa8\0\1"]), AAAA: []},
    ],
    ids=[
        *("inside", "good then bad", "bad then good", "public and private", "A good, AAAA bad"),
        *("AAAA loopback", "mapped", "NAT64 of loopback", "NAT64 of metadata", "6to4"),
        *("CNAME inside", "CNAME to a mixture"),
    ],
)
def test_one_bad_address_in_any_answer_spoils_the_name(call, canary, records):
    table = {("hook.example.com", kind): found for kind, found in records.items()}
    [outcome] = call(table, canary.port)
    assert outcome.failure.message == (
        "blocked: hook.example.com is not a public address (WEBHOOKS_ALLOWED_NETWORKS)"
    )
    assert (outcome.address, outcome.connect_ms) == ("", None)


@pytest.mark.once
def test_an_alias_to_a_good_address_is_called_under_the_first_name(call):
    alias = Alias("cdn.example.net", [OPEN])
    with Receiver(host="127.0.0.2") as receiver:
        [outcome] = call({("hook.example.com", A): alias, "hook.example.com": []}, receiver.port)
    assert outcome.failure is None
    assert receiver.requests[0].header("host") == f"hook.example.com:{receiver.port}"


# No oracle


def test_open_closed_and_silent_ports_inside_cannot_be_told_apart_by_an_owner(
    doors, account, api, canary
):
    doors.use(StubResolver({"hook.example.com": ["127.0.0.1"], "six.example.com": ["::1"]}))
    told, times = set(), []
    with closed_port() as closed, socket.create_server(("127.0.0.1", 0)) as silent:
        for port in (canary.port, closed, silent.getsockname()[1]):
            webhook = WebhookFactory(account=account, url=f"http://hook.example.com:{port}/")
            answer = api.post(f"/webhooks/{webhook.pk}/test").json()
            times.append(answer.pop("durationMs"))
            del answer["error"]["date"]
            told.add(json.dumps(answer))
    assert len(told) == 1
    assert "127.0.0.1" not in told.pop()
    assert max(times) < 1000
    assert {(a.address, a.connect_ms) for a in Attempt.objects.all()} == {("", None)}
