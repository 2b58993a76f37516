"""The table of states: what Python says of a row, which rows a query finds, what is counted, what
the claim asks and what people read never disagree."""

from datetime import timedelta
from itertools import product
from types import SimpleNamespace

import pytest
from django.db import connection
from django.utils import timezone

from tests.factories import AccountFactory, DeliveryFactory, WebhookFactory
from webhooks_app import actions
from webhooks_app.models import Delivery, Webhook, WebhookHealth, states
from webhooks_app.models.tally import Tally
from webhooks_app.presentation.counts import bounded_counts
from webhooks_app.presentation.looks import DELIVERY_STATES, WEBHOOK_STATES

NOW = timezone.now()
PAST, AHEAD = NOW - timedelta(hours=1), NOW + timedelta(hours=1)


@pytest.fixture
def every_kind_of_webhook(db):
    """Every combination of what the table asks for, some that were deleted, and one that nobody
    has called yet."""
    account = AccountFactory()
    names = ("breaker_until", "failures_in_row", "last_success_at", "unsteady_since")
    values = product((None, PAST, AHEAD), (0, 4, 5), (None, NOW), (None, NOW))
    healths = [dict(zip(names, row, strict=True)) for row in values]
    healths += [{"unreadable_since": NOW, "failures_in_row": failed} for failed in (0, 5)]
    limited = product((PAST, AHEAD), (None, AHEAD), (0, 5), (None, NOW))
    healths += [dict(zip(("rests_until", *names[:3]), row, strict=True)) for row in limited]
    rows = product(("", *Webhook.Stopped.values), (None, NOW))
    rows = [{"stopped": stopped, "verified_at": verified} for stopped, verified in rows]
    deleted = [({**row, "deleted_at": NOW}, healths[-1]) for row in rows]
    webhooks, made = [], []
    for row, health in [*product(rows, healths), *deleted]:
        webhooks.append(Webhook(account=account, name="one", url="https://one.example", **row))
        made.append(WebhookHealth(webhook=webhooks[-1], **health))
    webhooks.append(Webhook(account=account, name="new", url="https://new.example"))
    Webhook.objects.bulk_create(webhooks)
    WebhookHealth.objects.bulk_create(made)


def keys(rows):
    return set(rows.values_list("pk", flat=True))


def claimed():
    """The webhooks for which the claim's SQL lets deliveries go out."""
    with connection.cursor() as cursor:
        table = Webhook._meta.db_table
        cursor.execute(f"SELECT h.id FROM {table} h WHERE {states.claim_sql()}")
        return {ident for (ident,) in cursor.fetchall()}


# As the site is set up, and held or not.
SITES = pytest.mark.parametrize(
    ("verification", "held"), [("required", False), ("off", False), ("required", True)]
)


