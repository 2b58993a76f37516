"""What a webhook may hold, as tables."""

import unicodedata
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhooks_app.rules import validators
from webhooks_app.rules.guard import is_public
from webhooks_app.rules.validators import (
    MASK,
    Endpoint,
    header_error,
    parse_url,
    url_error,
    webhook_errors,
)

pytestmark = pytest.mark.once

BUECHER = "xn--bcher-kva.example"
ENCODED = "/%C3%A4/%C3%A4+%20?q=%C3%B6&r=%zz"


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("https://example.com", ("https", "example.com", 443, "example.com", "/")),
        ("HTTP://Example.COM:80", ("http", "example.com", 80, "example.com", "/")),
        ("http://example.com:443/", ("http", "example.com", 443, "example.com:443", "/")),
        ("https://example.com?a=1", ("https", "example.com", 443, "example.com", "/?a=1")),
        ("https://example.com./x", ("https", "example.com", 443, "example.com", "/x")),
        ("https://a_b.-c.example/x", ("https", "a_b.-c.example", 443, "a_b.-c.example", "/x")),
        ("http://1.2.3.4:65535/", ("http", "1.2.3.4", 65535, "1.2.3.4:65535", "/")),
        ("http://[2606:4700:0::1]/", ("http", "2606:4700::1", 80, "[2606:4700::1]", "/")),
        ("http://[::1]:81/", ("http", "::1", 81, "[::1]:81", "/")),
        ("https://Bücher.example/", ("https", BUECHER, 443, BUECHER, "/")),
        ("https://a.io/ä/%C3%A4+%20?q=ö&r=%zz", ("https", "a.io", 443, "a.io", ENCODED)),
        ("https://faß.example/", ("https", "xn--fa-hia.example", 443, "xn--fa-hia.example", "/")),
        ("https://u\u0308.example/", ("https", "xn--tda.example", 443, "xn--tda.example", "/")),
    ],
)
def test_a_url_is_read_as_it_is_sent(url, endpoint):
    assert parse_url(url) == Endpoint(*endpoint)
    assert parse_url(url).origin == endpoint[:3]


def test_path_and_query_are_kept_byte_for_byte():
    target = "/@user//a/../b;x=1/%2F%2f?x=a@b.com&&=?/:[]{}|^`<>\"'!$*(),~&token=old"
    assert parse_url("https://example.com" + target).target == target


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("", "Enter"),
        ("example.com", "https://"),
        ("ftp://example.com", "https://"),
        ("httpſ://example.com", "https://"),
        ("https:/example.com", "https://"),
        ("https://", "no host"),
        ("https:///x", "no host"),
        ("https://?x", "no host"),
        (" https://example.com", "white space"),
        ("https://example.com\n", "white space"),
        ("https://exa mple.com", "spaces"),
        ("https://example.com/a\u00a0b", "spaces"),
        ("https://exa\tmple.com", "control"),
        ("https://exa\nmple.com", "control"),
        ("https://example.com/\0", "control"),
        ("https://example.com/\x7f", "control"),
        ("https://example.com/\ud800", "control"),
        ("https://example.com/\u202e", "invisible"),
        ("http://127.0.0.1\\@example.com/", "backslash"),
        ("https://user@example.com/", "user name"),
        ("https://user:pass@example.com/", "user name"),
        ("https://@example.com/", "user name"),
        ("https://example.com/#", "fragment"),
        ("https://example.com#x", "fragment"),
        ("https://example.com:", "port"),
        ("https://example.com:0", "port"),
        ("https://example.com:65536", "port"),
        ("https://example.com:٤٤٣", "port"),
        ("https://example.com:-1", "port"),
        ("https://example.com:80:80", "brackets"),
        ("https://::1/", "brackets"),
        ("https://[::1/", "IPv6"),
        ("https://[::1]x/", "IPv6"),
        ("https://[1.2.3.4]/", "IPv6"),
        ("https://[fe80::1%25eth0]/", "scope"),
        ("https://*/", "host name"),
        ("https://a..com", "host name"),
        ("https://.com", "host name"),
        ("https://example.com../", "host name"),
        ("https://exa%6dple.com", "host name"),
        (f"https://{'a' * 64}.com", "host name"),
        ("https://" + "a." * 130 + "com", "host name"),
        ("http://127.1", "number"),
        ("http://2130706433", "number"),
        ("http://0x7f000001", "number"),
        ("http://0x7f.1", "number"),
        ("http://0177.0.0.1", "number"),
        ("http://1.2.3.4.5", "number"),
        ("http://1.2.3.256", "number"),
        ("http://example.0x1", "number"),
        ("http://１２７.0.0.1", "looks like"),
        ("http://①27.0.0.1", "looks like"),
        ("http://²54.1.1.1", "looks like"),
        ("http://ⓛocalhost", "looks like"),
        ("http://\u212aelvin.com", "looks like"),
        ("http://loc\u00adalhost", "invisible"),
        ("http://a\u200bb.com", "invisible"),
        ("http://127。0。0。1", "international"),
        ("http://example．com", "looks like"),
        ("http://☃.example", "international"),
        ("http://\u0308u.example", "international"),
    ],
)
def test_a_url_that_is_not_usable_says_why(url, word):
    with pytest.raises(ValueError, match=r"\.$") as error:
        parse_url(url)
    assert word in str(error.value)
    assert url_error(url) != ""


