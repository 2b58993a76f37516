"""Who sends, on SQLite."""

import fcntl

import pytest

from webhooks_app.engine.knobs import Knobs
from webhooks_app.engine.store import ALL_SLOTS as ALL
from webhooks_app.engine.store import file_lock
from webhooks_app.engine.store.file_lock import FileLock

NONE = frozenset()

pytestmark = [pytest.mark.once, pytest.mark.knobs(rest=0.0)]


@pytest.fixture
def join(tmp_path, knobs):
    """A new worker's lock, on one database."""
    locks = []

    def join():
        locks.append(FileLock(str(tmp_path / "db.sqlite3"), knobs))
        return locks[-1]

    yield join
    for lock in locks:
        lock.release()


@pytest.fixture
def lock_file(tmp_path):
    return tmp_path / "db.sqlite3-worker.lock"


def test_a_lock_that_is_removed_is_taken_anew_before_another_comes(join, lock_file):
    first, second = join(), join()
    assert first.refresh(NONE) == ALL
    assert not first.is_lost()
    lock_file.unlink()
    assert first.is_lost()
    assert first.refresh(NONE) == ALL
    assert not first.is_lost()
    assert second.refresh(NONE) == NONE


def test_who_finds_another_with_the_lock_that_was_removed_stops(join, lock_file):
    first, second = join(), join()
    first.refresh(NONE)
    lock_file.rename(lock_file.with_suffix(".aside"))
    assert second.refresh(NONE) == NONE, "the first one has not noticed, and writes"
    assert first.is_lost()
    assert first.refresh(NONE) == NONE
    assert second.refresh(NONE) == ALL
    assert not second.is_lost()
    second.release()
    assert first.refresh(NONE) == ALL


def test_who_waits_for_a_killed_ones_child_is_no_stand_by_and_whoever_waits_behind_is(
    join, tmp_path
):
    child = (tmp_path / "db.sqlite3-writer.lock").open("ab")
    fcntl.flock(child, fcntl.LOCK_EX)  # all that is left of the killed one
    first, second = join(), join()
    for worker in (first, second):
        assert worker.refresh(NONE) == NONE
    assert not first.is_anothers()
    assert second.is_anothers()
    child.close()
    assert first.refresh(NONE) == ALL
    assert second.refresh(NONE) == NONE


def test_who_waits_for_one_that_ends_is_no_stand_by(join):
    first, second = join(), join()
    first.refresh(NONE)
    assert second.refresh(NONE) == NONE
    assert second.is_anothers()
    first.retire(NONE)
    assert second.refresh(NONE) == NONE, "what flies is not written"
    assert not second.is_anothers()
    first.release()
    assert second.refresh(NONE) == ALL


@pytest.mark.knobs(rest=0.5)
def test_who_makes_the_lock_gives_whoever_may_still_send_time_to_notice(
    join, lock_file, monkeypatch
):
    rests = []
    monkeypatch.setattr(file_lock.time, "sleep", rests.append)
    first, second = join(), join()
    first.refresh(NONE)
    first.release()
    second.refresh(NONE)
    assert rests == [0.5]
    lock_file.unlink()
    second.refresh(NONE)
    assert rests == [0.5, 0.5]


def test_one_worker_has_a_sqlite_file_whatever_link_leads_to_it(tmp_path):
    (tmp_path / "releases").mkdir()
    (tmp_path / "current").symlink_to(tmp_path / "releases")
    first, second = (
        FileLock(str(tmp_path / folder / "db.sqlite3"), Knobs())
        for folder in ("releases", "current")
    )
    try:
        assert first.refresh(frozenset()) == ALL
        assert second.refresh(frozenset()) == frozenset()
        first.release()
        assert second.refresh(frozenset()) == ALL
    finally:
        second.release()
