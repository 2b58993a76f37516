"""The bytes of a request."""

import pytest

from tests.factories import WebhookFactory
from webhooks_app.engine import message
from webhooks_app.engine.message import with_parameters, without_token
from webhooks_app.models import Header

pytestmark = pytest.mark.django_db


def head_of(**values):
    return message.head(WebhookFactory(**values))


def lines(request):
    return request.head.decode().split("\r\n")


def test_a_post_is_exactly_these_lines():
    head = head_of(url="https://receiver.example.com:8443/a?b=1", token="k", headers=[("X-A", "ä")])
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
        "Content-Length: 2",
        "",
        "",
    ]
    assert (request.host, request.port, request.scheme) == ("receiver.example.com", 8443, "https")


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
        message.head(webhook)
    assert refused.value.failure.kind == "bad_url"
