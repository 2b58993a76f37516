"""The threads of the fast door are closed and opened again while requests come."""

import sys
import threading

import pytest

from project.door_threads import Threads

pytestmark = pytest.mark.once


@pytest.fixture
def in_turns():
    """Python changes from thread to thread as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_what_comes_while_they_are_closed_is_taken_and_served(in_turns):
    served, each, putters = [], 5000, 4

    def serve(waiting):
        while found := waiting.take(10, 10):
            served.extend(found)

    threads = Threads("door", 1, 1000, serve)
    taken = []

    def put(who):
        for number in range(each):
            taken.append(threads.put(who, (who, number), 0))

    running = [threading.Thread(target=put, args=(who,)) for who in range(putters)]
    for thread in running:
        thread.start()
    while any(thread.is_alive() for thread in running):
        threads.close()
    threads.close()
    assert all(taken)
    assert sorted(served) == [(who, n) for who in range(putters) for n in range(each)]
