"""The clients of docs/examples against a site that was started for them."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from project.management.commands.quickstart import accepts
from tests.commands.test_quickstart import quickstart  # noqa: F401
from tests.examples.test_receivers import EXAMPLES

pytestmark = [pytest.mark.once, pytest.mark.prove]


def test_each_client_registers_a_webhook_and_gets_an_answer(quickstart, tmp_path):  # noqa: F811
    demo = quickstart(tmp_path)
    demo.read_until("curl ")
    assert accepts(demo.port)
    environment = {
        "PATH": os.environ["PATH"],
        "SITE": f"http://127.0.0.1:{demo.port}",
        "TOKEN": demo.word("Token"),
        "RECEIVER": re.search(r"http://127.0.0.1:\d+/any", demo.output)[0],
    }
    clients = [["sh", "client.sh"], [sys.executable, "client.py"]]
    if node := shutil.which("node"):
        clients.append([node, "client.mjs"])
    for client in clients:
        done = subprocess.run(
            client,
            cwd=EXAMPLES / "clients",
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[1:] == ["answered: Hello Ada!", "delivery: delivered"]
        assert done.stdout.lower().startswith("verified: true")
