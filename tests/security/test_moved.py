"""Headers are secrets of the address that they were saved with: whoever moves a webhook and gives
it new ones does not have them sent to the old address, whenever we look."""

import threading
from contextlib import contextmanager

import pytest
from django.db import connections

from tests.factories import WebhookFactory
from tests.receivers import Receiver
from webhooks_app import actions
from webhooks_app.actions.interactions import Beginnings, ToInteract
from webhooks_app.models import Webhook

pytestmark = pytest.mark.django_db(transaction=True)
NEW = [("X-Key", "of-the-new-address")]


@contextmanager
def moved_between(webhook, url):
    """Somebody moves the webhook when its row has been read, right before its headers are."""

    def move():
        try:
            actions.update_webhook(webhook, url=url, headers=NEW)
        finally:
            connections.close_all()

    def execute(next_one, sql, parameters, many, context):
        if not done and sql.startswith("SELECT") and 'FROM "webhooks_app_header"' in sql:
            done.append(sql)
            thread = threading.Thread(target=move)
            thread.start()
            thread.join()
        return next_one(sql, parameters, many, context)

    done = []
    with connections["default"].execute_wrapper(execute):
        yield
    assert done


@pytest.fixture
def places(loopback, settings):
    settings.WEBHOOKS_VERIFICATION = "off"
    with Receiver({"responses": []}) as old, Receiver({"responses": []}) as new:
        yield old, new


@pytest.fixture
def webhook(places):
    return WebhookFactory(url=places[0].url, headers=[("X-Key", "of-the-old-address")])


def test_an_interaction_is_asked_for_once_more(places, webhook):
    old, new = places
    with moved_between(webhook, new.url), pytest.raises(actions.Busy):
        actions.interact(webhook, {})
    assert actions.interact(webhook, {})["responses"] == []
    assert (old.requests, [each.header("x-key") for each in new.requests]) == ([], [NEW[0][1]])


def test_so_are_interactions_that_come_together(places, webhook):
    beginnings, asked = Beginnings(), [ToInteract(Webhook.objects.get(), {})]
    with moved_between(webhook, places[1].url):
        [answer] = beginnings.begin(asked)
    assert isinstance(answer, actions.Busy)
    [begun] = beginnings.begin(asked)
    assert NEW[0][1].encode() in begun.prepared.head


def test_a_worker_reads_it_once_more(places, webhook, reader):
    with moved_between(webhook, places[1].url):
        assert reader.load([webhook.pk]).loaded == {}
    loaded = reader.load([webhook.pk]).loaded[webhook.pk]
    assert NEW[0][1].encode() in loaded.head.post
    assert loaded.url == places[1].url
