"""`hold-all` under load: when it has ended nobody is called, and `release_all` loses nothing."""

import pytest

from tests.promises.crew import acknowledged
from tests.promises.sink import Sink
from tests.waiting import until

pytestmark = pytest.mark.slow

PAUSED_AND_RELEASED = """
from webhooks_app import actions
from webhooks_app.models import Webhook
actions.pause(Webhook.objects.get(pk={!r}))
assert actions.release_all()
"""


def test_a_held_site_calls_nobody_and_goes_on_where_it_was(crew):
    with Sink(delay=0.05) as sink:
        paused = crew.webhooks(8, sink)[0]
        crew.worker()
        producer = crew.producer(80)
        until(lambda: len(sink.calls) > 100, "load")

        crew.site.manage("webhooks", "hold-all", "--note", "a test")
        called = len(sink.calls)
        assert all(call.answered for call in sink.calls)
        pending = crew.pending()
        until(lambda: crew.pending() > pending + 100, "what is stored meanwhile")
        stored = acknowledged(producer)
        assert len(sink.calls) == called

        crew.site.shell(PAUSED_AND_RELEASED.format(paused))
        own = f"SELECT id FROM webhooks_app_delivery WHERE webhook_id = '{paused}'"
        waits = crew.pending_ids() & {ident for (ident,) in crew.rows(own)}
        until(lambda: crew.pending_ids() == waits, "all but the paused one's")
        assert stored - waits <= sink.by_ident().keys()
        assert sink.duplicates() == 0
