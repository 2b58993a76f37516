"""The released versions can be had from the history, so that they run beside the present one."""

import os
import subprocess
import sys

import pytest

from tests.upgrade import releases


@pytest.mark.once
@pytest.mark.parametrize("version", releases.COMMITS)
def test_a_released_version_runs_from_its_commit(version, tmp_path):
    tree = releases.unpack(version, tmp_path)
    assert (tree / "requirements.lock").exists()
    ended = subprocess.run(
        [sys.executable, "manage.py", "webhooks", "--version"],
        cwd=tree,
        env=os.environ | {"DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3"},
        capture_output=True,
        text=True,
    )
    assert ended.stdout.strip().endswith(version), ended.stderr
