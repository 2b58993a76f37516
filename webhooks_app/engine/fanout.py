"""From an event to its deliveries: who subscribes, what the filters say, one delivery for each.

All of it happens in the transaction that stores the event, up to STEP receivers; of more, a worker
goes on in the same steps, by the order of the webhooks' ids. The place is stored with the
deliveries of a step, so whoever goes on after a crash goes on exactly there.

The payload is stored once. While a worker of a version before events may still claim deliveries,
each of them gets a copy: that worker reads no other.
"""

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from operator import attrgetter, itemgetter
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
from ..models.delivery import schedule_text
from ..models.primary import clock
from ..rules import filters, forms, strictjson
from ..rules.subscriptions import lookups
from . import store
from .accepted import ACCEPTED
from .store import Store, bulk, microseconds

log = logging.getLogger("webhooks")

STEP = 10_000  # receivers of one transaction, of all its events together
READ_MOST = 25_000  # subscriptions that it reads
LOOKS = 250_000  # subscriptions that it compares with events
VISITS = 2_000_000  # elements of payloads that its filters look at
FILTERS = 10_000  # different filters that one event is asked in it
EVENTS_AT_ONCE = 20  # that one turn of the worker goes on with
TURN_MOST = 1.0  # seconds of such a turn
EVENTS_SINCE = (0, 2)  # the version whose workers read payloads of events

_E, _B = Event._meta.db_table, EventBody._meta.db_table
_S, _W = Subscription._meta.db_table, Webhook._meta.db_table


class Candidate(NamedTuple):
    """A subscription whose pattern covers a type, and the form its webhook wants."""

    webhook_id: str
    form: str
    channels: str  # as it is stored
    filter: str


Candidates = dict[str, list[Candidate]]  # by pattern


@dataclass(slots=True)
class Judged:
    """Who gets an event, of some candidates."""

    receivers: list[tuple[str, str]] = field(default_factory=list)  # webhook and form
    filtered: int = 0
    place: str | None = None  # the webhook up to which it was judged; None: to the end


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


def publish(alias: str, events: Sequence[Event]) -> None:
    """Store new events and their deliveries, inside a transaction. Sets what was found on them.

    Raises KeyTaken; then the transaction must be undone.
    """
    queue = store.open(alias)
    account = events[0].account_id
    patterns = {pattern for event in events for pattern in lookups(event.type)}
    found, upto = candidates(queue, account, patterns)
    at = queue.clock() or clock(alias)
    room = Room()
    judged = []
    for event in events:
        one = _judge(event, found, upto, room)
        judged.append(one)
        event.judged_at = event.created_at = at
        event.matched, event.filtered = len(one.receivers), one.filtered
        event.fanned_out_to = one.place
    _put(queue, events)
    _deliver(queue, list(zip(events, judged, strict=True)), at)
    queue.announce()
    for event in events:
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
        found, upto = candidates(
            queue, event.account_id, lookups(event.type), after=place, at=event.judged_at
        )
        judged = _judge(event, found, upto, Room())
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
# The form by itself: joined, all webhooks there are might be read.
_CANDIDATES = f"""
    SELECT s.webhook_id,
           (SELECT h.form FROM {_W} h
            WHERE h.id = s.webhook_id AND h.account_id = s.account_id AND h.deleted_at IS NULL),
           s.pattern, s.channels, s.filter
    FROM {{rows}}
    JOIN {_S} s ON s.account_id = r.account AND s.pattern = r.pattern AND s.webhook_id > r.after
    WHERE {{condition}}
    ORDER BY s.webhook_id LIMIT {{most}}"""
_PRESENT = "s.valid_until IS NULL"
_OF_THEN = tuple(f"s.valid_from <= r.at AND {held}" for held in (_PRESENT, "s.valid_until > r.at"))


def candidates(
    queue: Store,
    account: int,
    patterns: Iterable[str],
    *,
    after: str = "",
    at: datetime | None = None,
) -> tuple[Candidates, str | None]:
    """The present subscriptions of an account with these patterns (or those of a moment), in the
    order of their webhooks; and the webhook up to which these are all, None where there are no
    more."""
    moment = 0 if at is None else microseconds.of(at)
    wanted = [(account, pattern, after, moment) for pattern in sorted(patterns)]
    found: list[Any] = []
    for condition in (_PRESENT,) if at is None else _OF_THEN:
        sql = _CANDIDATES.replace("{condition}", condition).replace("{most}", str(READ_MOST + 1))
        found += queue.select(sql, _WANTED, wanted)
    found.sort(key=itemgetter(0))
    upto = None
    if len(found) > READ_MOST:
        last = found[READ_MOST][0]  # of which there may be more
        found = [row for row in found if row[0] < last]
        upto = found[-1][0]
    by_pattern: Candidates = {}
    for webhook_id, form, pattern, channels, text in found:
        if form is not None:  # else it is deleted
            by_pattern.setdefault(pattern, []).append(Candidate(webhook_id, form, channels, text))
    return by_pattern, upto


