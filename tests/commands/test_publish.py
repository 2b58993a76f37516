"""`manage.py webhooks publish`."""

import json

import pytest

from tests.api.conftest import Api
from tests.commands.test_webhooks import run
from tests.factories import WebhookFactory
from webhooks_app import actions
from webhooks_app.models import Event

pytestmark = pytest.mark.django_db


def test_it_publishes_and_prints_the_id(account):
    actions.set_subscriptions(WebhookFactory(account=account), [{"types": ["*"]}])
    said = run("publish", "acme", "order.created", "--data", '{"n": 1.0}', "--channel", "eu")
    event = Event.objects.get()
    assert event.pk in said
    assert bytes(event.payload) == b'{"n": 1.0}'
    assert (event.channels, event.matched, event.created_by) == (("eu",), 1, "command line")


def test_as_json_it_is_the_event_as_the_api_lists_it(account, secret):
    printed = run("publish", "acme", "a", "--event-id", "o-1", "--deliver-at", "2h", "--json")
    said = json.loads(printed[printed.index("{") :])
    assert said == Api(secret).get("/events").json()[0]
    assert said["deliverAt"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("nobody", "a"),
        ("acme", "no good"),
        ("acme", "a", "--data", "{"),
        ("acme", "a", "--channel", " "),
    ],
)
def test_what_cannot_be_published_is_wrong_usage(account, arguments):
    run("publish", *arguments, code=2)
    assert not Event.objects.exists()
