"""What a worker shares without wanting to: a database with another installation, a session of it
with another worker."""

import os
import re
import shutil
import subprocess
import time
from urllib.parse import quote, unquote

import psycopg
import pytest

from tests import databases
from tests.commands.conftest import Site
from tests.ports import free_port
from tests.promises.crew import Crew, sends
from tests.promises.pooler import Pooler
from tests.promises.sink import Sink
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.slow


SCHEMAS = ("one", "two")


def within(url, schema):
    return f"{url}&options={quote(f'-c search_path={schema}')}"


def add_another(url):
    """To a database that has all tables already."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"ALTER SCHEMA public RENAME TO {SCHEMAS[0]}")
        connection.execute(f"CREATE SCHEMA {SCHEMAS[1]}")
    databases.migrate(within(url, SCHEMAS[1]))


@pytest.fixture
def installations(postgres, tmp_path):
    """Two in one database, each in a schema of its own that `search_path` leads to."""
    url, crews = databases.copy("two_schemas", add_another, None, of="migrated"), []
    for schema in SCHEMAS:
        (tmp_path / schema).mkdir()
        crews.append(Crew(Site(within(url, schema)), tmp_path / schema))
    yield crews
    for crew in crews:
        crew.stop()
        crew.tell()


def test_two_installations_in_one_database_each_send_all_of_theirs(installations):
    with Sink() as sink:
        hooks = [
            crew.webhooks(16, sink, first=100 * place) for place, crew in enumerate(installations)
        ]
        for crew in installations:
            crew.worker()
        until(lambda: all(crew.shares() == [64] for crew in installations), "all is owned")
        for crew, theirs in zip(installations, hooks, strict=True):
            crew.deliver(theirs, 10)
        for crew in installations:
            crew.drained()
        assert len(sink.by_ident()) == 320
        assert sink.duplicates() == 0


def test_what_one_installation_announces_another_does_not_hear(installations):
    one, two = installations
    channel = two.value("SELECT 'webhooks_due_' || 'webhooks_app_delivery'::regclass::oid")
    with Sink() as sink:
        hooks = [crew.webhooks(1, sink) for crew in installations]
        with psycopg.connect(two.url, autocommit=True) as heard:
            heard.execute(f"LISTEN {channel}")
            one.deliver(hooks[0])
            assert list(heard.notifies(timeout=0.5)) == []
            two.deliver(hooks[1])
            [told] = heard.notifies(timeout=PATIENCE, stop_after=1)
            assert told.channel == channel


def test_tables_that_are_made_anew_are_owned_anew(postgres):
    """A dump is restored while a worker runs: who starts now locks by the new tables."""
    crew = postgres
    with Sink(delay=0.05) as sink:
        hooks = crew.webhooks(8, sink)
        worker = crew.worker()
        until(lambda: crew.shares() == [64], "it owns all")
        with crew.connect() as connection:
            connection.execute(
                "ALTER TABLE webhooks_app_delivery RENAME TO before;"
                "CREATE TABLE webhooks_app_delivery (LIKE before INCLUDING ALL)"
            )
        until(lambda: crew.shares() == [64], "it owns all of the new table")
        assert "the tables were made anew" in worker.output
        crew.deliver(hooks)
        until(lambda: len(sink.by_ident()) == 8, "all sent")


# --- a session with another worker ----------------------------------------------------------------


def pooled(crew, **options):
    """A pooler, and the database's URL through it."""
    user, rest, name, folder = re.match(
        r"postgres\w*://(\w+)(.*@)/(\w+)\?host=(.*)", crew.url
    ).groups()
    pooler = Pooler(f"{unquote(folder)}/.s.PGSQL.5432", user, name, **options)
    return pooler, lambda: f"postgresql://{user}{rest}127.0.0.1:{pooler.port}/{name}"


def ended(worker, seconds=PATIENCE):
    """Its exit code and words."""
    return worker.wait(seconds), worker.output


def test_a_worker_behind_a_pooler_in_transaction_mode_does_not_start(postgres):
    pooler, url = pooled(postgres)
    with pooler:
        code, words = ended(postgres._worker(DATABASE_URL=url()))
    assert code == 2
    assert "a pooler in transaction mode" in words
    assert "Traceback" not in words
    assert "ready" not in words


def test_of_two_workers_in_one_session_the_second_does_not_start(postgres):
    """Whatever stands in between does not show itself before."""
    pooler, url = pooled(postgres, admits_it=False)
    with pooler, Sink(delay=0.02) as sink:
        hooks = postgres.webhooks(16, sink, cap=1)
        first = postgres.worker(DATABASE_URL=url())
        until(lambda: "ready" in first.output, "the first owns all")
        postgres.deliver(hooks, 10)
        code, words = ended(postgres._worker(DATABASE_URL=url()))
        assert code == 2
        assert "a pooler in transaction mode" in words
        postgres.drained()
        assert first.poll() is None
        assert len(sink.by_ident()) == 160
        assert sink.duplicates() == 0
        first.stop()


def test_a_session_that_is_shared_from_some_moment_on_ends_its_worker(postgres):
    """What flies is written down first."""
    pooler, url = pooled(postgres, shares=False)
    with pooler, Sink(delay=0.1) as sink:
        postgres.webhooks(16, sink)
        worker = postgres.worker(DATABASE_URL=url())
        producer = postgres.producer(100)
        until(lambda: sends(worker, sink), "load")
        pooler.shares = True
        shared_at = time.monotonic()
        code, words = ended(worker)
        last = max(call.began for call in sink.calls)
        assert code == 2
        assert "a pooler in transaction mode" in words
        assert last < shared_at + 30  # as long as a slow machine needs to notice, and no more
        producer.stop()
        other = postgres.worker()
        postgres.drained()
        assert other.poll() is None
        assert sink.duplicates() == 0


@pytest.mark.prove
@pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="pgbouncer is not installed")
@pytest.mark.parametrize(("mode", "code"), [("transaction", 2), ("session", 0)])
def test_pgbouncer(postgres, tmp_path, mode, code):
    user, _, name, folder = re.match(
        r"postgres\w*://(\w+)(.*@)/(\w+)\?host=(.*)", postgres.url
    ).groups()
    port = free_port()
    (tmp_path / "pgbouncer.ini").write_text(
        f"[databases]\n{name} = host={unquote(folder)} user={user}\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\npool_mode = {mode}\n"
        "ignore_startup_parameters = extra_float_digits\nunix_socket_dir =\n"
    )
    bouncer = subprocess.Popen(
        ["pgbouncer", *(["-u", "nobody"] if os.geteuid() == 0 else []), tmp_path / "pgbouncer.ini"]
    )
    try:
        url = f"postgresql://{user}@127.0.0.1:{port}/{name}"
        worker = postgres._worker(DATABASE_URL=url)
        if code == 0:
            until(lambda: "ready" in worker.output, "it owns all")
            worker.stop()
        assert worker.wait(PATIENCE) == code, worker.output
    finally:
        bouncer.terminate()
        bouncer.wait(PATIENCE)
