"""Every code block of the pages is read, or run: `make docs`, not in the ordinary tests.

JSON, Python, shell, CSS and INI must at least be that; commands of ours in a shell block must
parse. A block behind `<!-- check: NAME -->` is run as its page says: the first webhook of
README.md, at a site started for it; django.md in a project that `startproject` has just made.
"""

import ast
import configparser
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from cryptography.fernet import Fernet
from django.core.management import get_commands, load_command_class

from project.management.commands.quickstart import accepts
from tests.commands.test_quickstart import quickstart  # noqa: F401
from tests.docs.tables import DOCS, ROOT
from webhooks_app.management.commands.webhooks import Command

FENCE = re.compile(r"(?:<!-- check: (\w+) -->\n)?^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = [
    *(ROOT / name for name in ("README.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted(DOCS.glob("*.md")),
    *sorted(DOCS.glob("examples/*.md")),
]


@dataclass(frozen=True, slots=True)
class Block:
    page: str
    line: int
    check: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(page.name, text[: found.start(3)].count("\n"), found[1] or "", found[2], found[3])
        for found in FENCE.finditer(text)
    ]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def marked(page: str, check: str) -> list[str]:
    found = [block.text for block in BLOCKS if (block.page, block.check) == (page, check)]
    assert found, f"{page} has no block to check as {check}"
    return found


def test_no_fence_is_left_open():
    for page in PAGES:
        assert len(re.findall(r"^```", page.read_text(), re.M)) == 2 * len(blocks_of(page)), page


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_it_is_what_it_says(block):
    match block.language:
        case "json":
            json.loads(block.text)
        case "python":
            ast.parse(block.text)
        case "sh":
            subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
            for words in commands(block.text):
                check_command(words)
        case "yaml":
            yaml.safe_load(block.text)
        case "ini":
            configparser.ConfigParser(interpolation=None).read_string(block.text)
        case "css":
            tokens = ROOT / "webhooks_app/static/webhooks_app/tokens.css"
            known = re.findall(r"(--wh-[a-z0-9-]+):", tokens.read_text())
            named = re.findall(r"^ +(--[a-z0-9-]+): [^;{}]+;$", block.text, re.M)
            assert len(named) == block.text.count(":") - 1  # that of `:root`
            assert set(named) <= set(known)
        case "":
            assert "`" not in block.text
        case other:
            pytest.fail(f"nobody reads blocks of {other}")


def commands(text: str) -> Iterator[list[str]]:
    """The words of each line; a quotation may go on in the next one."""
    begun = ""
    for line in text.replace("\\\n", " ").splitlines():
        begun += f"{line}\n"
        try:
            words = shlex.split(begun, comments=True)
        except ValueError:
            continue
        begun = ""
        if words:
            yield words
    assert not begun, "a quotation is left open"


def check_command(words: list[str]) -> None:
    """Commands of ours, as far as a reader types them."""
    if words[0] == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M)
        assert {word for word in words[1:] if "=" not in word} <= set(targets)
    if "-m" in words[:2] and words[0].startswith("python"):
        assert importlib.util.find_spec(words[2]) is not None, words[2]
    if any(word.endswith("manage.py") for word in words):
        command, *arguments = words[words.index("manage.py") + 1 :]
        assert command in get_commands()
        if command == "webhooks":
            parser = Command().create_parser("manage.py", "webhooks")
            parser.parse_args(arguments)
        else:
            load_command_class(get_commands()[command], command)


