"""What the API has acknowledged is stored, whatever becomes of the web process; and what one of
several web processes is told holds for all of them at once."""

import http.client
import json
import random
import threading
import time

import psutil
import pytest

from tests.ports import free_port
from tests.promises.crew import report
from tests.promises.sink import Sink
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.slow


def answers(port):
    try:
        return asked(port, "GET", "/healthz")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def asked(port, method, path, body=None, secret="", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        return over(connection, method, path, body, secret, **headers)
    finally:
        connection.close()


def over(connection, method, path, body=None, secret="", **headers):
    given = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    sent = None if body is None else json.dumps(body).encode()
    connection.request(method, path, sent, given | headers)
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def killed(web):
    """The server's worker is the one that answers; its parent would start another."""
    family = [psutil.Process(web.pid), *psutil.Process(web.pid).children(recursive=True)]
    assert len(family) > 1, "no worker"
    for process in family:
        process.suspend()  # so that nobody sees another one end
    for process in family:
        process.kill()
    web.wait(PATIENCE)


class Client(threading.Thread):
    """Sends one delivery, event or bulk after the other, each with a key of its own and again until
    it is acknowledged, as a careful client does."""

    def __init__(self, port, paths, secret, name):
        super().__init__(name=name, daemon=True)
        self.port, self.paths, self.secret = port, paths, secret
        self.acknowledged = {}  # ids by their keys
        self.ended = threading.Event()

    def run(self):
        self.connection = self.connected()
        number = 0
        while not self.ended.is_set():
            number += 1
            path, key = self.paths[number % len(self.paths)], f"{self.name}-{number}"
            while not self.send(path, key, {"n": number}) and not self.ended.is_set():
                time.sleep(0.01)
        self.connection.close()

    def connected(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def send(self, path, key, body):
        headers = {"Idempotency-Key": key}
        if path == "/events":
            headers, body = {}, {"type": "order.created", "payload": body, "eventId": key}
        elif path.endswith("/bulk"):
            # Of a size that takes a transaction of its own.
            item = {"payload": body | {"more": "x" * 5000}, "idempotencyKey": key}
            headers, body = {}, {"deliveries": [item]}
        try:
            status, answer = over(self.connection, "POST", path, body, self.secret, **headers)
        except (OSError, http.client.HTTPException):
            self.connection.close()
            self.connection = self.connected()
            return False
        assert status in (202, 503), answer
        if status == 202:
            self.acknowledged[key] = (answer[0] if path.endswith("/bulk") else answer)["id"]
        return status == 202


def subscribe(crew, hook):
    crew.site.shell(
        "from webhooks_app import actions; from webhooks_app.models import Webhook;"
        f"actions.set_subscriptions(Webhook.objects.get(pk={hook!r}), [{{'types': ['order.*']}}])"
    )


@pytest.mark.parametrize("kills", [1, pytest.param(30, marks=pytest.mark.prove)])
def test_a_killed_web_process_has_stored_what_it_acknowledged_once(crew, kills):
    with Sink() as sink:
        hooks = crew.webhooks(4, sink)
    secret = crew.site.manage("webhooks", "create-token", "acme").strip()
    port = free_port()
    subscribe(crew, hooks[0])
    paths = [*(f"/webhooks/{hook}/deliveries" for hook in hooks), "/events"]
    paths.append(f"{paths[0]}/bulk")
    clients = [Client(port, paths, secret, f"c{number}") for number in range(8)]
    web = crew.web(port)
    until(lambda: answers(port), "the web process")
    for client in clients:
        client.start()
    for _ in range(kills):
        before = sum(len(client.acknowledged) for client in clients)
        until(lambda n=before: sum(len(c.acknowledged) for c in clients) > n, "load")
        time.sleep(random.uniform(0.0, 0.5))
        killed(web)
        web = crew.web(port)
        until(lambda: answers(port), "the next web process")
    before = {client.name: len(client.acknowledged) for client in clients}
    each = len(paths)  # of every kind one, an event too
    until(lambda: all(len(c.acknowledged) >= before[c.name] + each for c in clients), "load again")
    for client in clients:
        client.ended.set()
    for client in clients:
        client.join(PATIENCE)
    by_key = "SELECT idempotency_key, id FROM webhooks_app_delivery WHERE event_id IS NULL"
    events = dict(crew.rows("SELECT key, id FROM webhooks_app_event"))
    stored = dict(crew.rows(by_key)) | events
    acknowledged = {key: ident for client in clients for key, ident in client.acknowledged.items()}
    report(f"{kills} kills of a web process", database=crew.database, stored=len(stored))
    assert {key: stored.get(key) for key in acknowledged} == acknowledged
    # Nothing twice: not one row more than keys, and none that nobody sent.
    assert events
    assert crew.value("SELECT count(*) FROM webhooks_app_event") == len(events)
    # Those of events: one for each, of the webhook that subscribes.
    assert crew.value("SELECT count(*) FROM webhooks_app_delivery") == len(stored)
    of_events = crew.rows("SELECT event_id FROM webhooks_app_delivery WHERE event_id IS NOT NULL")
    assert sorted(ident for (ident,) in of_events) == sorted(events.values())
    assert len(stored) - len(acknowledged) <= len(clients)  # cut off before the answer


@pytest.fixture
def sink():
    with Sink() as running:
        yield running


def test_what_is_revoked_paused_changed_or_deleted_is_so_in_every_web_process_at_once(crew, sink):
    paused, changed, deleted = crew.webhooks(3, sink)
    secret = crew.site.manage("webhooks", "create-token", "acme").strip()
    other = crew.site.manage("webhooks", "create-token", "acme").strip()
    ports = [free_port(), free_port()]
    for port in ports:
        crew.web(port, WEBHOOKS_VERIFICATION="required")
    crew.site.shell(
        "from webhooks_app.models import Webhook; from django.utils import timezone;"
        "Webhook.objects.update(verified_at=timezone.now())"
    )
    for port in ports:
        until(lambda port=port: answers(port), "a web process")

    def by_both(webhook, token=secret, what="deliveries"):
        path = f"/webhooks/{webhook}/{what}"
        return [asked(port, "POST", path, {"n": 1}, token) for port in ports]

    def called_by_both(webhook, token=secret):
        return [status for status, _ in by_both(webhook, token, "interactions")]

    for hook in (paused, changed, deleted):
        for token in (secret, other):
            assert [(status, told["reason"]) for status, told in by_both(hook, token)] == [
                (202, "")
            ] * 2
        assert called_by_both(hook) == [200] * 2

    one = ports[0]
    settings = {"enabled": False}
    assert asked(one, "PATCH", f"/webhooks/{paused}/settings", settings, secret)[0] == 200
    assert [told["reason"] for _, told in by_both(paused)] == ["paused"] * 2
    assert called_by_both(paused) == [409] * 2
    url = {"url": "http://127.0.0.1:9/other"}
    assert asked(one, "PATCH", f"/webhooks/{changed}", url, secret)[0] == 200
    assert [told["reason"] for _, told in by_both(changed)] == ["unverified"] * 2
    assert called_by_both(changed) == [409] * 2
    assert asked(one, "DELETE", f"/webhooks/{deleted}", secret=secret)[0] == 200
    assert [status for status, _ in by_both(deleted)] == called_by_both(deleted) == [404] * 2
    stored = crew.value("SELECT count(*) FROM webhooks_app_delivery")
    crew.site.shell(
        "from webhooks_app import actions; from webhooks_app.models import AccessToken;"
        f"actions.revoke_token(AccessToken.objects.for_secret({secret!r}))"
    )
    assert [status for status, _ in by_both(paused)] == called_by_both(paused) == [401] * 2
    assert [status for status, _ in by_both(paused, other)] == [202] * 2
    assert crew.value("SELECT count(*) FROM webhooks_app_delivery") == stored + 2
