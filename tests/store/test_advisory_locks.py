"""Whose webhooks are whose, on PostgreSQL: several workers' sessions side by side."""

import copy

import pytest
from django.db import OperationalError, connection, connections

from tests.waiting import until
from webhooks_app.engine.store import ALL_SLOTS as ALL
from webhooks_app.engine.store import SharedSession, advisory_locks
from webhooks_app.engine.store.advisory_locks import AdvisoryLocks

NONE = frozenset()

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("not config.getoption('--db') == 'postgres'", reason="PostgreSQL only"),
]


@pytest.fixture
def join(knobs):
    """A new worker's session."""
    sessions = []

    def join():
        settings = copy.deepcopy(connections["default"].settings_dict)
        settings["OPTIONS"].pop("pool", None)
        session = type(connections["default"])(settings, "default")
        sessions.append(session)
        return AdvisoryLocks(session, knobs)

    yield join
    for session in sessions:
        session.close()


def owned(worker, busy=NONE):
    return worker.refresh(frozenset(busy))


def end_session(worker):
    pid = worker._connection.connection.info.backend_pid
    worker._connection.close()

    def has_ended():
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", [pid])
            return cursor.fetchone()[0] == 0

    until(has_ended, "the end of the session")


def test_one_alone_has_all_and_two_share(join):
    first, second = join(), join()
    assert owned(first) == ALL
    assert owned(second) == NONE
    assert len(owned(first)) == 32
    owned(first)
    assert len(owned(second)) == 32
    assert not owned(first) & owned(second)


def test_a_slot_is_given_away_only_after_its_owner_was_told(join):
    """Until the owner has read the answer it still sends from its buffer."""
    first, second = join(), join()
    owned(first)
    owned(second)
    owned(first)  # the answer that tells
    assert owned(second) == NONE
    owned(first)
    assert len(owned(second)) == 32


@pytest.mark.knobs(drain_most=60.0)
def test_a_busy_slot_stays_until_it_has_drained(join):
    first, second = join(), join()
    owned(first)
    owned(second)
    goes = ALL - owned(first)
    busy = set(list(goes)[:5])
    owned(first, busy)
    assert owned(second) == goes - busy
    owned(first)
    assert owned(second) == goes


@pytest.mark.knobs(drain_most=0.0)
def test_a_slot_that_drains_slowly_is_swapped_for_another(join):
    first, second = join(), join()
    owned(first)
    owned(second)
    slow = set(list(ALL - owned(first))[:5])
    for _ in range(3):
        kept = owned(first, slow)
    assert slow <= kept
    assert len(kept) == len(owned(second)) == 32


@pytest.mark.knobs(drain_most=0.0)
def test_where_all_are_slow_they_drain_all_the_same(join):
    first, second = join(), join()
    owned(first)
    owned(second)
    for _ in range(5):
        kept = owned(first, ALL)
    assert len(kept) == 32
    owned(first)
    assert len(owned(second)) == 32


def test_the_slots_of_a_session_that_ended_rest_before_another_claims(join):
    first, second = join(), join()
    owned(first)
    owned(second)
    owned(first)
    owned(first)
    kept = owned(second)
    end_session(first)
    assert owned(second) == kept


@pytest.mark.knobs(rest=0.0)
def test_the_slots_of_a_session_that_ended_are_taken(join):
    first, second = join(), join()
    owned(first)
    owned(second)
    end_session(first)
    owned(second)
    assert owned(second) == ALL


def test_a_session_replaced_under_the_worker_is_noticed(join):
    """Django opens a new connection silently after an error closed one."""
    worker = join()
    owned(worker)
    worker.check()
    worker._connection.close()
    worker._connection.ensure_connection()
    with pytest.raises(OperationalError):
        worker.check()
    worker.forget()
    owned(worker)
    worker.check()


def test_a_pooler_that_changes_sessions_is_noticed(join, monkeypatch):
    worker, elsewhere = join(), join()
    owned(worker)
    elsewhere._connection.ensure_connection()
    monkeypatch.setattr(worker._connection, "cursor", elsewhere._connection.cursor)
    with pytest.raises(SharedSession, match="direct connection"):
        owned(worker)


def test_two_workers_in_one_session_do_not_both_own_what_it_has_locked(join, monkeypatch):
    """A lock is given to its session again and again."""
    first, second = join(), join()
    owned(first)
    monkeypatch.setattr(second, "_connection", first._connection)
    with pytest.raises(SharedSession):
        owned(second)
    assert owned(first) == ALL
    first.release()
    assert owned(second) == ALL


def test_a_key_of_a_lock_is_the_tables_oid_however_large(join):
    assert [advisory_locks._int4(oid) for oid in (16_384, 2**31 - 1, 2**31, 2**32 - 1)] == [
        *(16_384, 2**31 - 1),
        *(-(2**31), -1),
    ]


@pytest.mark.knobs(rest=0.0)
def test_who_leaves_gives_the_idle_slots_at_once_and_the_busy_ones_later(join):
    first, second = join(), join()
    owned(first)
    owned(second)
    busy = frozenset([1, 2, 3])
    first.retire(busy)
    owned(second)
    assert owned(second) == ALL - busy
    first.retire(NONE)
    assert owned(second) == ALL


def test_the_server_ends_a_session_that_falls_silent(join):
    worker = join()
    owned(worker)
    with worker._connection.cursor() as cursor:
        cursor.execute("SHOW idle_session_timeout")
        assert cursor.fetchone()[0] == "10s"
    with connection.cursor() as cursor:
        cursor.execute("SHOW idle_session_timeout")
        assert cursor.fetchone()[0] == "0"
