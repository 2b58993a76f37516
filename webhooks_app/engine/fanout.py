"""From an event to its deliveries: who subscribes, what the filters say, one delivery for each.

All of it happens in the transaction that stores the event, up to STEP receivers; of more, a worker
goes on in the same steps, by the order of the webhooks' ids. The place is stored with the
deliveries of a step, so whoever goes on after a crash goes on exactly there.

The payload is stored once. While a worker of a version before events may still claim deliveries,
each of them gets a copy: that worker reads no other.
"""

import logging
import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple

from django.db import router, transaction
from django.db.models import F

from .. import conf
from ..models import (
    Attempt,
    Counter,
    Delivery,
    Event,
    EventBody,
    Subscription,
    Webhook,
    Worker,
)
from ..models.delivery import schedule_of
from ..models.event import FIRST_MOST
from ..models.health import release
from ..models.primary import clock
from ..rules import forms
from ..rules.ids import ID_LENGTH
from ..rules.subscriptions import lookups
from . import store
from .accepted import ACCEPTED
from .hearing import Hearing
from .store import Store, bulk, microseconds

log = logging.getLogger("webhooks")

STEP = 10_000  # receivers of one transaction, of all its events together
READ_MOST = 25_000  # subscriptions that it reads
LOOKS = 250_000  # subscriptions that it compares with events, and those of the last one
VISITS = 2_000_000  # elements of payloads that its filters look at
FILTERS = 10_000  # different filters that one event is asked in it
EVENTS_AT_ONCE = 20  # that one turn of the worker goes on with
TURN_MOST = 1.0  # seconds of such a turn
EVENTS_SINCE = (0, 2)  # the version whose workers read payloads of events

_E, _B = Event._meta.db_table, EventBody._meta.db_table
_S, _W = Subscription._meta.db_table, Webhook._meta.db_table


class Group(NamedTuple):
    """Subscriptions that hear alike (one pattern, the same channels and filter), of webhooks that
    want the same: a form, an order, and a schedule to try again."""

    wish: str  # as _WISH spells it; "": not looked up yet
    channels: Sequence[str]
    filter: str
    webhooks: list[str]  # in order


Candidates = dict[tuple[int, str], list[Group]]  # by account and pattern


@dataclass(slots=True)
class Judged:
    """Who gets an event, of some candidates."""

    receivers: list[tuple[str, str]] = field(default_factory=list)  # webhook and wish
    filtered: int = 0
    place: str | None = None  # the webhook up to which it was judged; None: to the end

    def is_within(self, receivers: int) -> bool:
        """Whether these are all, and no more than so many."""
        return self.place is None and len(self.receivers) <= receivers


@dataclass(slots=True)
class Room:
    """What is left of a transaction, for all its events together."""

    receivers: int = field(default_factory=lambda: STEP)
    looks: int = field(default_factory=lambda: LOOKS)
    visits: int = field(default_factory=lambda: VISITS)

    @property
    def is_gone(self) -> bool:
        return min(self.receivers, self.looks, self.visits) <= 0


class KeyTaken(Exception):
    """Another event has just taken the key of one of these."""


def judge(alias: str, events: Sequence[Event]) -> list[Judged]:
    """Who gets new events, as far as one transaction has room, in which they are then put. Sets on
    each what was found."""
    if not events:
        return []
    queue = store.open(alias)
    judged = _judged(queue, events)
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
    """Go on with events that have very many receivers; returns how many deliveries were made."""
    made, until = 0, time.monotonic() + TURN_MOST
    running = Event.objects.fanning_out().order_by("pk")
    for ident, place in list(running.values_list("pk", "fanned_out_to")[:EVENTS_AT_ONCE]):
        while place is not None:
            done, place = step(ident, place)
            made += done
            if time.monotonic() >= until:
                return made
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
        [judged] = _judged(queue, [event], after=place, at=event.judged_at)
        Event.objects.filter(pk=event_id).update(
            matched=F("matched") + len(judged.receivers),
            filtered=F("filtered") + judged.filtered,
            fanned_out_to=judged.place,
        )
        _deliver(queue, [(event, judged)], queue.clock() or clock(alias))
        queue.announce()
    return len(judged.receivers), judged.place


