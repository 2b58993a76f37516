"""What the reading side of a worker finds."""

from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from tests.factories import DeliveryFactory
from webhooks_app.engine import desk as desks
from webhooks_app.engine.desk import Desk, Turn


@pytest.fixture
def desk(transactional_db, monkeypatch):
    monkeypatch.setattr(desks, "SCAN_EVERY", 0.0)
    shared = connections["default"]
    desk = Desk("default")
    desk.turn(Turn(busy=frozenset()))
    yield desk
    desk.leave()
    connections["default"] = shared


def test_a_scan_finds_step_by_step_what_no_look_sees(desk):
    """Due since an hour, stored just now: by its time it would have been seen long ago."""
    an_hour_ago = timezone.now() - timedelta(hours=1)
    due = {DeliveryFactory(due_at=an_hour_ago).webhook_id for _ in range(25)}
    found, steps = set(), 0
    while not found >= due:
        answer = desk.turn(Turn(busy=frozenset()))
        assert not answer.marked
        assert not answer.arrived
        found.update(answer.waiting)
        steps += 1
        assert steps < 100
    assert found == due
    assert steps > 1
