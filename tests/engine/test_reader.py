"""What the reading side of a worker finds."""

import contextlib
import threading
import time
from datetime import timedelta

import pytest
from django.db import connections, transaction
from django.utils import timezone

from tests.factories import AccountFactory, DeliveryFactory, WebhookFactory
from tests.waiting import PATIENCE
from webhooks_app import actions
from webhooks_app.engine import store, transitions
from webhooks_app.engine.handover import Memory
from webhooks_app.fields import WrongKey
from webhooks_app.models import Webhook
from webhooks_app.models.webhook import BREAKER_AFTER
from webhooks_app.rules import failures
from webhooks_app.testing import FakeReceiver

pytestmark = pytest.mark.knobs(scan_every=0.0, scan_latest=0.0)


def test_a_scan_finds_step_by_step_what_no_look_sees(reader):
    """Due since an hour, stored just now: by its time it would have been seen long ago."""
    an_hour_ago = timezone.now() - timedelta(hours=1)
    due = {DeliveryFactory(due_at=an_hour_ago).webhook_id for _ in range(60)}
    found, steps = [], []
    while sum(steps) < len(due):
        answer = reader.discover()
        assert not answer.marked
        assert not answer.arrived
        found += answer.waiting
        steps.append(len(answer.waiting))
        assert len(steps) < 10
    assert sorted(found) == sorted(due)
    assert max(steps) < 30


@pytest.mark.knobs(scan_every=60.0)
def test_what_a_long_transaction_made_due_is_found_as_soon_as_it_commits(reader):
    webhook = WebhookFactory()
    stored, commit = threading.Event(), threading.Event()

    def store():
        with transaction.atomic():
            actions.deliver(webhook, {})
            stored.set()
            assert commit.wait(PATIENCE)
        connections.close_all()

    def found():
        answer = reader.discover(look=True)
        return {*answer.waiting, *answer.marked, *(row.webhook_id for row in answer.arrived)}

    looks = [reader.discover(look=True) for _ in range(3)]
    assert not any(answer.marked for answer in looks)
    thread = threading.Thread(target=store)
    thread.start()
    assert stored.wait(PATIENCE)
    until = time.monotonic() + 0.6
    while time.monotonic() < until:
        assert not found()
        time.sleep(0.05)
    commit.set()
    thread.join()
    assert found() == {webhook.pk}


def test_where_nothing_happens_a_question_each_is_all_that_is_asked(
    reader, django_assert_num_queries
):
    WebhookFactory.create_batch(3)
    with django_assert_num_queries(2):
        reader.changes(Memory())
        assert reader.verifications({}) == []


def test_a_webhook_that_is_paused_in_mid_queue_is_held_at_once(reader):
    """Held, it is asked for often; else its queue would wait for a scan when it is back."""
    webhook = WebhookFactory()
    for _ in range(3):
        DeliveryFactory(webhook=webhook)

    def claim(after):
        want = store.Want(webhook.pk, 2, after)
        answer = reader.claim([want])
        ((_, rows),) = answer.rows
        return rows, answer.held

    rows, held = claim(None)
    assert (len(rows), held) == (2, [])
    transitions.stop(webhook.pk, "paused")
    assert claim(rows[-1].place) == ([], [webhook.pk])
    transitions.start(webhook.pk)
    rows, held = claim(rows[-1].place)
    assert (len(rows), held) == (1, [])
    assert claim(rows[-1].place) == ([], [])


def test_a_webhook_that_is_deleted_while_it_is_held_is_forgotten(reader):
    webhook = WebhookFactory()
    transitions.stop(webhook.pk, "paused")
    assert reader.changes(Memory(held=[webhook.pk])).freed == []
    actions.delete_webhook(webhook)
    left = DeliveryFactory(webhook=webhook)
    assert reader.changes(Memory(held=[webhook.pk])).freed == [webhook.pk]
    want = store.Want(webhook.pk, 2, None)
    assert reader.claim([want]).held == []
    left.refresh_from_db()
    assert left.state == "cancelled"


@pytest.mark.parametrize("verb", [actions.pause, actions.delete_webhook])
def test_who_is_stopped_is_held_at_the_next_look_however_many_wait_in_memory(reader, verb):
    """Of very many that wait in memory a look asks for some in turn."""
    webhook, other = WebhookFactory(), WebhookFactory()
    assert reader.changes(Memory()).held == []
    verb(webhook)
    assert reader.changes(Memory()).held == [webhook.pk]
    assert reader.changes(Memory()).held == []  # and told once
    verb(other)
    assert reader.changes(Memory()).held == [other.pk]


def test_who_goes_on_at_once_is_not_held(reader):
    webhook = WebhookFactory()
    actions.pause(webhook)
    actions.enable(webhook)
    assert reader.changes(Memory()).held == []
    actions.pause(webhook)
    assert reader.changes(Memory()).held == [webhook.pk]


