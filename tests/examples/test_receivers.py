"""The receivers of docs/examples, started as their README says, verified and called."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest

from tests.examples.conftest import needed, tool
from tests.factories import WebhookFactory
from tests.ports import free_port
from webhooks_app import actions
from webhooks_app.engine import worker
from webhooks_app.models import SigningKey
from webhooks_app.rules import signing

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
TOKEN = "what! is = this?"
SECRET = signing.secret_of(b"a secret of the receivers' tests.")
FIRST_GENERATION = {
    "conversationId": "5cc6d3c0b4001336f89de71a",
    "result": {"resolvedQuery": "1", "parameters": {"name": "Ada"}, "contexts": []},
    "sessionId": "125338496333449767",
}

pytestmark = [
    pytest.mark.once,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("loopback"),
]


class Example:
    """A receiver that runs: where it listens, what it goes by, and what it has printed."""

    def __init__(self, printed, secret):
        self.printed, self.secret = printed, secret
        self.url = f"{self.wait_for(r'http://127[.]0[.]0[.]1:[0-9]+')[0]}/webhook"

    def wait_for(self, pattern):
        deadline = time.monotonic() + 60
        while not (found := re.search(pattern, self.printed.read_text())):
            assert time.monotonic() < deadline, self.printed.read_text()
            time.sleep(0.05)
        return found

    def worked_on(self, ident):
        """How many times."""
        return self.printed.read_text().count(f"worked on {ident}")

    def webhook(self, **values):
        """One that calls it as it expects; with a token of its own, it gives no secret away."""
        webhook = WebhookFactory(url=self.url, **{"token": TOKEN} | values)
        if self.secret:
            SigningKey.objects.create(webhook=webhook, secret=self.secret)
        return webhook

    def call(self, body, **headers):
        if self.secret:
            ident, now = headers["webhook-id"], int(time.time())
            headers["webhook-timestamp"] = str(now)
            keys = [signing.key_of(self.secret)]
            headers["webhook-signature"] = signing.signature(
                map(signing.signer, keys), ident.encode(), now, body
            ).decode()
        address = f"{self.url}?token={quote(TOKEN)}"
        with urlopen(Request(address, body, headers), timeout=30) as answer:
            return answer.read()


@pytest.fixture(
    params=[
        ("flask", ""),
        ("flask", SECRET),
        pytest.param(("express", ""), marks=pytest.mark.node),
        pytest.param(("express", SECRET), marks=pytest.mark.node),
        ("go", SECRET),
        # `make examples` installs what these need.
        pytest.param(("fastapi", SECRET), marks=pytest.mark.prove),
        pytest.param(("fastapi", ""), marks=pytest.mark.prove),
        pytest.param(("php", SECRET), marks=pytest.mark.prove),
        pytest.param(("php", ""), marks=pytest.mark.prove),
        # The kit has tests of its own; `make examples` starts this one, too.
        pytest.param(("django", SECRET), marks=pytest.mark.prove),
        pytest.param(("django", ""), marks=pytest.mark.prove),
    ],
    ids=[
        *("flask-token", "flask", "express-token", "express", "go", "fastapi", "fastapi-token"),
        *("php", "php-token", "django", "django-token"),
    ],
)
def receiver(request, tmp_path):
    language, secret = request.param
    if language == "go":
        command = [built(tmp_path)]
    elif language == "express":
        node = shutil.which("node")
        needed(node, "Node.js is not installed")
        needed((EXAMPLES / "express/node_modules").is_dir(), "run npm ci in docs/examples/express")
        command = [node, "server.js"]
    elif language == "php":
        php = shutil.which("php")
        needed(php, "PHP is not installed")
        command = [php, "-S", f"127.0.0.1:{free_port()}", "index.php"]
    else:
        python = tool("python") if language == "fastapi" else sys.executable
        command = [python, "-u", "app.py"]
    printed = tmp_path / "printed.txt"
    with (
        printed.open("w") as file,
        subprocess.Popen(
            command,
            cwd=EXAMPLES / language,
            env={
                **os.environ,
                "WEBHOOK_TOKEN": TOKEN,
                "WEBHOOK_SECRET": secret,
                "PORT": "0",
                "TMPDIR": str(tmp_path),
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONPATH": str(EXAMPLES.parents[1]),
            },
            stdout=file,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            example = Example(printed, secret)
            example.kit = language == "django"
            yield example
        finally:
            process.kill()


def built(folder):
    """The receiver in Go; what it needs must be on this machine already."""
    go = shutil.which("go")
    needed(go, "Go is not installed")
    environment = {**os.environ, "GOPROXY": "off", "GOFLAGS": "-mod=readonly"}
    found = subprocess.run(
        [go, "build", "-o", folder / "receiver", "."],
        cwd=EXAMPLES / "go",
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    needed(found.returncode == 0, f"run go mod download in docs/examples/go: {found.stderr}")
    return folder / "receiver"


@pytest.fixture
def webhook(receiver):
    return receiver.webhook(verified_at=None)


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


def test_it_refuses_another_token_or_secret(receiver):
    # With a secret of its own: a token alone passes nowhere that checks signatures.
    token = TOKEN if receiver.secret else "another"
    webhook = WebhookFactory(url=receiver.url, token=token, verified_at=None)

    attempt = actions.verify(webhook)

    assert (attempt.ok, attempt.status, attempt.kind) == (False, 401, "v_401")


ANY_JSON = [
    *(b"{}", b"[1, 2]", b"null", b"true", b"4711", b"0.5", b'"text"', b'{"order": 4711}'),
    *(b'{"result": 5}', b'{"result": null}', b'{"result": [1]}', b'{"result": "text"}'),
    *(b'{"result": {"parameters": [1]}}', b'{"result": {"parameters": {"name": {"a": 1}}}}'),
    *(b'{"userAttributes": []}', b'{"userAttributes": {"default_name": {"toString": 1}}}'),
    *(b'{"userAttributes": null}', b'{"__proto__": 1, "constructor": 2}'),
    b'"%s"' % (b"x" * (actions.PAYLOAD_LIMIT - 2)),
]


def test_it_takes_every_json_that_a_delivery_may_be(receiver, webhook):
    actions.verify(webhook)
    sent = [actions.deliver(webhook, body) for body in ANY_JSON]

    worker.run(until_empty=True)

    for delivery in sent:
        delivery.refresh_from_db()
        shown = bytes(delivery.payload)[:80]
        assert (delivery.state, delivery.last_error) == ("delivered", ""), shown
        assert receiver.worked_on(delivery.id) == 1, shown


def test_it_takes_deliveries_under_a_content_type_of_the_webhooks_own(receiver):
    headers = [("Content-Type", "application/vnd.acme+json")]
    webhook = receiver.webhook(headers=headers)
    delivery = actions.deliver(webhook, b'{"result": {"parameters": {"name": "Ada"}}}')

    worker.run(until_empty=True)

    delivery.refresh_from_db()
    assert delivery.state == "delivered"
    assert "Hello Ada" in delivery.attempts.get().answer


def test_it_works_once_on_a_delivery_that_comes_twice(receiver, webhook):
    actions.verify(webhook)
    delivery = actions.deliver(webhook, b'{"userAttributes": {"default_name": "Ada"}}')
    worker.run(until_empty=True)

    actions.retry(delivery)
    worker.run(until_empty=True)

    answers = delivery.attempts.values_list("status", "answer")
    assert len(answers) == 2
    # The kit of Django answers a repeat by itself, with nothing.
    assert len({status if receiver.kit else (status, answer) for status, answer in answers}) == 1
    assert receiver.worked_on(delivery.id) == 1


def test_what_it_could_not_work_on_is_no_repeat_when_it_comes_again(receiver):
    with pytest.raises(HTTPError):
        receiver.call(b"{", **{"webhook-id": "a"})

    assert b"Hello Ada" in receiver.call(
        b'{"userAttributes": {"default_name": "Ada"}}', **{"webhook-id": "a"}
    )
    assert receiver.worked_on("a") == 1
