"""An upgrade under load: the tables become those of today while a worker and a web process of the
release go on, and those of today work beside them."""

import json
import threading
import time
from http.client import HTTPConnection

import pytest

from tests.ports import free_port
from tests.processes import MANAGE
from tests.promises.crew import Crew
from tests.promises.sink import Sink
from tests.upgrade import releases
from tests.upgrade.make import TOKEN
from tests.waiting import PATIENCE, until

pytestmark = [pytest.mark.slow, pytest.mark.prove, pytest.mark.timeout(900)]


class Client(threading.Thread):
    """Asks a web process for all that there was in the release, again and again."""

    def __init__(self, port, webhook):
        super().__init__(daemon=True)
        self.answers, self.stored = [], []
        self._port, self._hook = port, f"/webhooks/{webhook}"
        self._ended = threading.Event()

    def run(self):
        number = 0
        while not self._ended.is_set():
            made = self.ask("POST", f"{self._hook}/deliveries?type=order.created", {"n": number})
            if made:
                self.stored.append(made["id"])
                self.ask("GET", f"/deliveries/{made['id']}")
            self.ask("GET", "/webhooks")
            self.ask("GET", f"{self._hook}/settings")
            self.ask("POST", f"{self._hook}/interactions", {"attributes": {}})
            number += 1

    def ask(self, method, path, body=None):
        headers = {"Authorization": f"Bearer {TOKEN}"}
        if body is not None:
            body, headers["Content-Type"] = json.dumps(body), "application/json"
        connection = HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            status, text = answer.status, answer.read()
        except OSError as error:
            status, text = 0, repr(error)
        finally:
            connection.close()
        self.answers.append((method, path, status, text if status not in (200, 202) else b""))
        return json.loads(text) if status in (200, 202) else None

    def end(self):
        self._ended.set()
        self.join(PATIENCE)


class Old(Crew):
    """Processes of a release, from its own tree."""

    def __init__(self, site, folder, tree):
        super().__init__(site, folder)
        self._tree = tree

    def _start(self, command, **environment):
        command = [str(self._tree / "manage.py") if word == MANAGE[1] else word for word in command]
        return super()._start(command, cwd=self._tree, **environment)


def test_an_old_worker_and_an_old_web_process_go_on_beside_the_new(released, tmp_path):
    tree = releases.unpack(released.version, tmp_path / "tree")
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    old, new = Old(released, tmp_path / "old", tree), Crew(released, tmp_path / "new")
    ports = free_port(), free_port()
    clients = []
    with Sink(delay=0.01) as sink:
        hook = old.value("SELECT id FROM webhooks_app_webhook WHERE name = 'Healthy'")
        set_url = f"UPDATE webhooks_app_webhook SET url = '{sink.url()}' WHERE id = '{hook}'"
        old.change(set_url)
        try:
            old.web(ports[0])
            old_worker = old.worker()
            clients.append(begin(ports[0], hook))
            until(lambda: len(clients[0].stored) > 20, "load on the release")

            new.site.manage("migrate", "-v", "0")
            after = len(clients[0].stored)
            until(lambda: len(clients[0].stored) > after + 20, "load on the newer tables")
            until(lambda: sends_on(sink), "the old worker sends")

            new.web(ports[1])
            new.worker()
            clients.append(begin(ports[1], hook))
            until(lambda: len(clients[1].stored) > 20, "load on both")
            clients[0].end()  # as a proxy takes it out
            old_worker.stop()
            before = len(clients[1].stored)
            until(lambda: len(clients[1].stored) > before + 20, "load on the new one alone")
            clients[1].end()
            stored = [ident for client in clients for ident in client.stored]
            until(lambda: not new.pending_ids() & set(stored), "nothing pending")
        finally:
            for crew in (old, new):
                crew.stop()
                crew.tell()
        called = sink.by_ident()
    wrong = [one for client in clients for one in client.answers if one[2] not in (200, 202)]
    assert wrong == []
    assert set(stored) <= called.keys()
    assert {len(called[ident]) for ident in stored} == {1}


def begin(port, hook):
    client = Client(port, hook)
    until(lambda: client.ask("GET", "/healthz"), "a web process")
    client.answers.clear()
    client.start()
    return client


def sends_on(sink, seconds=0.5):
    return any(call.began > time.monotonic() - seconds for call in list(sink.calls)[-5:])
