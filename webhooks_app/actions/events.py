"""Events: published once, one delivery for every subscribed webhook."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from .. import conf
from ..engine import fanout, transitions
from ..models import Account, AuditEntry, Event, EventType
from ..models.primary import clock
from ..rules.ids import is_event_id
from ..rules.nearest import nearest
from ..rules.subscriptions import EVENT_CHANNELS_LIMIT, channel, event_type
from .base import db_alias
from .errors import Conflict, Invalid
from .intake import IDEMPOTENCY_KEPT, encode, text_problem

EVENTS_MOST = 1000  # of one `publish_many`
AHEAD_MOST = timedelta(days=30)  # of `deliver_at`
LIKENED_MOST = 3  # undeclared types that are compared with all that are declared


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """One of `publish_many`; what its fields mean is said at `publish`."""

    type: str
    payload: Any
    event_id: str | None = None
    channels: Sequence[str] = ()
    ordering_key: str = ""
    subject: str = ""
    reference: str = ""
    time: datetime | None = None
    deliver_at: datetime | None = None


def publish(
    account: Account,
    type: str,
    payload: Any,
    *,
    event_id: str | None = None,
    channels: Sequence[str] = (),
    ordering_key: str = "",
    subject: str = "",
    reference: str = "",
    time: datetime | None = None,
    deliver_at: datetime | None = None,
    by: str = "",
) -> Event:
    """Store an event and a delivery for each webhook of the account that subscribes to it, in the
    caller's transaction when there is one; the worker sends them.

    `type`: up to 8 words with dots between, at most 128 characters: order.paid. `payload`: bytes
    are sent as they are and must be strict UTF-8 JSON, anything else is encoded as JSON; at most
    1 MiB. `event_id` (at most 256 of A-Z a-z 0-9 - _ .) is the publisher's own: with one that was
    seen in the last 24 h the first event is returned, its attribute `replayed` true. `channels`: at
    most 5, for subscriptions that name some. `subject` (255 characters) says whom it is about,
    `reference` (255) is the publisher's own word for it, `ordering_key` (128) what it belongs to.
    `time`: when it happened, else now. `deliver_at`: not before that moment, up to 30 days ahead.
    Moments without a time zone are of the current one.

    Who gets it is decided now. Webhooks that are paused, stopped or not verified get their delivery
    too, and it waits. Of more than 10,000 receivers a worker goes on (`event.fan_out`). Raises
    Invalid; Conflict for the same event id with another payload or type; TypeError for a payload
    that JSON has nothing for.
    """
    new = NewEvent(
        type=type,
        payload=payload,
        event_id=event_id,
        channels=channels,
        ordering_key=ordering_key,
        subject=subject,
        reference=reference,
        time=time,
        deliver_at=deliver_at,
    )
    problems, event = _judged(account, new, by)
    problems |= _undeclared(account, [event]).get(0, {})
    if problems:
        raise Invalid(problems)
    return _published([event])[0]


def publish_many(account: Account, events: Iterable[NewEvent], *, by: str = "") -> list[Event]:
    """`publish` of 1 to 1,000 events in a few statements and one transaction: all or none.

    Raises Invalid, its details by the place of the event: `{"events": {"3": {"type": […]}}}`;
    Conflict and TypeError as `publish`.
    """
    new = list(events)
    if not 1 <= len(new) <= EVENTS_MOST:
        raise Invalid({"events": [f"Must be 1 to {EVENTS_MOST:,} events."]})
    judged = [_judged(account, each, by) for each in new]
    undeclared = _undeclared(account, [event for _, event in judged])
    found = [own | undeclared.get(place, {}) for place, (own, _) in enumerate(judged)]
    if details := {str(place): problems for place, problems in enumerate(found) if problems}:
        raise Invalid({"events": details})
    return _published([event for _, event in judged])


def cancel_event(event: Event, *, by: str = "") -> int:
    """Give up what is pending of an event, and what a worker would still make of it; returns how
    many deliveries were cancelled. The event stays. Raises nothing of its own."""
    cancelled = transitions.cancel_event(event.pk, f"cancelled by {by}" if by else "cancelled")
    AuditEntry.objects.note(by, "Cancelled what was pending.", event)
    event.refresh_from_db(fields=["fanned_out_to"])
    return cancelled


# --- judging -------------------------------------------------------------------------------------


def _judged(account: Account, new: NewEvent, by: str) -> tuple[dict[str, Any], Event]:
    """What is wrong with an event, by the names of the API; and its row, not stored."""
    details: dict[str, Any] = {}

    def note(name: str, problem: str) -> None:
        if problem:
            details[name] = [problem]

    try:
        event_type(new.type)
    except ValueError as error:
        note("type", str(error))
    try:
        payload = encode(new.payload)
    except ValueError as error:
        payload = b""
        note("payload", f"Not usable: {error}.")
    note("eventId", _event_id_problem(new.event_id))
    if problems := _channel_problems(new.channels):
        details["channels"] = problems
    note("orderingKey", text_problem(new.ordering_key, 128))
    note("subject", text_problem(new.subject, 255))
    note("reference", text_problem(new.reference, 255))
    time, deliver_at = (_aware(moment) for moment in (new.time, new.deliver_at))
    if deliver_at is not None and deliver_at > timezone.now() + AHEAD_MOST:
        note("deliverAt", f"Must be at most {AHEAD_MOST.days} days ahead.")
    if details:
        return details, Event(account=account)
    return {}, Event(
        account=account,
        type=new.type,
        payload=payload,
        key=new.event_id,
        channels=tuple(dict.fromkeys(new.channels)),
        ordering_key=new.ordering_key,
        subject=new.subject,
        reference=new.reference,
        time=time or timezone.now(),
        deliver_at=deliver_at,
        created_by=by[:150],
    )


def _event_id_problem(value: object) -> str:
    if value is None or is_event_id(value):
        return ""
    return "Must be 1 to 256 of A-Z, a-z, 0-9 and - _ ."


def _channel_problems(channels: Any) -> Any:
    if isinstance(channels, str) or not isinstance(channels, Sequence):
        return ["Must be a list."]
    if len(channels) > EVENT_CHANNELS_LIMIT:
        return [f"Must be at most {EVENT_CHANNELS_LIMIT} channels."]
    problems = {}
    for place, name in enumerate(channels):
        try:
            channel(name)
        except ValueError as error:
            problems[str(place)] = [str(error)]
    return problems


def _aware(moment: datetime | None) -> datetime | None:
    if moment is not None and timezone.is_naive(moment):
        return timezone.make_aware(moment)
    return moment


def _undeclared(account: Account, events: Sequence[Event]) -> dict[int, dict[str, Any]]:
    """By the place of an event, that its type is not declared, where it must be."""
    if not conf.event_types_declared():
        return {}
    types = {event.type for event in events if event.type}
    there = EventType.objects.known_to(account).declared()
    known = set(there.filter(name__in=types).values_list("name", flat=True))
    missing = {event.type: "" for event in events if event.type and event.type not in known}
    if missing:
        names = list(there.values_list("name", flat=True)[:1000])
        for type in list(missing)[:LIKENED_MOST]:
            missing[type] = nearest(type, names)
    return {
        place: {"type": [_undeclared_sentence(missing[event.type])]}
        for place, event in enumerate(events)
        if event.type in missing
    }


def _undeclared_sentence(meant: str) -> str:
    return f"Is not declared{f'; did you mean {meant}?' if meant else '.'}"


# --- storing -------------------------------------------------------------------------------------


def _published(events: list[Event]) -> list[Event]:
    """Stored with their deliveries; or the first ones of the same event ids instead."""
    for again in range(4):
        try:
            with transaction.atomic(using=db_alias()):
                first = _known(events) if again else {}  # most keys are new
                new = _first_of_each(event for event in events if event.key not in first)
                if new:
                    fanout.publish(db_alias(), new)
                first |= {event.key: event for event in new if event.key is not None}
                return [_answer(event, first.get(event.key)) for event in events]
        except fanout.KeyTaken:
            continue  # it was published before, or somebody does so at this moment
    raise Conflict("An event with this eventId is being published.")


def _known(events: Sequence[Event]) -> dict[str | None, Event]:
    """The events of the last day that have these keys. Keys of older ones are free again."""
    keys = {event.key for event in events if event.key is not None}
    if not keys:
        return {}
    rows = Event.objects.filter(account=events[0].account_id, key__in=keys, key_spent="")
    found = {event.key: event for event in rows}
    before = clock(db_alias()) - IDEMPOTENCY_KEPT
    old = [event.pk for event in found.values() if event.created_at <= before]
    if old:
        rows.filter(pk__in=old).update(key_spent=F("pk"))
    return {key: event for key, event in found.items() if event.pk not in old}


def _first_of_each(events: Iterable[Event]) -> list[Event]:
    """Without those whose key stands before them in the list."""
    first: dict[Any, Event] = {}
    for event in events:
        first.setdefault(event.key or event.pk, event)
    return list(first.values())


def _answer(event: Event, first: Event | None) -> Event:
    """The event, or the first with its key. Raises Conflict when that is another."""
    if first is None or first is event:
        return event
    if bytes(first.payload) != event.payload or first.type != event.type:
        raise Conflict(f"The eventId {event.key} was used with another payload or type.")
    first = copy.copy(first)
    first.replayed = True
    return first
