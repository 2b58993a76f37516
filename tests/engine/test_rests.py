"""Lanes that rest, by a rate of their webhook's own or because the receiver asked for a pause."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from tests.factories import DeliveryFactory, WebhookFactory
from tests.receivers import Answer, Each, Receiver
from webhooks_app import actions
from webhooks_app.engine.handover import Loaded, Memory
from webhooks_app.engine.knobs import DEFAULT, Knobs
from webhooks_app.engine.lanes import Lanes
from webhooks_app.engine.line import Found
from webhooks_app.engine.store import Claimed, Head
from webhooks_app.models import Attempt, Delivery, Webhook, WebhookHealth, states
from webhooks_app.models.webhook import SLOTS
from webhooks_app.rules.rates import TOLERANCE, Rate

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
WEBHOOK = "5f" + "0" * 22
LOADED = Loaded(version=1, top=10, timeout=10, url="", head=None)


def row(number):
    ident = f"{number:024x}"
    place = (NOON + timedelta(seconds=number), ident)
    return Claimed(ident, WEBHOOK, 0, b"{}", "", "", place, 1)


class Played:
    """The lane of one webhook on a clock of the test's own."""

    def __init__(self, rate="", knobs=DEFAULT, now=1000.0, **loaded):
        self.now, self.numbers = now, 0
        self.lanes = Lanes(knobs=knobs)
        self.lanes.own(frozenset(range(SLOTS)))
        self.lanes.meet([WEBHOOK])
        self.load(rate, **loaded)

    def load(self, rate="", **loaded):
        rate = Rate.read(rate) if rate else None
        self.lanes.load(WEBHOOK, replace(LOADED, rate=rate, **loaded), self.now)

    @property
    def lane(self):
        return self.lanes.get(WEBHOOK)

    def due(self, number):
        """So many more are due; how many of them wait in memory."""
        for _ in range(number):
            self.numbers += 1
            new = row(self.numbers)
            self.lanes.arrive(WEBHOOK, [new], new.place[0] - timedelta(seconds=1), self.now)
        return self.lanes.buffered

    def claimed(self):
        """What a claim finds is put into the lane."""
        for want in self.lanes.wants(self.now, 1000):
            rows = [row(number) for number in range(1, self.numbers + 1)]
            after = want.after or (NOON, "")
            rows = [one for one in rows if one.place > after][: want.room]
            self.lanes.fill(want, rows, self.now)
        return self.lanes.buffered

    def sent(self):
        """What goes out now, all that may."""
        taken = list(iter(lambda: self.lanes.take(self.now), None))
        return [int(one.id, 16) for _, one in taken]

    def answered(self, number=1, *, ok=True, away=False):
        for _ in range(number):
            self.lanes.landed(self.lane, ok=ok, away=away, now=self.now)

    def refused(self, after=None):
        """A call is answered 429."""
        self.lanes.landed(self.lane, ok=False, away=False, now=self.now)
        self.lanes.rest(self.lane, after, self.now)

    def told(self):
        """Seconds and how often it was asked, as people are told now."""
        return [(round(left, 3), asked) for _, left, asked in self.lanes.rests.news(self.now)]


