"""What is sent in order, by a worker to real receivers, on the database of the run."""

import random
import threading
import time
from collections import defaultdict
from contextlib import suppress
from datetime import timedelta

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from tests.engine.running import Running
from tests.factories import DeliveryFactory, WebhookFactory
from tests.receivers import Answer, Receiver
from tests.waiting import PATIENCE, until
from webhooks_app import actions
from webhooks_app.models import Delivery, Webhook, states

pytestmark = pytest.mark.django_db(transaction=True)

LATER = timedelta(hours=1)


def arrived(receiver):
    """The numbers that were sent, in their order."""
    return [request.json["n"] for request in receiver.requests]


def deliver(webhook, *numbers, key="", **fields):
    with transaction.atomic():
        return [
            actions.deliver(webhook, {"n": number, "key": key}, ordering_key=key, **fields)
            for number in numbers
        ]


def state_of(delivery):
    delivery.refresh_from_db()
    return delivery.state


class Busy:
    """Answers after a moment, nobody before so many calls were under way at once; and knows how
    many of each key were."""

    def __init__(self, answer=200, delay=0.01, together=1):
        self.answer, self.delay = answer, delay
        self.most = defaultdict(int)
        self._together, self._met = together, threading.Event()
        self._now = defaultdict(int)
        self._lock = threading.Lock()

    def __call__(self, request):
        key = request.json["key"]
        with self._lock:
            self._now[key] += 1
            self.most[key] = max(self.most[key], self._now[key])
            if sum(self._now.values()) >= self._together:
                self._met.set()
        assert self._met.wait(PATIENCE)
        time.sleep(self.delay)
        with self._lock:
            self._now[key] -= 1
        return self.answer(request) if callable(self.answer) else self.answer


def test_all_of_a_webhook_is_sent_one_after_the_other(drain):
    busy = Busy()
    with Receiver(busy) as receiver:
        webhook = WebhookFactory(url=receiver.url, order="webhook")
        deliver(webhook, *range(40), key="a")
        assert drain() == 40
        assert arrived(receiver) == list(range(40))
    assert busy.most == {"a": 1}
    assert not Delivery.objects.pending().exists()


def test_keys_are_sent_beside_each_other_each_in_its_order(drain):
    busy = Busy(together=2)
    with Receiver(busy) as receiver:
        webhook = WebhookFactory(url=receiver.url, order="key", timeout=60)
        for n in range(8):
            for key in "abcd":
                deliver(webhook, n, key=key)
        assert drain() == 32
        by_key = defaultdict(list)
        for request in receiver.requests:
            by_key[request.json["key"]].append(request.json["n"])
    assert dict(by_key) == {key: list(range(8)) for key in "abcd"}
    assert set(busy.most.values()) == {1}


def test_one_that_waits_for_its_next_try_keeps_its_own_key_back_alone(drain, settings):
    settings.WEBHOOKS_RETRY_SCHEDULE = "100"
    bad = {"answer": 500}
    with Receiver(lambda r: bad["answer"] if r.json["key"] == "bad" else 200) as receiver:
        webhook = WebhookFactory(url=receiver.url, order="key")
        first, *behind = deliver(webhook, 0, 1, 2, key="bad")
        deliver(webhook, 3, 4, key="good")
        drain()
        assert sorted(arrived(receiver)) == [0, 3, 4]
        assert [state_of(each) for each in behind] == ["pending"] * 2
        now = timezone.now()
        assert [states.delivery_hold_reason(each, now) for each in (first, *behind)] == [
            "",
            "order",
            "order",
        ]
        # What others look like it changes nothing for: to hurry one behind the head is no use.
        actions.retry(behind[1])
        drain()
        assert sorted(arrived(receiver)) == [0, 3, 4]
        bad["answer"] = 200
        actions.retry(first)
        drain()
        assert arrived(receiver)[-3:] == [0, 1, 2]


def test_what_is_cancelled_keeps_nobody_back(loopback, settings):
    settings.WEBHOOKS_RETRY_SCHEDULE = "100"
    with Receiver(500) as receiver:
        webhook = WebhookFactory(url=receiver.url, order="webhook")
        first, _ = deliver(webhook, 0, 1)
        with Running():
            until(lambda: state_of(first) == "pending" and first.tries == 1, "a try")
            receiver.answer = 200
            actions.cancel(first)
            until(lambda: arrived(receiver) == [0, 1], "the next one")


