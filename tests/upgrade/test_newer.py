"""A newer version beside this one has written words that this one does not know, into columns that
hold one of a few: whatever reads them goes on."""

import re
from html import unescape

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from tests.api.conftest import Api, problem
from tests.factories import DeliveryFactory, UserFactory, WebhookFactory, WorkerFactory
from tests.receivers import Receiver
from tests.security.test_roles import admin_paths
from tests.security.test_roles import rows as one_of_everything  # noqa: F401
from webhooks_app import actions
from webhooks_app.api import metrics
from webhooks_app.engine import worker
from webhooks_app.engine.maintenance import jobs, upkeep
from webhooks_app.models import Attempt, Delivery, EventBody, Job, Webhook, WebhookHealth, states
from webhooks_app.testing import FakeReceiver, drain

# As if a migration of the newer version had taken constraints away; SQLite can leave them out.
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'sqlite'", reason="PostgreSQL leaves none out"),
]


def chosen():
    """Every column that holds one of a few words."""
    yield from [(Attempt, "kind"), (WebhookHealth, "last_error_kind"), (WebhookHealth, "told")]
    for model in apps.get_app_config("webhooks_app").get_models():
        if not model._meta.proxy:
            yield from ((model, field.name) for field in model._meta.local_fields if field.choices)


HIDING = {"scope", "stopped", "state"}  # words without which others are not read
COLUMNS = {
    "every word": [column for column in chosen() if column[1] != "scope"],
    "all that others hide": [column for column in chosen() if column[1] not in HIDING],
}


def write(*columns):
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA ignore_check_constraints = ON")
        for model, name in columns:
            model._base_manager.update(**{name: "newer"})
        cursor.execute("PRAGMA ignore_check_constraints = OFF")


READ = (
    *("/webhooks", "/webhooks/{webhook}", "/webhooks/{webhook}/deliveries", "/events"),
    *("/webhooks/{webhook}/errors", "/webhooks/{webhook}/settings", "/deliveries/{delivery}"),
    *("/deliveries/{delivery}/attempts", "/events/{event}", "/events/{event}/webhooks"),
)


@pytest.fixture
def rows(one_of_everything, loopback):  # noqa: F811
    with Receiver(200) as receiver:
        plain = {"token": "", "auth_username": "", "auth_password": ""}
        Webhook.objects.update(url=receiver.url, verified_at=timezone.now(), **plain)
        Webhook.objects.get().headers.all().delete()
        yield one_of_everything


@pytest.mark.parametrize("columns", COLUMNS.values(), ids=COLUMNS)
def test_no_door_breaks(rows, secret, columns):
    console, api = Client(), Api(secret)
    console.force_login(UserFactory(is_superuser=True))
    actions.set_subscriptions(Webhook.objects.get(), [{"types": ["*"]}])
    write(*columns)
    shown = "/(webhook|delivery|attempt|webhookerror|job|event|auditentry|account)/"
    for path in ["/admin/", *admin_paths(rows)]:
        if re.search(rf"/webhooks_app{shown}(\w+/change/)?$", path) or path == "/admin/":
            assert console.get(path).status_code == 200, path
    for path in READ:
        assert api.get(path.format(**rows)).status_code == 200, path
    assert api.post("/events", {"type": "a", "payload": 1}).status_code == 202
    changed = api.patch("/webhooks/{webhook}".format(**rows), {"name": "x"})
    assert set(problem(changed, 400)["details"]) == {"form", "order", "onDead"}
    for command in (["status"], ["explain", rows["delivery"]]):
        call_command("webhooks", *command)
    worker.run(until_empty=True)
    upkeep.turn(notices=True, purge=True)


def test_a_stop_that_is_not_known_has_its_reason_everywhere(account, secret, admin_client, capsys):
    webhook = WebhookFactory(account=account)
    delivery = DeliveryFactory(webhook=webhook)
    WorkerFactory()
    write((Webhook, "stopped"))
    sentence, api = states.SENTENCES["unknown"], Api(secret)
    with FakeReceiver() as receiver:
        assert (drain(), receiver.requests) == (0, [])
    assert api.get(f"/webhooks/{webhook.pk}/settings").json()["health"]["held"] == "unknown"
    assert api.get(f"/deliveries/{delivery.pk}").json()["reason"] == "unknown"
    with pytest.raises(actions.NotCallable, match="does not know"):
        actions.interact(webhook, {})
    for command in ("status", f"explain {delivery.pk}"):
        call_command("webhooks", *command.split())
    said = " ".join(capsys.readouterr().out.split())
    assert f"It is held: {sentence}" in said
    assert "not called: 1 unknown" in said
    assert "held: 1 unknown" in said
    assert 'webhooks_held{state="unknown"} 1.0' in metrics.exposition().decode()
    page = admin_client.get(f"/admin/webhooks_app/webhook/{webhook.pk}/change/")
    assert sentence in unescape(page.content.decode())
    actions.enable(webhook)
    assert api.get(f"/deliveries/{delivery.pk}").json()["reason"] == ""


def test_an_event_for_a_form_that_is_not_known_is_stored_and_that_delivery_given_up(account):
    known, other = (WebhookFactory(account=account) for _ in range(2))
    for webhook in (known, other):
        actions.set_subscriptions(webhook, [{"types": ["*"]}])
    Webhook.objects.filter(pk=other.pk).update(form="newer")
    event = actions.publish(account, "a", 1)
    assert event.matched == 2
    deliveries = {each.webhook_id: each for each in Delivery.objects.all()}
    assert deliveries[known.pk].state == "pending"
    given_up = deliveries[other.pk]
    assert (given_up.state, given_up.form) == ("cancelled", "newer")
    assert "its form was not known" in given_up.reason


def test_what_was_published_before_a_form_was_known_is_made_when_it_is_retried(account):
    webhook = WebhookFactory(account=account, form="standard")
    actions.set_subscriptions(webhook, [{"types": ["*"]}])
    actions.publish(account, "a", {"n": 1})
    EventBody.objects.all().delete()  # as by who did not know it
    with FakeReceiver() as receiver:
        drain()
    [sent] = receiver.requests
    assert sent.json["data"] == {"n": 1}


def test_a_job_with_a_verb_that_is_not_known_changes_nothing(account):
    delivery = DeliveryFactory(webhook=WebhookFactory(account=account))
    actions.create_job("cancel", {"webhook": delivery.webhook_id})
    write((Job, "verb"))
    jobs.turn()
    delivery.refresh_from_db()
    assert (delivery.state, Job.objects.get().state) == ("pending", "stopped")