@pytest.mark.once
class TestARate:
    def test_lets_one_go_and_the_next_after_the_interval(self):
        played = Played("100/minute")
        played.due(5)
        assert played.sent() == [1]
        played.now += 0.59
        assert played.sent() == []
        played.now += 0.01
        assert played.sent() == [2]

    def test_counts_what_went_out_before_the_cap_did(self):
        played = Played("4/second", top=2)
        played.due(4)
        played.now += 60
        assert played.sent() == [1, 2]  # its cap; the tolerance would let it
        played.now += 60
        assert played.sent() == []
        played.answered(2)
        assert played.sent() == [3, 4]

    def test_others_go_on_beside_it(self):
        played = Played("1/hour")
        played.due(2)
        other = "6" + "0" * 23
        played.lanes.meet([other])
        played.lanes.load(other, LOADED, played.now)
        rows = [replace(row(100 + n), webhook_id=other) for n in range(5)]
        played.lanes.arrive(other, rows, NOON, played.now)
        assert sorted(played.sent()) == [1, 100, 101, 102, 103, 104]

    def test_that_is_raised_holds_at_once(self):
        played = Played("1/hour")
        played.due(3)
        assert played.sent() == [1]
        assert played.sent() == []
        played.load("1000/second", version=2)
        played.now += 0.01
        assert played.sent() == [2, 3]

    def test_that_is_taken_away_lets_all_go(self):
        played = Played("1/hour")
        played.due(3)
        assert played.sent() == [1]
        assert played.told() == [(3600.0, 0)]
        played.load(version=2)
        assert played.sent() == [2, 3]
        played.now += 1
        assert played.told() == [(0, 0)]  # and people hear of it

    def test_that_is_loaded_again_goes_on(self):
        played = Played("1/hour")
        played.due(2)
        assert played.sent() == [1]
        played.load("1/hour", version=2)
        played.now += 3599
        assert played.sent() == []
        played.now += 1
        assert played.sent() == [2]

    def test_is_not_forgotten_with_an_idle_lane(self):
        played = Played("1/hour")
        played.due(1)
        assert played.sent() == [1]
        played.answered()
        played.lanes.recorded(WEBHOOK, f"{1:024x}")
        played.lanes.prune(played.now + 3599)
        assert played.lane is not None
        played.lanes.prune(played.now + 3601)
        assert played.lane is None

    def test_goes_on_with_the_worker_that_owns_the_webhook_next(self):
        played = Played("1/hour", rest_left=1800.0)
        played.due(1)
        played.now += 1799
        assert played.sent() == []
        played.now += 1
        assert played.sent() == [1]
        # What was told ahead of a fast one holds up nobody.
        played = Played("100/second", rest_left=2.5)
        played.due(1)
        played.now += 0.01
        assert played.sent() == [1]


@pytest.mark.once
class TestPeopleAreTold:
    def test_of_no_rest_that_is_shorter_than_a_second(self):
        played = Played("100/minute")
        played.due(2)
        assert played.sent() == [1]
        assert played.sent() == []
        assert played.told() == []

    def test_when_the_next_may_go(self):
        played = Played("2/minute")
        played.due(2)
        played.sent()
        assert played.told() == [(30.0, 0)]
        assert played.told() == []

    def test_while_more_waits_than_goes_out_and_not_each_time(self):
        played = Played("10/second", top=100)
        played.due(50)
        told = []
        for tick in range(600):
            played.now = 1000 + tick * 0.01
            played.sent()
            told += [(tick * 0.01, left, asked) for left, asked in played.told()]
        assert len(told) == 2  # the first of five seconds, renewed before it was over
        assert all(left == pytest.approx(3, abs=0.5) for _, left, _ in told)
        assert told[1][0] - told[0][0] >= 1
        played.now += 10
        assert played.sent() == []
        assert played.told() == []

    def test_of_what_waits_in_order_behind_the_one_that_goes_next(self):
        played = Played("2/second", order="key")
        played.lanes.mark([WEBHOOK], None)
        (question,) = played.lanes.lines.questions(played.now)
        played.lanes.answer(Found(question, keys=["a"]), played.now)
        (question,) = played.lanes.lines.questions(played.now)
        rows = [replace(row(number), key="a") for number in range(20)]
        played.lanes.answer(Found(question, [Head(WEBHOOK, "a", rows)]), played.now)
        lane, first = played.lanes.take(played.now)
        played.answered()
        played.lanes.lines.follow(lane, first, again=False)
        assert played.sent() == []
        assert played.told() == [(3.0, 0)]  # nine seconds are too far ahead to tell

    def test_of_a_pause_at_once_and_of_a_longer_one_after_a_second(self):
        played = Played()
        played.due(3)
        played.sent()
        played.refused(10)
        assert played.told() == [(10.0, 1)]
        played.now += 0.2
        played.refused(100)
        assert played.told() == []
        played.now += 0.8
        assert played.told() == [(99.2, 1)]


