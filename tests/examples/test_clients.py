"""Clients of a site that was started for them: those of docs/examples, and those that others' tools
make of /schema."""

import shutil
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.examples.conftest import needed, tool
from tests.examples.test_receivers import EXAMPLES

pytestmark = [pytest.mark.once, pytest.mark.prove]

HERE = Path(__file__).parent


def run(*command, **options):
    """What a command prints, which must end well."""
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200, **options)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout.splitlines()


def test_each_client_registers_a_webhook_and_gets_an_answer(demo):
    clients = [["sh", "client.sh"], [sys.executable, "client.py"]]
    if node := shutil.which("node"):
        clients.append([node, "client.mjs"])
    for client in clients:
        first, *others = run(*client, cwd=EXAMPLES / "clients", env=demo)
        assert others == ["answered: Hello Ada!", "delivery: delivered"]
        assert first.lower().startswith("verified: true")


def schema(demo, folder):
    """The description of the API in a file."""
    file = folder / "schema.json"
    with urlopen(f"{demo['SITE']}/schema", timeout=30) as answer:
        file.write_bytes(answer.read())
    return file


def test_a_generated_client_in_python_is_complete_and_works(demo, tmp_path):
    client = tmp_path / "webhooks_client"
    arguments = ["--path", schema(demo, tmp_path), "--output-path", client, "--meta", "none"]
    said = run(
        *(tool("openapi-python-client"), "generate", *arguments, "--fail-on-warning"),
        env={"PATH": f"{Path(tool('ruff')).parent}:{demo['PATH']}"},
    )
    assert "Warning" not in "\n".join(said)
    environment = demo | {"PYTHONPATH": str(tmp_path)}
    said = run(tool("python"), HERE / "generated.py", env=environment)
    assert said == ["answered: Hello Ada!", "delivery: delivered"]


def test_a_generated_client_in_typescript_compiles_and_works(demo, tmp_path):
    source, node = HERE / "typescript", shutil.which("node")
    needed(node, "Node.js is not installed")
    needed((source / "node_modules").is_dir(), f"run npm ci in {source}")
    programs = source / "node_modules/.bin"
    shutil.copy(source / "generated.ts", tmp_path)
    shutil.copy(source / "package.json", tmp_path)
    (tmp_path / "node_modules").symlink_to(source / "node_modules")
    types = tmp_path / "schema.ts"
    run(node, programs / "openapi-typescript", schema(demo, tmp_path), "-o", types)
    options = ["--strict", "--target", "es2022", "--module", "nodenext", "--types", "node"]
    run(node, programs / "tsc", *options, "generated.ts", cwd=tmp_path)
    said = run(node, "generated.js", cwd=tmp_path, env=demo)
    assert said == ["answered: Hello Ada!", "delivery: delivered"]