def test_a_delivery_that_is_planned_keeps_nobody_back_and_joins_when_it_is_due(drain):
    with Receiver() as receiver:
        webhook = WebhookFactory(url=receiver.url, order="webhook")
        [planned] = deliver(webhook, 0, due_at=timezone.now() + LATER)
        deliver(webhook, 1)
        drain()
        assert arrived(receiver) == [1]
        deliver(webhook, 2)
        Delivery.objects.filter(pk=planned.pk).update(due_at=timezone.now())
        drain()
        assert arrived(receiver) == [1, 0, 2]


class TestWhenAllTriesOfOneHaveFailed:
    @pytest.fixture(autouse=True)
    def _one_try(self, settings):
        settings.WEBHOOKS_RETRY_SCHEDULE = ""

    def test_the_next_one_goes(self, drain):
        with Receiver(lambda r: 500 if r.json["n"] == 0 else 200) as receiver:
            webhook = WebhookFactory(url=receiver.url, order="webhook")
            first, second = deliver(webhook, 0, 1)
            drain()
        assert (state_of(first), state_of(second)) == ("failed", "delivered")
        webhook.refresh_from_db()
        assert webhook.stopped == ""

    @pytest.fixture
    def blocked(self, drain):
        """A webhook that was stopped by its first delivery; the second one waits."""
        answers = {0: 500}
        with Receiver(lambda r: answers.get(r.json["n"], 200)) as receiver:
            webhook = WebhookFactory(url=receiver.url, order="webhook", on_dead="stop")
            first, second = deliver(webhook, 0, 1)
            drain()
            webhook.refresh_from_db()
            assert webhook.stopped == "blocked"
            assert (state_of(first), state_of(second)) == ("failed", "pending")
            assert actions.delivery_reason(second) == "blocked"
            answers.clear()
            yield receiver, webhook, first, second
            webhook.refresh_from_db()
            assert webhook.stopped == ""
            assert state_of(second) == "delivered"

    def test_the_webhook_may_be_stopped_until_a_person_retries_it(self, drain, blocked):
        receiver, _, first, _ = blocked
        actions.retry(first, by="mira")
        drain()
        assert arrived(receiver) == [0, 0, 1]

    def test_or_replays_it(self, drain, blocked):
        receiver, webhook, _, _ = blocked
        assert actions.replay(webhook, since=timezone.now() - LATER) == 1
        drain()
        assert arrived(receiver) == [0, 0, 1]

    def test_or_skips_it(self, drain, blocked):
        receiver, _, first, _ = blocked
        actions.cancel(first, by="mira")
        drain()
        assert arrived(receiver) == [0, 1]
        assert state_of(first) == "failed"
        with pytest.raises(actions.Conflict):  # it blocks nothing any more
            actions.cancel(first)

    def test_what_gave_up_long_ago_decides_nothing(self, drain, blocked):
        """It was let go on without; those behind the last one wait for a word about that one."""
        receiver, webhook, first, second = blocked
        before = DeliveryFactory(
            webhook=webhook,
            position=-1,
            state="failed",
            finished_at=timezone.now() - LATER,
            payload=b'{"n": 9}',
        )
        with pytest.raises(actions.Conflict):
            actions.cancel(before)
        actions.retry(before)
        drain()
        webhook.refresh_from_db()
        assert webhook.stopped == "blocked"
        assert arrived(receiver) == [0]
        assert state_of(second) == "pending"
        actions.cancel(first)
        drain()
        assert arrived(receiver) == [0, 9, 1]

    def test_or_enables_the_webhook(self, drain, blocked):
        receiver, webhook, _, _ = blocked
        actions.enable(webhook)
        drain()
        assert arrived(receiver) == [0, 1]

    @pytest.mark.parametrize("then", ["retries", "skips", "enables"])
    def test_one_that_was_under_way_when_the_webhook_was_paused_stops_it_once_it_is_resumed(
        self, drain, then
    ):
        answers = {0: 500}
        with Receiver() as receiver:
            webhook = WebhookFactory(url=receiver.url, order="webhook", on_dead="stop")

            def pauses(request):
                if request.json["n"] == 0 and answers:
                    actions.pause(webhook)
                return answers.get(request.json["n"], 200)

            receiver.answer = pauses
            first, second = deliver(webhook, 0, 1)
            drain()
            assert (state_of(first), state_of(second)) == ("failed", "pending")
            assert actions.delivery_reason(second) == "paused"

            actions.enable(webhook)
            drain()
            assert actions.delivery_reason(Delivery.objects.get(pk=second.pk)) == "blocked"
            assert arrived(receiver) == [0]
            webhook.refresh_from_db()
            assert [head.delivery for head in actions.heads(webhook)] == [first]

            answers.clear()
            {"enables": lambda _: actions.enable(webhook), **self.DECISIONS}[then](first)
            drain()
        assert arrived(receiver) == ([0, 0, 1] if then == "retries" else [0, 1])

    def test_what_was_retried_while_the_webhook_was_paused_stops_it_no_more(self, drain):
        with Receiver() as receiver:
            webhook = WebhookFactory(url=receiver.url, order="webhook", on_dead="stop")
            actions.pause(webhook)
            gave_up = {"state": "failed", "finished_at": timezone.now() + LATER}
            dead = DeliveryFactory(webhook=webhook, position=1, payload=b'{"n": 0}', **gave_up)
            actions.retry(dead)
            actions.enable(webhook)
            drain()
        assert arrived(receiver) == [0]

    @pytest.fixture
    def two_blocked(self, drain):
        """A webhook with two keys of which both first ones gave up together; one waits behind
        each."""
        answers = {0: 500, 1: 500}
        both = threading.Barrier(2, timeout=PATIENCE)

        def answer(request):
            n = request.json["n"]
            if n in answers:
                both.wait()
            return answers.get(n, 200)

        with Receiver(answer) as receiver:
            webhook = WebhookFactory(url=receiver.url, order="key", on_dead="stop")
            first, behind_first = deliver(webhook, 0, 2, key="a")
            second, behind_second = deliver(webhook, 1, 3, key="b")
            drain()
            webhook.refresh_from_db()
            assert webhook.stopped == "blocked"
            assert {head.delivery for head in actions.heads(webhook)} == {first, second}
            assert all(head.is_dead and head.behind == 1 for head in actions.heads(webhook))
            answers.clear()
            yield receiver, webhook, (first, second), (behind_first, behind_second)
            webhook.refresh_from_db()
            assert webhook.stopped == ""
            assert state_of(behind_first) == state_of(behind_second) == "delivered"

    DECISIONS = {"retries": actions.retry, "skips": actions.cancel}

    @pytest.mark.parametrize("then", DECISIONS)
    @pytest.mark.parametrize("at_first", DECISIONS)
    def test_of_two_keys_a_person_decides_on_both(self, drain, two_blocked, at_first, then):
        receiver, webhook, dead, behind = two_blocked
        self.DECISIONS[at_first](dead[0], by="mira")
        drain()
        webhook.refresh_from_db()
        assert webhook.stopped == "blocked"
        assert [head.delivery for head in actions.heads(webhook)] == [dead[1]]
        assert [state_of(each) for each in behind] == ["pending"] * 2
        assert actions.delivery_reason(behind[0]) == "blocked"
        self.DECISIONS[then](dead[1])
        drain()
        again = [n for n, how in enumerate((at_first, then)) if how == "retries"]
        assert sorted(arrived(receiver)[2:]) == sorted([*again, 2, 3])

    def test_or_replays_both(self, drain, two_blocked):
        receiver, webhook, _, _ = two_blocked
        actions.replay(webhook, since=timezone.now() - LATER)
        drain()
        assert sorted(arrived(receiver)[2:]) == [0, 1, 2, 3]

    def test_or_enables_the_webhook_without_them(self, drain, two_blocked):
        receiver, webhook, dead, _ = two_blocked
        actions.enable(webhook)
        drain()
        assert sorted(arrived(receiver)[2:]) == [2, 3]
        with pytest.raises(actions.Conflict):  # they block nothing any more
            actions.cancel(dead[0])