@pytest.mark.once
class TestAPause:
    def test_keeps_nothing_in_memory_and_begins_again_with_one(self):
        played = Played()
        played.due(12)
        assert len(played.sent()) == 10
        played.refused(30)
        assert played.lanes.buffered == 0
        played.now += 29
        played.answered(9)  # they had begun before
        assert played.claimed() == 0
        assert not played.lanes.hungry(played.now)
        played.now += 1
        assert played.claimed() == 2
        assert played.sent() == [11]
        played.answered()
        assert played.sent() == [12]
        assert played.lane.cap == 2

    def test_of_one_second_doubles_up_to_sixty_until_a_call_goes_well(self):
        played = Played()
        pauses = []
        for _ in range(8):
            played.due(1)
            played.claimed()
            played.sent()
            played.refused()
            pauses.append(round(played.lane.rest.until - played.now, 3))
            played.now = played.lane.rest.until
        assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
        played.due(1)
        played.claimed()
        played.sent()
        played.answered()
        played.due(1)
        played.sent()
        played.refused()
        assert played.lane.rest.until - played.now == pytest.approx(1)

    def test_of_many_answers_at_once_is_one(self):
        played = Played()
        played.due(10)
        played.sent()
        for _ in range(10):
            played.refused()
        assert played.lane.rest.until - played.now == pytest.approx(1)

    @pytest.mark.parametrize(("asked", "seconds"), [(86_400, 3600), (0, 1), (7, 7)])
    def test_is_as_long_as_asked_for_and_an_hour_at_the_most(self, asked, seconds):
        played = Played()
        played.due(1)
        played.sent()
        played.refused(asked)
        assert played.lane.rest.until - played.now == pytest.approx(seconds)

    def test_goes_on_with_the_worker_that_owns_the_webhook_next(self):
        played = Played(rest_left=20.0, rests=3)
        assert played.due(1) == 0
        played.now += 20
        assert played.claimed() == 1
        assert played.sent() == [1]
        assert played.lane.cap == 1
        played.refused()
        assert played.lane.rest.until - played.now == pytest.approx(8)

    def test_that_people_end_is_over(self):
        played = Played(top=2)
        played.due(4)
        assert played.sent() == [1, 2]
        played.refused(3600)
        assert played.lanes.rests.some_asked(played.now) == []  # nobody can have heard of it
        played.told()
        assert played.lanes.rests.some_asked(played.now) == [WEBHOOK]
        played.now += 1
        played.refused(3600)  # what is asked for anew people have not ended
        played.lanes.rests.end(WEBHOOK)
        assert played.claimed() == 0
        played.told()
        played.lanes.rests.end(WEBHOOK)
        assert played.lanes.rests.some_asked(played.now) == []
        assert played.claimed() == 2

    def test_is_asked_for_some_in_turn_while_it_lasts(self):
        lanes = Lanes(knobs=Knobs(webhooks_asked=2))
        lanes.own(frozenset(range(SLOTS)))
        ids = [f"{n:020x}0000" for n in range(5)]
        lanes.meet(ids)
        for place, ident in enumerate(ids):
            lanes.rest(lanes.get(ident), 10 if place else 1, 1000.0)
        lanes.rests.news(1000.0)
        seen = [lanes.rests.some_asked(1002.0) for _ in range(5)]
        assert {ident for some in seen for ident in some} == set(ids[1:])
        assert max(map(len, seen)) <= 2


@pytest.mark.once
@pytest.mark.parametrize(("after", "off"), [(3, False), (25, False), (10, True)])
def test_a_breaker_opens_after_as_many_failures_as_its_webhook_says(after, off):
    played = Played(breaker_after=0 if off else after)
    opened = []
    for number in range(1, 40):
        played.lane.in_flight += 1
        said = played.lanes.landed(played.lane, ok=False, away=True, now=played.now)
        if said == "opened":
            opened.append(number)
            break
    assert opened == ([] if off else [after])


