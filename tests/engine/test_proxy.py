"""The egress proxy, played by a real CONNECT proxy; every test runs on asyncio and on uvloop."""

import base64
import os
import socket
import sys

import pytest

from tests import processes
from tests.engine.exchanges import failed, request
from tests.receivers import Answer, ConnectProxy, Receiver, StubResolver, closed_port
from webhooks_app import conf

pytestmark = pytest.mark.once


@pytest.fixture
def through(settings, post):
    """One exchange through a proxy; the Outcome."""

    def through(proxy, url, **options):
        settings.WEBHOOKS_PROXY = proxy if isinstance(proxy, str) else proxy.url
        return post(url, **options)

    return through


@pytest.mark.parametrize("tls", ["", "good"])
def test_the_proxy_is_told_the_judged_address_and_the_receiver_the_name(through, tls):
    names = StubResolver({"hook.example.com": ["127.0.0.1"]})
    with ConnectProxy() as proxy, Receiver(Answer(200, "ok"), tls=tls) as receiver:
        outcome = through(proxy, receiver.url_for("hook.example.com"), resolver=names)
    assert (failed(outcome), outcome.body) == ("", b"ok")
    address = f"127.0.0.1:{receiver.port}"
    assert proxy.asked == [[f"CONNECT {address} HTTP/1.1", f"Host: {address}"]]
    assert receiver.requests[0].header("host") == f"hook.example.com:{receiver.port}"
    assert (outcome.address, receiver.connections) == (address, 1)
    assert not [name for name, _ in receiver.requests[0].headers if name.startswith("Proxy")]


def test_the_certificate_must_be_the_receivers_through_a_proxy_too(through):
    names = StubResolver({"hook.example.com": ["127.0.0.1"]})
    with ConnectProxy() as proxy, Receiver(tls="wrong-host") as receiver:
        outcome = through(proxy, receiver.url_for("hook.example.com"), resolver=names)
    assert (outcome.failure.kind, receiver.requests) == ("tls_host", [])


def test_an_ipv6_address_is_asked_for_in_brackets(through):
    with ConnectProxy() as proxy, Receiver(host="::1") as receiver:
        assert through(proxy, receiver.url).failure is None
    assert proxy.asked[0][0] == f"CONNECT [::1]:{receiver.port} HTTP/1.1"


def test_user_and_password_of_the_proxy_go_to_the_proxy_alone(through):
    with ConnectProxy(credentials="me:p%40ss%3Aw") as proxy, Receiver() as receiver:
        assert through(proxy, receiver.url).failure is None
    pair = base64.b64encode(b"me:p@ss:w").decode()
    assert f"Proxy-Authorization: Basic {pair}" in proxy.asked[0]
    assert pair not in str(receiver.requests[0].headers)


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["93.184.216.34", "10.0.0.1"]])
def test_a_blocked_address_is_never_asked_of_the_proxy(run, settings, addresses):
    names = StubResolver({"hook.example.com": addresses})
    with ConnectProxy() as proxy, Receiver() as canary:
        settings.WEBHOOKS_PROXY = proxy.url
        url = canary.url_for("hook.example.com")
        outcome = run(lambda s: s.send(request(url), timeout=20), resolver=names)
    assert outcome.failure.kind == "blocked"
    assert (proxy.asked, canary.connections) == ([], 0)


def test_the_proxy_itself_may_be_internal_and_a_public_name_goes_through_it(run, settings):
    names = StubResolver({"hook.example.com": ["93.184.216.34"], "squid": ["127.0.0.1"]})
    with ConnectProxy(b"HTTP/1.1 503 No\r\n\r\n") as proxy:
        settings.WEBHOOKS_PROXY = f"http://squid:{proxy.port}"
        outcome = run(
            lambda s: s.send(request("http://hook.example.com/"), timeout=20), resolver=names
        )
    assert proxy.asked[0][0] == "CONNECT 93.184.216.34:80 HTTP/1.1"
    assert failed(outcome) == "proxy: proxy: status 503 for 93.184.216.34:80 (WEBHOOKS_PROXY)"


def test_an_address_of_the_proxy_that_drops_packets_leaves_time_for_the_next(
    run, settings, full_backlog
):
    names = StubResolver(
        {"hook.example.com": ["93.184.216.34"], "squid": ["127.0.0.1", "127.0.0.2"]}
    )
    settings.WEBHOOKS_PROXY = f"http://squid:{full_backlog}"
    with ConnectProxy(b"HTTP/1.1 403 No\r\n\r\n", at=("127.0.0.2", full_backlog)) as proxy:
        outcome = run(
            lambda s: s.send(request("http://hook.example.com/"), timeout=20), resolver=names
        )
    assert failed(outcome) == "proxy: proxy: status 403 for 93.184.216.34:80 (WEBHOOKS_PROXY)"
    assert len(proxy.asked) == 1