def test_what_waited_when_the_order_was_chosen_goes_first(drain):
    with Receiver() as receiver:
        webhook = WebhookFactory(url=receiver.url, stopped="paused")
        deliver(webhook, 0, 1)
        webhook = actions.update_webhook(webhook, order="webhook")
        deliver(webhook, 2)
        DeliveryFactory(webhook=webhook, payload=b'{"n": 3}')  # by somebody who knows no order
        actions.enable(webhook)
        drain()
        assert sorted(arrived(receiver)[:3]) == [0, 1, 3]
        assert arrived(receiver)[3] == 2


def test_what_one_order_held_goes_before_what_the_other_one_holds(drain):
    with Receiver() as receiver:
        webhook = WebhookFactory(url=receiver.url, order="key", stopped="paused")
        deliver(webhook, 0, 1, key="a")
        webhook = actions.update_webhook(webhook, order="webhook")
        deliver(webhook, 2, 3)
        webhook = actions.update_webhook(webhook, order="key")
        actions.enable(webhook)
        drain()
        # The line beside the keys first; then the keys.
        assert arrived(receiver) == [2, 3, 0, 1]


def test_an_order_that_is_given_up_holds_nothing_any_more(drain, settings):
    settings.WEBHOOKS_RETRY_SCHEDULE = "100"
    with Receiver(500) as receiver:
        webhook = WebhookFactory(url=receiver.url, order="webhook")
        deliver(webhook, 0, 1)
        drain()
        receiver.answer = 200
        actions.update_webhook(webhook, order="")
        drain()
        assert arrived(receiver) == [0, 1]