@given(st.text(max_size=40).map("http://".__add__))
def test_any_text_is_a_plain_host_or_a_sentence(url):
    if error := url_error(url, allowed=[ip_network("0.0.0.0/0"), ip_network("::/0")]):
        assert error.endswith(".")
        return
    endpoint = parse_url(url)
    assert set(endpoint.host) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-.:")
    assert endpoint.target.isascii()
    assert not set(endpoint.target) & set(" \r\n\t\0#\\")


def test_no_character_that_folds_to_ascii_gets_into_a_host():
    folding = [
        character
        for character in map(chr, range(128, 0x110000))
        if unicodedata.normalize("NFKC", character.lower()).isascii()
    ]
    assert len(folding) > 500
    for character in folding:
        assert url_error(f"http://{character}ocalhost.example/"), f"{character!r} got in"


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST.", "a.localhost", "redis", "db.local", "localhost.localdomain"),
        *("x.internal", "router.home.arpa", "nas.lan", "wiki.corp", "a.test", "api.default.svc"),
        *("127.0.0.1", "127.0.0.1.", "10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]"),
        *("[64:ff9b::7f00:1]", "0.0.0.0", "192.88.99.1", "224.0.0.1", "[4000::1]"),
    ],
)
def test_a_place_that_is_not_public_is_refused_with_the_setting_that_opens_it(host):
    assert "WEBHOOKS_ALLOWED_NETWORKS" in url_error(f"https://{host}/hook")


def test_allowed_networks_open_names_without_a_dot_and_their_own_addresses():
    allowed = [ip_network("10.0.0.0/8")]
    for host in ("redis", "db.internal", "10.1.2.3", "example.com", "93.184.216.34"):
        assert url_error(f"http://{host}/", allowed=allowed) == ""
    assert url_error("http://127.0.0.1/", allowed=allowed) != ""


@pytest.mark.parametrize(
    "host", ["example.com", "mylocalhost", "localhost.example.com", "internal.io", "contest.com"]
)
def test_a_suffix_is_a_whole_label(host):
    assert url_error(f"https://{host.replace('mylocalhost', 'mylocalhost.io')}/") == ""


def test_https_can_be_required():
    assert "WEBHOOKS_REQUIRE_HTTPS" in url_error("http://example.com/", require_https=True)
    assert url_error("https://example.com/", require_https=True) == ""


def test_a_url_may_have_2048_characters():
    url = "https://example.com/".ljust(2048, "a")
    assert url_error(url) == ""
    assert "2,048" in url_error(url + "a")


def test_whatever_passes_as_an_address_passes_the_guard():
    for host in ("1.1.1.1", "[2606:4700::1111]"):
        assert url_error(f"http://{host}/") == ""
        assert is_public(parse_url(f"http://{host}/").host)


# Headers


@pytest.mark.parametrize(
    "name",
    [
        *("Host", "HOST", "content-length", "Content_Length", "Transfer-Encoding", "Connection"),
        *("Keep-Alive", "TE", "Trailer", "Upgrade", "Expect", "Proxy-Authorization", "proxy_x"),
        *("Accept-Encoding", "webhook-id", "Webhook-Signature", "webhook_timestamp"),
        *("X-Request-Id", "x_request_id", "Hoſt", "Ｈost", " Host ", "Ⓗost"),
    ],
)
def test_a_header_of_ours_is_refused_with_the_reason_in_any_spelling(name):
    assert "set by us" in header_error(name, "x")["name"][0]


@pytest.mark.parametrize("name", ["Content-Encoding", "content_encoding", "CONTENT-ENCODING"])
def test_a_header_that_says_our_body_is_packed_is_refused(name):
    assert "packed" in header_error(name, "gzip")["name"][0]


