"""Outcomes that cannot be written: nothing is sent without end, and the others go on."""

import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest
from django.db import DatabaseError, connection, connections, transaction
from django.test import Client
from django.utils import timezone
from prometheus_client import CollectorRegistry, generate_latest

from tests.admin.pages import page, text_of
from tests.api.conftest import Api
from tests.commands.test_webhooks import run
from tests.engine import running
from tests.factories import AttemptFactory, DeliveryFactory, UserFactory, WebhookFactory
from tests.receivers import Receiver
from tests.waiting import PATIENCE, until
from webhooks_app import actions
from webhooks_app.api.metrics import Collector
from webhooks_app.engine import attempt_rows, store, transitions, worker, writer
from webhooks_app.engine.http.sender import Outcome
from webhooks_app.engine.knobs import Knobs
from webhooks_app.engine.store import microseconds, record
from webhooks_app.models import Attempt, Delivery, WebhookHealth, Worker, states
from webhooks_app.rules.ids import keys

pytestmark = pytest.mark.django_db(transaction=True)

ATTEMPTS, DELIVERIES = Attempt._meta.db_table, Delivery._meta.db_table


@contextmanager
def refused(table, change, webhook, *, where="1 = 1"):
    """The database refuses to insert into a table, or to update it, for one webhook."""
    name = f"refused_{change}_{table[-8:]}"
    its = f"NEW.webhook_id = '{webhook.pk}' AND {where}"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                f"IF {its} THEN RAISE EXCEPTION 'not this one'; END IF; "
                "RETURN NEW; END $$"
            )
            cursor.execute(
                f"CREATE TRIGGER {name} BEFORE {change} ON {table} FOR EACH ROW "
                f"EXECUTE FUNCTION {name}()"
            )
        else:
            cursor.execute(
                f"CREATE TRIGGER {name} BEFORE {change} ON {table} WHEN {its} "
                "BEGIN SELECT RAISE(ABORT, 'not this one'); END"
            )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            on = f" ON {table}" if connection.vendor == "postgresql" else ""
            cursor.execute(f"DROP TRIGGER {name}{on}")
            if connection.vendor == "postgresql":
                cursor.execute(f"DROP FUNCTION {name}()")


# What is tried again is tried again soon, and soon told.
SOON = Knobs(again_first=0.01, again_apart=0.01, heartbeat_every=0.2)
BUSY = replace(SOON, again_longest=0.01, heartbeat_every=0.02)  # tries again all the time


Running = partial(running.Running, SOON)


def state_of(delivery):
    delivery.refresh_from_db()
    return delivery.state, delivery.reason


def metrics():
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return registry


class TestKeys:
    @pytest.fixture
    def taken(self, monkeypatch):
        """A process of the same number has drawn the same keys already."""
        monkeypatch.setattr(record, "_elsewhere", 0)
        drawn = [keys.draw(int(time.time() * 1000)) for _ in range(3)]
        other = WebhookFactory()
        for key in drawn:
            AttemptFactory(id=key, webhook=other)

        class Twin:
            left = list(drawn)

            def draw(self, ms):
                return self.left.pop() if self.left else keys.draw(ms)

        monkeypatch.setattr(attempt_rows, "keys", Twin())
        return drawn

    @pytest.mark.parametrize("many", [1, 60])  # one by one, and by COPY on PostgreSQL
    def test_that_are_taken_are_drawn_again(self, loopback, taken, many):
        with Receiver() as receiver:
            webhook = WebhookFactory(url=receiver.url, max_in_flight=100)
            deliveries = actions.deliver_many([(webhook, {"n": n}) for n in range(many)])
            worker.run(until_empty=True, knobs=SOON)
        assert len(receiver.requests) == many
        assert {state_of(delivery) for delivery in deliveries} == {("delivered", "")}
        assert Attempt.objects.filter(webhook=webhook).count() == many

    def test_of_a_call_that_somebody_waits_for_are_drawn_again_too(self, loopback, taken):
        with Receiver(200) as receiver:
            webhook = WebhookFactory(url=receiver.url)
            assert actions.test(webhook).ok
        assert Attempt.objects.filter(webhook=webhook).count() == len(receiver.requests) == 1

    def test_from_then_on_are_those_of_another_process(self, loopback, taken):
        with Receiver(200) as receiver:
            webhook = WebhookFactory(url=receiver.url)
            actions.test(webhook)
            WebhookHealth.objects.update(test_asked_at=None)
            actions.test(webhook)
        processes = {key >> 12 & 1023 for key in webhook.attempts.values_list("pk", flat=True)}
        assert len(processes) == 1
        assert processes != {taken[0] >> 12 & 1023}


