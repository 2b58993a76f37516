"""Whose calls wait in a process, when receivers hang."""

import asyncio
import threading

import pytest

from tests.api.conftest import Api, problem
from tests.factories import AccountFactory, WebhookFactory
from tests.receivers import Receiver
from tests.waiting import PATIENCE
from webhooks_app import actions
from webhooks_app.engine.http import bridge
from webhooks_app.engine.http.bridge import EngineLoop, LoopEnded, NoSlot
from webhooks_app.models import AccessToken


class Hanging:
    """Calls that hang in an engine loop of their own, each in a thread, until it is left."""

    def __init__(self):
        self.loop = EngineLoop()
        self._end = threading.Event()
        self._threads = []

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._end.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        self.loop.close()

    def call(self, account, webhook):
        """Whether there was a slot for one more."""
        taken = threading.Event()
        refused = []

        async def hang(sender):
            taken.set()
            while not self._end.is_set():
                await asyncio.sleep(0.01)

        def run():
            try:
                self.loop.run(hang, account=account, webhook=webhook)
            except NoSlot as reason:
                refused.append(str(reason))
                taken.set()

        thread = threading.Thread(target=run)
        thread.start()
        self._threads.append(thread)
        assert taken.wait(PATIENCE)
        return refused[0] if refused else ""

    def fill(self, account, *webhooks):
        """How many of each webhook's calls find a slot, one after the other."""
        counts = []
        for webhook in webhooks:
            count = 0
            while not self.call(account, webhook):
                count += 1
            counts.append(count)
        return counts


@pytest.mark.once
def test_one_accounts_hanging_calls_leave_slots_for_everybody_else(settings):
    settings.WEBHOOKS_CONCURRENCY = 60
    with Hanging() as hanging:
        assert hanging.fill(1, "a") == [20]  # a third of all
        assert "webhook" in hanging.call(1, "a")
        assert hanging.fill(1, "b", "c") == [10, 0]  # half of all
        assert "account" in hanging.call(1, "d")
        fills = [hanging.fill(account, f"{account}x", f"{account}y") for account in (2, 3, 4)]
        assert [sum(fill) for fill in fills] == [15, 8, 4]
        assert [hanging.fill(account, f"{account}") for account in (5, 6, 7)] == [[1], [1], [1]]


@pytest.mark.once
def test_slots_that_are_given_back_can_be_taken_again(settings):
    settings.WEBHOOKS_CONCURRENCY = 1

    async def work(sender):
        return 7

    engine = EngineLoop()
    assert [engine.run(work, account=1, webhook="a") for _ in range(3)] == [7, 7, 7]
    assert not engine._of_account
    assert not engine._of_webhook
    engine.close()


@pytest.mark.django_db(transaction=True)
def test_who_is_over_his_share_is_503_and_the_others_are_answered(settings, account, loopback):
    settings.WEBHOOKS_CONCURRENCY = 9
    other = AccountFactory()
    with Receiver({"responses": []}) as receiver, Hanging() as hanging:
        hooks = [WebhookFactory(account=who, url=receiver.url) for who in (account, account, other)]
        apis = [Api(AccessToken.issue(who)[1]) for who in (account, account, other)]
        before = bridge.replace(hanging.loop)
        try:
            hanging.fill(account.pk, hooks[0].pk, "another")
            answers = [
                api.post(f"/webhooks/{hook.pk}/interactions", {})
                for api, hook in zip(apis, hooks, strict=True)
            ]
        finally:
            bridge.replace(before)
        assert len(receiver.requests) == 1
    for answer, whose in zip(answers, ("webhook", "account"), strict=False):
        assert problem(answer, 503)["message"].startswith(f"Too many calls of this {whose}")
        assert int(answer["Retry-After"]) >= 1
    assert answers[2].status_code == 200


@pytest.fixture
def ours():
    """A loop of this test in the place of the process's own."""
    before = bridge.replace(EngineLoop())
    yield bridge.shared()
    bridge.shared().close()
    bridge.replace(before)


def ended(engine):
    """Its thread has ended, as it does when there is no memory for a callback."""
    engine._loop.call_soon_threadsafe(engine._loop.stop)
    engine._thread.join(PATIENCE)
    assert not engine.is_alive


@pytest.mark.once
@pytest.mark.django_db
def test_in_place_of_a_loop_that_has_ended_another_is_started(ours, account, loopback, caplog):
    with Receiver({"responses": []}) as receiver:
        hook = WebhookFactory(account=account, url=receiver.url)
        ended(ours)
        assert actions.interact(hook, {}) == {"responses": [], "attributes": {}}
        assert actions.interact(hook, {}) == {"responses": [], "attributes": {}}
    assert [line.getMessage() for line in caplog.records if line.levelname == "ERROR"] == [
        "the loop for calls that somebody waits for has ended; another is started"
    ]


@pytest.mark.once
def test_who_waits_when_the_loop_ends_is_told_and_does_not_wait_for_ever(ours, monkeypatch):
    monkeypatch.setattr(bridge, "LOOKED_AFTER", 0.01)

    async def work(sender):
        ours._loop.stop()
        await ours._loop.create_future()

    with pytest.raises(LoopEnded):
        ours.run(work, account=1, webhook="a")
    assert not ours._of_account  # its slot is free
