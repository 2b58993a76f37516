"""Who sends, on SQLite."""

from webhooks_app.engine.ownership import ALL, FileLock


def test_one_worker_has_a_sqlite_file_whatever_link_leads_to_it(tmp_path):
    (tmp_path / "releases").mkdir()
    (tmp_path / "current").symlink_to(tmp_path / "releases")
    first, second = (
        FileLock(str(tmp_path / folder / "db.sqlite3")) for folder in ("releases", "current")
    )
    try:
        assert first.refresh(frozenset()) == ALL
        assert second.refresh(frozenset()) == frozenset()
        first.release()
        assert second.refresh(frozenset()) == ALL
    finally:
        second.release()
