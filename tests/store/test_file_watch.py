"""What Linux tells of a database file that is written to."""

import asyncio
import sys

import pytest

from tests.waiting import PATIENCE
from webhooks_app.engine.store.file_watch import FileWatch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux tells it")
SOON = 0.05


def asked(path, *steps):
    """What is said after each of these steps, and then once more."""

    async def main():
        said = []
        with FileWatch.of(str(path)) as watch:
            for step in (*steps, lambda: None):
                step()
                said.append(await watch.is_written(SOON))
        return said

    return asyncio.run(main())


def test_a_write_to_the_file_or_its_log_is_told_once(tmp_path):
    file, log = tmp_path / "queue.sqlite3", tmp_path / "queue.sqlite3-wal"
    file.touch()
    assert asked(file, lambda: file.write_bytes(b"1"), lambda: log.write_bytes(b"2")) == [
        True,
        True,
        False,
    ]


def test_who_waits_is_told_at_once(tmp_path):
    file = tmp_path / "queue.sqlite3"
    file.touch()

    async def main():
        with FileWatch.of(str(file)) as watch:
            waiting = asyncio.create_task(watch.is_written(PATIENCE))
            await asyncio.sleep(0)
            file.write_bytes(b"1")
            return await waiting

    assert asyncio.run(main())


def test_others_in_the_folder_are_passed_over(tmp_path):
    file = tmp_path / "queue.sqlite3"
    file.touch()
    assert asked(file, lambda: (tmp_path / "site.log").write_bytes(b"1")) == [False, False]


def test_through_a_link_the_file_itself_is_watched(tmp_path):
    (tmp_path / "disk").mkdir()
    file, link = tmp_path / "disk" / "queue.sqlite3", tmp_path / "link.sqlite3"
    file.touch()
    link.symlink_to(file)
    assert asked(link, lambda: file.write_bytes(b"1")) == [True, False]


def test_without_a_file_there_is_nothing_to_watch(tmp_path):
    for path in ("", str(tmp_path / "none.sqlite3")):
        with FileWatch.of(path) as watch:
            assert watch is None
