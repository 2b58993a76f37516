"""Access tokens, from a real authorization server through our own sender to real receivers."""

import asyncio
import base64
import json

import pytest

from tests.authorization import AuthorizationServer
from tests.engine.exchanges import failed
from tests.receivers import Answer, Each, Receiver, StubResolver
from tests.waiting import until
from webhooks_app.engine.http import message
from webhooks_app.engine.http.oauth import Tokens
from webhooks_app.models import SigningKey, Webhook
from webhooks_app.rules import oauth, signing

pytestmark = pytest.mark.once

LATE = 30.0  # seconds
KEY = SigningKey(secret=signing.new_secret())


@pytest.fixture(autouse=True)
def without_tls(monkeypatch, loopback):
    """Authlib refuses http; there is none but loopback here."""
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")


def head_of(url, settings, *, version=1, **more):
    webhook = Webhook(id="5a21a9e21ec94a0007f9ac19", account_id=1, url=url, version=version, **more)
    webhook.oauth = oauth.stored(settings)
    return message.head(webhook, [("X-Own", "own-value")], [KEY])


def call(head, number=0):
    return message.post(head, request_id=f"{number:024x}", now=1_800_000_000, body=b"{}")


def bearers(receiver):
    return [request.header("Authorization") for request in receiver.requests]


def test_many_calls_at_once_carry_one_token_asked_for_once(run):
    async def scenario(sender):
        head = head_of(receiver.url, server.settings, token="own-token")
        calls = (sender.send(call(head, n), timeout=LATE) for n in range(20))
        return await asyncio.gather(*calls)

    with AuthorizationServer() as server, Receiver() as receiver:
        outcomes = run(scenario)
    assert [outcome.failure for outcome in outcomes] == [None] * 20
    assert len(server.asked) == len(server.issued) == 1
    assert set(bearers(receiver)) == {f"Bearer {server.issued[0]}"}
    assert sum(outcome.asked is not None for outcome in outcomes) == 1


@pytest.mark.parametrize("method", oauth.METHODS)
def test_the_call_for_a_token_carries_the_client_and_nothing_of_the_webhook(run, method):
    settings = {"authMethod": method, "extraParams": {"audience": "https://api.example.com/"}}
    with AuthorizationServer() as server, Receiver() as receiver:
        head = head_of(receiver.url, server.settings | settings, token="own-token")
        outcome = run(lambda sender: sender.send(call(head), timeout=LATE))
    assert outcome.status == 200
    [asked] = server.asked
    assert asked.form["grant_type"] == "client_credentials"
    assert asked.form["scope"] == "orders"
    assert asked.form["audience"] == "https://api.example.com/"
    sent = json.dumps([asked.form, asked.headers])
    assert "own-" not in sent
    assert not [name for name in asked.headers if name.startswith(("webhook-", "x-"))]
    assert ("client_secret" in asked.form) is (method == oauth.POST)
    assert ("authorization" in asked.headers) is (method == oauth.BASIC)


def test_a_token_is_renewed_when_four_fifths_of_its_time_are_over(run):
    now = 0.0

    async def scenario(sender):
        tokens = Tokens(lambda r, seconds: sender.send(r, timeout=seconds), clock=lambda: now)
        request = call(head_of(receiver.url, server.settings))
        nonlocal now
        for moment in (0.0, 79.9, 80.1, 159.0):
            now = moment
            outcome = await tokens.send(request, request.access, LATE)
            assert outcome.status == 200

    with AuthorizationServer(expires_in=100) as server, Receiver() as receiver:
        run(scenario)
    first, second = server.issued
    assert bearers(receiver) == [f"Bearer {token}" for token in (first, first, second, second)]


