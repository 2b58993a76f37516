"""What a worker keeps of each webhook, where two threads come between each other."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from webhooks_app.engine.handover import Loaded
from webhooks_app.engine.knobs import DEFAULT, Knobs
from webhooks_app.engine.lanes import Lanes
from webhooks_app.engine.line import Found
from webhooks_app.engine.store import Claimed, Head
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
        lanes.prune(9.0)
        assert lanes.get(WEBHOOK) is None
        lanes.mark([WEBHOOK], None)
        assert lanes.get(WEBHOOK).behind


def learned(version=2, **words):
    """What is loaded of the webhook."""
    known = {"top": 8, "timeout": 5.0, "url": "https://receiver.example.com/hook", "head": None}
    return Loaded(version=version, **(known | words))


@pytest.fixture
def unknown():
    """A lane of which nothing is loaded, with something due."""
    lanes = Lanes()
    lanes.own(frozenset(range(SLOTS)))
    lanes.mark([WEBHOOK], None)
    return lanes


class TestWhatIsLoaded:
    @pytest.mark.parametrize(
        ("words", "cap", "open_until", "behind"),
        [
            ({}, 8, 0.0, False),
            ({"is_failing": True}, 8, 0.0, True),
            ({"is_back": True}, 1, 0.0, False),  # people let it go on: it begins with one call
            ({"breaker_trips": 5, "breaker_left": 30.0}, 1, 39.0, False),
            ({"breaker_trips": 5}, 1, 9.0, False),  # its time is up: the next call is the probe
        ],
    )
    def test_of_a_lane_that_begins(self, unknown, words, cap, open_until, behind):
        unknown.load(WEBHOOK, learned(**words), 9.0)
        lane = unknown.get(WEBHOOK)
        assert (lane.cap, lane.top, lane.version) == (cap, 8, 2)
        assert (lane.breaker.until, lane.behind) == (open_until, behind)

    @pytest.mark.parametrize(
        ("cap", "top", "wanted"),
        [(8, 20, 20), (1, 20, 1), (8, 4, 4), (2, 4, 2)],
        ids=["raised", "raised on the way back", "lowered", "lowered on the way back"],
    )
    def test_a_cap_that_was_changed_holds_and_the_way_back_goes_on(self, unknown, cap, top, wanted):
        unknown.load(WEBHOOK, learned(), 9.0)
        unknown.get(WEBHOOK).cap = cap
        unknown.load(WEBHOOK, learned(3, top=top), 10.0)
        assert (unknown.get(WEBHOOK).cap, unknown.get(WEBHOOK).top) == (wanted, top)

    def test_an_open_breaker_is_none_of_the_news_of_a_lane_that_is_known(self, unknown):
        unknown.load(WEBHOOK, learned(), 9.0)
        unknown.load(WEBHOOK, learned(3, breaker_trips=2, breaker_left=60.0), 10.0)
        assert unknown.get(WEBHOOK).breaker.until == 0.0

    def test_one_call_after_a_breaker_and_twice_as_many_with_each_success(self, unknown):
        unknown.load(WEBHOOK, learned(breaker_trips=1), 9.0)
        (want,) = unknown.wants(9.5, 1000)
        unknown.fill(want, [row(number) for number in range(min(want.room, 20))], 9.5)
        flown = []
        for _ in range(4):
            flown.append(len(sent(unknown, 10.0)))
            lane = unknown.get(WEBHOOK)
            for _ in range(lane.in_flight):
                unknown.landed(lane, ok=True, away=False, now=10.0)
            if more := unknown.wants(10.0, 1000):
                first = 100 * len(flown)
                unknown.fill(more[0], [row(first + n) for n in range(more[0].room)], 10.0)
        assert flown == [1, 2, 8, 8]


class TestWhatArrives:
    def arrived(self, lanes, *rows, others=()):
        by_webhook, stale, later = lanes.expect(rows, others, 9.0)
        ids = {ident: [int(r.id, 16) for r in found] for ident, found in by_webhook.items()}
        return ids, stale, sorted(later)

    def test_of_a_webhook_that_is_loaded_goes_at_once(self, lanes):
        lanes.get(WEBHOOK).loaded_at = 9.0
        assert self.arrived(lanes, row(7), row(8)) == ({WEBHOOK: [7, 8]}, [], [])

    @pytest.mark.parametrize("loaded_at", [9.0 - DEFAULT.loaded_most, 9.0])
    def test_of_one_that_was_changed_or_loaded_long_ago_it_is_loaded_first(self, lanes, loaded_at):
        lanes.get(WEBHOOK).loaded_at = loaded_at
        lanes.get(WEBHOOK).version = 1 if loaded_at < 9.0 else 2
        assert self.arrived(lanes, row(7)) == ({WEBHOOK: [7]}, [WEBHOOK], [])

    def test_of_one_that_may_not_be_called_is_left_to_a_claim(self, lanes):
        assert self.arrived(lanes, row(7), others=[WEBHOOK]) == ({}, [], [WEBHOOK])

    def test_nobody_waits_until_those_are_loaded_that_fail(self, lanes):
        lanes.set_behind(lanes.get(WEBHOOK), True)
        lanes.get(WEBHOOK).version = 2
        assert self.arrived(lanes, row(7), row(8)) == ({}, [], [WEBHOOK])

    def test_so_many_are_loaded_at_once_and_no_more(self):
        lanes = Lanes(knobs=Knobs(loads_most=2))
        lanes.own(frozenset(range(SLOTS)))
        ids = many(4)
        rows = [replace(row(n), webhook_id=ids[n % 4]) for n in range(8)]
        by_webhook, stale, later = lanes.expect(rows, [], 9.0)
        assert (sorted(stale), sorted(later)) == (ids[:2], ids[2:])
        assert {ident: len(found) for ident, found in by_webhook.items()} == dict.fromkeys(stale, 2)


def test_keys_that_wait_are_asked_again_of_each_webhook_however_many_one_has():
    lanes = Lanes(knobs=Knobs(keys_reminded=3))
    lanes.own(frozenset(range(SLOTS)))
    keys = dict(zip(many(2), ("abcdefgh", "z"), strict=True))
    lanes.mark(keys, None)
    for webhook_id in keys:
        lanes.load(webhook_id, learned(order="key"), 9.0)

    def asked():
        """What is asked, where each head waits for its next try."""
        found = []
        while questions := lanes.lines.questions(9.0):
            for question in questions:
                webhook_id, asked = question.webhook_id, [each.key for each in question.asked]
                heads = [Head(webhook_id, key, waits=True) for key in asked]
                scanned = list(keys[webhook_id]) if question.scan else []
                lanes.answer(Found(question, heads, keys=scanned), 9.0)
                found += asked
        return sorted(found)

    assert asked() == list("abcdefghz")
    reminded = []
    for _ in range(4):
        lanes.lines.remind()
        reminded.append("".join(asked()))
    assert reminded == ["abc", "dez", "fgz", "ahz"]
