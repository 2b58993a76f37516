"""One who asks for much leaves the others their share of a web process."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.test import override_settings

from project.serving import Site, Turns
from tests.api.doors import SiteApi
from tests.factories import AccountFactory
from tests.waiting import PATIENCE, until
from webhooks_app.models import AccessToken

pytestmark = pytest.mark.once


@pytest.fixture
def threads():
    with ThreadPoolExecutor(8) as pool:
        yield pool


class Held:
    """A turn that is taken in a thread, and given back when it is told to."""

    def __init__(self, turns, asker, threads):
        self.has, self.ends = threading.Event(), threading.Event()
        self.done = threads.submit(self._hold, turns, asker)

    def _hold(self, turns, asker):
        with turns.taken(asker):
            self.has.set()
            assert self.ends.wait(PATIENCE)

    def end(self):
        self.ends.set()
        self.done.result(PATIENCE)


def test_a_turn_is_left_for_others_and_those_that_wait_have_theirs_in_order(threads):
    turns = Turns(3)
    greedy = [Held(turns, "greedy", threads) for _ in range(4)]
    until(lambda: sum(one.has.is_set() for one in greedy) == 2, "all but one turn")
    other = Held(turns, "other", threads)
    assert other.has.wait(PATIENCE)
    assert sum(one.has.is_set() for one in greedy) == 2
    other.end()
    Held(turns, "another", threads).end()
    for one in sorted(greedy, key=lambda one: not one.has.is_set()):
        assert one.has.wait(PATIENCE)
        one.end()
    for asker in ("greedy", "other"):
        Held(turns, asker, threads).end()
    turns.close()


def test_where_there_is_one_turn_it_is_everybodys(threads):
    turns = Turns(1)
    for asker in ("one", "other", "one"):
        Held(turns, asker, threads).end()
    turns.close()


class Busy(Site):
    """Answers nobody until it is told to."""

    def __init__(self):
        super().__init__()
        self.go_on = threading.Event()

    def _respond(self, scope, body, asker):
        assert self.go_on.wait(PATIENCE)
        return 200, [], b"{}"


def request(site, **headers):
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    async def ask():
        pairs = [(name.encode(), text.encode()) for name, text in headers.items()]
        scope = {"type": "http", "method": "GET", "path": "/webhooks", "headers": pairs}
        await site(scope | {"query_string": b""}, receive, send)
        return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]

    return ask()


def asker(site, secret):
    header = (b"authorization", f"Bearer {secret}".encode())
    return site.askers.of({"headers": [(b"host", b"testserver"), header]})


@pytest.mark.django_db(transaction=True)
def test_the_tokens_of_an_account_are_one_who_asks_while_they_are_good(account):
    site = Site()
    (first, one), (_, two) = (AccessToken.issue(account) for _ in range(2))
    _, others = AccessToken.issue(AccountFactory())
    try:
        assert len({asker(site, secret) for secret in (one, two, others)}) == 3
        for secret in (one, two, others):
            assert SiteApi(site, secret).get("/webhooks").status_code == 200
        assert asker(site, one) == asker(site, two) != asker(site, others)
        first.revoke()
        assert SiteApi(site, one).get("/webhooks").status_code == 401
        assert asker(site, one) not in (asker(site, two), asker(site, others))
    finally:
        site.close()


@override_settings(WEBHOOKS_CONCURRENCY=2)
def test_one_token_has_half_of_the_threads_and_is_told_so_beyond_them():
    site = Busy()

    async def scenario():
        asked = [
            asyncio.create_task(request(site, authorization=f"{scheme} whk_a"))
            for scheme in ("Bearer", "bearer", "Bearer  ", "BEARER", "Bearer", "bearer ", "Bearer")
        ]
        done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE)
        others = [
            asyncio.create_task(request(site, authorization="Bearer whk_b")),
            *(asyncio.create_task(request(site)) for _ in range(2)),
        ]
        site.go_on.set()
        return [each.result() for each in done], await asyncio.gather(*asked, *others)

    refused, answers = asyncio.run(scenario())
    assert [status for status, _, _ in answers] == [200] * 5 + [503] * 2 + [200] * 3
    status, headers, body = refused[0]
    assert (status, headers[b"retry-after"]) == (503, b"1")
    assert "more requests under way" in json.loads(body)["status"]["message"]
