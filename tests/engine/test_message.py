"""The bytes of a request."""

from base64 import b64encode
from datetime import UTC, datetime, timedelta

import pytest

from tests.factories import WebhookFactory
from webhooks_app.engine.http import message
from webhooks_app.engine.http.message import with_parameters, without_token
from webhooks_app.models import Header, SigningKey, Webhook
from webhooks_app.rules import signing

pytestmark = pytest.mark.django_db


def head_of(**values):
    return message.head(WebhookFactory(**values))


def lines(request):
    return request.head.decode().split("\r\n")


def test_a_post_is_exactly_these_lines():
    webhook = WebhookFactory(
        url="https://receiver.example.com:8443/a?b=1", token="k", headers=[("X-A", "ä")]
    )
    SigningKey.objects.create(webhook=webhook, secret=signing.secret_of(b"k" * 24))
    head = message.head(webhook)
    request = message.post(head, request_id="0" * 24, now=1700000000.9, body=b"{}")
    assert lines(request) == [
        "POST /a?b=1&token=k HTTP/1.1",
        "Host: receiver.example.com:8443",
        "X-A: ä",
        f"User-Agent: {message.USER_AGENT}",
        "Accept: application/json, */*;q=0.5",
        "Accept-Encoding: identity",
        "Content-Type: application/json",
        f"X-Request-Id: {'0' * 24}",
        f"webhook-id: {'0' * 24}",
        "webhook-timestamp: 1700000000",
        "webhook-signature: v1,HePaYjHOxER+ZqlG1uo3Z3XnhrTzv4fraciYY1WtOsQ=",
        "Content-Length: 2",
        "",
        "",
    ]
    assert (request.host, request.port, request.scheme) == ("receiver.example.com", 8443, "https")


def header(request, name):
    return next(line.partition(": ")[2] for line in lines(request) if line.startswith(f"{name}: "))


def test_the_signatures_header_is_what_the_keys_make_of_id_time_and_body():
    webhook = WebhookFactory()
    old, new = b"o" * 24, b"n" * 64
    ends = datetime.fromtimestamp(1_700_000_000, UTC)
    keys = [
        SigningKey(webhook=webhook, secret=signing.secret_of(new)),
        SigningKey(webhook=webhook, secret=signing.secret_of(old), expires_at=ends),
    ]
    head = message.head(webhook, [], keys)
    before, body = 1_699_999_999.9, "ä".encode()
    request = message.post(head, request_id="a", now=before, body=body)
    signers = [signing.signer(new), signing.signer(old)]
    both = signing.signature(signers, b"a", 1_699_999_999, body).decode()
    assert header(request, "webhook-signature") == both
    assert both.count("v1,") == 2
    # The overlap ends to the second, with the head that was built before.
    after = message.post(head, request_id="a", now=1_700_000_000, body=body)
    assert header(after, "webhook-signature") == (
        signing.signature(signers[:1], b"a", 1_700_000_000, body).decode()
    )


def test_second_names_are_sent_beside_the_first_ones():
    request = message.post(head_of(signature_prefix="svix-"), request_id="a", now=5, body=b"{}")
    for name in ("id", "timestamp", "signature"):
        assert header(request, f"svix-{name}") == header(request, f"webhook-{name}")


@pytest.mark.parametrize("prefix", ["content-", "webhook-", "X-", "a\r\nHost: b-"])
def test_second_names_written_past_the_api_are_refused(prefix):
    with pytest.raises(message.Unsendable) as refused:
        head_of(signature_prefix=prefix)
    assert refused.value.failure.kind == "bad_url"


def test_no_secret_is_shown_by_a_request():
    head = head_of(token="tok-hush", auth_username="u", auth_password="pass-hush")
    request = message.post(head, request_id="x", now=1, body=b'{"a": "hush"}')
    shown = repr(request.bearing("access-hush"))
    assert "hush" not in shown
    assert b64encode(b"u:pass-hush").decode() not in shown


def test_no_key_is_shown_by_a_head():
    webhook = WebhookFactory()
    head = message.head(webhook)
    key = signing.key_of(SigningKey.objects.get(webhook=webhook).secret)
    assert repr(key) not in repr(head)


def test_a_refusal_may_come_of_a_rotation_for_two_weeks():
    webhook = WebhookFactory()
    made = datetime(2026, 1, 1, tzinfo=UTC)
    key = SigningKey(webhook=webhook, secret=signing.new_secret(), created_at=made, rotated=True)
    head = message.head(webhook, [], [key])
    for days, rotated in ((1, True), (13.9, True), (14.1, False)):
        now = (made + timedelta(days=days)).timestamp()
        assert message.post(head, request_id="a", now=now, body=b"").rotated is rotated
    key.rotated = False
    head = message.head(webhook, [], [key])
    assert not message.post(head, request_id="a", now=made.timestamp(), body=b"").rotated