def test_while_the_server_is_away_the_old_token_goes_on_until_its_end(run):
    now = 0.0

    async def scenario(sender):
        tokens = Tokens(lambda r, seconds: sender.send(r, timeout=seconds), clock=lambda: now)
        request = call(head_of(receiver.url, server.settings))
        outcomes = []
        nonlocal now
        for moment in (0.0, 85.0, 99.0, 101.0):
            now = moment
            outcomes.append(await tokens.send(request, request.access, LATE))
            server.down()
        return outcomes

    with AuthorizationServer(expires_in=100) as server, Receiver() as receiver:
        outcomes = run(scenario)
    assert [outcome.status for outcome in outcomes] == [200, 200, 200, None]
    assert outcomes[1].asked.outcome.failure.kind in ("refused", "reset")
    assert failed(outcomes[3]).startswith("oauth: no access token: ")
    assert len(receiver.requests) == 3


def test_a_token_that_is_refused_is_dropped_and_no_second_call_is_hidden(run):
    async def scenario(sender):
        head = head_of(receiver.url, server.settings)
        first = await sender.send(call(head), timeout=LATE)
        assert len(receiver.requests) == 1
        return first, await sender.send(call(head), timeout=LATE)

    with AuthorizationServer() as server, Receiver(Each(401, 200)) as receiver:
        first, second = run(scenario)
    assert (first.status, second.status) == (401, 200)
    assert bearers(receiver) == [f"Bearer {token}" for token in server.issued]
    assert len(server.issued) == 2


def test_a_receiver_that_refuses_every_token_is_no_storm_on_the_server(run):
    async def scenario(sender):
        tokens = Tokens(lambda r, seconds: sender.send(r, timeout=seconds), apart=0.3)
        request = call(head_of(receiver.url, server.settings))
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(4):
            await tokens.send(request, request.access, LATE)
        return loop.time() - began

    with AuthorizationServer() as server, Receiver(401) as receiver:
        seconds = run(scenario)
    assert len(server.issued) == 4
    assert seconds > 0.85


def test_another_version_of_the_webhook_gets_a_token_of_its_own(run):
    async def scenario(sender):
        for version in (1, 2, 2):
            head = head_of(receiver.url, server.settings, version=version)
            await sender.send(call(head), timeout=LATE)

    with AuthorizationServer() as server, Receiver() as receiver:
        run(scenario)
    first, second = server.issued
    assert bearers(receiver) == [f"Bearer {token}" for token in (first, second, second)]


def test_a_slow_server_uses_up_the_timeout_and_the_receiver_is_not_called(run):
    async def scenario(sender):
        head = head_of(receiver.url, server.settings)
        return await asyncio.gather(*(sender.send(call(head), timeout=0.3) for _ in range(3)))

    with AuthorizationServer() as server, Receiver() as receiver:
        server.go_on.clear()
        outcomes = run(scenario)
        until(lambda: server.asked)
        server.go_on.set()
    assert {failed(one) for one in outcomes} == {
        "oauth: no access token: timeout of 300ms exceeded"
    }
    assert len(server.asked) == 1
    assert receiver.requests == []
    assert all(one.duration_ms >= 250 for one in outcomes)


def test_the_word_of_the_server_says_why_there_is_no_token(run):
    with AuthorizationServer() as server, Receiver() as receiver:
        head = head_of(receiver.url, server.settings | {"clientSecret": "another"})
        outcome = run(lambda sender: sender.send(call(head), timeout=LATE))
    assert failed(outcome) == "oauth: no access token: invalid_client (status 401)"
    asked = outcome.asked.outcome
    assert failed(asked) == "oauth: invalid_client (status 401)"
    assert (asked.status, asked.body) == (401, b"")
    assert receiver.requests == []


