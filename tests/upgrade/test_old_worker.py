"""A worker of the release before goes on while the web processes are new already."""

import json
import subprocess
import sys

from tests.promises.conftest import crew, site  # noqa: F401
from tests.receivers import Receiver
from tests.upgrade import releases
from tests.waiting import PATIENCE, until

PUBLISH = """
from webhooks_app import actions
from webhooks_app.models import Account
account = Account.objects.get(name="acme")
event = actions.publish(account, "order.created", b'{"n": %d}')
print(event.pk, event.deliveries.get().payload.__len__())
"""
SUBSCRIBE = """
from webhooks_app import actions
from webhooks_app.models import Webhook
actions.set_subscriptions(Webhook.objects.get(), [{"types": ["*"]}])
"""


def test_events_beside_an_old_worker_have_a_body_and_are_sent(crew, tmp_path):  # noqa: F811
    tree = releases.unpack("0.1.0", tmp_path / "old")
    site, workers = crew.site, "SELECT count(*) FROM webhooks_app_worker"  # noqa: F811
    with Receiver() as receiver:
        site.webhook(receiver.url)
        site.shell(SUBSCRIBE)
        command = [sys.executable, "manage.py", "webhooks", "deliver"]
        old = subprocess.Popen(command, cwd=tree, env=site.environment)
        try:
            until(lambda: crew.value(workers), "the old worker's row")
            [said] = site.shell(PUBLISH % 1)
            assert said.split()[1] == str(len('{"n": 1}'))  # a copy, for it
            until(lambda: receiver.requests, "what the old worker sends")
        finally:
            old.terminate()
            old.wait(PATIENCE)
        assert receiver.requests[0].body == b'{"n": 1}'
        assert not crew.value(workers)
        [said] = site.shell(PUBLISH % 2)
        assert said.split()[1] == str(len('{"n": 2}'))  # it may come back
        site.manage("webhooks", "deliver", "--until-empty")
        [said] = site.shell(PUBLISH % 3)
        event, size = said.split()
        assert size == "0"  # the new one has come
        site.manage("webhooks", "deliver", "--until-empty")
        assert [json.loads(call.body)["n"] for call in receiver.requests] == [1, 2, 3]
        assert receiver.requests[2].header("webhook-event-id") == event
