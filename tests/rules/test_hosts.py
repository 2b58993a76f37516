"""The host of a URL, and how else URLs write the same one."""

import pytest

from webhooks_app.rules.hosts import LIMIT, NO_HOST, host_of, read_host, spellings


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Shop.Example.com/hooks?token=secret", "shop.example.com"),
        ("https://shop.example.com:443", "shop.example.com"),
        ("http://shop.example.com:80/", "shop.example.com"),
        ("https://shop.example.com:8443?a=/b", "shop.example.com:8443"),
        ("https://blumen-köln.example/x", "xn--blumen-kln-lcb.example"),
        ("https://[2001:db8::1]:8443/x", "[2001:db8::1]:8443"),
        ("nonsense", NO_HOST),
        ("https://user:pass@example.com/", NO_HOST),
    ],
)
def test_the_host_is_what_a_call_names(url, host):
    assert host_of(url) == host


@pytest.mark.parametrize("text", ["", "a/b", "a?b", "a#b", "a b", "\0", "x" * (LIMIT + 1), "a:b:c"])
def test_what_is_no_host_is_refused(text):
    with pytest.raises(ValueError, match=r"\w"):
        read_host(text)


def test_a_host_is_found_however_urls_write_it():
    for typed in ("shop.example.com", "SHOP.example.com", "shop.example.com:443"):
        assert {"shop.example.com", "shop.example.com:443", "shop.example.com:80"} <= set(
            spellings(typed)
        )
    assert spellings("shop.example.com:8443") == {"shop.example.com:8443"}
    for typed in ("blumen-köln.example", "xn--blumen-kln-lcb.example"):
        assert {"blumen-köln.example", "xn--blumen-kln-lcb.example"} <= set(spellings(typed))