@pytest.mark.parametrize(
    "name", ["Content-Type", "User-Agent", "Accept", "X-Api-Key", "x!#$%&'*+-.^_`|~9", "Cookie"]
)
def test_any_other_token_is_a_header_name(name):
    assert header_error(name, "x") == {}


@pytest.mark.parametrize(
    "name", ["", "a b", "a:", "a\r\nb", "ä", "a\0", "\ud800", "a" * 129, "a(", 'a"', "a\t"]
)
def test_what_is_no_token_is_no_header_name(name):
    assert list(header_error(name, "x")) == ["name"]


def test_authorization_is_ours_when_basic_auth_is_set():
    assert header_error("Authorization", "Bearer x") == {}
    assert "basic auth" in header_error("AUTHORIZATION", "x", has_auth=True)["name"][0]


@pytest.mark.parametrize("value", ["x", "a\tb", "grüße 漢字 🙂", 'quo"ted, {{x}} %s', "v" * 1024])
def test_any_text_without_controls_is_a_header_value(value):
    assert header_error("X-Key", value) == {}


@pytest.mark.parametrize(
    "value",
    [
        *("", "a\rb", "a\nb", "a\0b", "a\x1bb", "a\x7fb", "a\x85b", " a", "a ", "\ta", "\ud800"),
        "v" * 1025,
    ],
)
def test_what_would_break_or_lose_a_header_value_is_refused(value):
    assert list(header_error("X-Key", value)) == ["value"]


# A whole webhook


def errors(**changes):
    values = {
        "name": "Orders",
        "url": "https://example.com/hook",
        "token": "t! ?=",
        "headers": [("X-Key", "k")],
        "username": "me",
        "password": "a:b ",
        "allowed": (),
        "require_https": False,
    }
    return webhook_errors(**(values | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"token": "", "headers": [], "username": "", "password": ""},
        {"name": " a ", "password": ""},
        {"name": "🙂" * 1024, "token": "t" * 1024},
        {"username": "u" * 1024, "password": "p" * 1024},
        {"headers": [("X-Same", "1")] * 99},
    ],
)
def test_a_good_webhook_has_no_errors(changes):
    assert errors(**changes) == {}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": " \t\u3000"}, "name"),
        ({"name": "n" * 1025}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"name": "\udc00"}, "name"),
        ({"name": 5}, "name"),
        ({"name": None}, "name"),
        ({"url": "nonsense"}, "url"),
        ({"url": None}, "url"),
        ({"token": "t" * 1025}, "token"),
        ({"token": "\0"}, "token"),
        ({"token": MASK}, "token"),
        ({"headers": [("a", "b")] * 100}, "headers"),
    ],
)
def test_a_wrong_field_has_one_sentence(changes, field):
    details = errors(**changes)
    assert list(details) == [field]
    assert len(details[field]) == 1
    assert details[field][0].endswith((".", "anew."))


@pytest.mark.parametrize(
    ("username", "password", "field"),
    [
        ("a:b", "p", "username"),
        ("", "p", "username"),
        ("u" * 1025, "p", "username"),
        ("\0", "p", "username"),
        ("u", "p" * 1025, "password"),
        ("u", "\0", "password"),
        ("u", MASK, "password"),
    ],
)
def test_wrong_credentials_are_told_below_auth(username, password, field):
    assert list(errors(username=username, password=password)["auth"]) == [field]


def test_a_wrong_header_is_told_by_its_position():
    details = errors(headers=[("X-A", "1"), ("Host", "x"), ("X-B", MASK), ("", "")])
    assert sorted(details["headers"]) == ["1", "2", "3"]
    assert list(details["headers"]["1"]) == ["name"]
    assert "mask" in details["headers"]["2"]["value"][0]
    assert sorted(details["headers"]["3"]) == ["name", "value"]


def test_basic_auth_and_an_authorization_header_exclude_each_other():
    headers = [("authorization", "Bearer x")]
    assert "0" in errors(headers=headers)["headers"]
    assert errors(headers=headers, username="", password="") == {}


def test_all_errors_are_told_at_once():
    assert sorted(errors(name="", url="", token="\0", headers=[("", "x")], username=":")) == [
        *("auth", "headers", "name", "token", "url")
    ]


@pytest.mark.parametrize("character", [*map(chr, range(1, 32)), "\x7f"])
@pytest.mark.parametrize("field", ["username", "password"])
def test_basic_auth_takes_no_control_characters(field, character):
    """RFC 7617, section 2."""
    pair = {"username": "user", "password": "pass"} | {field: f"a{character}b"}
    assert list(validators._auth_error(**pair)) == [field]
    assert not validators._auth_error("usér ", "pass wörd\x80")
