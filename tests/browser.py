"""A real Chromium, the system's own.

Playwright's event loop runs in the thread of the tests until it is closed; meanwhile no test there
can run another, nor start a second Playwright.
"""

import os
import shutil
from contextlib import contextmanager

import pytest

from tests.waiting import PATIENCE

# The first is the same browser without its windows, in a third of the time.
NAMES = (
    *("chromium-headless-shell", "chromium", "chromium-browser"),
    *("google-chrome", "google-chrome-stable"),
)
WAIT = PATIENCE * 1000  # milliseconds; by default pages give up after 30 s
# Pages share a process: a new one costs more than most tests ask of theirs.
FEW = ("--renderer-process-limit=1",)


@contextmanager
def chromium_of_the_system():
    """A running browser; None where the system has none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        yield None
        return
    from playwright.sync_api import sync_playwright

    # Playwright runs an event loop in this thread; Django would refuse the ORM beside it.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=path, args=[*FEW, *(["--no-sandbox"] if root else [])]
            )
            yield browser
            browser.close()
    finally:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


def as_long_as_possible(fixture_name, config):
    """Where browsers alone are tested nobody else wants a loop: one serves a whole process."""
    return "session" if config.getoption("markexpr") == "browser" else "module"


@pytest.fixture(scope=as_long_as_possible)
def chromium():
    """A Chromium that runs; skips without one, but never where CI=true."""
    with chromium_of_the_system() as browser:
        if browser is None:
            missing = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
            missing("no Chromium found: tests/install-tools.sh installs it")
        yield browser