class TestVerifications:
    @pytest.fixture
    def chosen(self, reader):
        """Asks which are to begin while others are under way; their ids and accounts."""

        def chosen(under_way):
            begun = [call.webhook for call in reader.verifications(under_way)]
            return {webhook.pk: webhook.account_id for webhook in begun}

        return chosen

    def waiting(self, number, **fields):
        account, long_ago = AccountFactory(), timezone.now() - timedelta(minutes=1)
        fields = {"account": account, "verification_due_at": long_ago} | fields
        return {WebhookFactory(**fields).pk for _ in range(number)}

    @pytest.mark.knobs(verified_at_once=2)
    def test_begin_although_many_are_under_way(self, chosen):
        hanging = self.waiting(3)
        under_way = chosen({})
        assert len(under_way) == 2
        late = self.waiting(1, verification_due_at=timezone.now())
        assert chosen(under_way).keys() == (hanging - under_way.keys()) | late

    @pytest.mark.knobs(verifying_each=2)
    def test_of_one_account_leave_room_for_others(self, chosen):
        hanging = self.waiting(5)
        under_way = chosen({})
        assert len(under_way) == 2
        assert chosen(under_way) == {}
        other = self.waiting(1, verification_due_at=timezone.now())
        assert chosen(under_way).keys() == other
        under_way.popitem()
        assert len(chosen(under_way).keys() & hanging) == 1

    @pytest.mark.knobs(verifying_most=2)
    def test_have_an_end(self, chosen):
        self.waiting(5)
        assert len(chosen({})) == 2
        assert len(chosen({"0" * 24: 0})) == 1

    @pytest.mark.knobs(verified_at_once=2)
    def test_with_a_secret_that_no_key_opens_stand_in_nobodys_way(self, reader, chosen):
        unreadable = self.waiting(2)
        readable = self.waiting(1, verification_due_at=timezone.now())
        assert chosen({}).keys() == unreadable
        for webhook in Webhook.objects.filter(pk__in=unreadable):
            reader.cannot_read(webhook, WrongKey("its key is missing"))
        assert chosen({}).keys() == readable


# What people do while two deliveries of a webhook wait in the worker's memory; and what its next
# look after them says: of which the second is cancelled, or both, or that it is held, or changed.
WHILE_IT_WAITS = {
    "cancel": (lambda webhook, waiting: [actions.cancel(d) for d in waiting], "ended both"),
    "cancel one": (lambda webhook, waiting: actions.cancel(waiting[1]), "ended one"),
    "pause": (lambda webhook, waiting: actions.pause(webhook), "held"),
    "delete": (lambda webhook, waiting: actions.delete_webhook(webhook), "held"),
    "unverified": (lambda webhook, waiting: change(webhook, verified_at=None), "held"),
    "another header": (
        lambda webhook, waiting: actions.update_webhook(webhook, headers=[("X-Key", "new")]),
        "changed",
    ),
    "interactions find nobody there": (lambda webhook, waiting: find_nobody(webhook), "opened"),
    "nothing": (lambda webhook, waiting: None, ""),
}


def change(webhook, **fields):
    Webhook.objects.filter(pk=webhook.pk).update(**fields)


def find_nobody(webhook):
    def interact():  # which gives the connections of its thread back meanwhile
        with FakeReceiver(failures.hang_up()):
            for _ in range(BREAKER_AFTER):
                with contextlib.suppress(actions.ExchangeFailed):
                    actions.interact(webhook, {})
        connections.close_all()

    thread = threading.Thread(target=interact)
    thread.start()
    thread.join()


@pytest.mark.parametrize("what", WHILE_IT_WAITS)
def test_what_people_decide_is_found_of_what_waits_in_memory_too(reader, what):
    decide, found = WHILE_IT_WAITS[what]
    webhook = WebhookFactory(headers=[("X-Key", "old")])
    waiting = [DeliveryFactory(webhook=webhook) for _ in range(2)]
    memory = {webhook.pk: (webhook.version, [delivery.pk for delivery in waiting])}
    decide(webhook, waiting)
    answer = reader.changes(Memory(waiting=memory))
    said = {
        "held": set(answer.held) == {webhook.pk},
        "changed": answer.changed == [webhook.pk],
        "opened": answer.opened.keys() == {webhook.pk},
        "ended both": answer.ended == {webhook.pk: {delivery.pk for delivery in waiting}},
        "ended one": answer.ended == {webhook.pk: {waiting[1].pk}},
    }
    assert [word for word, so in said.items() if so] == [found] * bool(found)


@pytest.mark.parametrize(
    ("health", "wanted"),
    [
        ({}, {}),
        ({"failures_in_row": 1}, {"is_failing": True}),
        ({"breaker_trips": 5, "breaker_until": timedelta(seconds=-1)}, {"breaker_trips": 5}),
        (
            {"breaker_trips": 1, "breaker_until": timedelta(days=1)},
            {"breaker_trips": 1, "breaker_left": 86_400},
        ),
        ({"run_cleared_at": timedelta(0)}, {"is_back": True}),
        (
            {"run_cleared_at": timedelta(0), "last_success_at": timedelta(seconds=-9)},
            {"is_back": True},
        ),
        ({"run_cleared_at": timedelta(seconds=-9), "last_success_at": timedelta(0)}, {}),
    ],
)
def test_how_a_webhook_did_is_known_of_one_that_was_just_met(reader, health, wanted):
    """Of a worker that starts, or that has forgotten it."""
    now = timezone.now()
    health = {k: now + v if isinstance(v, timedelta) else v for k, v in health.items()}
    webhook = WebhookFactory(health=health, max_in_flight=7, timeout=12)
    loaded = reader.load([webhook.pk]).loaded[webhook.pk]
    told = {name: getattr(loaded, name) for name in ("breaker_trips", "is_back", "is_failing")}
    nothing = {"breaker_trips": 0, "is_back": False, "is_failing": False}
    assert told == nothing | {k: v for k, v in wanted.items() if k != "breaker_left"}
    assert abs(loaded.breaker_left - wanted.get("breaker_left", 0)) < 300
    assert (loaded.top, loaded.timeout, loaded.failure) == (7, 12, None)