# --- who subscribes ------------------------------------------------------------------------------


_WANTED = (("account", "int8"), ("pattern", "text"), ("after", "text"), ("at", "moment"))
# By itself: joined, all webhooks there are might be read.
# In one text, for one look: form and order as `payload,key`; with a schedule of the webhook's own
# `payload,key:5,300`.
_WISH = (
    f"(SELECT h.form || ',' || h.\"order\" || COALESCE(':' || h.retry_schedule, '') FROM {_W} h "
    "WHERE h.id = %s AND h.account_id = %s AND h.deleted_at IS NULL)"
)
# What hears alike comes in one row: ten thousand rows cost more than all that is done with them.
# The wish only where no filter decides yet: for each of ten thousand, it costs more than the rest.
# `|| ''`: not by the index of another column, which holds the subscriptions of all accounts.
_CANDIDATES = f"""
    SELECT account, pattern, wish, channels, filter, {{ids}} FROM (
      SELECT s.account_id AS account, s.pattern, s.channels, s.filter,
             s.webhook_id || '' AS webhook,
             CASE WHEN s.filter = '' THEN {_WISH % ("s.webhook_id", "s.account_id")} END AS wish
      FROM {{rows}}
      JOIN {_S} s ON s.account_id = r.account AND s.pattern = r.pattern
      WHERE {{condition}} AND s.webhook_id || '' > r.after
      {{order}} LIMIT {{most}}
    ) c GROUP BY account, pattern, wish, channels, filter"""
_WISHES = f"SELECT r.id, {_WISH % ('r.id', 'r.account')} FROM {{rows}}"
_IDS = (("id", "text"), ("account", "int8"))
_PRESENT = "s.valid_until IS NULL"
_OF_THEN = tuple(f"s.valid_from <= r.at AND {held}" for held in (_PRESENT, "s.valid_until > r.at"))


def candidates(
    queue: Store,
    wanted: Iterable[tuple[int, str]],
    *,
    after: str = "",
    at: datetime | None = None,
) -> tuple[Candidates, str | None]:
    """The present subscriptions of accounts with these patterns (or those of a moment); and the
    webhook up to which, in the order of their ids, these are all, None where there are no more."""
    moment = 0 if at is None else microseconds.of(at)
    rows = [(account, pattern, after, moment) for account, pattern in sorted(wanted)]
    conditions = (_PRESENT,) if at is None else _OF_THEN
    found, upto = _read(queue, rows, conditions, ""), None
    if _number(found) > READ_MOST:
        # There are more than are read: then the first ones, and ordering costs.
        found = _read(queue, rows, conditions, "ORDER BY webhook")
        every = sorted(chain.from_iterable(group.webhooks for _, group in found))
        last = every[READ_MOST]  # of which there may be more
        upto = every[bisect_left(every, last) - 1]
        for _, group in found:
            del group.webhooks[bisect_left(group.webhooks, last) :]
    by_key: Candidates = {}
    for key, group in found:
        if group.webhooks and (group.wish or group.filter):  # else they are deleted
            by_key.setdefault(key, []).append(group)
    return by_key, upto


Found = list[tuple[tuple[int, str], Group]]  # by account and pattern


def _read(queue: Store, rows: Sequence[Any], conditions: Sequence[str], order: str) -> Found:
    sql = _CANDIDATES.replace("{ids}", queue.joined("webhook")).replace("{order}", order)
    sql = sql.replace("{most}", str(READ_MOST + 1))
    return [
        ((account, pattern), Group(wish or "", channels.split(), text, _cut_up(ids)))
        for condition in conditions
        for account, pattern, wish, channels, text, ids in queue.select(
            sql.replace("{condition}", condition), _WANTED, rows
        )
    ]