def _judge(event: Event, found: Candidates, upto: str | None, room: Room) -> Judged:
    """Who of these gets an event, as far as there is room. Equal filters are tried once."""
    if room.is_gone and any(pattern in found for pattern in lookups(event.type)):
        return Judged(place="")
    verdicts = Verdicts(bytes(event.payload), room)
    judged, place = Judged(), ""
    chosen = refused = ""  # the webhook that was chosen last, and the one that was not
    for row in _covering(event.type, found):
        ident = row.webhook_id
        if ident != place and (room.is_gone or verdicts.are_too_many):
            judged.place = place
            return judged
        place = ident
        room.looks -= 1
        if ident == chosen or not meets(event.channels, row.channels):
            continue
        if not row.filter or verdicts.of(row.filter):
            chosen = ident
            judged.receivers.append((ident, row.form))
            judged.filtered -= refused == ident
            room.receivers -= 1
        elif refused != ident:
            refused = ident
            judged.filtered += 1
    judged.place = upto
    return judged


def _covering(type: str, found: Candidates) -> list[Candidate]:
    """Those that cover a type, in the order of their webhooks."""
    lists = [found[pattern] for pattern in lookups(type) if pattern in found]
    if len(lists) == 1:
        return lists[0]
    return sorted(chain.from_iterable(lists), key=attrgetter("webhook_id"))


def meets(channels: Sequence[str], wanted: str) -> bool:
    """Whether a subscription's channels, as they are stored and none for any, have one of these."""
    return not wanted or not set(wanted.split()).isdisjoint(channels)


class Verdicts:
    """What filters say of a payload, each asked once."""

    def __init__(self, payload: bytes, room: Room) -> None:
        self._bytes = payload
        self._room = room
        self._payload: Any = None
        self._known: dict[str, bool] = {}

    @property
    def are_too_many(self) -> bool:
        return len(self._known) >= FILTERS

    def of(self, text: str) -> bool:
        """Whether the filter takes it. One that would be too costly, or that this version cannot
        read, takes nothing."""
        verdict = self._known.get(text)
        if verdict is None:
            if not self._known:
                self._payload = strictjson.loads(self._bytes)
            verdict = self._known[text] = self._ask(text)
        return verdict

    def _ask(self, text: str) -> bool:
        budget = filters.Budget()
        try:
            return filters.compiled(text).matches(self._payload, budget)
        except filters.TooCostly:
            return False
        except ValueError as error:
            log.error("a stored filter cannot be read, it takes nothing: %s", error)
            return False
        finally:
            self._room.visits -= budget.spent


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
    batch = [_stored(event) for event in sorted(events, key=lambda event: event.key or "")]
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
    copies = has_older_workers(queue.connection.alias)
    schedule = schedule_text(conf.retry_schedule())
    for event, found in judged:
        payloads = {}
        for form in {form for _, form in found.receivers}:
            content_type, payload = forms.body(form, told(event))
            payloads[form] = payload if copies else b""
            if form != forms.PAYLOAD:
                bodies.append((event.pk, form, content_type, payload))
        for webhook_id, form in found.receivers:
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
            )
            if event.deliver_at is not None and event.deliver_at > at:
                delivery.due_at = event.deliver_at
            deliveries.append(delivery)
    if bodies:
        queue.execute(_PUT_BODIES, _BODY_COLUMNS, bodies)
    queue.put_of_events(deliveries)


def told(event: Event) -> forms.Told:
    """What the forms of an event are made of."""
    return forms.Told(
        id=event.pk,
        type=event.type,
        time=event.time,
        subject=event.subject,
        reference=event.reference,
        source=conf.cloudevents_source() or f"/accounts/{event.account.name}",
        payload=bytes(event.payload),
    )


def has_older_workers(alias: str) -> bool:
    """Whether a worker that reads no payloads of events may claim deliveries. One that was killed
    counts, too, until its row is removed: it may as well be asleep. Where there is none at all, it
    is being restarted, until one that counts what it does has been here."""
    versions = Worker.objects.using(alias).order_by().values_list("version", flat=True).distinct()
    if versions:
        return any(_release(version) < EVENTS_SINCE for version in versions)
    names = (ACCEPTED, Attempt.Exchange.DELIVERY.value)
    return not Counter.objects.using(alias).filter(name__in=names).exists()


def _release(version: str) -> tuple[int, ...]:
    """The first two numbers of a version; none for what is none."""
    major, _, rest = version.partition(".")
    minor = rest.partition(".")[0]
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else ()