# --- a whole worker ------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
class TestAWorker:
    def test_keeps_a_rate_of_deliveries_and_their_retries(self, drain, settings):
        settings.WEBHOOKS_RETRY_SCHEDULE = "0"
        with Receiver(Each(500, 200)) as receiver:
            webhook = WebhookFactory(url=receiver.url, rate_count=10, rate_seconds=1)
            actions.deliver_many([(webhook, {"n": n}) for n in range(8)])
            assert drain() == 9
        # By the worker's clock: the receiver of a busy machine may note a call late.
        begun = sorted(
            attempt.ended_at - timedelta(milliseconds=attempt.duration_ms)
            for attempt in Attempt.objects.all()
        )
        # Eight intervals; who is late catches up with a part of them.
        assert (begun[-1] - begun[0]).total_seconds() > 0.8 - TOLERANCE - 0.02

    def test_lets_the_whole_webhook_rest_after_a_429_and_loses_no_tries(self, drain):
        with Receiver(Answer(429, headers=(("Retry-After", "100"),))) as receiver:
            webhook = WebhookFactory(url=receiver.url, max_in_flight=1)
            actions.deliver_many([(webhook, {"n": n}) for n in range(5)])
            assert drain() == 1
            assert drain() == 0  # and the next worker keeps to it
        assert sorted(Delivery.objects.values_list("tries", flat=True)) == [0, 0, 0, 0, 1]
        health = WebhookHealth.objects.get(pk=webhook.pk)
        left = (health.rests_until - timezone.now()).total_seconds()
        assert 60 < left <= 100
        assert (health.rests, health.breaker_trips) == (1, 0)
        assert actions.hold_reason(Webhook.objects.get(pk=webhook.pk)) == "rate"

    def test_goes_on_once_a_person_has_ended_the_rest(self, drain):
        with Receiver(Each(Answer(503, headers=(("Retry-After", "1000"),)), 200)) as receiver:
            webhook = WebhookFactory(url=receiver.url, max_in_flight=1)
            actions.deliver_many([(webhook, {"n": n}) for n in range(3)])
            drain()
            assert len(receiver.requests) == 1
            actions.close_breaker(webhook)
            drain()
            assert len(receiver.requests) == 3

    @pytest.mark.parametrize("status", [500, 503])
    def test_rests_for_no_other_answer(self, drain, status):
        with Receiver(Each(status, 200)) as receiver:
            webhook = WebhookFactory(url=receiver.url, max_in_flight=1)
            actions.deliver_many([(webhook, {"n": n}) for n in range(3)])
            assert drain() == 3
        assert WebhookHealth.objects.get(pk=webhook.pk).rests_until is None

    def test_calls_that_somebody_waits_for_go_all_the_same(self, loopback):
        until = timezone.now() + timedelta(hours=1)
        with Receiver({"responses": []}) as receiver:
            webhook = WebhookFactory(
                url=receiver.url,
                rate_count=1,
                rate_seconds=3600,
                health={"rests_until": until, "rests": 1},
            )
            for _ in range(3):
                actions.interact(webhook, {})
            assert actions.test(webhook).ok
        health = WebhookHealth.objects.get(pk=webhook.pk)
        assert health.rests_until == until

    def test_tries_again_by_the_schedule_of_its_webhook(self, drain, settings):
        settings.WEBHOOKS_RETRY_SCHEDULE = "1000"
        with Receiver(500) as receiver:
            once = WebhookFactory(url=receiver.url, retry_schedule="")
            thrice = WebhookFactory(url=receiver.url, retry_schedule="0,0")
            site = WebhookFactory(url=receiver.url)
            first = [actions.deliver(webhook, {}) for webhook in (once, thrice, site)]
            actions.update_webhook(thrice, retry_schedule=[])
            drain()
        made = [Delivery.objects.get(pk=delivery.pk) for delivery in first]
        assert [(one.state, one.tries, one.max_tries) for one in made] == [
            ("failed", 1, 1),
            ("failed", 3, 3),
            ("pending", 1, 2),
        ]

    def test_of_an_event_too(self, account):
        webhooks = [WebhookFactory(account=account, retry_schedule=own) for own in ("", "7", None)]
        for webhook in webhooks:
            actions.set_subscriptions(webhook, [{"types": ["*"]}])
        actions.publish(account, "order.created", {})
        kept = dict(Delivery.objects.values_list("webhook", "retry_schedule"))
        site = "5,300,1800,7200,18000,36000,36000"
        assert [kept[webhook.pk] for webhook in webhooks] == ["", "7", site]


