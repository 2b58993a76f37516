"""From an event to its deliveries, one for each of those who get it (`subscribers`).

All of it happens in the transaction that stores the event, up to `subscribers.STEP` receivers; of
more, a worker goes on in the same steps, by the order of the webhooks' ids. The place is stored
with the deliveries of a step, so whoever goes on after a crash goes on exactly there.

The payload is stored once. While a worker of a version before events may still claim deliveries,
each of them gets a copy: that worker reads no other.
"""

import random
import time
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

from django.db import router, transaction
from django.db.models import F

from .. import conf
from ..models import (
    Attempt,
    Counter,
    Delivery,
    Event,
    EventBody,
    Worker,
)
from ..models.compiled_query import Found
from ..models.delivery import schedule_of
from ..models.event import FIRST_MOST
from ..models.health import release
from ..models.primary import clock
from ..rules import forms
from . import store, subscribers, transitions
from .maintenance.accepted import ACCEPTED
from .store import Store, bulk, microseconds
from .store.errors import is_away
from .subscribers import Judged

LOOK_AT = 1000  # events that one turn of the worker chooses from
TURN_MOST = 1.0  # seconds of such a turn
# Of a webhook that a newer version wrote; whose worker makes the body when it is retried.
UNKNOWN_FORM = "its form was not known to the process that published it: retry it once all are new"
EVENTS_SINCE = (0, 2)  # the version whose workers read payloads of events

_E, _B = Event._meta.db_table, EventBody._meta.db_table


_is_any_left = Found(lambda: [Event.objects.fanning_out()])


class KeyTaken(Exception):
    """Another event has just taken the key of one of these."""


def judge(alias: str, events: Sequence[Event], *, together: bool = False) -> list[Judged]:
    """Who gets new events, as far as one transaction has room, in which they are then put. Sets on
    each what was found. `together`: they are of several requests, which wait for each other."""
    if not events:
        return []
    queue = store.open(alias)
    judged = subscribers.judged(queue, events, together=together)
    at = queue.clock() or clock(alias)
    for event, one in zip(events, judged, strict=True):
        event.judged_at = event.created_at = at
        event.matched, event.filtered = len(one.receivers), one.filtered
        event.fanned_out_to = one.place
        event.first_deliveries = []
    return judged


def put(alias: str, judged: Sequence[tuple[Event, Judged]]) -> None:
    """Store events that were just judged, and their deliveries.

    Raises KeyTaken; then the transaction must be undone.
    """
    if not judged:
        return
    queue = store.open(alias)
    _put(queue, [event for event, _ in judged])
    _deliver(queue, judged, judged[0][0].judged_at)
    queue.announce()
    for event, _ in judged:
        event._state.adding, event._state.db = False, alias


def turn() -> int:
    """Go on with events that have very many receivers: a step of each account's oldest in turn, so
    that none waits for another's million. Returns how many deliveries were made. What fails of one
    keeps no other from its step, and is raised in the end."""
    if not any(_is_any_left(router.db_for_write(Event))):
        return 0
    made, until = 0, time.monotonic() + TURN_MOST
    failed: Exception | None = None
    running = Event.objects.fanning_out().order_by("pk")
    own: dict[int, deque[tuple[str, str]]] = {}
    for ident, account, place in running.values_list("pk", "account_id", "fanned_out_to")[:LOOK_AT]:
        own.setdefault(account, deque()).append((ident, place or ""))
    first = list(own)
    random.shuffle(first)
    accounts = deque(first)
    while accounts:
        events = own[account := accounts.popleft()]
        ident, place = events.popleft()
        try:
            done, left = step(ident, place)
        except Exception as error:
            if is_away(error) or isinstance(error, MemoryError):
                raise  # the others would fare no better
            failed, done, left = error, 0, None
        made += done
        if left is not None:
            events.appendleft((ident, left))
        if events:
            accounts.append(account)
        if time.monotonic() >= until:
            break
        transitions.let_others_in()
    if failed is not None:
        raise failed
    return made


def step(event_id: str, place: str) -> tuple[int, str | None]:
    """The next receivers of an event; how many got it, and the place then. Does nothing where
    another worker is at it, or has been."""
    alias = router.db_for_write(Event)
    queue = store.open(alias)
    skips = queue.connection.features.has_select_for_update_skip_locked
    with transaction.atomic(using=alias):
        mine = Event.objects.select_related("account").filter(pk=event_id, fanned_out_to=place)
        event = mine.select_for_update(of=("self",), skip_locked=skips).first()
        if event is None:
            return 0, None
        [judged] = subscribers.judged(queue, [event], after=place, at=event.judged_at)
        Event.objects.filter(pk=event_id).update(
            matched=F("matched") + len(judged.receivers),
            filtered=F("filtered") + judged.filtered,
            fanned_out_to=judged.place,
        )
        _deliver(queue, [(event, judged)], queue.clock() or clock(alias))
        queue.announce()
    return len(judged.receivers), judged.place


# --- what is stored ------------------------------------------------------------------------------