@SITES
def test_every_face_says_the_same_of_a_webhook(every_kind_of_webhook, settings, verification, held):
    settings.WEBHOOKS_VERIFICATION = verification
    if held:
        actions.hold_all()
    webhooks = list(Webhook.objects.select_related("health"))
    live = {webhook.pk for webhook in webhooks if webhook.deleted_at is None}
    deleted = {webhook.pk for webhook in webhooks} - live
    by_key: dict[str, set] = {key: set() for key in states.WORDS}
    by_reason: dict[str, set] = {state.reason: set() for state in states.HOLDS}
    may_be_claimed = set()
    for webhook in webhooks:
        state = states.of_webhook(webhook, NOW)
        by_key[state.key].add(webhook.pk)
        reason = states.hold_reason(webhook, NOW)
        by_reason.setdefault(reason, set()).add(webhook.pk)
        assert not state.reason or state.reason == reason  # the one is the other's first
        own = [s.reason for s in states.HOLDS if s.clear and s.applies(webhook, NOW)]
        if not own and webhook.pk in live:
            may_be_claimed.add(webhook.pk)
    if held:
        assert by_key == {key: set() for key in by_key} | {"site": live | deleted}
    elif verification == "required":
        assert {key for key, found in by_key.items() if not found} == {"site"}
    for key, expected in by_key.items():
        assert keys(Webhook.objects.filter(states.webhooks_in(key, NOW))) == expected, key
        assert keys(states.counted(key, NOW)) == expected & live, key
    counted = bounded_counts(tally=Tally.at(NOW))["tally"]
    few = {state.key for state in states.WEBHOOKS if state.few}
    assert Tally.read(counted) == {key: len(by_key[key] & live) for key in few}
    verified = Webhook.objects.live().filter(verified_at__isnull=False)
    counted = bounded_counts(tally=Tally.at(NOW, verified))["tally"]
    assert Tally.read(counted) == {key: len(by_key[key] & keys(verified)) for key in few}
    assert bounded_counts(tally=Tally.at(NOW, Webhook.objects.none()))["tally"] == 0
    silent = set().union(*(by_key[key] for key in states.SILENT))
    assert keys(Webhook.objects.filter(states.webhooks_in("silent", NOW))) == silent
    waits = states.held_webhooks(NOW)
    for reason in states.SENTENCES.keys() - {states.UNRECORDED, states.ORDER}:
        rows = waits.get(reason, Webhook.objects.none())
        assert keys(rows) == by_reason[reason] & live, reason
    goes = by_reason.get("", set())
    assert live - set().union(*map(keys, waits.values())) == goes & live
    assert claimed() == may_be_claimed
    columns = Webhook.objects.values("pk", *states.CLAIM_COLUMNS)
    rows = [SimpleNamespace(**row) for row in columns]
    assert {row.pk for row in rows if states.may_be_claimed(row)} == may_be_claimed
    failing = {webhook.pk for webhook in webhooks if webhook.health.failing}
    assert keys(Webhook.objects.filter(states.FAILING.webhooks(NOW))) == failing
    assert keys(states.FAILING.keys(NOW)) == failing


def what_would_be_sent(**released):
    sets = states.held_deliveries(NOW, **released)
    sets |= {
        key: Delivery.objects.filter(states.deliveries_in(key, NOW, **released))
        for key in ("due", "later", "held")
    }
    return {name: keys(rows) for name, rows in sets.items()}


@SITES
def test_every_face_says_the_same_of_a_delivery(
    every_kind_of_webhook, settings, verification, held
):
    settings.WEBHOOKS_VERIFICATION = verification
    pending = [
        DeliveryFactory.build(webhook=webhook, **more)
        for webhook in Webhook.objects.filter(health__last_success_at=None)
        for more in (
            {"due_at": PAST},
            {"tries": 2, "due_at": AHEAD},
            {"reason": states.UNRECORDED, "due_at": states.FAR_AHEAD},
        )
    ]
    ended = [
        DeliveryFactory.build(webhook=pending[0].webhook, state=state, finished_at=NOW)
        for state in ("delivered", "failed", "cancelled")
    ]
    Delivery.objects.bulk_create([*pending, *ended])
    before = what_would_be_sent()
    if held:
        actions.hold_all()
    assert what_would_be_sent(released=True) == before
    by_key: dict[str, set] = {key: set() for key in states.DELIVERIES}
    by_reason: dict[str, set] = {state.reason: set() for state in states.HOLDS}
    waits = set()  # for its webhook
    for delivery in Delivery.objects.select_related("webhook__health"):
        by_key[states.of_delivery(delivery, NOW)].add(delivery.pk)
        if delivery.state == "pending":
            reason = states.delivery_hold_reason(delivery, NOW)
            by_reason.setdefault(reason, set()).add(delivery.pk)
            if states.hold_reason(delivery.webhook, NOW):
                waits.add(delivery.pk)
    assert bool(by_reason.setdefault(states.UNRECORDED, set())) is not held
    assert {key for key in by_key if not by_key[key]} == (
        {"waiting", "retrying"} if held else set()
    )
    for key, expected in by_key.items():
        assert keys(Delivery.objects.filter(states.deliveries_in(key, NOW))) == expected, key
    out = by_reason.pop("", set())
    goes = {
        key: keys(Delivery.objects.filter(states.deliveries_in(key, NOW)))
        for key in ("due", "later")
    }
    assert goes["due"] == out & {row.pk for row in pending if row.due_at == PAST}
    apart = [keys(rows) for rows in states.due(NOW)]
    assert (set().union(*apart), sum(map(len, apart))) == (goes["due"], len(goes["due"]))
    assert goes["later"] == out & {row.pk for row in pending if row.due_at == AHEAD}
    assert keys(states.unrecorded()) == {row.pk for row in pending if row.reason}
    found = states.held_deliveries(NOW)
    for reason, expected in by_reason.items():
        assert keys(found.get(reason, Delivery.objects.none())) == expected, reason
    assert sum(rows.count() for rows in found.values()) == len(by_key["held"])
    assert keys(Delivery.objects.pending().filter(states.held(NOW))) == waits
    not_claimed = Delivery.objects.filter(states.unclaimed(NOW)).values_list("webhook", flat=True)
    assert set(not_claimed) == {row.webhook_id for row in pending} - claimed()