def test_the_next_address_is_asked_for_when_the_proxy_refuses_one(through):
    names = StubResolver({"hook.example.com": ["127.0.0.1", "::1"]})
    with ConnectProxy(b"HTTP/1.1 403 Forbidden\r\n\r\n") as proxy:
        outcome = through(proxy, "http://hook.example.com:81/", resolver=names)
    assert [asked[0].split(" ")[1] for asked in proxy.asked] == ["127.0.0.1:81", "[::1]:81"]
    assert failed(outcome) == "proxy: proxy: status 403 for [::1]:81 (WEBHOOKS_PROXY)"
    assert not outcome.our_fault


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (b"HTTP/1.1 407 Authenticate\r\nContent-Length: 0\r\n\r\n", "password (407)"),
        (b"", "closed the connection"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20_000, "too long"),
    ],
)
def test_a_proxy_that_is_of_no_use_is_a_fault_of_ours_and_stands_in_the_log(
    through, caplog, answer, word
):
    with ConnectProxy(answer, credentials="me:secret-of-the-proxy") as proxy:
        outcome = through(proxy, "http://127.0.0.1:9/")
    assert outcome.our_fault
    assert word in outcome.failure.message
    assert "WEBHOOKS_PROXY" in caplog.text
    assert "secret" not in caplog.text


def test_a_proxy_that_is_away_is_a_fault_of_ours(through):
    with closed_port() as port:
        outcome = through(f"http://127.0.0.1:{port}", "http://127.0.0.1:9/")
    assert outcome.our_fault
    assert f"connect ECONNREFUSED 127.0.0.1:{port}" in outcome.failure.message


def test_a_proxy_whose_name_is_unknown_is_a_fault_of_ours(through):
    assert through("http://squid:3128", "http://127.0.0.1:9/").our_fault


def test_a_proxy_that_keeps_silent_ends_at_the_deadline(through):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        proxy = f"http://127.0.0.1:{silent.getsockname()[1]}"
        outcome = through(proxy, "http://127.0.0.1:9/", timeout=0.4)
    assert failed(outcome) == "connect_timeout: timeout of 400ms exceeded"
    assert outcome.duration_ms < 30_000


def test_a_server_that_greets_through_the_tunnel_is_not_http(through):
    with ConnectProxy(b"HTTP/1.1 200 OK\r\n\r\n220 mail.example.com ESMTP\r\n") as proxy:
        assert through(proxy, "http://127.0.0.1:25/").failure.kind == "not_http"


def test_lines_through_another_proxy_are_not_used_again(run, settings, loopback):
    async def scenario(sender):
        for place in ("", proxy.url, proxy.url):
            settings.WEBHOOKS_PROXY = place
            outcome = await sender.send(request(receiver.url), timeout=20)
            yield failed(outcome), len(proxy.asked)

    async def collected(sender):
        return [told async for told in scenario(sender)]

    with ConnectProxy() as proxy, Receiver(Answer(200, "ok")) as receiver:
        assert run(collected) == [("", 0), ("", 1), ("", 1)], "its own line is used again"


def test_proxies_of_the_environment_are_never_asked(loopback):
    code = (
        "import django; django.setup(); import asyncio, sys;"
        "from tests.engine.exchanges import request;"
        "from webhooks_app.engine.http.sender import Sender;"
        "print(asyncio.run(Sender().send(request(sys.argv[1]), timeout=60)).status)"
    )
    with ConnectProxy() as proxy, Receiver(204) as receiver:
        names = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
        environment = os.environ | dict.fromkeys(names, proxy.url)
        environment["WEBHOOKS_ALLOWED_NETWORKS"] = "127.0.0.0/8"
        told = processes.run(
            [sys.executable, "-c", code, receiver.url],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert (told.stdout.strip(), proxy.asked) == ("204", []), told.stderr


# Ports


@pytest.mark.parametrize("ports", ["443", "443, 8443", [443]])
def test_a_port_that_is_not_allowed_is_refused_before_anything_happens(run, settings, ports):
    settings.WEBHOOKS_ALLOWED_PORTS = ports
    settings.WEBHOOKS_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    with Receiver() as canary:
        outcome = run(lambda s: s.send(request(canary.url), timeout=20))
    assert failed(outcome) == (
        f"port: blocked: port {canary.port} is not allowed (WEBHOOKS_ALLOWED_PORTS)"
    )
    assert canary.connections == 0


def test_a_port_that_is_allowed_is_called(post, settings):
    with Receiver() as receiver:
        settings.WEBHOOKS_ALLOWED_PORTS = f"443,{receiver.port}"
        assert post(receiver.url).failure is None


# The settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("WEBHOOKS_ALLOWED_PORTS", value) for value in ("0", "65536", "https", "80;443", "-1")],
        *[
            ("WEBHOOKS_PROXY", value)
            for value in (
                *("proxy:3128", "https://proxy:3128", "socks5://proxy:1080", "http://proxy"),
                *("http://proxy:99999", "http://:3128", "http://proxy:3128/path", "http://[::1"),
            )
        ],
    ],
)
def test_an_unreadable_setting_names_itself_and_not_its_value(settings, name, value):
    setattr(settings, name, value)
    with pytest.raises(conf.ImproperlyConfigured, match=name) as error:
        conf.validate()
    assert "99999" not in str(error.value)


def test_the_password_of_the_proxy_is_not_in_its_repr(settings):
    settings.WEBHOOKS_PROXY = "http://me:secret@10.0.0.1:3128"
    assert conf.settings.proxy == conf.Proxy("10.0.0.1", 3128, "Basic bWU6c2VjcmV0")
    assert "bWU6" not in repr(conf.settings.proxy)


def test_without_the_settings_there_is_no_proxy_and_any_port(settings):
    assert (conf.settings.proxy, conf.settings.allowed_ports) == (None, frozenset())
    settings.WEBHOOKS_PROXY = ""
    assert conf.settings.proxy is None
