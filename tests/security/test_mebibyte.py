"""1 MiB of anything costs 0.2 s at most in all, with a token too."""

import json

import pytest

from tests.factories import AccountFactory, DeliveryFactory, WebhookFactory
from tests.security.asking import Ask, dear, filled
from tests.security.outside import UNITS
from tests.security.test_tenancy import OPERATIONS
from webhooks_app import actions
from webhooks_app.limits import BODY_LIMIT
from webhooks_app.models import AccessToken
from webhooks_app.rules import strictjson
from webhooks_app.testing import FakeReceiver

pytestmark = [pytest.mark.once, pytest.mark.slow, pytest.mark.django_db(transaction=True)]

ALLOWED = 0.2  # seconds of CPU
A_REQUEST = 0.01  # of them without any body
JSON = ("content-type", b"application/json")
# Where a text stands in a body: as the whole of it, and as one value, name or list in it.
FRAMES = (
    *("{}", '"{}"', "[" * 65 + '"{}', '{"{}":1}', '{"name":"{}","url":"https://e.com/"}'),
    *('{"url":"https://{}/","name":"n"}', '{"url":"{}"}', '{"url":"https://e.com/{}"}'),
    *('{"headers":[{"name":"{}","value":"v"}]}', '{"headers":[{"name":"X-A","value":"{}"}]}'),
    *('{"auth":{"username":"{}"}}', '{"token":"{}"}', '{"node":{"id":"{}"}}', '{"chatId":"{}"}'),
    *('{"type":"{}","payload":1}', '{"type":"a","payload":"{}"}', '{"name":"a","example":"{}"}'),
    *('{"subscriptions":[{"types":["{}"]}]}', '{"events":[{"type":"a","payload":"{}"}]}'),
    '{"subscriptions":[{"types":["*"],"filter":{"{}":1}}]}',
    *('{"since":"{}"}', '{"note":"{}","enabled":false}', '{"headers":[{}]}', '{"a":[{}]}'),
)
ELEMENTS = ('{"name":"X","value":"v"},', "[],", "{},", '"",', "1,", "1e9,", '{"a":', "-", "null,")
SAMPLE = ("\u0315\u0300", '\\"', "a", " ", "\U0001f600")


@pytest.fixture
def ask(transactional_db):
    """No call of it leaves the process."""
    ask = Ask()
    with FakeReceiver({}):
        yield ask
    ask.close()


@pytest.fixture
def doors(transactional_db):
    """The addresses that take a body, and a token for them. New ones join by themselves."""
    account = AccountFactory()
    webhook = WebhookFactory(account=account)
    ids = {
        "webhook": webhook.pk,
        "delivery": DeliveryFactory(webhook=webhook).pk,
        "event": actions.publish(account, "order.created", 1).pk,
        "event_type": actions.declare_event_type(account, "order.created").name,
    }
    return AccessToken.issue(account)[1], [
        (method, path.replace("{id}", ids[view.target]))
        for method, path, view in OPERATIONS
        if method in ("POST", "PUT", "PATCH") and view.example
    ]


def bodies(units, size):
    for frame in FRAMES:
        inner = frame.endswith("[{}]}")
        for unit in ELEMENTS if inner else units:
            yield filled(frame, unit, size)


def tried(doors, units, size, *, everywhere):
    """Each body at one address, in turn; `everywhere`: what is JSON at all of them, for what is
    none is refused before it is known whose it is."""
    secret, addresses = doors
    headers = [JSON, ("authorization", f"Bearer {secret}".encode())]
    for number, body in enumerate(bodies(units, size)):
        step = 1 if everywhere and is_json(body) else len(addresses)
        for method, path in addresses[number % step :: step]:
            request = {"method": method, "path": path, "headers": headers, "body": body}
            yield f"{method} {path} {body[:50]!r}", request


def is_json(body):
    try:
        strictjson.loads(body)
    except ValueError:
        return False
    return True


def test_whatever_a_client_sends(ask, doors):
    some = tried(doors, SAMPLE, BODY_LIMIT // 4, everywhere=False)
    assert dear(ask, some, ALLOWED / 4 + A_REQUEST) == []


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_whatever_a_client_sends_anywhere(ask, doors):
    assert dear(ask, tried(doors, UNITS, BODY_LIMIT - 1024, everywhere=True), ALLOWED) == []


def test_what_is_sent_is_understood_where_it_can_be(ask, doors):
    secret, addresses = doors
    headers = [JSON, ("authorization", f"Bearer {secret}".encode())]
    [webhook] = {path for method, path in addresses if method == "PUT" and "/webhooks" in path}
    for method, path, body, status in (
        ("PATCH", webhook, {"name": "another"}, 200),
        ("POST", f"{webhook}/deliveries", "x" * 1000, 202),
        ("POST", "/events", {"type": "a", "payload": "x" * 1000}, 202),
    ):
        assert (method, path) in addresses
        ask(method, path, headers=headers, body=json.dumps(body).encode())
        assert ask.status == status, ask.body