def test_own_content_type_user_agent_and_accept_replace_ours():
    own = [("content-TYPE", "application/x-own"), ("User-Agent", "me"), ("Accept", "text/plain")]
    request = message.post(head_of(headers=own), request_id="a", now=0, body=b"")
    names = [line.partition(":")[0].lower() for line in lines(request)]
    for name in ("content-type", "user-agent", "accept"):
        assert names.count(name) == 1


def test_a_challenge_is_a_get_with_headers_and_auth_and_no_body():
    head = head_of(url="http://receiver.example.com", token="a b", auth_username="u")
    request = message.challenge(head, request_id="0", now=0, challenge="c123")
    assert lines(request)[0] == "GET /?challenge=c123&token=a%20b HTTP/1.1"
    assert "Authorization: Basic dTo=" in lines(request)
    assert not any(line.startswith("Content-") for line in lines(request))
    assert request.body == b""


@pytest.mark.parametrize(
    ("target", "parameters", "result"),
    [
        ("/", [], "/"),
        ("/?", [("token", "k")], "/?token=k"),
        ("/a", [("token", "!?=&# ä")], "/a?token=%21%3F%3D%26%23%20%C3%A4"),
        ("/a?x=%2f&&y", [("token", "k")], "/a?x=%2f&&y&token=k"),
        ("/a?x=1&&y=2&", [("token", "k")], "/a?x=1&&y=2&&token=k"),
        ("/a?&", [("token", "k")], "/a?&&token=k"),
        ("/a?x=%41+b;c&=&=1&x", [("token", "k")], "/a?x=%41+b;c&=&=1&x&token=k"),
        ("/a?x=1&&y=2&", [], "/a?x=1&&y=2&"),
        ("/a?&token=old&", [("token", "k")], "/a?&&token=k"),
        ("/a?%74oken=old&xtoken=1", [("token", "k")], "/a?xtoken=1&token=k"),
        ("/a?b=1&challenge=x", [("challenge", "c"), ("token", "k")], "/a?b=1&challenge=c&token=k"),
        ("/a?token=old&x=1&token", [("token", "k")], "/a?x=1&token=k"),
        ("/a?token=old", [], "/a?token=old"),
        ("/a?Token=1", [("token", "k")], "/a?Token=1&token=k"),
    ],
)
def test_our_parameters_and_the_rest_byte_for_byte(target, parameters, result):
    assert with_parameters(target, parameters) == result


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://a.example/x", "https://a.example/x"),
        ("https://a.example/x?token=s", "https://a.example/x"),
        ("https://a.example/x?a=1&token=s&b=2", "https://a.example/x?a=1&b=2"),
        ("https://a.example/x?a=1&&%74oken=s&b=2&", "https://a.example/x?a=1&&b=2&"),
        ("https://a.example/x?challenge=s", "https://a.example/x"),
    ],
)
def test_the_history_keeps_the_url_without_its_token(url, kept):
    assert without_token(url) == kept


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://receiver.example.com/\r\nX: y", "bad_url"),
        ("ftp://receiver.example.com/", "bad_url"),
        ("https://10.0.0.1/", "blocked"),
        ("https://localhost/", "blocked"),
    ],
)
def test_a_url_written_past_the_api_is_refused(url, kind):
    with pytest.raises(message.Unsendable) as refused:
        head_of(url=url)
    assert refused.value.failure.kind == kind


@pytest.mark.parametrize(
    ("name", "value"),
    [("Host", "evil"), ("X-A", "a\r\nHost: evil"), ("X A", "1"), ("webhook-id", "1")],
)
def test_a_header_written_past_the_api_is_refused(name, value):
    webhook = WebhookFactory()
    Header.objects.create(webhook=webhook, name=name, value=value)
    with pytest.raises(message.Unsendable) as refused:
        message.head(Webhook.objects.get())
    assert refused.value.failure.kind == "bad_url"


def test_a_key_written_past_the_api_is_refused():
    webhook = WebhookFactory()
    SigningKey.objects.create(webhook=webhook, secret="whsec_short")
    with pytest.raises(message.Unsendable) as refused:
        message.head(webhook)
    assert refused.value.failure.kind == "bad_url"
    assert "short" not in refused.value.failure.message
