"""Chooses the database of a test run and keeps it away from the developer's own settings.

`pytest` (or `--db=sqlite`) uses a SQLite file; `--db=postgres` starts a real PostgreSQL from its
wheel, once for all processes of the run. Loaded by `-p tests.plugin`, before Django's settings.
"""

import atexit
import base64
import gc
import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from tests import postgres

KEY = base64.urlsafe_b64encode(b"a key for nothing but the tests!").decode()


def pytest_addoption(parser):
    parser.addoption("--db", choices=["sqlite", "postgres"], default="sqlite")
    parser.addoption("--run-prove", action="store_true", help="run the long proofs too")


def test_environment(db: str, *, durable: bool = True) -> None:  # noqa: PT028 - no test
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
    if "TEST_DATABASE_URL" not in os.environ:  # set already in a run that a test starts
        postgres.end_what_killed_runs_left()
        folder = folder_of_the_run()
        os.environ["TEST_FOLDER"] = str(folder)
        file = f"sqlite:///{folder}/db.sqlite3"
        url = start_postgres(durable=durable) if db == "postgres" else file
        os.environ["TEST_DATABASE_URL"] = url
    os.environ["DATABASE_URL"] = os.environ["TEST_DATABASE_URL"]


test_environment.__test__ = False  # type: ignore[attr-defined]


def folder_of_the_run() -> Path:
    """For what all processes of a run share; gone at its end."""
    folder = postgres.folder_of_this_process("test")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def start_postgres(*, durable: bool = True) -> str:
    """A new PostgreSQL server of our own, stopped at the end of the run."""
    server = postgres.Server(durable=durable)
    atexit.register(server.stop)
    return server.url


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config, parser, args):
    known = early_config.known_args_namespace
    # Under `nohup` what the tests start would go on after a terminal that they close.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # No ordinary test outlives a loss of power; the figures of the proofs hold for a real disk.
    test_environment(known.db, durable=known.run_prove)


def pytest_configure(config):
    # A log-in costs nothing here; the hashes stay readable to processes with the real hasher.
    from django.contrib.auth.hashers import PBKDF2PasswordHasher

    PBKDF2PasswordHasher.iterations = 1

    # Each new client of a test builds the middleware anew; static files need not be listed for it.
    from django.conf import settings

    settings.WHITENOISE_AUTOREFRESH = True

    # How long an example takes says how busy the machine is, not whether the program is right.
    import hypothesis

    too_slow = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile("tests", deadline=None, suppress_health_check=too_slow)
    hypothesis.settings.load_profile("tests")


# Fixtures of which one is the database of the run; what asks for none of them is the same on both.
DATABASES = {
    "db",
    "transactional_db",
    "live_server",
    "site",
    "crew",
    "released",
    "upgraded",
    "admin_client",
}

# Their subject is a page, a form, a mask, a permission or what is judged before anything is stored.
# That all screens and addresses work on PostgreSQL say `benchmarks/test_console.py`,
# `security/test_sweep.py`, `api/test_fuzz.py` and the other tests of API and console.
SAME_ON_BOTH = {
    *(
        f"tests/admin/test_{name}.py"
        for name in (
            *("calls", "certificates", "console", "credentials", "mass_verbs", "order", "record"),
            *("signing", "tokens", "webhook_form", "webhook_page"),
        )
    ),
    *(
        f"tests/api/test_{name}.py"
        for name in (
            *("body", "browsable", "document", "judgement", "masks", "schema", "schemathesis"),
            "unknown",
        )
    ),
    *(
        f"tests/security/test_{name}.py"
        for name in ("addresses", "reports", "requests", "roles", "unseen")
    ),
    *(
        f"tests/test_{name}.py"
        for name in ("deployment", "log_in", "moments", "operations", "request_ids")
    ),
    "tests/commands/test_arguments.py",
    "tests/engine/test_message.py",
}

OF_A_FILE = re.compile(r"^pytestmark = (\[[^]]*\]|.*)", re.MULTILINE)


def may_ask_a_database(item):
    of_one = item.get_closest_marker("skipif")  # perhaps
    asks = DATABASES & set(item.fixturenames) or item.get_closest_marker("django_db")
    return bool(asks or of_one)


def pytest_ignore_collect(collection_path, config):
    """A file of which `-m "not once and …"` would leave nothing is not even read."""
    left_out = set(re.findall(r"\bnot (\w+)", config.option.markexpr))
    if not left_out or not collection_path.name.startswith("test_"):
        return None
    marks = set(re.findall(r"mark\.(\w+)", "".join(OF_A_FILE.findall(collection_path.read_text()))))
    file = collection_path.relative_to(config.rootpath).as_posix()
    if file in SAME_ON_BOTH or file.startswith("tests/rules/"):
        marks.add("once")
    return bool(marks & left_out) or None


@pytest.hookimpl(tryfirst=True)  # before `-m "not once"` chooses
def pytest_collection_modifyitems(config, items):
    for item in items:
        file = item.path.relative_to(config.rootpath).as_posix()
        if file in SAME_ON_BOTH or not may_ask_a_database(item):
            item.add_marker("once")
    if config.getoption("--run-prove"):
        return
    skip = pytest.mark.skip(reason="a long proof: make prove")
    for item in items:
        if "prove" in item.keywords:
            item.add_marker(skip)


def pytest_collection_finish():
    # What is there now stays: no collection of garbage need look through it again.
    gc.collect()
    gc.freeze()
    # A page makes some 10,000 objects, and hardly one that only this would find.
    gc.set_threshold(50_000, 20, 20)
