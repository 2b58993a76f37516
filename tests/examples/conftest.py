import os
import re
import shutil
from pathlib import Path

import pytest

from project.management.commands.quickstart import accepts
from tests.commands.test_quickstart import quickstart  # noqa: F401

# What `make examples` installs for nothing else.
TOOLS = Path(__file__).resolve().parents[2] / ".venv-examples" / "bin"


def needed(present: object, what: str) -> None:
    """Skip where a tool is missing, but never where the tests of a change are decided."""
    if not present:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(what)


def tool(name: str) -> str:
    path = shutil.which(name, path=TOOLS)
    needed(path, "make examples installs what is needed into .venv-examples")
    return str(path)


@pytest.fixture
def demo(quickstart, tmp_path):  # noqa: F811
    """The environment of a client of a site that `make run` has started."""
    demo = quickstart(tmp_path)
    demo.read_until("curl ")
    assert accepts(demo.port)
    return {
        "PATH": os.environ["PATH"],
        "SITE": f"http://127.0.0.1:{demo.port}",
        "TOKEN": demo.word("Token"),
        "RECEIVER": re.search(r"http://127.0.0.1:\d+/any", demo.output)[0],
    }
