"""What a worker keeps of each webhook, where two threads come between each other."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from webhooks_app.engine.knobs import DEFAULT, Knobs
from webhooks_app.engine.lanes import Lanes
from webhooks_app.engine.store import Claimed
from webhooks_app.models.webhook import SLOTS

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
WEBHOOK = "5f" + "0" * 22


def row(number):
    ident = f"{number:024x}"
    place = (NOON + timedelta(seconds=number), ident)
    return Claimed(ident, WEBHOOK, 0, b"{}", "", "", place, 1)


@pytest.fixture
def lanes():
    """One lane that was read up to its fifth delivery."""
    lanes = Lanes()
    lanes.own(frozenset(range(SLOTS)))
    lanes.mark([WEBHOOK], None)
    (want,) = lanes.wants(0, 1000)
    lanes.fill(want, [row(number) for number in range(5)], 9)
    lanes.get(WEBHOOK).version = 1
    return lanes


def sent(lanes, now=9.0):
    """Numbers of what is sent now, in that order."""
    taken = iter(lambda: lanes.take(now), None)
    return [int(claimed.id, 16) for _, claimed in taken]


def test_a_lane_that_is_emptied_while_it_is_claimed_for_is_read_again_in_order(lanes):
    lane, first = lanes.take(0)
    lanes.mark([WEBHOOK], row(4).place[0])
    (want,) = lanes.wants(0, 1000)
    lanes.our_fault(lane, first.id, 0)  # in the event loop, before the database answers
    lanes.fill(want, [row(4), row(5)], 9)
    (want,) = lanes.wants(9, 1000)
    lanes.fill(want, [row(number) for number in range(6)], 9)
    assert sent(lanes) == [0, 1, 2, 3, 4, 5]


def test_what_arrives_follows_what_is_known(lanes):
    lanes.arrive(WEBHOOK, [row(6), row(4), row(5)], row(3).place[0], 0)
    assert sent(lanes) == list(range(7))
    assert not lanes.hungry(9)


def test_what_arrives_before_all_is_known_is_claimed_in_its_turn(lanes):
    lanes.mark([WEBHOOK], row(4).place[0])
    lanes.arrive(WEBHOOK, [row(7)], row(6).place[0], 0)
    (want,) = lanes.wants(0, 1000)
    lanes.fill(want, [row(number) for number in range(4, 8)], 9)
    assert sent(lanes) == list(range(8))


def test_more_than_there_is_room_for_is_claimed_later(lanes):
    many = [row(number) for number in range(5, 40)]
    lanes.arrive(WEBHOOK, many, row(4).place[0], 0)
    assert sent(lanes) == [0, 1, 2, 3, 4]
    (want,) = lanes.wants(9, 1000)
    assert want.after <= many[0].place


def test_nothing_is_kept_of_what_arrives_for_a_held_webhook(lanes):
    lanes.hold(WEBHOOK)
    assert lanes.expect([row(5)], [], 0) == ({}, [], [])
    lanes.arrive(WEBHOOK, [row(5)], row(4).place[0], 0)
    assert sent(lanes) == []
    lanes.free(WEBHOOK)
    (want,) = lanes.wants(9, 1000)
    assert want.after is None


def test_nothing_waits_in_memory_for_an_open_breaker(lanes):
    sent(lanes)
    for _ in range(5):
        lanes.landed(lanes.get(WEBHOOK), ok=True, away=False, now=9)
    lanes.mark([WEBHOOK], row(4).place[0])
    (want,) = lanes.wants(9, 1000)
    lanes.trip(lanes.get(WEBHOOK), 39.0, 1)
    lanes.fill(want, [row(4), row(5)], 9)
    assert lanes.buffered == 0
    assert not lanes.hungry(9)
    (want,) = lanes.wants(40, 1000)
    lanes.fill(want, [row(4), row(5)], 40)
    assert sent(lanes, 40.0) == [5]


def many(number):
    return [f"{n:020x}0000" for n in range(number)]


class TestManyAreAskedForInTurn:
    """What a turn asks the database for stays small, however many webhooks fail and retry."""

    MANY = 10_000

    @pytest.fixture
    def crowd(self):
        lanes = Lanes(knobs=Knobs(buffer_low=3 * self.MANY))
        lanes.own(frozenset(range(SLOTS)))
        lanes.mark(many(self.MANY), None)
        return lanes

    def turns(self, ask):
        """Asks until every webhook was asked for; how many turns that took."""
        seen, turns = set(), 0
        while len(seen) < self.MANY:
            asked = ask()
            assert 0 < len(asked) <= DEFAULT.webhooks_asked
            seen.update(asked)
            turns += 1
            assert turns < 1000
        return turns

    def test_that_wait_in_memory(self, crowd):
        wants, place = [], 0
        while found := crowd.wants(0, 10_000):
            wants += found
            for want in found:
                rows = [replace(row(place + n), webhook_id=want.webhook_id) for n in range(2)]
                place += 2
                crowd.fill(want, rows, 1.0)
        assert crowd.buffered == 2 * self.MANY
        assert (
            self.turns(lambda: crowd.some_waiting(2.0)) <= self.MANY // DEFAULT.webhooks_asked + 2
        )
        ids = [ident for _, ids in crowd.some_waiting(2.0).values() for ident in ids]
        assert len(ids) <= DEFAULT.rows_asked + 1
        assert crowd.some_waiting(0.5) == {}  # what came just now is not asked for

    def test_that_are_held(self, crowd):
        for webhook_id in many(self.MANY):
            crowd.hold(webhook_id)
        assert self.turns(crowd.some_held) <= self.MANY // DEFAULT.webhooks_asked + 2

    def test_whose_breakers_are_open(self, crowd):
        for webhook_id in many(self.MANY):
            crowd.trip(crowd.get(webhook_id), 99.0, 1)
        assert self.turns(crowd.some_open) <= self.MANY // DEFAULT.webhooks_asked + 2

    def test_and_few_are_asked_for_each_time(self, lanes):
        assert lanes.some_waiting(9.0).keys() == {WEBHOOK}
        assert lanes.some_waiting(9.0).keys() == {WEBHOOK}


class TestManyFail:
    """Ten thousand webhooks fail and retry; one that does not waits for none of them."""

    FRESH = "6" + "0" * 23

    @pytest.fixture
    def storm(self):
        """Of each of them more is due than it sends at once, and all have failed."""
        lanes = Lanes()
        lanes.own(frozenset(range(SLOTS)))
        self.numbers = count(1)
        lanes.mark(many(10_000), None)
        for webhook_id in many(10_000):
            lanes.set_behind(lanes.get(webhook_id), True)
        self.claim(lanes)
        return lanes

    def claim(self, lanes):
        """What a turn claims, of as many as may be asked for; for whom."""
        wants = lanes.wants(9.0, 1000)
        assert len(wants) <= 2 * DEFAULT.claimed_for
        for want in wants:
            rows = [row(next(self.numbers)) for _ in range(want.room)]
            lanes.fill(want, [replace(r, webhook_id=want.webhook_id) for r in rows], 9.0)
        return [want.webhook_id for want in wants]

    def arrive(self, lanes, number):
        lanes.meet([self.FRESH])
        rows = [replace(row(number + n), webhook_id=self.FRESH) for n in range(5)]
        lanes.arrive(self.FRESH, rows, NOON, 9.0)

    def test_what_arrives_goes_by_turns_with_theirs(self, storm):
        assert storm.buffered >= DEFAULT.buffer_low
        self.arrive(storm, 10**9)
        lanes = [storm.take(9.0)[0] for _ in range(10)]
        assert sum(lane.webhook_id == self.FRESH for lane in lanes) == 5

    def test_what_was_only_noticed_is_claimed_first(self, storm):
        storm.mark([self.FRESH], None)
        assert self.claim(storm)[0] == self.FRESH

    def test_their_own_arrivals_wait_in_the_database_when_enough_waits_in_memory(self, storm):
        waiting = storm.buffered
        (first, *_) = many(10_000)
        storm.arrive(first, [replace(row(10**9), webhook_id=first)], NOON, 9.0)
        assert storm.buffered == waiting

    def test_they_get_half_however_much_the_others_have(self, storm):
        others = [f"7{n:019x}0000" for n in range(100)]
        storm.mark(others, None)
        self.claim(storm)
        taken = [storm.take(9.0)[0].behind for _ in range(1000)]
        assert sum(taken) == 500

    def test_who_has_caught_up_is_none_of_them_any_more(self, lanes):
        lane, _ = lanes.take(9.0)
        lanes.landed(lane, ok=False, away=False, now=9.0)
        for _ in range(4):
            assert lane.behind
            lanes.take(9.0)
            lanes.landed(lane, ok=True, away=False, now=9.0)
        assert not lane.behind

    def test_who_is_pruned_between_two_tries_is_behind_at_the_next(self):
        lanes = Lanes()
        lanes.own(frozenset(range(SLOTS)))
        lanes.mark([WEBHOOK], None)
        (want,) = lanes.wants(0, 1000)
        lanes.fill(want, [row(1)], 9.0)
        lane, claimed = lanes.take(9.0)
        lanes.landed(lane, ok=False, away=False, now=9.0)
        lanes.recorded(WEBHOOK, claimed.id)
        lanes.prune()
        assert lanes.get(WEBHOOK) is None
        lanes.mark([WEBHOOK], None)
        assert lanes.get(WEBHOOK).behind