def test_a_call_says_its_place_and_the_one_before_it(drain, settings):
    settings.WEBHOOKS_RETRY_SCHEDULE = "0"
    with Receiver() as receiver:
        webhook = WebhookFactory(url=receiver.url, order="key")
        other = WebhookFactory(url=receiver.url)
        made = [
            *deliver(webhook, 0, key="a"),
            *deliver(webhook, 1, key="b"),
            *deliver(webhook, 2, 3, key="a"),
        ]
        deliver(other, 4, key="a")
        actions.cancel(made[2])
        drain()
        said = {
            r.json["n"]: (r.header("webhook-sequence"), r.header("webhook-previous"))
            for r in receiver.requests
        }
    places = {n: str(delivery.sequence) for n, delivery in enumerate(made)}
    assert said == {
        0: (places[0], None),
        1: (places[1], None),
        3: (places[3], places[2]),  # which the receiver never got
        4: (None, None),
    }


def test_events_of_a_key_are_sent_in_the_order_in_which_they_were_published(drain):
    with Receiver() as receiver:
        webhook = WebhookFactory(url=receiver.url, order="key", form="standard")
        actions.set_subscriptions(webhook, [{"types": ["order.*"]}])
        for n in range(10):
            actions.publish(webhook.account, "order.paid", {"n": n}, ordering_key="a")
        events = [
            actions.NewEvent(type="order.paid", payload={"n": n}, ordering_key="a")
            for n in range(10, 20)
        ]
        actions.publish_many(webhook.account, events)
        drain()
        assert [r.json["data"]["n"] for r in receiver.requests] == list(range(20))
        assert receiver.requests[0].header("webhook-sequence")


def test_a_large_delivery_keeps_its_place(drain):
    with Receiver() as receiver:
        webhook = WebhookFactory(url=receiver.url, order="webhook")
        with transaction.atomic():
            for n in range(6):
                actions.deliver(webhook, {"n": n, "text": "x" * (20_000 if n % 2 else 0)})
        drain()
        assert arrived(receiver) == list(range(6))
        assert [r.header("webhook-previous") is None for r in receiver.requests] == [True] + [
            False
        ] * 5


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(
            "three of a key at once", marks=pytest.mark.knobs(keys_most=50, keys_at_once=7)
        ),
        pytest.param(
            "one at a time", marks=pytest.mark.knobs(keys_most=50, keys_at_once=7, key_ahead=1)
        ),
        pytest.param(
            "to look through all keys is dear",
            marks=pytest.mark.knobs(
                keys_most=50, keys_at_once=7, key_ahead=1, scan_apart=10_000, scan_latest=0.4
            ),
        ),
    ],
)
def test_more_keys_than_are_remembered_are_all_served(drain, how):
    with Receiver() as receiver:
        webhook = WebhookFactory(url=receiver.url, order="key", max_in_flight=100)
        with transaction.atomic():
            for n in range(3):
                for key in range(150):
                    actions.deliver(webhook, {"n": n, "key": key}, ordering_key=f"{key}")
        assert drain() == 450
        by_key = defaultdict(list)
        for request in receiver.requests:
            by_key[request.json["key"]].append(request.json["n"])
    assert set(map(tuple, by_key.values())) == {(0, 1, 2)}
    assert len(by_key) == 150


