"""A backup taken under load, restored: all that was stored at its moment is there, and what would
be sent again is known before anything goes out."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.conftest import Site
from tests.databases import new_postgres_database
from tests.docs.blocks import marked
from tests.postgres import TOOLS
from tests.promises.crew import Crew, acknowledged, stored_by
from tests.promises.sink import Sink
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.prove]


def as_the_page_says(check, crew, folder):
    """Run the block of the page for the database of the run, in `folder`."""
    blocks = marked("operations.md", check)
    text = next(block for block in blocks if crew.postgres == ("pg_" in block))
    text = text.replace("db.sqlite3", "site.sqlite3")  # as the tests call it
    programs = f"{TOOLS}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = crew.site.environment | {"PATH": programs, "DATABASE_URL": crew.url}
    subprocess.run(["bash", "-eu", "-c", text], cwd=folder, env=environment, check=True)


@pytest.fixture
def restored(crew, tmp_path):
    """A crew on a database that is restored from the backup in `tmp_path`, held before anybody
    starts."""
    sites = []

    def restore():
        if crew.postgres:
            url = new_postgres_database("template0")
        else:
            url = f"sqlite:///{tmp_path}/restored.sqlite3"
            shutil.move(tmp_path / "webhooks.sqlite3", tmp_path / "restored.sqlite3")
        site = Site(url, tmp_path)
        again = Crew(site, tmp_path / "again")
        (tmp_path / "again").mkdir()
        sites.append(again)
        if crew.postgres:
            as_the_page_says("restore", again, tmp_path)
        for line in marked("operations.md", "look")[0].splitlines()[:2]:
            words = re.findall(r"'[^']*'|\S+", line)
            assert words[:2] == ["python", "manage.py"]
            site.manage(*(word.strip("'") for word in words[2:]))
        return again

    yield restore
    for again in sites:
        again.stop()
        again.tell()


def test_what_a_restore_would_send_again_is_counted_and_nothing_goes_out_before(
    crew, restored, tmp_path
):
    with Sink(delay=0.02) as sink:
        crew.webhooks(8, sink)
        crew.worker()
        producer = crew.producer(200)
        until(lambda: len(sink.calls) > 100, "load")
        sink.delay = 0.2  # something waits at any moment
        until(lambda: crew.pending() > 50, "a queue")

        stored = stored_by(producer)
        as_the_page_says("backup", crew, tmp_path)

        sink.delay = 0.0
        acknowledged(producer)
        crew.drained()
        crew.stop()
        once = {ident: len(calls) for ident, calls in sink.by_ident().items()}
        assert set(once.values()) == {1}

        again = restored()
        waits = again.pending_ids()
        there = {ident for (ident,) in again.rows("SELECT id FROM webhooks_app_delivery")}
        assert stored <= there
        again.worker()
        until(lambda: again.site.status()["workers"][0]["holds"], "a worker that holds")
        status = again.site.status()
        assert status["site"]["released"]["due"] == len(waits) > 0
        assert sum(map(len, sink.by_ident().values())) == len(once)

        again.site.manage("webhooks", "release-all")
        again.drained()
        twice = {ident for ident, calls in sink.by_ident().items() if len(calls) > 1}
        assert twice == waits & once.keys()
