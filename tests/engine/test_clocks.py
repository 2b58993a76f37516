"""A host whose clock is wrong: what is due at once is due at once."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.core import mail as box
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.http import HttpRequest, QueryDict
from django.test import Client
from django.utils import timezone

from tests.factories import DeliveryFactory, WebhookFactory
from tests.receivers import Receiver
from tests.waiting import until
from webhooks_app import actions
from webhooks_app.admin.jobs import words_of
from webhooks_app.engine import knobs, store, stored_breaker, transitions
from webhooks_app.engine.handover import Heartbeat, Memory
from webhooks_app.engine.maintenance import catalogue, jobs, notices, pruner
from webhooks_app.engine.store.postgres import Postgres
from webhooks_app.models import (
    AccessToken,
    Attempt,
    AuditEntry,
    Delivery,
    Event,
    FailedAuthentication,
    Job,
    Note,
    Notice,
    SigningKey,
    Webhook,
    WebhookHealth,
    Worker,
)
from webhooks_app.models.primary import clock
from webhooks_app.presentation.workers import workers
from webhooks_app.rules.ids import id_time, read_moment

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite is of one host"),
]


@pytest.fixture(params=[300, -300], ids=["fast", "slow"])
def wrong(request):
    """This process is on such a host; the database is not."""
    webhook = WebhookFactory()
    with time_machine.travel(timezone.now() + timedelta(seconds=request.param)):
        yield webhook


def present():
    """By the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]


def is_present(moment):
    return abs(present() - moment) < timedelta(seconds=60)


def claimed(webhook):
    """What a worker, which goes by the database's clock, may send."""
    now = present()
    want = store.Want(webhook.pk, 100, None)
    rows = store.open("default").claim([want], now)
    for row in rows:
        delivery = Delivery.objects.get(pk=row.id)
        assert timedelta(0) <= now - delivery.due_at < timedelta(seconds=60)
    return len(rows)


@pytest.mark.parametrize("late", ["the connection", "the answer"])
def test_what_comes_late_sets_no_clock_ahead(monkeypatch, late):
    """Else what is made now would be due later, and a job would leave out what was made before."""
    here, what = connections["default"], "ensure_connection"
    here.ensure_connection()
    if late == "the answer":
        here, what = here.connection, "execute"
    usual, waits = getattr(here, what), [0.5]

    def comes_late(*words):
        time.sleep(waits.pop() if waits else 0)
        return usual(*words)

    monkeypatch.setattr(here, what, comes_late)
    clock("default", anew=True)
    assert not waits
    assert clock("default") < present() + timedelta(seconds=0.2)


def test_nor_that_of_a_worker(reader, monkeypatch):
    """What became due meanwhile would lie before its next look."""
    usual, waits = Postgres.clock, [0.5]

    def comes_late(store):
        time.sleep(waits.pop() if waits else 0)
        return usual(store)

    monkeypatch.setattr(Postgres, "clock", comes_late)
    reader.beat(Heartbeat())
    assert not waits
    assert reader.now() < present() + timedelta(seconds=0.2)


def test_a_delivery(wrong):
    told = actions.deliver(wrong, {})
    assert claimed(wrong) == 1
    stored = Delivery.objects.get()
    assert (told.due_at, told.created_at) == (stored.due_at, stored.created_at)


@pytest.mark.parametrize("number", [3, 40])
def test_many_deliveries(wrong, number):
    actions.deliver_many([(wrong, {"n": n}) for n in range(number)])
    assert claimed(wrong) == number


def test_a_delivery_for_a_moment_is_for_that_moment(wrong):
    later = timezone.now() + timedelta(hours=1)
    assert actions.deliver(wrong, {}, due_at=later).due_at == later
    assert claimed(wrong) == 0


def test_an_event(wrong):
    event = actions.publish(wrong.account, "order.paid", 1)
    assert all(map(is_present, (id_time(event.pk), event.time, event.created_at)))
    assert catalogue.turn() == 1  # its type is new


