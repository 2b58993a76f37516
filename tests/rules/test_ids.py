"""Ids sort by the time they were made."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from webhooks_app.rules.ids import (
    Keys,
    first_id,
    first_key,
    id_time,
    is_id,
    new_id,
    new_key,
    other_process,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

pytestmark = pytest.mark.once


def test_an_id_tells_when_it_was_made():
    assert id_time(new_id(NOON.timestamp())) == NOON


def test_ids_made_from_a_moment_on_are_not_below_its_first_id():
    before = new_id((NOON - timedelta(milliseconds=1)).timestamp())
    assert before < first_id(NOON) <= new_id(NOON.timestamp())


@pytest.mark.parametrize("year", [1, 1969, 2107, 9999])
def test_any_year_gives_a_bound_that_is_an_id(year):
    bound = first_id(datetime(year, 1, 1, tzinfo=UTC))
    assert is_id(bound)
    assert (bound > new_id()) == (year > 2026)


class TestKeys:
    """The keys of attempts."""

    def test_say_their_time_and_sort_by_it(self):
        keys = Keys()
        moments = [datetime(2026, 1, 2, 3, 4, 5, n * 1000, tzinfo=UTC) for n in range(50)]
        made = [keys.draw(int(moment.timestamp() * 1000)) for moment in moments]
        assert made == sorted(made)
        for moment, later, key in zip(moments, moments[1:], made, strict=False):
            assert first_key(moment) <= key < first_key(later)

    def test_never_go_back_whatever_the_clock_does(self):
        keys = Keys()
        now = 1_790_000_000_000
        clock = [now, now, now - 3_600_000, now + 1, now - 1, 0, now + 2]
        made = [keys.draw(moment) for moment in clock]
        assert made == sorted(set(made))

    def test_of_one_millisecond_may_be_as_many_as_are_asked_for(self):
        keys = Keys()
        made = [keys.draw(1_790_000_000_000) for _ in range(10_000)]
        assert made == sorted(set(made))
        assert len({key >> 12 & 1023 for key in made}) == 1  # the counter never became a process

    def test_of_many_threads_are_all_different(self):
        keys = Keys()

        def draw(_):
            return [keys.draw(1_790_000_000_000) for _ in range(2_000)]

        with ThreadPoolExecutor(8) as threads:
            made = [key for found in threads.map(draw, range(8)) for key in found]
        assert len(set(made)) == 16_000

    @pytest.mark.parametrize("year", [1970, 2015, 2026, 2084, 2500])
    def test_fit_a_signed_bigint(self, year):
        key = Keys().draw(int(datetime(year, 6, 1, tzinfo=UTC).timestamp() * 1000))
        assert 0 <= key < 2**63
        assert first_key(datetime(year, 6, 1, tzinfo=UTC)) <= key

    def test_moved_to_another_process_keep_their_time_and_their_number(self):
        key = Keys().draw(1_790_000_000_000)
        moved = key ^ other_process()
        assert moved != key
        assert (moved >> 22, moved % 4096) == (key >> 22, key % 4096)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_of_a_fork_are_those_of_another_process(self):
        """Or, one time in 1,024, of the same: what a fork draws is looked at eight times."""
        numbers = set()
        for _ in range(8):
            ours, theirs = os.pipe()
            if not (pid := os.fork()):
                os.write(theirs, f"{new_key() >> 12 & 1023}".encode())
                os._exit(0)
            os.waitpid(pid, 0)
            numbers.add(int(os.read(ours, 10)))
            os.close(ours)
            os.close(theirs)
        assert len(numbers) > 4