class TestUnrecorded:
    def test_an_outcome_that_cannot_be_written_is_held_and_never_sent_without_end(self, loopback):
        with Receiver() as receiver, Receiver() as others:
            webhook, other = WebhookFactory(url=receiver.url), WebhookFactory(url=others.url)
            with refused(ATTEMPTS, "INSERT", webhook):
                delivery = actions.deliver(webhook, {"order": 1})
                sent = actions.deliver_many([(other, {"n": n}) for n in range(30)])
                worker.run(until_empty=True, knobs=SOON)
                worker.run(until_empty=True, knobs=SOON)  # a restart does not send it either
                assert state_of(delivery) == ("pending", "unrecorded")
                assert "unrecorded  1 deliveries were sent" in run("status", code=1)
                assert states.SENTENCES["unrecorded"] in run("explain", delivery.pk)
                assert "webhooks_deliveries_unrecorded 1.0" in generate_latest(metrics()).decode()
                boss = Client()
                boss.force_login(UserFactory(is_superuser=True))
                assert "is not recorded" in text_of(boss.get(page(delivery, "delivery")))
                assert len(receiver.requests) == 1
            assert {state_of(one) for one in sent} == {("delivered", "")}
            assert not Worker.objects.filter(unwritten__gt=0).exists()

    def test_a_person_lets_it_go_on(self, loopback, secret, account):
        api = Api(secret)
        with Receiver() as receiver:
            webhook = WebhookFactory(url=receiver.url, account=account)
            with refused(ATTEMPTS, "INSERT", webhook):
                delivery = actions.deliver(webhook, {"order": 1})
                worker.run(until_empty=True, knobs=SOON)
            path = f"/deliveries/{delivery.pk}"
            assert api.get(path).json()["reason"] == "unrecorded"
            assert api.post(f"{path}/retry").json()["reason"] == ""
            worker.run(until_empty=True, knobs=SOON)
        shown = api.get(path).json()
        assert (shown["state"], shown["tries"], shown["reason"]) == ("delivered", 1, "")
        assert len(receiver.requests) == 2

    @pytest.mark.parametrize("verb", ["retry_all", "cancel"])
    def test_it_is_retried_with_many_or_cancelled(self, verb):
        delivery = DeliveryFactory(reason="unrecorded", due_at=states.FAR_AHEAD)
        if verb == "cancel":
            assert transitions.cancel(delivery.pk, "by hand")
            assert state_of(delivery) == ("cancelled", "by hand")
        else:
            with transaction.atomic():
                assert transitions.retry_all([delivery.pk]) == 1
            assert state_of(delivery) == ("pending", "")
            assert delivery.due_at < states.FAR_AHEAD

    def test_where_not_even_that_can_be_written_it_is_kept_in_memory_and_told(self, loopback):
        with Receiver() as receiver, Receiver() as others:
            webhook, other = WebhookFactory(url=receiver.url), WebhookFactory(url=others.url)
            held = "NEW.reason = 'unrecorded'"
            with running.Running(BUSY), refused(DELIVERIES, "UPDATE", webhook, where=held):
                with refused(ATTEMPTS, "INSERT", webhook):
                    delivery = actions.deliver(webhook, {"order": 1})
                    receiver.wait()
                    until(lambda: Worker.objects.filter(unwritten=1).exists(), "nobody is told")
                    for _ in range(200):  # also while the worker tries once more to write it
                        assert Worker.objects.filter(unwritten=1).exists()
                    assert "1 more are known to a worker alone" in run("status")
                    assert "webhooks_outcomes_unwritten 1.0" in generate_latest(metrics()).decode()
                    sent = actions.deliver(other, {})
                    until(lambda: state_of(sent)[0] == "delivered", "the others stand")
                # And as soon as it can, it is written.
                until(lambda: state_of(delivery)[0] == "delivered", "it is not written")
            assert len(receiver.requests) == 1


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="as after a failover")
def test_nothing_is_held_when_the_whole_database_only_reads():
    delivery = DeliveryFactory()
    now = timezone.now()
    entry = attempt_rows.Entry(
        webhook_id=delivery.webhook_id,
        exchange=Attempt.Exchange.DELIVERY,
        request_id=delivery.pk,
        url=delivery.webhook.url,
        outcome=Outcome(now, status=200),
        failure=None,
        delivery_id=delivery.pk,
    )
    batch = [store.Finished(entry.row(), 0, "delivered", None, microseconds.of(now))]
    shared, name = connections["default"], connection.settings_dict["NAME"]
    try:
        with shared.cursor() as cursor:
            cursor.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        writes = writer.Writer("default", Knobs())
        for again in (None, [], [delivery.webhook_id]):
            with pytest.raises(DatabaseError, match="read-only"):
                writes.write(batch, [], in_doubt=False, again=again)
        with shared.cursor() as cursor:
            cursor.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        assert writes.write(batch, [], in_doubt=True) == (1, [], [])
        writes.close()
    finally:
        connections["default"] = shared
    assert state_of(delivery) == ("delivered", "")


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite locks no rows")
class TestLocked:
    @contextmanager
    def locked(self, webhook):
        """Somebody holds the health of one webhook."""
        held, release = threading.Event(), threading.Event()

        def hold():
            with transaction.atomic():
                list(WebhookHealth.objects.select_for_update().filter(pk=webhook.pk))
                held.set()
                assert release.wait(PATIENCE)
            connections.close_all()

        thread = threading.Thread(target=hold)
        thread.start()
        assert held.wait(PATIENCE)
        try:
            yield
        finally:
            release.set()
            thread.join()

    def test_rows_of_one_webhook_stop_no_other(self, loopback):
        def slowly(request):
            time.sleep(0.02)
            return 200

        with Receiver(slowly) as receiver, Receiver() as others, Running():
            webhook, other = WebhookFactory(url=receiver.url), WebhookFactory(url=others.url)
            with self.locked(webhook):
                waits = actions.deliver_many([(webhook, {"n": n}) for n in range(1000)])
                receiver.wait()
                for _ in range(3):
                    sent = actions.deliver_many([(other, {"n": n}) for n in range(20)])
                    until(
                        lambda sent=sent: {state_of(one)[0] for one in sent} == {"delivered"},
                        "the others stand",
                    )
                # Its lane is held meanwhile: what was under way, and no more.
                assert len(receiver.requests) < 1000
                assert not webhook.attempts.exists()
            until(
                lambda: not Delivery.objects.filter(webhook=webhook, state="pending").exists(),
                "it does not go on",
            )
        assert len(receiver.requests) == len(waits) == webhook.attempts.count()
        assert {delivery.tries for delivery in webhook.deliveries.all()} == {1}
