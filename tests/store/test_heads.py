"""What is sent in order: positions, the head of each key, and which keys have news."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from tests.factories import DeliveryFactory, WebhookFactory
from webhooks_app.engine import store
from webhooks_app.models import Delivery, states
from webhooks_app.models.delivery import NEXT

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture
def queue():
    return store.open("default")


@pytest.fixture
def webhook():
    return WebhookFactory(order="key")


@pytest.fixture
def put(queue, webhook):
    """Stores deliveries in order; `put("a", None, later=HOUR)`."""

    def put(*keys, due_at=None, hook=None, **changes):
        rows = []
        for key in keys:
            delivery = Delivery.new(
                (hook or webhook).pk,
                b'{"a": 1}',
                type="",
                reference="",
                retry_schedule="5",
                created_by="",
            )
            delivery.ordering_key, delivery.position = key, NEXT
            queue.put([delivery])
            rows.append(delivery)
        ids = [row.pk for row in rows]
        if changes or due_at is not None:
            if due_at is not None:
                changes["due_at"] = due_at
            Delivery.objects.filter(pk__in=ids).update(**changes)
        return ids

    return put


@pytest.fixture
def heads(queue, webhook):
    def heads(*keys, room=9, hook=None):
        now = timezone.now() + timedelta(seconds=1)
        asked = [store.Asked((hook or webhook).pk, key, room) for key in keys]
        return {head.key: head for head in queue.heads(asked, now)}

    return heads


def ids(head):
    return [row.id for row in head.rows]


def new(**fields):
    delivery = DeliveryFactory.build(webhook=WebhookFactory(), position=NEXT)
    for name, value in fields.items():
        setattr(delivery, name, value)
    return delivery


class TestPositions:
    def test_grow_in_the_order_in_which_deliveries_are_put(self, queue):
        one, two = new(), new(due_at=timezone.now() + HOUR)
        many, once = [new() for _ in range(12)], [new(idempotency_key=f"{n}") for n in range(3)]
        queue.put_one(one)
        queue.put_one(two)
        queue.put(many)
        queue.put_once(once)
        made = [one, two, *many, *once]
        stored = Delivery.objects.in_bulk([row.pk for row in made])
        positions = [stored[row.pk].position for row in made]
        assert positions == sorted(set(positions))
        assert positions[0] > NEXT
        assert [row.position for row in made] == positions

    def test_what_is_drawn_before_is_kept(self, queue):
        first, second = new(), new()
        queue.number([second, first])
        queue.put([first, second])
        assert first.position > second.position

    def test_what_is_in_no_order_gets_none(self, queue):
        plain = new(position=None)
        queue.put([plain, new()])
        queue.put_one(alone := new(position=None))
        assert set(
            Delivery.objects.filter(pk__in=[plain.pk, alone.pk]).values_list("position")
        ) == {(None,)}


class TestTheHeadOfAKey:
    def test_is_what_has_the_smallest_position_whatever_is_due_first(self, put, heads):
        first, second = put("a", "a")
        [other] = put("b")
        Delivery.objects.filter(pk=second).update(due_at=timezone.now() - HOUR)
        found = heads("a", "b")
        assert ids(found["a"]) == [first, second]
        assert ids(found["b"]) == [other]
        assert not found["a"].waits
        assert not found["a"].more
        assert bytes(found["a"].rows[0].body) == b'{"a": 1}'
        assert found["a"].rows[0].key == "a"

    def test_is_read_with_as_many_behind_it_as_there_is_room_for(self, put, heads):
        made = put("a", "a", "a")
        head = heads("a", room=2)["a"]
        assert ids(head) == made[:2]
        assert head.more

    def test_that_waits_for_its_next_try_keeps_the_others_back(self, put, heads):
        put("a", due_at=timezone.now() + HOUR, tries=1)
        put("a")
        head = heads("a")["a"]
        assert ids(head) == []
        assert head.waits

    def test_is_followed_up_to_one_that_waits(self, put, heads):
        [first] = put("a")
        put("a", due_at=timezone.now() + HOUR, tries=1)
        put("a")
        head = heads("a")["a"]
        assert ids(head) == [first]
        assert head.waits

    def test_that_nobody_knows_the_outcome_of_keeps_the_others_back(self, put, heads):
        put("a", due_at=states.FAR_AHEAD, reason=states.UNRECORDED)
        put("a")
        assert heads("a")["a"].waits

    def test_is_none_that_is_planned_for_later(self, put, heads):
        put("a", due_at=timezone.now() + HOUR)
        [due] = put("a")
        assert ids(heads("a")["a"]) == [due]

    def test_is_none_that_has_ended(self, put, heads):
        put("a", state="delivered", finished_at=timezone.now())
        put("a", state="cancelled", finished_at=timezone.now())
        [left] = put("a")
        assert ids(heads("a")["a"]) == [left]
        assert heads("b") == {}

    def test_is_not_told_of_a_webhook_that_may_not_be_called(self, put, heads):
        paused = WebhookFactory(stopped="paused")
        put("a", hook=paused)
        assert heads("a", hook=paused) == {}

    @pytest.mark.parametrize("key", [None, "", "ä\\\"' %s ☃"])
    def test_is_found_whatever_the_key(self, put, heads, queue, webhook, key):
        [made] = put(key)
        put("other")
        assert ids(heads(key)[key]) == [made]
        assert key in queue.keys(webhook.pk, None, 9)

    def test_says_its_position_and_that_of_the_one_before_it(self, put, heads):
        put("a", state="delivered", finished_at=timezone.now())
        put("b")
        put("a", "a")
        positions = list(
            Delivery.objects.filter(ordering_key="a")
            .order_by("pk")
            .values_list("position", flat=True)
        )
        positions.sort()
        rows = heads("a")["a"].rows
        assert [row.sequence for row in rows] == [
            (positions[1], positions[0]),
            (positions[2], positions[1]),
        ]
        assert heads("b")["b"].rows[0].sequence[1] is None


class TestNews:
    def test_are_what_became_due_since_a_moment(self, queue, put, webhook):
        now = timezone.now()
        put("old", due_at=now - HOUR)
        [fresh] = put("a", due_at=now)
        put("later", due_at=now + HOUR)
        plain = DeliveryFactory(webhook=webhook, due_at=now)
        since = {webhook.pk: queue.moment(now - timedelta(seconds=1))}
        found = queue.news(since, now + timedelta(seconds=1), 9)
        assert sorted(found) == sorted(
            [(webhook.pk, fresh, "a", True), (webhook.pk, plain.pk, None, False)]
        )
        assert len(queue.news(since, now + timedelta(seconds=1), 1)) == 1


class TestKeys:
    def test_are_found_in_steps(self, queue, put, webhook):
        names = ["", "a", "b", "B", "ä", "z"]
        put(*names, *names, None)
        put("done", state="delivered", finished_at=timezone.now())
        put("x", hook=WebhookFactory())
        DeliveryFactory(webhook=webhook)
        found, after = [], None
        while step := queue.keys(webhook.pk, after, 2):
            found += step
            after = step[-1]
        assert found[0] is None
        assert sorted(found[1:]) == sorted(names)

    def test_of_a_webhook_without_any_are_none(self, queue, webhook):
        assert queue.keys(webhook.pk, None, 2) == []


class TestWhatHasNoPosition:
    def test_gets_one_before_all_others_in_the_order_in_which_it_was_made(
        self, queue, put, heads, webhook
    ):
        [positioned] = put(None)
        now = timezone.now()
        plain = [
            DeliveryFactory(webhook=webhook, created_at=now - n * HOUR, due_at=now).pk
            for n in (1, 3, 2)
        ]
        DeliveryFactory(webhook=webhook, state="delivered", finished_at=now)
        assert queue.adopt(webhook.pk, 9) == 3
        assert queue.adopt(webhook.pk, 9) == 0
        head = heads(None)[None]
        assert ids(head) == [plain[1], plain[2], plain[0], positioned]
        assert [row.sequence for row in head.rows[:3]] == [None] * 3
        assert head.rows[3].sequence[1] is None

    def test_gets_it_in_steps(self, queue, webhook):
        for _ in range(3):
            DeliveryFactory(webhook=webhook)
        assert [queue.adopt(webhook.pk, 2) for _ in range(3)] == [2, 1, 0]

    def test_keeps_the_key_that_it_was_given(self, queue, heads, webhook):
        made = DeliveryFactory(webhook=webhook, ordering_key="a")
        queue.adopt(webhook.pk, 9)
        assert ids(heads("a")["a"]) == [made.pk]


@pytest.mark.skipif("connection.vendor != 'postgresql'")
def test_the_head_is_not_read_through_what_was_delivered(queue, webhook):
    """With the statistics of an empty table, too."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(
            "EXPLAIN SELECT * FROM webhooks_app_delivery p WHERE p.state = 'pending' "
            "AND p.position IS NOT NULL AND p.webhook_id = %s AND p.ordering_key = 'a' "
            "AND (p.due_at <= now() OR p.tries > 0 OR p.reason = 'unrecorded') "
            "ORDER BY p.position LIMIT 9",
            [webhook.pk],
        )
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "delivery_in_line" in plan, plan
