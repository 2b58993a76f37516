"""The receivers of docs/examples, started as their README says, verified and called."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest

from tests.factories import WebhookFactory
from webhooks_app import actions

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
TOKEN = "what! is = this?"
FIRST_GENERATION = {
    "conversationId": "5cc6d3c0b4001336f89de71a",
    "result": {"resolvedQuery": "1", "parameters": {"name": "Ada"}, "contexts": []},
    "sessionId": "125338496333449767",
}

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("loopback")]


def needed(present: object, what: str) -> None:
    """Skip where a tool is missing, but never where the tests of a change are decided."""
    if not present:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(what)


@pytest.fixture(
    params=["flask", pytest.param("express", marks=pytest.mark.node)],
)
def receiver(request, tmp_path):
    """The address of a receiver that runs."""
    if request.param == "express":
        node = shutil.which("node")
        needed(node, "Node.js is not installed")
        needed((EXAMPLES / "express/node_modules").is_dir(), "run npm ci in docs/examples/express")
        command = [node, "server.js"]
    else:
        command = [sys.executable, "-u", "app.py"]
    with subprocess.Popen(
        command,
        cwd=EXAMPLES / request.param,
        env={**os.environ, "WEBHOOK_TOKEN": TOKEN, "PORT": "0", "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            said = []
            for line in process.stdout:
                said.append(line)
                address = re.search(r"http://127\.0\.0\.1:\d+", line)
                if address:
                    break
            else:
                pytest.fail("".join(said))
            yield f"{address[0]}/webhook"
        finally:
            process.kill()


@pytest.fixture
def webhook(receiver):
    return WebhookFactory(url=receiver, token=TOKEN, verified_at=None)


def test_it_passes_the_verification_and_answers_an_interaction(webhook):
    assert actions.verify(webhook).message == ""

    answer = actions.interact(webhook, {"userAttributes": {"default_name": "Ada"}})

    assert answer == {
        "responses": [{"type": "text", "delay": 1000, "message": "Hello Ada"}],
        "attributes": {"greeted": "yes"},
    }


def test_it_answers_the_first_generation_of_bodies(webhook):
    actions.verify(webhook)

    answer = actions.interact(webhook, FIRST_GENERATION)

    assert answer == {
        "responses": [{"type": "text", "elements": ["Hello Ada"]}],
        "attributes": {"greeted": "yes"},
    }


def test_it_refuses_another_token(receiver):
    attempt = actions.verify(WebhookFactory(url=receiver, token="another", verified_at=None))

    assert (attempt.ok, attempt.status, attempt.kind) == (False, 401, "v_401")


@pytest.mark.parametrize("body", [b"[1, 2]", b'{"order": 4711}'])
def test_it_takes_deliveries_of_any_json(receiver, body):
    request = Request(
        f"{receiver}?token={quote(TOKEN)}", body, {"Content-Type": "application/json"}
    )

    with urlopen(request, timeout=10) as answer:
        assert answer.status == 200
