"""Who holds up whom, on the page of a webhook, and what staff do about it."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from tests.admin.pages import forms, page, text_of, url
from tests.admin.test_home import plain
from tests.factories import AttemptFactory, DeliveryFactory, WebhookFactory, WorkerFactory
from webhooks_app import actions
from webhooks_app.models import Delivery

LATER = timedelta(hours=1)


@pytest.fixture
def webhook(account):
    return WebhookFactory(account=account, order="key")


@pytest.fixture
def held_up(webhook):
    made = actions.deliver_many([(webhook, {"n": n}, {"ordering_key": "4711"}) for n in range(3)])
    head = made[0]
    failed = {"tries": 1, "due_at": timezone.now() + LATER, "last_error": "Refused <here>"}
    Delivery.objects.filter(pk=head.pk).update(**failed)
    AttemptFactory(webhook=webhook, delivery=head, kind="http_5xx", message="Refused <here>")
    return made


def order(client, webhook):
    text = text_of(client.get(page(webhook)))
    return plain(text[text.index('id="order"') :].split("</section>")[0])


def test_the_head_of_the_line_is_shown_with_why_and_how_many_wait(viewer, webhook, held_up):
    says = order(viewer, webhook)
    assert "Of each ordering key one delivery is sent after the other" in says
    assert held_up[0].pk in says
    assert "4711" in says
    assert "Refused <here>" in says
    assert "2 deliveries wait behind it" in says
    assert "Skip" not in says  # who may only look has no buttons


def test_the_next_goes_when_the_head_is_tried_again(viewer, webhook, held_up):
    held_up[0].refresh_from_db()
    due = f"{held_up[0].due_at:%H:%M:%S}"
    text = text_of(viewer.get(page(webhook)))
    verdict = plain(text[text.index('id="verdict"') :].split("</section>")[0])
    # Near midnight with its day.
    next_at = rf"the next at (\d+ \w+ )?{due}"
    assert re.search(f"3 deliveries wait and go out by themselves, {next_at}", verdict)
    actions.deliver(webhook, {}, ordering_key="another")
    text = text_of(viewer.get(page(webhook)))
    verdict = plain(text[text.index('id="verdict"') :].split("</section>")[0])
    assert "4 deliveries wait" in verdict
    assert not re.search(next_at, verdict)


def test_nothing_is_said_of_a_webhook_without_an_order(viewer, account):
    text = text_of(viewer.get(page(WebhookFactory(account=account))))
    assert 'id="order"' not in text


def test_staff_retry_or_skip_the_head(operator, webhook, held_up):
    head, _, _ = held_up
    response = operator.get(page(webhook))
    retry, skip = url("delivery", head.pk, "retry"), url("delivery", head.pk, "cancel")
    assert {retry, skip} <= set(forms(response).actions)
    operator.post(retry)
    head.refresh_from_db()
    assert head.due_at <= timezone.now()
    assert "Nothing is held up" in order(operator, webhook)
    operator.post(skip)
    head.refresh_from_db()
    assert head.state == "cancelled"


def test_the_page_of_a_delivery_behind_leads_to_its_head(viewer, webhook, held_up):
    says = plain(text_of(viewer.get(page(held_up[1], "delivery"))))
    assert "Held: the one before it, in its order, waits for its next try" in says
    listed = plain(text_of(viewer.get("/admin/webhooks_app/delivery/")))
    assert "behind another" in listed


def test_a_webhook_that_stopped_says_what_may_be_done(operator, account):
    webhook = WebhookFactory(account=account, order="webhook", on_dead="stop")
    dead, _ = actions.deliver_many([(webhook, {})] * 2)
    now = timezone.now()
    ended = {"state": "failed", "finished_at": now, "tries": 1, "last_error": "Refused"}
    Delivery.objects.filter(pk=dead.pk).update(**ended)
    webhook.stopped, webhook.stopped_at = "blocked", now
    webhook.save(update_fields=["stopped", "stopped_at"])
    says = plain(text_of(operator.get(page(webhook))))
    assert "a delivery gave up, and those behind it wait" in says
    assert "when somebody decides" in order(operator, webhook)
    says = plain(text_of(operator.get(page(dead, "delivery"))))
    assert "Skip" in says
    says = plain(text_of(operator.post(url("delivery", dead.pk, "cancel"), follow=True)))
    assert "is skipped: those behind it wait for it no longer." in says
    assert "Skipped by" in says
    webhook.refresh_from_db()
    assert webhook.stopped == ""


def test_what_gave_up_before_the_one_that_blocks_has_nothing_to_skip(operator, account):
    now = timezone.now()
    stopped = {"stopped": "blocked", "stopped_at": now}
    webhook = WebhookFactory(account=account, order="webhook", on_dead="stop", **stopped)
    old, last = (
        DeliveryFactory(webhook=webhook, position=place, state="failed", tries=1, finished_at=at)
        for place, at in ((1, now - timedelta(hours=1)), (2, now))
    )
    assert "Skip…" in plain(text_of(operator.get(page(last, "delivery"))))
    says = plain(text_of(operator.get(page(old, "delivery"))))
    assert "Skip…" not in says
    assert "is stopped for this" not in says


def test_not_beside_a_worker_that_knows_no_order(editor, account):
    webhook = WebhookFactory(account=account)
    WorkerFactory(version="0.1.0", host="app-1")
    fields = forms(editor.get(page(webhook))).forms["webhook_form"]
    refused = text_of(editor.post(page(webhook), fields | {"order": "key"}))
    assert "worker of an older version runs (app-1:" in refused
    assert editor.post(page(webhook), fields | {"name": "New"}).status_code == 302


def test_the_order_is_a_field_of_the_form(editor, account):
    webhook = WebhookFactory(account=account)
    fields = forms(editor.get(page(webhook))).forms["webhook_form"]
    assert fields["on_dead"] == "continue"
    fields |= {"order": "key", "on_dead": "stop"}
    editor.post(page(webhook), fields)
    webhook.refresh_from_db()
    assert (webhook.order, webhook.on_dead) == ("key", "stop")
