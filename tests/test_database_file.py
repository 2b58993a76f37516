"""SQLite's file is replaced by a backup while processes have it open."""

import os
import shutil
import signal

import pytest
from django.db import connection

from tests.api.test_granian import answers, call
from tests.commands.conftest import site  # noqa: F401
from tests.factories import WebhookFactory
from tests.ports import free_port
from tests.processes import MANAGE
from tests.promises.crew import Crew, acknowledged
from tests.promises.sink import Sink
from tests.waiting import PATIENCE, until
from webhooks_app import actions
from webhooks_app.models import database_file

pytestmark = pytest.mark.skipif(
    "config.getoption('--db') == 'postgres'", reason="SQLite's file is what this is about"
)


@pytest.fixture
def replaced(transactional_db):
    """Call it: from then on the path of the tests' database leads to a copy."""
    path = connection.settings_dict["NAME"]
    aside = f"{path}.aside"
    connection.ensure_connection()

    def replace():
        os.rename(path, aside)
        shutil.copy(aside, path)

    yield replace
    if os.path.exists(aside):
        os.replace(aside, path)


def test_in_a_host_project_our_routes_answer_503_and_nothing_is_stored(
    replaced, client, admin_client, secret, account, caplog
):
    webhook = WebhookFactory(account=account)
    bearer = {"HTTP_AUTHORIZATION": f"Bearer {secret}"}
    assert client.get("/webhooks", **bearer).status_code == 200
    assert admin_client.get("/admin/webhooks_app/webhook/").status_code == 200
    assert client.get("/readyz").status_code == 200

    replaced()

    sent = client.post(
        f"/webhooks/{webhook.pk}/deliveries", {}, content_type="application/json", **bearer
    )
    assert sent.status_code == 503
    assert sent.json()["status"]["message"] == database_file.REPLACED
    assert client.get("/webhooks", **bearer).status_code == 503
    assert admin_client.get("/admin/webhooks_app/webhook/").status_code == 503
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (503, "the database's file was replaced")
    with pytest.raises(database_file.Replaced, match="must be started anew"):
        actions.deliver(webhook, {})
    with pytest.raises(database_file.Replaced):
        actions.deliver_many([(webhook, {})])
    assert not webhook.deliveries.exists()
    told = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert len(told) == 1  # once, however often it is asked


def test_a_connection_that_is_made_anew_does_not_hide_it(replaced):
    """As Django makes one for each request, or each thread."""
    replaced()
    connection.close()
    connection.ensure_connection()
    assert database_file.is_replaced("default")
    connection.close()


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (":memory:", ""),
        ("", ""),
        ("file:memorydb_default?mode=memory&cache=shared", ""),
        ("file:/srv/a%20b.sqlite3?cache=private", "/srv/a b.sqlite3"),
        ("/srv/db.sqlite3", "/srv/db.sqlite3"),
        ("db.sqlite3", f"{os.getcwd()}/db.sqlite3"),
    ],
)
def test_the_path_of_a_database(name, path):
    assert database_file._absolute(name) == path


def test_a_link_that_is_set_to_another_file_is_a_replacement(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(b"")
    link = tmp_path / "current"
    link.symlink_to("one")
    opened = database_file.identity_of(link.stat())
    assert database_file.leads_to(link, opened)
    link.unlink()
    assert not database_file.leads_to(link, opened)
    link.symlink_to("two")
    assert not database_file.leads_to(link, opened)


# --- real processes -------------------------------------------------------------------------------


@pytest.fixture
def crew(site, tmp_path):  # noqa: F811
    crew = Crew(site, tmp_path)
    yield crew
    crew.stop()
    crew.tell()


@pytest.mark.slow
def test_web_process_and_worker_end_for_a_restart_and_acknowledge_nothing_before(crew, tmp_path):
    file = tmp_path / "site.sqlite3"
    with Sink() as sink:
        [hook] = crew.webhooks(1, sink)
        secret = crew.site.manage("webhooks", "create-token", "acme").strip()
        port = free_port()
        web, worker = crew.web(port), crew.worker()
        until(lambda: answers(port), "the web process")
        until(lambda: "ready" in worker.output, "the worker")

        def send():
            return call(port, "POST", f"/webhooks/{hook}/deliveries", b"{}", secret)

        assert send()[0] == 202
        until(lambda: len(sink.calls) == 1, "it arrives")
        crew.drained()
        shutil.copy(file, tmp_path / "backup")
        os.replace(tmp_path / "backup", file)
        assert send()[0] == 503

        assert (web.wait(PATIENCE), worker.wait(PATIENCE)) == (1, 1)
        for process in (web, worker):
            assert "was replaced or removed while it was in use" in process.output
            assert "Traceback" not in process.output


@pytest.mark.slow
def test_a_supervised_worker_goes_on_with_the_new_file(crew, tmp_path):
    file = tmp_path / "site.sqlite3"
    with Sink() as sink:
        hooks = crew.webhooks(1, sink)
        shutil.copy(file, tmp_path / "backup")
        command = [*MANAGE, "webhooks", "deliver", "--processes", "2"]
        supervisor = crew._start(command)
        until(lambda: "ready" in supervisor.output, "the worker")
        os.replace(tmp_path / "backup", file)
        until(lambda: supervisor.output.count("ready") == 2, "another")
        # By another process: this one had the old file open.
        crew.site.manage("webhooks", "send", hooks[0], "--data", "{}")
        until(lambda: len(sink.calls) == 1, "it arrives")
        supervisor.signal(signal.SIGTERM)
        assert supervisor.wait(PATIENCE) == 0


@pytest.mark.slow
def test_a_lock_that_is_removed_again_and_again_does_not_let_two_send(crew, tmp_path):
    with Sink(delay=0.02) as sink:
        crew.webhooks(8, sink, cap=1)
        lock = tmp_path / "site.sqlite3-worker.lock"
        first = crew.worker()
        until(lambda: "ready" in first.output, "it owns all")
        second = crew.worker()  # stands by, and looks at the lock as often as the first
        producer = crew.producer(100)
        until(lambda: len(sink.calls) > 20, "load")
        for _ in range(5):
            lock.unlink(missing_ok=True)
            seen = len(sink.calls)
            until(lambda seen=seen: len(sink.calls) > seen + 50, "it goes on")
        stored = acknowledged(producer)
        crew.drained()
        assert first.poll() is second.poll() is None
        assert not stored - sink.by_ident().keys()
        # No more than what flew while one gave way to the other, and could not be written in time.
        assert sink.duplicates() <= 5 * 8
        assert "was removed while this worker held it" in first.output + second.output
