"""The commits of the releases, and their trees: what an old worker or web process is run from."""

import subprocess
import tarfile
from io import BytesIO

from tests.processes import ROOT

COMMITS = {
    "0.1.0": "4b46e3d2b4e6090c13104d77a7d7876ddddc6afd",
}


def unpack(version, folder):
    """The tree of a release, with its lock files, in `folder`. AssertionError in a clone without
    the history that it lies in."""
    commit = COMMITS[version]
    ended = subprocess.run(
        ["git", "-C", ROOT, "archive", "--format=tar", commit], capture_output=True
    )
    said = ended.stderr.decode()
    assert ended.returncode == 0, (
        f"the commit of {version} is needed: git fetch --unshallow. {said}"
    )
    with tarfile.open(fileobj=BytesIO(ended.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return folder