def test_an_event_for_a_moment_is_for_that_moment(wrong):
    most = present() + timedelta(days=30)
    with pytest.raises(actions.Invalid, match="at most 30 days"):
        actions.publish(wrong.account, "a", 1, deliver_at=most + timedelta(seconds=60))
    assert actions.publish(wrong.account, "a", 1, deliver_at=most - timedelta(seconds=60))


@pytest.mark.parametrize("verb", ["retry", "retry of what waits", "replay", "retry of many"])
def test_what_is_sent_again(wrong, verb):
    failed = verb != "retry of what waits"
    delivery = DeliveryFactory(
        webhook=wrong,
        state="failed" if failed else "pending",
        finished_at=present() if failed else None,
        due_at=timezone.now() + timedelta(hours=9),
    )
    if verb == "replay":
        actions.replay(wrong, since=timezone.now() - timedelta(hours=1))
    elif verb == "retry of many":
        with transaction.atomic():
            transitions.retry_all([delivery.pk])
    else:
        actions.retry(delivery)
    assert claimed(wrong) == 1


def test_a_job(wrong):
    delivery = DeliveryFactory(
        webhook=wrong, state="failed", finished_at=timezone.now(), due_at=timezone.now()
    )
    words = {"webhook": wrong.pk, "state": "failed"}
    job = actions.create_job("retry", words)
    Job.objects.filter(pk=job.pk).update(first=delivery.pk, last=delivery.pk)
    assert jobs.turn() == 1
    assert claimed(wrong) == 1


def test_a_verification(wrong, reader):
    actions.request_verification(wrong)
    assert [call.webhook.pk for call in reader.verifications({})] == [wrong.pk]


@pytest.mark.parametrize("verb", ["publish", "replay"])
def test_a_span_of_a_command_begins_now(wrong, verb):
    if verb == "publish":
        call_command("webhooks", "publish", wrong.account.name, "a", "--deliver-at", "1h")
        event = Event.objects.get()
        assert is_present(event.deliver_at - timedelta(hours=1))
    else:
        for minutes in (55, 65):
            ended = present() - timedelta(minutes=minutes)
            DeliveryFactory(webhook=wrong, state="failed", finished_at=ended)
        # Whichever way this host's clock is wrong, by six minutes it takes both, or neither.
        with time_machine.travel(present() + 1.2 * (timezone.now() - present())):
            call_command("webhooks", "replay", "--since", "1h")
        assert claimed(wrong) == 1


def test_a_token_for_some_days_is_good_for_so_long(wrong):
    call_command("webhooks", "create-token", wrong.account.name, "--expires-days", "1")
    assert is_present(AccessToken.objects.get().expires_at - timedelta(days=1))


def test_a_span_of_the_console_begins_now(wrong, admin_client):
    words = QueryDict(f"webhook={wrong.pk}&failed_since=1h")
    assert is_present(read_moment(words_of(words)["failed_since"]) + timedelta(hours=1))


