"""What `--forks` reports of tests that fail, end their process or hang."""

import os
import subprocess
import sys

import pytest

from tests.processes import ROOT

TESTS = """
import os, time, warnings, pytest

@pytest.mark.parametrize("n", range(40))
def test_each(n, tmp_path):
    if n == 3:
        os._exit(5)
    if n == 4:
        assert n == 5, "four"
    if n == 5:
        pytest.skip("five")
    if n == 6:
        warnings.warn("six")

@pytest.mark.timeout(1)
def test_that_hangs():
    time.sleep(60)
"""


@pytest.mark.once
def test_each_test_is_run_once_and_its_end_is_told(tmp_path):
    (tmp_path / "test_them.py").write_text(TESTS)
    (tmp_path / "migrated").touch()  # none of them asks for a database
    run = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(tmp_path)]
    plugins = [f"-p{name}" for name in ("tests.forked", "no:django", "no:cacheprovider")]
    said = subprocess.run(
        [*run, *plugins, "--timeout-method=thread", "--forks=2", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"TEST_FOLDER": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert said.returncode == 1, said.stdout
    assert "3 failed, 37 passed, 1 skipped, 1 warning" in said.stdout, said.stdout
    assert "The process that ran it ended: 5" in said.stdout
    assert "AssertionError: four" in said.stdout
    assert "Stack of MainThread" in said.stdout + said.stderr
    assert "UserWarning: six" in said.stdout
