"""What waits for the fast door: bounded, and nobody's flood is another's wait."""

import threading
from collections import Counter

import pytest

from project.fair_queue import FairQueue
from tests.waiting import PATIENCE

pytestmark = pytest.mark.once


def filled(queue, lane, number, size=1):
    return sum(queue.put(lane, (lane, place), size) for place in range(number))


def test_each_lane_keeps_its_order_and_has_its_turn():
    queue = FairQueue(100)
    filled(queue, "a", 5)
    filled(queue, "b", 2)
    filled(queue, "c", 1)
    taken = queue.take(most=100, size=100)
    assert taken == [
        *[("a", 0), ("b", 0), ("c", 0)],
        *[("a", 1), ("b", 1)],
        *[("a", 2), ("a", 3), ("a", 4)],
    ]


def test_who_floods_leaves_room_for_every_other():
    queue = FairQueue(1000)
    found = [filled(queue, lane, 5000) for lane in range(8)]
    assert found[0] == 500
    assert min(found) > 0
    assert sum(found) <= 1000
    queue.take(most=2000, size=2000)
    assert queue.put("late", None, 500)
    assert not queue.put("late", None, 1)


def test_who_comes_while_several_flood_finds_room_once_the_first_of_theirs_is_taken():
    """Of 64 MiB, in bulks as large as may be. The floods go on."""
    queue = FairQueue(64)
    floods = range(4)
    for lane in floods:
        filled(queue, lane, 64, size=5)
    assert not queue.put("late", None, 5)
    for _ in range(50):
        queue.take(most=1, size=0)
        assert queue.put("late", None, 5)
        while queue.take(most=1, size=0) != [None]:
            for lane in floods:
                filled(queue, lane, 64, size=5)


def test_a_group_is_cut_by_number_and_by_size_but_has_one_at_least():
    queue = FairQueue(1000)
    filled(queue, "a", 3, size=100)
    assert len(queue.take(most=2, size=1000)) == 2
    filled(queue, "a", 2, size=100)
    assert len(queue.take(most=9, size=250)) == 2
    assert len(queue.take(most=9, size=1)) == 1


def test_of_two_floods_each_group_holds_as_much_of_both():
    queue = FairQueue(10_000)
    filled(queue, "a", 3000)
    filled(queue, "b", 100)
    group = queue.take(most=50, size=10_000)
    assert Counter(lane for lane, _ in group) == {"a": 25, "b": 25}


def test_who_takes_waits_until_something_comes_or_it_is_closed():
    queue, found = FairQueue(10), []
    thread = threading.Thread(target=lambda: [found.append(queue.take(9, 9)) for _ in range(2)])
    thread.start()
    assert queue.put("a", 1, 1)
    while not found:
        thread.join(0.01)
    queue.close()
    thread.join(PATIENCE)
    assert found == [[1], []]
    assert not queue.put("a", 2, 1)


def served(queue, number):
    """A queue that has just served so many."""
    filled(queue, "a", number)
    assert len(queue.take(most=99, size=99)) == number
    queue.expect_again()


def test_those_who_were_served_last_are_given_a_moment_to_come_again():
    queue, found = FairQueue(100), []
    served(queue, 3)
    thread = threading.Thread(target=lambda: found.append(queue.take(9, 9, patience=600)))
    thread.start()
    for place in range(3):
        assert queue.put("a", place, 1)
        thread.join(0.01)
    thread.join(PATIENCE)
    assert found == [[0, 1, 2]]


def test_with_those_who_came_meanwhile_they_are_waited_for_but_never_for_more_than_a_group():
    queue = FairQueue(100)
    filled(queue, "a", 2)
    queue.take(most=2, size=9)
    filled(queue, "b", 1)
    queue.expect_again()
    filled(queue, "a", 2)
    assert len(queue.take(9, 9, patience=600)) == 3
    served(queue, 5)
    filled(queue, "a", 4)
    assert len(queue.take(4, 9, patience=600)) == 4


def test_one_that_is_alone_waits_for_nobody():
    queue = FairQueue(100)
    served(queue, 1)
    filled(queue, "a", 1)
    assert len(queue.take(9, 9, patience=600)) == 1
    served(queue, 5)
    filled(queue, "a", 1)
    assert len(queue.take(9, 9, patience=0.01)) == 1
    filled(queue, "a", 1)
    assert len(queue.take(9, 9, patience=600)) == 1


def test_a_queue_that_is_closed_waits_for_nobody():
    queue, found = FairQueue(100), []
    served(queue, 3)
    thread = threading.Thread(target=lambda: found.append(queue.take(9, 9, patience=600)))
    thread.start()
    filled(queue, "a", 1)
    queue.close()
    thread.join(PATIENCE)
    assert found == [[("a", 0)]]