@pytest.mark.django_db
@pytest.mark.parametrize(("after", "off"), [(3, False), (12, False), (3, True)])
def test_interactions_open_the_breaker_as_their_webhook_says(after, off):
    from webhooks_app.rules import failures
    from webhooks_app.testing import FakeReceiver

    webhook = WebhookFactory(breaker_after=after, breaker_off=off)
    made = 0
    with FakeReceiver(failures.hang_up()):
        for _ in range(15):
            try:
                actions.interact(webhook, {})
            except actions.ExchangeFailed:
                made += 1
            except actions.NotCallable:
                break
    assert made == (15 if off else after)


@pytest.mark.django_db
def test_the_worker_reads_limits_and_rests(reader):
    until = timezone.now() + timedelta(seconds=100)
    webhook = WebhookFactory(
        rate_count=100,
        rate_seconds=60,
        breaker_off=True,
        health={"rests_until": until, "rests": 2},
    )
    plain = WebhookFactory(breaker_after=7)
    loaded = reader.load([webhook.pk, plain.pk]).loaded
    one = loaded[webhook.pk]
    assert (str(one.rate), one.rests, one.breaker_after) == ("100/minute", 2, 0)
    assert 0 < one.rest_left <= 100
    other = loaded[plain.pk]
    assert (other.rate, other.rest_left, other.rests, other.breaker_after) == (None, 0.0, 0, 7)
    assert reader.changes(Memory(resting=[webhook.pk])).rested == []
    actions.close_breaker(webhook)
    assert reader.changes(Memory(resting=[webhook.pk])).rested == [webhook.pk]


@pytest.mark.django_db
def test_a_delivery_that_waits_for_a_rate_says_so_on_every_face(account):
    until = timezone.now() + timedelta(minutes=5)
    own = WebhookFactory(
        account=account, rate_count=10, rate_seconds=60, health={"rests_until": until}
    )
    asked = WebhookFactory(account=account, health={"rests_until": until, "rests": 1})
    own, asked = (Webhook.objects.get(pk=webhook.pk) for webhook in (own, asked))
    assert "its rate limit of 10/minute" in states.hold_sentence(own, "rate")
    assert "receiver asked for a pause" in states.hold_sentence(asked, "rate")
    delivery = DeliveryFactory(webhook=asked)
    assert states.delivery_hold_reason(delivery, timezone.now()) == "rate"
    held = states.held_deliveries(timezone.now())
    assert held["rate"].get() == delivery
    assert not Attempt.objects.exists()


@pytest.mark.django_db
def test_another_rate_ends_what_the_one_before_held_back_and_no_pause_of_the_receiver(account):
    until = timezone.now() + timedelta(minutes=50)
    rate = {"account": account, "rate_count": 1, "rate_seconds": 3600}
    own = WebhookFactory(**rate, health={"rests_until": until})
    asked = WebhookFactory(**rate, health={"rests_until": until, "rests": 1})
    for webhook in (own, asked):
        actions.update_webhook(webhook, rate_limit=None)
    held = [
        states.hold_reason(Webhook.objects.get(pk=webhook.pk), timezone.now())
        for webhook in (own, asked)
    ]
    assert held == ["", "rate"]