# --- while everything happens at once -------------------------------------------------------------


class Producer(threading.Thread):
    """Stores deliveries of some keys in transactions that stay open for a while."""

    def __init__(self, webhook, keys, seed, stop):
        super().__init__()
        self.webhook, self.keys, self.stop = webhook, keys, stop
        self.chance = random.Random(seed)
        self.made = []  # key, id, when it was begun, when it was committed

    def run(self):
        while not self.stop.is_set():
            key = self.chance.choice(self.keys)
            with transaction.atomic():
                began = time.monotonic()
                delivery = actions.deliver(self.webhook, {"key": key}, ordering_key=key)
                time.sleep(self.chance.choice([0, 0, 0.01, 0.05]))
            self.made.append((key, delivery.pk, began, time.monotonic()))
            time.sleep(self.chance.uniform(0, 0.02))
        connection.close()


class People(threading.Thread):
    """Retry, cancel, pause and resume whatever they find."""

    def __init__(self, webhook, seed, stop):
        super().__init__()
        self.webhook, self.stop = webhook, stop
        self.chance = random.Random(seed)
        self.cancelled = set()

    def run(self):
        while not self.stop.is_set():
            with suppress(actions.ActionError, OperationalError):
                self.act(self.chance.choice(["retry", "retry", "cancel", "pause", "enable"]))
            time.sleep(self.chance.uniform(0, 0.05))
        connection.close()

    def act(self, verb):
        webhook = Webhook.objects.get(pk=self.webhook.pk)
        if verb in ("pause", "enable"):
            actions.pause(webhook)
            time.sleep(0.02)
            actions.enable(webhook)
            return
        rows = list(Delivery.objects.filter(webhook=webhook).order_by("-pk")[:20])
        if rows:
            delivery = self.chance.choice(rows)
            if verb == "cancel":
                self.cancelled.add(delivery.pk)
            getattr(actions, verb)(delivery)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.prove) for seed in range(1, 30))]
)
@pytest.mark.parametrize("order", ["key", "webhook"])
def test_the_promise_holds_whatever_is_answered_and_whatever_people_do(
    loopback, settings, seed, order
):
    settings.WEBHOOKS_RETRY_SCHEDULE = "0,0.02,0.05,0.1"
    chance, stop = random.Random(seed), threading.Event()
    answers = [200] * 30 + [500] * 3 + [503] * 2 + [429, 410, Answer(delay=0.4)]

    def answer(request):
        return 200 if stop.is_set() else chance.choice(answers)

    with Receiver(answer) as receiver:
        more = {"timeout": 0.2, "breaker_off": True}
        webhook = WebhookFactory(url=receiver.url, order=order, **more)
        producers = [Producer(webhook, list("abc"), seed + n, stop) for n in range(3)]
        people = People(webhook, seed, stop)
        with Running():
            for thread in (*producers, people):
                thread.start()
            time.sleep(1.5)
            until(lambda: sum(len(each.made) for each in producers) > 10, "load")
            stop.set()
            for thread in (*producers, people):
                thread.join()
            # Whoever answers well is in time from now on, also on a slow machine.
            webhook = actions.update_webhook(Webhook.objects.get(pk=webhook.pk), timeout=60)

            def ended():
                # A 410 of before may come, or be written down, after it was resumed.
                if Webhook.objects.filter(pk=webhook.pk, stopped="gone").exists():
                    actions.enable(webhook)
                return not Delivery.objects.pending().exists()

            actions.enable(webhook)
            until(ended, "nothing pending")
        first = {}
        for place, request in enumerate(receiver.requests):
            first.setdefault(request.header("webhook-id"), place)
    made = [each for producer in producers for each in producer.made]
    lost = {ident for _, ident, *_ in made} - first.keys() - people.cancelled
    assert lost == set()
    assert broken(made, first, people.cancelled, by_key=order == "key") == []


def broken(made, first, cancelled, *, by_key):
    """The pairs of which the one was committed before the other was begun, and came later."""
    sent = [each for each in made if each[1] in first and each[1] not in cancelled]
    return [
        (one, other)
        for one in sent
        for other in sent
        if (one[0] == other[0] or not by_key)
        and one[3] < other[2]
        and first[one[1]] > first[other[1]]
    ]