def test_the_first_webhook_of_the_readme_answers(quickstart, tmp_path):  # noqa: F811
    demo = quickstart(tmp_path)
    demo.read_until("curl ")
    wait_for(demo.port)  # a machine that is very busy is told the addresses before
    receivers = re.search(r"http://127.0.0.1:(\d+)/any", demo.output)[1]
    [script] = marked("README.md", "quickstart")
    script = re.sub(r"SITE=\S+", f"SITE=http://127.0.0.1:{demo.port}", script)
    script = re.sub(r"TOKEN=\S+", f"TOKEN={demo.word('Token')}", script)
    script = script.replace("127.0.0.1:8001", f"127.0.0.1:{receivers}")

    done = subprocess.run(["bash", "-eu", "-c", script], capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    verified, answered, queued = map(json.loads, re.findall(r"\{.*?\}(?=\{|\Z)", done.stdout))
    assert verified["ok"]
    assert answered["responses"][0]["message"] == "Hello Ada!"
    assert (queued["type"], queued["state"]) == ("order.created", "pending")


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while not accepts(port):
        assert time.monotonic() < deadline
        time.sleep(0.1)


class Project:
    """What `startproject` makes, with the app beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run("-m", "django", "startproject", "shop", ".")
        self.run("manage.py", "startapp", "orders")

    def run(self, *arguments: str) -> str:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**kept, "PYTHONPATH": str(ROOT), "WEBHOOKS_KEY": Fernet.generate_key().decode()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def add(self, name: str, *texts: str) -> None:
        file = self.folder / name
        before = file.read_text() if file.exists() else ""
        file.write_text("\n".join([before, *texts]))


PYTHON = """
from types import SimpleNamespace
from django.db import transaction
from django.test import TestCase
from webhooks_app.testing import FakeReceiver, drain

class Pages(TestCase):
    def test_what_the_page_shows(self):
        order = SimpleNamespace(pk=4711, save=lambda: None)
        names = {"order": order, "transaction": transaction}
        answer = {"responses": [{"type": "text", "message": "Hi"}], "attributes": {"foo": "bar"}}
        with FakeReceiver(answer) as receiver:
            for block in BLOCKS:
                exec(block, names)
                drain()
        sent = [call.json for call in receiver.requests if call.method == "POST"]
        self.assertEqual(sent[:2], [{"order": 4711}, {"order": 4711, "total": 120}])
        self.assertEqual(names["answer"], answer)
"""
RECEIVER = """
import json
from django.conf import settings
from django.db import models, transaction
from django.http import HttpResponse
WORKED = []
work_on = lambda *call: WORKED.append(call)
"""
TWICE = """
import json
from django.test import RequestFactory, TestCase
from orders import models

class Twice(TestCase):
    def test_a_repeat_is_no_work(self):
        for _ in range(2):
            request = RequestFactory().post(
                "/", b'{"order": 1}', "application/json", headers={"webhook-id": "a"}
            )
            assert models.receive(request).status_code == 200
        assert models.WORKED == [({"order": 1},)]
"""


@pytest.mark.timeout(900)  # a dozen processes that import Django
def test_a_new_django_project_does_what_the_page_says(tmp_path):
    project = Project(tmp_path)
    settings = marked("django.md", "settings")
    secret = (
        "WEBHOOK_SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'\nINSTALLED_APPS += ['orders']"
    )
    project.add("shop/settings.py", "import os", *settings, secret)
    project.add("shop/urls.py", "from django.urls import include", *marked("django.md", "urls"))
    project.add("shop/asgi.py", *marked("django.md", "asgi"))
    [test] = marked("django.md", "test")
    project.add("orders/tests.py", test)
    project.add("orders/test_page.py", PYTHON, f"BLOCKS = {marked('django.md', 'python')!r}")
    project.add("orders/models.py", RECEIVER, *marked("receivers.md", "python"))
    project.add("orders/test_twice.py", TWICE)

    project.run("manage.py", "makemigrations", "orders")
    project.run("manage.py", "migrate")
    checked = project.run("manage.py", "check", "--database", "default")
    assert "webhooks_app" not in checked
    token = project.run("manage.py", "webhooks", "create-token", "acme", "--create")
    assert token.startswith("whk_")
    project.run("-c", "import shop.asgi")
    assert "Ran 3 tests" in project.run("manage.py", "test")
    project.run("manage.py", "migrate", "webhooks_app", "zero")  # as the page says: removing it


def test_the_settings_of_the_readme_and_of_postgresql_are_python(monkeypatch):
    monkeypatch.setenv("WEBHOOKS_KEY", Fernet.generate_key().decode())
    names: dict[str, object] = {"BASE_DIR": ROOT}
    exec(marked("django.md", "postgres")[0], names)
    assert names["DATABASES"]["default"]["OPTIONS"] == {"pool": True}  # type: ignore[index]