def _cut_up(ids: str) -> list[str]:
    return sorted([ids[n : n + ID_LENGTH] for n in range(0, len(ids), ID_LENGTH)])


def _number(found: Found) -> int:
    return sum(len(group.webhooks) for _, group in found)


def _judged(
    queue: Store, events: Sequence[Event], *, after: str = "", at: datetime | None = None
) -> list[Judged]:
    """Who gets some events, of the webhooks behind `after`, by the subscriptions of a moment."""
    wanted = {(event.account_id, pattern) for event in events for pattern in lookups(event.type)}
    found, upto = candidates(queue, wanted, after=after, at=at)
    room = Room()
    judged = [_judge(event, found, upto, room) for event in events]
    unknown = {
        (ident, event.account_id)
        for event, one in zip(events, judged, strict=True)
        for ident, wish in one.receivers
        if not wish
    }
    if unknown:
        wishes: dict[str, str] = dict(queue.select(_WISHES, _IDS, sorted(unknown)))
        for one in judged:
            known = [(ident, wish or wishes[ident]) for ident, wish in one.receivers]
            one.receivers = [pair for pair in known if pair[1]]  # else it is deleted
    return judged


def _judge(event: Event, found: Candidates, upto: str | None, room: Room) -> Judged:
    """Who of these gets an event, as far as there is room."""
    hearing = Hearing(event.type, event.channels, bytes(event.payload))
    groups = [
        group
        for pattern in lookups(event.type)
        for group in found.get((event.account_id, pattern), ())
        if hearing.hears(group.channels)
    ]
    if room.is_gone and groups:
        return Judged(place="")
    groups.sort(key=_first)
    receivers: dict[str, str] = {}  # webhooks and their wishes
    refused: set[str] = set()
    end = None  # the first webhook that is not judged
    for number, group in enumerate(groups):
        is_full = room.is_gone or hearing.tried >= FILTERS
        if is_full and _first(group) > _first(groups[0]):
            end = _first(group)
            groups = groups[:number]
            break
        if _takes(hearing, group.filter, room):
            receivers.update(dict.fromkeys(group.webhooks, group.wish))
        else:
            refused.update(group.webhooks)
        room.looks -= len(group.webhooks)
    return _cut(groups, receivers, refused.difference(receivers), end, upto, room)


def _first(group: Group) -> str:
    return group.webhooks[0]


def _takes(hearing: Hearing, text: str, room: Room) -> bool:
    if not text:
        return True
    before = hearing.visits
    said = hearing.says(text)
    room.visits -= hearing.visits - before
    if said == "unreadable":
        log.error("a stored filter cannot be read by this version, it takes nothing")
    return said == "takes"


def _cut(
    groups: Sequence[Group],
    receivers: dict[str, str],
    refused: set[str],
    end: str | None,
    upto: str | None,
    room: Room,
) -> Judged:
    """What was found, up to the webhook `end`, and to as many receivers as there is room for."""
    chosen, place = sorted(receivers), upto
    if end is not None:
        del chosen[bisect_left(chosen, end) :]
        place = max(ident for group in groups for ident in group.webhooks if ident < end)
    if len(chosen) > room.receivers:
        del chosen[room.receivers :]
        place = chosen[-1]
    room.receivers -= len(chosen)
    filtered = refused if place is None else [ident for ident in refused if ident <= place]
    return Judged([(ident, receivers[ident]) for ident in chosen], len(filtered), place)


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
    ordered = sorted(events, key=lambda event: (event.key or "", event.account_id))
    batch = [_stored(event) for event in ordered]
    if queue.execute(_PUT_EVENTS, _EVENT_COLUMNS, batch) < len(batch):
        raise KeyTaken


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
