"""One verb for many rows: asked first, with a reason that the audit log keeps."""

import pytest
from django.utils import timezone

from tests.admin.pages import text_of, url
from tests.factories import DeliveryFactory, WebhookFactory
from webhooks_app.models import AuditEntry, Delivery, Job, Webhook

REASON = "their server moves"


def press(client, model, action, rows, **more):
    data = {"action": action, "_selected_action": [row.pk for row in rows], **more}
    return client.post(url(model), data, follow=True)


def confirm(client, model, action, rows):
    return press(client, model, action, rows, confirmed="1", note=REASON)


def done():
    return sorted(AuditEntry.objects.values_list("action", flat=True))


@pytest.fixture
def two(account):
    """Two webhooks; of each something waits, something is retried, something gave up."""
    webhooks = [WebhookFactory(account=account, name=name) for name in ("One", "Two")]
    for webhook in webhooks:
        DeliveryFactory(webhook=webhook)
        DeliveryFactory(webhook=webhook, tries=2)
        DeliveryFactory(webhook=webhook, tries=8, state="failed", finished_at=timezone.now())
    return webhooks


@pytest.mark.parametrize(
    ("action", "title", "words"),
    [
        ("pause_", "Pause 2 webhooks?", "Nothing is sent to them"),
        ("enable_", "Resume 2 webhooks?", "What waits for them goes out"),
        ("replay_", "Replay 2 webhooks?", "2 of their deliveries gave up"),
        ("retry_", "Retry 2 webhooks?", "2 of their deliveries wait for their next try"),
        ("cancel_", "Cancel 2 webhooks?", "4 of their deliveries wait"),
    ],
)
def test_every_verb_over_webhooks_asks_first_and_does_nothing_until_it_was_answered(
    operator, two, action, title, words
):
    text = text_of(press(operator, "webhook", action, two))
    for part in (title, words, "Reason, for your colleagues and the audit log", "One", "Two"):
        assert part in text
    assert done() == []
    assert not Job.objects.exists()


def test_pause_and_resume_keep_the_reason(operator, two):
    confirm(operator, "webhook", "pause_", two)
    assert set(Webhook.objects.values_list("stopped", "stopped_note")) == {("paused", REASON)}
    confirm(operator, "webhook", "enable_", two)
    assert set(Webhook.objects.values_list("stopped", flat=True)) == {""}
    assert done() == [f"Paused: {REASON}"] * 2 + [f"Resumed: {REASON}"] * 2


@pytest.mark.parametrize(
    ("action", "verb", "state", "noun"),
    [
        ("replay_", "retry", "failed", "replay"),
        ("retry_", "retry", "retrying", "replay"),
        ("cancel_", "cancel", "pending", "cancel"),
    ],
)
def test_what_takes_deliveries_makes_a_job_for_each_webhook(
    operator, two, action, verb, state, noun
):
    text = text_of(confirm(operator, "webhook", action, two))
    assert "Show the jobs" in text
    made = {
        (job.verb, job.selection["webhook"], job.selection["state"]) for job in Job.objects.all()
    }
    assert made == {(verb, webhook.pk, state) for webhook in two}
    assert done() == [f"Started: {noun} what a selection holds: {REASON}"] * 2


def test_a_webhook_with_nothing_to_do_gets_no_job(operator, two, account):
    idle = WebhookFactory(account=account, name="Idle")
    assert "Replay 2 webhooks?" in text_of(press(operator, "webhook", "replay_", [*two, idle]))
    assert "None of them has deliveries that gave up" in text_of(
        press(operator, "webhook", "replay_", [idle])
    )
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("action", "title", "words"),
    [
        ("retry_", "Retry 2 deliveries?", "Asked for one more try"),
        ("cancel_", "Cancel 2 deliveries?", "Cancelled"),
    ],
)
def test_verbs_over_deliveries_ask_first_and_keep_the_reason(operator, two, action, title, words):
    rows = list(Delivery.objects.filter(state="pending")[:2])
    assert title in text_of(press(operator, "delivery", action, rows))
    assert done() == []
    confirm(operator, "delivery", action, rows)
    assert done() == [f"{words}: {REASON}"] * 2


def test_replaying_all_that_match_keeps_the_reason_too(operator, two):
    words = {"verb": "retry", "state": "failed", "webhook": two[0].pk}
    assert 'name="note"' in text_of(operator.get(url("job", "add"), words))
    operator.post(url("job", "add"), {**words, "pace": "10", "note": REASON, "confirm": "1"})
    assert done() == [f"Started: replay what a selection holds: {REASON}"]


def test_who_may_only_look_is_not_even_asked(viewer, two):
    for action in ("pause_", "enable_", "replay_", "retry_", "cancel_"):
        confirm(viewer, "webhook", action, two)
    assert done() == []
    assert not Job.objects.exists()
