import pytest

from tests.admin.conftest import boss  # noqa: F401
from tests.api.conftest import api  # noqa: F401
from tests.receivers import Receiver
from webhooks_app.engine import worker
from webhooks_app.engine.http import bridge
from webhooks_app.engine.http.bridge import EngineLoop
from webhooks_app.engine.http.sender import Sender


@pytest.fixture
def canary():
    """A receiver on loopback that nobody may reach: 0 connections at the end of the test."""
    with Receiver() as receiver:
        yield receiver
    assert receiver.connections == 0


@pytest.fixture
def doors(transactional_db):
    """Every way out of the process, with the names of a test: `doors.use(resolver)`, then
    `doors.drain()` runs a worker; API, admin and commands use them as they are."""

    class Doors:
        shared = None

        def use(self, resolver, **options):
            self.resolver, self.options = resolver, options
            self.shared = EngineLoop(lambda: Sender(resolver, **options))
            self.before = bridge.replace(self.shared)

        def drain(self):
            sender = Sender(self.resolver, **self.options)
            return worker.run(until_empty=True, sender=sender)

    doors = Doors()
    yield doors
    if doors.shared is not None:
        bridge.replace(doors.before)
        doors.shared.close()