TOKEN = {"access_token": "a" * 20, "token_type": "Bearer", "expires_in": 60}
HOSTILE = {
    "no JSON": (200, "<html>", "the answer is no JSON"),
    "deep JSON": (200, "[" * 50_000, "the answer is no JSON"),
    "a list": (200, [TOKEN], "the answer is no JSON object"),
    "no token": (200, {"expires_in": 5}, "the answer holds no access_token"),
    "a number": (200, TOKEN | {"access_token": 7}, "the answer holds no access_token"),
    "line breaks": (200, TOKEN | {"access_token": "a\r\nX-Evil: 1"}, "its access_token cannot be"),
    "a space": (200, TOKEN | {"access_token": "a b"}, "its access_token cannot be sent"),
    "umlauts": (200, TOKEN | {"access_token": "ä"}, "its access_token cannot be sent"),
    "too long a token": (200, TOKEN | {"access_token": "a" * 8193}, "its access_token cannot be"),
    "70 KiB": (200, TOKEN | {"x": "y" * 70_000}, "the answer has more than 64 KiB"),
    "200 KiB": (200, TOKEN | {"x": "y" * 200_000}, "maxContentLength size of 102400 exceeded"),
    "another type": (200, TOKEN | {"token_type": "mac"}, "its token_type is not Bearer"),
    "a redirect": (302, TOKEN, "Request failed with status code 302"),
    "a crash": (500, "at line 1", "Request failed with status code 500"),
    "a word that is none": (400, {"error": "<b>bold</b>"}, "Request failed with status code 400"),
    "our secret": (400, {"error": "Sup3rSecretOfTheClient"}, "•••••••• (status 400)"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_odd_answer_is_no_token_and_nothing_of_it_is_kept(run, name):
    status, body, words = HOSTILE[name]
    elsewhere = (("Location", "http://127.0.0.1:1/"),) if status == 302 else ()
    with Receiver(Answer(status, body, elsewhere)) as server, Receiver() as receiver:
        settings = {"tokenUrl": server.url, "clientId": "c"}
        head = head_of(receiver.url, settings | {"clientSecret": "Sup3rSecretOfTheClient"})
        outcome = run(lambda sender: sender.send(call(head), timeout=LATE))
    assert failed(outcome).startswith(f"oauth: no access token: {words}")
    assert failed(outcome.asked.outcome).startswith(f"oauth: {words}")
    assert outcome.asked.outcome.body == b""
    assert (len(server.requests), receiver.requests) == (1, [])


def test_eight_kib_of_token_arrive(run):
    with Receiver(TOKEN | {"access_token": "a" * 8190 + "=="}) as server, Receiver() as receiver:
        settings = {"tokenUrl": server.url, "clientId": "c", "clientSecret": "s"}
        head = head_of(receiver.url, settings)
        outcome = run(lambda sender: sender.send(call(head), timeout=LATE))
    assert outcome.failure is None
    assert bearers(receiver) == [f"Bearer {'a' * 8190}=="]


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "::1"])
def test_a_name_that_leads_inside_is_denied_when_it_is_connected_to(run, settings, address):
    settings.WEBHOOKS_ALLOWED_NETWORKS = ["127.0.0.1/32"]
    names = StubResolver({"login.example.com": [address]})
    with Receiver() as receiver:
        server = {"tokenUrl": "http://login.example.com/token", "clientId": "c"}
        head = head_of(receiver.url, server | {"clientSecret": "s"})
        outcome = run(lambda sender: sender.send(call(head), timeout=LATE), resolver=names)
    assert failed(outcome).startswith("oauth: no access token: blocked: login.example.com")
    assert outcome.asked.outcome.failure.kind == "blocked"
    assert receiver.requests == []


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (None, 3600.0),
        ("120", 120.0),
        (90.5, 90.5),
        (0, 0.0),
        (-5, 0.0),
        (True, 3600.0),
        ("soon", 3600.0),
        (10**30, 365 * 86_400.0),
    ],
)
def test_how_long_a_token_holds(said, seconds):
    body = TOKEN | {"expires_in": said}
    assert oauth.read_token(json.dumps(body).encode()).seconds == seconds


def test_id_and_secret_are_encoded_as_in_a_form_before_they_are_a_pair():
    given = {"tokenUrl": "https://login.example.com/", "clientId": "a:b", "clientSecret": "ä +/%"}
    pair = base64.b64decode(oauth.Client.of(given).authorization().removeprefix("Basic "))
    assert pair == b"a%3Ab:%C3%A4+%2B%2F%25"  # RFC 6749, section 2.3.1
