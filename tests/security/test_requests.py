"""What goes out is one request, with our framing, and each secret in its one place."""

import base64
import unicodedata
from urllib.parse import parse_qsl, quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.admin.pages import url as admin_url
from tests.admin.pages import webhook_form
from tests.api.conftest import DOCUMENTED, problem
from tests.factories import WebhookFactory
from tests.receivers import Listener, StubResolver
from tests.security.evil import asked
from webhooks_app import actions
from webhooks_app.engine.http.message import with_parameters
from webhooks_app.models import Attempt, Header
from webhooks_app.rules.validators import header_error

OURS = [
    *("Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "TE", "Trailer"),
    *("Upgrade", "Expect", "Proxy", "Proxy-Authorization", "Proxy-Connection", "Accept-Encoding"),
    *("X-Request-Id", "webhook-id", "webhook-timestamp", "webhook-signature", "webhook-x"),
]
FOLDING = {"s": "ſ", "k": "\u212a", "i": "ⅰ", "c": "ⅽ", "x": "ⅹ", "o": "º", "-": "－", "t": "ｔ"}


def spellings(name):
    """A header's name as some program or other would take it for the same."""
    lower = name.lower()
    yield from (name, lower, name.upper(), name.swapcase(), name.replace("-", "_"))
    yield from (f" {name}", f"{name} ", f"\t{name}", f"{name}\t", f"{name}:", f"{name}\0")
    yield from (f"{name}\r", f"{name}\r\nX", f"X\r\n{name}", f"\n{name}", f"X: y\r\n{name}")
    yield "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in name)  # full width
    for letter, other in FOLDING.items():
        if letter in lower:
            yield lower.replace(letter, other)


HOSTILE_NAMES = [spelling for name in OURS for spelling in spellings(name)]
HOSTILE_VALUES = [
    *[f"a{chr(code)}b" for code in (*range(9), *range(10, 32), *range(127, 160))],
    *("a\r\nHost: evil", "a\n\nGET / HTTP/1.1", "a\r\n\r\nHTTP/1.1 200 OK", "\r\nX: y", "x\r\n"),
    *(" x", "x ", "\tx", "", "\ud800", "x" * 1025),
]


@pytest.mark.once
def test_no_spelling_of_a_header_that_frames_or_identifies_is_accepted():
    assert len(HOSTILE_NAMES) >= 300
    assert [name for name in HOSTILE_NAMES if not header_error(name, "x")] == []


@pytest.mark.once
def test_no_value_can_end_its_line():
    assert [value for value in HOSTILE_VALUES if not header_error("X-Key", value)] == []


@pytest.mark.once
@given(st.text(max_size=30), st.text(max_size=30))
def test_whatever_is_accepted_is_one_line_of_bytes(name, value):
    if header_error(name, value):
        return
    line = f"{name}: {value}".encode()
    assert not {b for b in line if (b < 32 and b != 9) or b == 127}
    assert name.isascii()
    folded = unicodedata.normalize("NFKC", name).casefold().replace("_", "-")
    assert folded not in {ours.lower() for ours in OURS}
    assert not folded.startswith(("proxy-", "webhook-"))


SOME = [("Host", "evil"), ("Tranſfer-Encoding", "chunked"), ("X", "a\r\nHost: b"), ("te", "x")]


@pytest.mark.django_db
@pytest.mark.parametrize("header", SOME)
def test_no_door_saves_one(api, boss, account, header):
    webhook = WebhookFactory(account=account)
    sent = {"headers": [{"name": header[0], "value": header[1]}]}
    path = f"/webhooks/{webhook.pk}"
    for answer in (
        api.post("/webhooks", DOCUMENTED | sent),
        api.put(path, DOCUMENTED | sent),
        api.patch(path, sent),
    ):
        assert list(problem(answer, 400)["details"]) == ["headers"]
    with pytest.raises(actions.Invalid):
        actions.update_webhook(webhook, headers=[header])
    page = admin_url("webhook", webhook.pk, "change")
    data = webhook_form(boss.get(page)) | {"headers-TOTAL_FORMS": "1", "headers-0-id": ""}
    data |= {"headers-0-name": header[0], "headers-0-new_value": header[1]}
    assert "errornote" in boss.post(page, data).content.decode()
    assert not Header.objects.exists()


def test_a_header_written_past_every_rule_is_never_sent(doors, account, loopback, canary):
    doors.use(StubResolver({}))
    pairs = [(name, "x") for name in HOSTILE_NAMES] + [("X-Key", value) for value in HOSTILE_VALUES]
    pairs = [p for p in pairs if not set("".join(p)) & {"\0", "\ud800"} and len(p[1]) <= 1024]
    pairs = pairs[::4]
    webhooks = [WebhookFactory(account=account, url=canary.url, headers=[pair]) for pair in pairs]
    actions.deliver_many([(webhook, {}) for webhook in webhooks])
    doors.drain()
    assert {a.kind for a in Attempt.objects.all()} == {"bad_url"}
    assert Attempt.objects.count() == len(pairs)


# The bytes that really go out

TOKEN = "t0k?&=#/+%20 ü\"'"
USER, PASSWORD = "ünser", " p:w{{7*7}}%s ü "
VALUE = "v4lue {{x}} %s {0} ${y} \u0a0d\u010a"  # their low bytes are CR and LF


@pytest.fixture
def wire(doors, account, loopback):
    """The bytes of every kind of exchange with a webhook full of secrets: {kind: bytes}."""
    doors.use(StubResolver({}))
    seen = []

    def play(connection):
        while True:
            seen.append(asked(connection))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with Listener(play) as receiver:
        webhook = WebhookFactory(
            account=account,
            name="n{{7*7}}",
            url=f"{receiver.url}hook?shop=7",
            token=TOKEN,
            auth_username=USER,
            auth_password=PASSWORD,
            headers=[("X-Key", VALUE), ("x-key", "again"), ("Cookie", "a=b; c=d")],
        )
        actions.deliver(webhook, b'{ "a" : "\xc3\xa4\\r\\nHost: evil" }')
        doors.drain()
        actions.test(webhook)
        actions.interact(webhook, {"attributes": {"x": "\r\n\r\nGET / HTTP/1.1"}})
        actions.verify(webhook)
    return dict(zip(("delivery", "test", "interaction", "verification"), seen, strict=True))


def test_every_exchange_is_one_request_with_one_framing(wire):
    for kind, data in wire.items():
        head, _, body = data.partition(b"\r\n\r\n")
        start, *lines = head.split(b"\r\n")
        names = [line.split(b": ", 1)[0].lower() for line in lines]
        assert b"\r" not in head.replace(b"\r\n", b""), kind
        assert b"\n" not in head.replace(b"\r\n", b""), kind
        verb = b"GET" if kind == "verification" else b"POST"
        assert start.split(b" ")[0] == verb
        assert start.count(b" ") == 2
        assert names[0] == b"host"
        assert names.count(b"host") == 1
        assert names.count(b"content-length") == (kind != "verification")
        assert {b"transfer-encoding", b"connection", b"te", b"expect"}.isdisjoint(names)
        for name in (b"webhook-id", b"webhook-timestamp", b"x-request-id", b"authorization"):
            assert names.count(name) == 1
        assert [line for line in lines if line.lower().startswith(b"x-key")] == [
            f"X-Key: {VALUE}".encode(),
            b"x-key: again",
        ]
        length = next((int(ln[16:]) for ln in lines if ln.startswith(b"Content-Length: ")), 0)
        assert len(body) == length
    assert wire["delivery"].endswith(b'\r\n\r\n{ "a" : "\xc3\xa4\\r\\nHost: evil" }')
    assert b"\r\n\r\nGET" not in wire["interaction"].partition(b"\r\n\r\n")[2]


def test_each_secret_stands_in_its_one_place(wire):
    encoded = quote(TOKEN, safe="")
    basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    for kind, data in wire.items():
        assert data.count(encoded.encode()) == 1, kind
        start = data.partition(b"\r\n")[0].decode("ascii")
        query = dict(parse_qsl(start.split(" ")[1].partition("?")[2], strict_parsing=True))
        assert (query["token"], query["shop"]) == (TOKEN, "7")
        assert data.count(basic.encode()) == 1
        assert f"\r\nAuthorization: Basic {basic}\r\n".encode() in data
        assert data.count(VALUE.encode()) == 1
        rest = data.replace(f"token={encoded}".encode(), b"")
        rest = rest.replace(f"Authorization: Basic {basic}".encode(), b"")
        rest = rest.replace(f"X-Key: {VALUE}".encode(), b"")
        for secret in (TOKEN, encoded, PASSWORD, PASSWORD.strip(), basic, "p:w", "v4lue", "t0k"):
            assert secret.encode() not in rest, (kind, secret)


@pytest.mark.once
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_a_token_is_percent_encoded_exactly_once(token):
    target = with_parameters("/hook?a=%2f", [("token", token)])
    assert target.isascii()
    assert not set(target) & set(' \r\n\t\0#"<>')
    path, _, query = target.partition("?")
    assert (path, query.split("&")[0]) == ("/hook", "a=%2f")
    assert parse_qsl(query, keep_blank_values=True)[1] == ("token", token)