_EVENT_COLUMNS = (
    ("id", "text"),
    ("account_id", "int8"),
    ("type", "text"),
    ("payload", "bytea"),
    ("key", "text"),
    ("key_spent", "text"),
    ("channels", "text"),
    ("ordering_key", "text"),
    ("subject", "text"),
    ("reference", "text"),
    ("time", "moment"),
    ("deliver_at", "moment"),
    ("matched", "int4"),
    ("filtered", "int4"),
    ("judged_at", "moment"),
    ("fanned_out_to", "text"),
    ("created_at", "moment"),
    ("created_by", "text"),
)
_BODY_COLUMNS = (
    ("event_id", "text"),
    ("form", "text"),
    ("content_type", "text"),
    ("payload", "bytea"),
)


_PUT_EVENTS = bulk.unless_taken(_E, _EVENT_COLUMNS)
_PUT_BODIES = bulk.unless_taken(_B, _BODY_COLUMNS)


def _put(queue: Store, events: Sequence[Event]) -> None:
    # By their keys, so that two who publish the same ones never wait for each other.
    keyed = [event for event in events if event.key is not None]
    ordered = sorted(keyed, key=lambda event: (event.key or "", event.account_id))
    batch = [_stored(event) for event in ordered]
    if batch and queue.execute(_PUT_EVENTS, _EVENT_COLUMNS, batch) < len(batch):
        raise KeyTaken
    if len(keyed) < len(events):
        others = [_stored(event) for event in events if event.key is None]
        queue.insert(_E, _EVENT_COLUMNS, others)


def _stored(event: Event) -> list[Any]:
    """The values of _EVENT_COLUMNS."""
    field = Event._meta.get_field("channels")
    deliver_at = event.deliver_at
    return [
        event.pk,
        event.account_id,
        event.type,
        bytes(event.payload),
        event.key,
        "",
        field.get_prep_value(event.channels),
        event.ordering_key,
        event.subject,
        event.reference,
        microseconds.of(event.time),
        None if deliver_at is None else microseconds.of(deliver_at),
        event.matched,
        event.filtered,
        microseconds.of(event.judged_at),
        event.fanned_out_to,
        microseconds.of(event.created_at),
        event.created_by,
    ]


def _deliver(queue: Store, judged: Sequence[tuple[Event, Judged]], at: datetime) -> None:
    """Deliveries for all receivers, and the bodies they need."""
    judged = [pair for pair in judged if pair[1].receivers]
    if not judged:
        return
    bodies: list[tuple[str, str, str, bytes]] = []
    deliveries: list[Delivery] = []
    copies = has_older_workers(queue)
    for event, found in judged:
        payloads = {}
        asked = {wish: _spelled(wish) for _, wish in found.receivers}
        for form in {form for form, _, _ in asked.values()}:
            if not forms.is_known(form) or (form == forms.PAYLOAD and not copies):
                payloads[form] = b""  # it is made by nobody, or stands in the event
                continue
            content_type, payload = forms.body(form, told(event))
            payloads[form] = payload if copies else b""
            if form != forms.PAYLOAD:
                bodies.append((event.pk, form, content_type, payload))
        made: list[Delivery] = []
        for webhook_id, wish in found.receivers:
            form, order, schedule = asked[wish]
            delivery = Delivery.new(
                webhook_id,
                payloads[form],
                type=event.type,
                reference=event.reference,
                retry_schedule=schedule,
                created_by=event.created_by,
                event_id=event.pk,
                form=form,
                at=at,
                order=order,
                ordering_key=event.ordering_key,
            )
            if event.deliver_at is not None and event.deliver_at > at:
                delivery.due_at = event.deliver_at
            delivery.stored_in = event.request_id or delivery.stored_in
            made.append(delivery)
        deliveries += made
        made.sort(key=attrgetter("id"))
        event.first_deliveries += [(each.id, each.webhook_id) for each in made[:FIRST_MOST]]
    if bodies:
        queue.execute(_PUT_BODIES, _BODY_COLUMNS, bodies)
    queue.put_of_events(deliveries)
    if unknown := [each.id for each in deliveries if not forms.is_known(each.form or "")]:
        transitions.cancel_many(unknown, UNKNOWN_FORM)


def _spelled(wish: str) -> tuple[str, str, str]:
    """Form, order and schedule of a delivery that is made now."""
    sent, has_own, own = wish.partition(":")
    form, _, order = sent.partition(",")
    return form, order, schedule_of(own if has_own else None)


def told(event: Event) -> forms.Told:
    """What the forms of an event are made of."""
    return forms.Told(
        id=event.pk,
        type=event.type,
        time=event.time,
        subject=event.subject,
        reference=event.reference,
        source=conf.settings.cloudevents_source or f"/accounts/{event.account.name}",
        payload=bytes(event.payload),
    )


_VERSIONS = f"SELECT DISTINCT version FROM {Worker._meta.db_table}"
_COUNTS = (
    f"SELECT 1 FROM {Counter._meta.db_table} "
    f"WHERE name IN ('{ACCEPTED}', '{Attempt.Exchange.DELIVERY.value}') LIMIT 1"
)


def has_older_workers(queue: Store) -> bool:
    """Whether a worker that reads no payloads of events may claim deliveries. One that was killed
    counts, too, until its row is removed: it may as well be asleep. Where there is none at all, it
    is being restarted, until one that counts what it does has been here."""
    with queue.connection.cursor() as cursor:
        cursor.execute(_VERSIONS)
        versions = [version for (version,) in cursor.fetchall()]
        if versions:
            return min(map(release, versions)) < EVENTS_SINCE
        cursor.execute(_COUNTS)
        return cursor.fetchone() is None