def test_every_state_has_its_words_and_looks():
    assert WEBHOOK_STATES.keys() == states.WORDS.keys()
    assert DELIVERY_STATES.keys() == states.DELIVERIES.keys()
    for state in states.WEBHOOKS:
        assert state.word
        assert bool(state.reason) == bool(state.sentence)
    # Who delivers nothing is known before anything else is asked, and nobody else is; who is
    # limited delivers.
    silent = [state.key in states.SILENT for state in states.WEBHOOKS]
    assert silent == sorted(silent, reverse=True)
    assert all(state.reason in states.SENTENCES for state in states.HOLDS)
    assert {state.key for state in states.HOLDS} - {"rate"} < set(states.SILENT)


def test_every_face_says_the_same_of_what_waits_in_order(db):
    ahead = {"due_at": AHEAD, "tries": 1}
    ordered, line, plain = (WebhookFactory(order=order) for order in ("key", "webhook", ""))

    def made(webhook, key, position, **more):
        fields = {"due_at": PAST, "ordering_key": key, "position": position, **more}
        return DeliveryFactory(webhook=webhook, **fields).pk

    made(ordered, "a", 1, **ahead)
    held = {
        made(ordered, "a", 2),
        made(ordered, "a", 3, tries=1),  # due again
    }
    made(ordered, "a", 4, due_at=AHEAD)  # planned
    made(ordered, "b", 5)
    made(ordered, "c", 6, due_at=AHEAD)  # planned, which keeps nobody back
    made(ordered, "c", 7)
    made(ordered, "d", 8, state="failed", finished_at=PAST, tries=1)
    made(ordered, "d", 9)
    made(line, None, 10, reason=states.UNRECORDED, due_at=states.FAR_AHEAD)
    held |= {made(line, None, 11), made(line, "a", 12)}
    made(plain, "a", 13, **ahead)  # its order was given up
    made(plain, "a", 14)
    rows = Delivery.objects.select_related("webhook__health")
    assert keys(states.behind(NOW)) == held
    assert keys(states.held_deliveries(NOW)[states.ORDER]) == held
    for read in (rows, states.with_behind(rows, NOW)):
        assert {row.pk for row in read if states.is_behind(row, NOW)} == held
        for key in states.DELIVERIES:
            expected = {row.pk for row in read if states.of_delivery(row, NOW) == key}
            assert keys(Delivery.objects.filter(states.deliveries_in(key, NOW))) == expected, key
    due = keys(Delivery.objects.filter(states.deliveries_in("due", NOW)))
    assert not due & held
    apart, in_order = map(keys, states.due(NOW))
    assert (apart | in_order, apart & in_order) == (due, set())
    assert in_order
    ordered.stopped = "paused"
    ordered.save()
    found = states.held_deliveries(NOW)
    assert not keys(found["paused"]) & keys(found[states.ORDER])
