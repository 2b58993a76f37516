"""The resolver against a name server of the test's own on loopback, on both event loops."""

import asyncio
from pathlib import Path

import pytest
import uvloop

from tests.nameserver import AAAA, A, NameServer
from webhooks_app.engine.http.resolver import NameFailure, Resolver

pytestmark = pytest.mark.once


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run(server, scenario, **limits):
        async def main():
            resolver = Resolver([f"127.0.0.1:{server.address[1]}"], **limits)
            try:
                return await scenario(resolver)
            finally:
                await resolver.close()

        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main())

    return run


def failure(run, records, host, **limits):
    with NameServer(records) as server, pytest.raises(NameFailure) as error:
        run(server, lambda resolver: resolver.resolve(host), **limits)
    return f"{error.value.failure.kind}: {error.value.failure.message}"


V4, V6 = b"\x5d\xb8\xd8\x22", b"\x26\x06" + b"\0" * 13 + b"\1"


def test_a_name_gives_all_its_addresses_of_both_families(run):
    records = {("hook.example.com", A): [V4, b"\1\1\1\1"], ("hook.example.com", AAAA): [V6]}
    with NameServer(records) as server:
        found = run(server, lambda resolver: resolver.resolve("hook.example.com"))
    assert sorted(found) == ["1.1.1.1", "2606::1", "93.184.216.34"]


def test_one_family_is_enough(run):
    records = {("six.example.com", AAAA): [V6], ("six.example.com", A): []}
    with NameServer(records) as server:
        assert run(server, lambda r: r.resolve("six.example.com")) == ["2606::1"]


def test_a_name_that_does_not_exist(run):
    line = "dns: getaddrinfo ENOTFOUND no.example.com"
    assert failure(run, {}, "no.example.com") == line


def test_a_name_without_addresses_is_told_as_one_that_does_not_exist(run):
    line = "dns: getaddrinfo ENOTFOUND mail.example.com"
    assert failure(run, {"mail.example.com": []}, "mail.example.com") == line


def test_a_server_that_fails_is_a_passing_failure(run):
    line = "dns_temp: getaddrinfo EAI_AGAIN hook.example.com"
    assert failure(run, {"hook.example.com": 2}, "hook.example.com") == line


def test_a_server_that_keeps_silent_is_a_passing_failure(run):
    silent = {"hook.example.com": None}
    line = "dns_temp: getaddrinfo EAI_AGAIN hook.example.com"
    assert failure(run, silent, "hook.example.com", wait=0.2, tries=1) == line


@pytest.mark.parametrize("host", ["a" * 64 + ".com", "a..com", "", ".", "\0.com"])
def test_an_odd_name_is_a_failure_and_nothing_else(run, host):
    assert failure(run, {}, host).split(":")[0] in ("dns", "dns_temp")


@pytest.mark.parametrize("host", ["localhost", "LocalHost.", "shop.localhost"])
def test_localhost_is_the_loopback_and_no_name_server_is_asked(run, host):
    with NameServer({}) as server:
        found = run(server, lambda resolver: resolver.resolve(host))
        assert set(found) == {"127.0.0.1", "::1"}
        assert server.asked == []


def test_names_of_the_hosts_file_are_known_without_a_name_server(run):
    names = Path("/etc/hosts").read_text().partition("127.0.0.1")[2].split()
    own = next((name for name in names if "localhost" not in name and name.isalnum()), None)
    if own is None:
        pytest.skip("/etc/hosts knows no name of its own")
    with NameServer({}) as server:
        assert "127.0.0.1" in run(server, lambda resolver: resolver.resolve(own))


def test_search_domains_never_apply(run, monkeypatch):
    monkeypatch.setenv("LOCALDOMAIN", "internal.example.com")  # resolv.conf's `search`
    records = {("redis.prod.internal.example.com", A): [b"\x0a\0\0\1"]}
    records |= {("redis.internal.example.com", A): [b"\x0a\0\0\1"]}
    for host in ("redis.prod", "redis"):
        with NameServer(records) as server:
            with pytest.raises(NameFailure):
                run(server, lambda resolver, host=host: resolver.resolve(host))
            assert set(server.asked) == {host}


def test_hanging_names_delay_nobody_and_can_be_cancelled(run):
    async def scenario(resolver):
        hanging = [asyncio.create_task(resolver.resolve(f"slow{n}.example.com")) for n in range(50)]
        await asyncio.sleep(0.05)
        found = await resolver.resolve("hook.example.com")
        still = sum(not task.done() for task in hanging)
        for task in hanging:
            task.cancel()
        ended = await asyncio.gather(*hanging, return_exceptions=True)
        return found, still, {type(result) for result in ended}

    records = {f"slow{n}.example.com": None for n in range(50)}
    records |= {("hook.example.com", A): [V4], ("hook.example.com", AAAA): []}
    with NameServer(records) as server:
        found, still, ended = run(server, scenario)
    assert found == ["93.184.216.34"]
    assert still == 50
    assert ended == {asyncio.CancelledError}