def test_calls_by_hand_are_limited_by_one_clock(wrong):
    """Another host of ours, whose clock is right, has asked an hour ago; or this one just now."""
    from webhooks_app.engine import calls

    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {WebhookHealth._meta.db_table} "
            "SET test_asked_at = clock_timestamp() - interval '5 seconds'"
        )
    calls.limit_rate("test", wrong.pk, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        calls.limit_rate("test", wrong.pk, ZeroDivisionError)


def test_a_run_that_was_cleared_is_cleared_now(wrong):
    Webhook.objects.update(stopped="paused")
    transitions.start(wrong.pk)
    assert is_present(WebhookHealth.objects.get(pk=wrong.pk).run_cleared_at)


def test_an_open_breaker_is_open_and_one_whose_time_is_up_is_probed(wrong, loopback):
    health = WebhookHealth.objects.filter(pk=wrong.pk)
    health.update(breaker_until=present() + timedelta(seconds=60), breaker_trips=1)
    assert actions.hold_reason(Webhook.objects.get()) == "breaker"
    with pytest.raises(actions.NotCallable) as refused:
        actions.interact(wrong, {})
    assert 1 <= refused.value.retry_after <= 60
    health.update(breaker_until=present() - timedelta(seconds=1))
    assert actions.hold_reason(Webhook.objects.get()) == ""
    with Receiver({"responses": []}) as receiver:
        Webhook.objects.filter(pk=wrong.pk).update(version=9, url=receiver.url)
        assert actions.interact(wrong, {})["responses"] == []
    assert health.get().breaker_until is None


def test_who_would_get_an_event_and_who_did_is_told_of_now(wrong):
    actions.set_subscriptions(wrong, [{"types": ["*"]}])
    event = actions.publish(wrong.account, "a", 1)
    for seconds, held in ((60, True), (-60, False)):
        until = present() + timedelta(seconds=seconds)
        WebhookHealth.objects.update(breaker_until=until, breaker_trips=1)
        [would], _ = actions.match(wrong.account, "a", 1)
        [did], _ = actions.why(event)
        expected = ("held", "held") if held else ("matches", "pending")
        assert (would.verdict, did.verdict) == expected


def test_a_breaker_opens_for_as_long_as_it_says(wrong):
    health = WebhookHealth.objects.filter(pk=wrong.pk)
    health.update(failures_in_row=wrong.breaker_after, breaker_trips=1)
    stored_breaker.note_away("default", wrong.pk, "interaction")
    pause = health.get().breaker_until - present()
    assert abs(pause.total_seconds() - knobs.DEFAULT.breaker_pause(1)) < 30


def test_a_call_that_was_waited_for_is_dated_and_signed_for_now(wrong, loopback):
    with Receiver({"responses": []}) as receiver:
        Webhook.objects.filter(pk=wrong.pk).update(version=9, url=receiver.url)
        actions.interact(wrong, {})
        told = int(receiver.requests[0].header("webhook-timestamp"))
    assert is_present(datetime.fromtimestamp(told, UTC))
    assert is_present(Attempt.objects.get().ended_at)


def test_a_stop_and_a_deletion_are_seen_as_new(wrong, reader):
    reader.beat(Heartbeat())
    assert reader.changes(Memory()).held == []
    actions.pause(wrong)
    assert reader.changes(Memory()).held == [wrong.pk]
    actions.delete_webhook(wrong)
    assert reader.changes(Memory()).held == [wrong.pk]
    assert is_present(Webhook.objects.get().deleted_at)


def test_an_old_signing_secret_holds_for_its_grace(wrong):
    actions.reveal_secret(wrong)
    actions.rotate_secret(wrong, grace=timedelta(seconds=60))
    assert SigningKey.objects.usable().count() == 2
    old = SigningKey.objects.get(expires_at__isnull=False)
    assert timedelta(0) < old.expires_at - present() <= timedelta(seconds=60)
    SigningKey.objects.filter(pk=old.pk).update(expires_at=present() - timedelta(seconds=1))
    assert SigningKey.objects.usable().count() == 1


def test_a_worker_that_lives_is_alive(wrong, client):
    Worker.objects.create(id="w", host="h", pid=1, seen_at=present())
    assert Worker.objects.alive().count() == 1
    ready = json.loads(Client().get("/readyz").content)
    assert ready["workers"] == 1
    assert ready["workerAgeSeconds"] < 60
    assert workers(HttpRequest()).alive == 1  # as the console says
    Worker.objects.update(seen_at=present() - timedelta(seconds=90))
    assert not Worker.objects.alive().exists()
    assert workers(HttpRequest()).alive == 0


def test_an_idempotency_key_holds_for_its_day(wrong):
    first = actions.deliver(wrong, {}, idempotency_key="k")
    day = timedelta(hours=24)
    for ago, again in ((day - timedelta(seconds=60), True), (day + timedelta(seconds=60), False)):
        Delivery.objects.filter(pk=first.pk).update(created_at=present() - ago)
        assert actions.deliver(wrong, {}, idempotency_key="k").replayed is again


def test_a_job_holds_what_was_made_before_it_and_nothing_later(wrong):
    """Made on this host; and on others, whose clocks are right."""
    before = [actions.deliver(wrong, {}), *actions.deliver_many([(wrong, {})])]
    # A process that counts since it asked is ahead by what the question took.
    until(lambda: id_time(before[-1].pk) < present())
    job = actions.create_job("cancel", {"webhook": wrong.pk}, by="somebody")
    until(lambda: clock("default") > job.created_at)
    with time_machine.travel(present()):
        later = actions.deliver(wrong, {})
    assert is_present(id_time(later.pk))
    jobs.turn()
    assert {d.pk for d in Delivery.objects.filter(state="cancelled")} == {d.pk for d in before}
    assert is_present(Delivery.objects.filter(state="cancelled")[0].finished_at)
    assert is_present(Job.objects.get(pk=job.pk).created_at)


@pytest.mark.parametrize("seconds", [60, -60])
def test_what_is_kept_is_kept_to_the_end(wrong, seconds):
    ended = present() - timedelta(days=30) + timedelta(seconds=seconds)
    DeliveryFactory(webhook=wrong, state="failed", created_at=ended, finished_at=ended)
    pruner.purge(timedelta(days=30))
    assert Delivery.objects.exists() is (seconds > 0)


def test_what_failed_just_now_is_replayed(wrong):
    ended = present() - timedelta(seconds=1)
    DeliveryFactory(webhook=wrong, state="failed", created_at=ended, finished_at=ended)
    assert actions.replay(wrong, since=ended - timedelta(minutes=1)) == 1


def letters_sent(webhook, due_at):
    letter = {"recipients": ["a@b.c"], "subject": "s", "text": "t", "created_at": due_at}
    Notice.objects.create(webhook=webhook, due_at=due_at, **letter)
    notices.turn()
    return len(box.outbox)


def test_a_letter_is_sent_when_it_is_due(wrong):
    assert letters_sent(wrong, present() - timedelta(seconds=1)) == 1


def test_a_letter_that_another_host_sends_is_left_to_it(wrong):
    assert letters_sent(wrong, present() + timedelta(seconds=240)) == 0


def test_a_letter_is_written_and_put_off_now(wrong, settings):
    settings.WEBHOOKS_NOTICE_EMAILS = "ops@example.org"
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1  # refuses
    transitions.stop(wrong.pk, "gone")
    notices.turn()
    letter = Notice.objects.get()
    assert is_present(letter.created_at)
    assert is_present(letter.due_at - timedelta(minutes=1))


def test_what_is_stopped_for_long_is_no_news(wrong, settings):
    settings.WEBHOOKS_NOTICE_EMAILS = "ops@example.org"
    for seconds, letters in ((-60, 0), (60, 1)):
        at = present() - notices.OLD_NEWS + timedelta(seconds=seconds)
        Webhook.objects.update(stopped="gone", stopped_at=at)
        notices.turn()
        assert len(box.outbox) == letters


def test_what_is_made_and_done_is_dated_now(wrong):
    made = actions.create_webhook(wrong.account, name="w", url="https://a.example/", by="mira")
    actions.add_note(made, "Call them.", by="mira")
    token, _ = actions.issue_token(wrong.account, by="mira")
    dates = [made.created_at, made.updated_at, made.verification_due_at, token.created_at]
    dates += [Note.objects.get().at, *AuditEntry.objects.values_list("at", flat=True)]
    assert len(dates) == 8
    assert all(map(is_present, dates))


def test_the_use_of_a_token_is_noted_once_a_minute(wrong):
    token, secret = AccessToken.issue(wrong.account)
    for ago, noted in ((30, False), (90, True)):
        used_at = present() - timedelta(seconds=ago)
        AccessToken.objects.filter(pk=token.pk).update(last_used_at=used_at)
        Client().get("/webhooks", HTTP_AUTHORIZATION=f"Bearer {secret}")
        assert (AccessToken.objects.get().last_used_at != used_at) is noted
    assert is_present(AccessToken.objects.get().last_used_at)


def test_wrong_tokens_of_an_address_count_for_a_quarter_of_an_hour(wrong):
    for minutes, wait in ((14, 60), (16, 0)):
        FailedAuthentication.objects.all().delete()
        since = present() - timedelta(minutes=minutes)
        FailedAuthentication.objects.create(address="192.0.2.1", since=since, count=9)
        told = FailedAuthentication.objects.note("192.0.2.1", 9)
        assert abs(told - wait) < 30
