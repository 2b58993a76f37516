"""Events: published once, one delivery for every subscribed webhook."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, overload

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from .. import conf
from ..engine import fanout, transitions
from ..models import Account, AuditEntry, Delivery, Event, EventType, Job
from ..models.job import PACE_LIMIT
from ..models.primary import clock
from ..rules.ids import is_event_id
from ..rules.nearest import nearest
from ..rules.subscriptions import EVENT_CHANNELS_LIMIT, channel, event_type
from .base import STEPS_MOST, db_alias, in_steps
from .errors import ActionError, Conflict, Invalid, alone
from .intake import IDEMPOTENCY_KEPT, encode, text_problem
from .jobs import create_job, matching
from .once import Key, Once

EVENTS_MOST = 1000  # of one `publish_many`
AHEAD_MOST = timedelta(days=30)  # of `deliver_at`
LIKENED_MOST = 3  # undeclared types that are compared with all that are declared
_CHANCES = 4  # to store what has event ids, while others store the same ones


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
    `reference` (255) is the publisher's own word for it, `ordering_key` (128) what it is
    sent in order with, to webhooks that have `order` "key".
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
    [answer] = accept_events([Publication(account, [new], by)])
    if isinstance(answer, ActionError):
        raise alone(answer)
    return answer[0]


def publish_many(account: Account, events: Iterable[NewEvent], *, by: str = "") -> list[Event]:
    """`publish` of 1 to 1,000 events in a few statements and one transaction: all or none.

    Raises Invalid and Conflict, their details by the place of the event:
    `{"events": {"3": {"type": […]}}}`; TypeError as `publish`.
    """
    new = list(events)
    if not 1 <= len(new) <= EVENTS_MOST:
        raise Invalid({"events": [f"Must be 1 to {EVENTS_MOST:,} events."]})
    [answer] = accept_events([Publication(account, new, by)])
    if isinstance(answer, Invalid):
        raise Invalid({"events": answer.details})
    if isinstance(answer, Conflict):
        raise Conflict(answer.message, {"events": answer.details})
    return answer


def cancel_event(event: Event, *, by: str = "") -> int:
    """Give up what is pending of an event, and what a worker would still make of it: 10,000
    deliveries at once, the rest by a job of the worker. Returns how many were cancelled at once.
    The event stays. Raises nothing of its own."""
    reason = f"cancelled by {by}" if by else "cancelled"

    def step(place: str) -> tuple[int, str]:
        with transaction.atomic(using=db_alias()):
            if not place:
                transitions.end_fan_out(event.pk)
                AuditEntry.objects.note(by, "Cancelled what was pending.", event)
            return transitions.cancel_some_of(event.pk, place, reason)

    cancelled, place = in_steps(step, range(STEPS_MOST))
    words = {"event": event.pk, "state": Delivery.State.PENDING.value}
    if place and matching(words, limit=0):
        create_job(Job.Verb.CANCEL, words, pace=PACE_LIMIT, by=by)
    event.refresh_from_db(fields=["fanned_out_to"])
    return cancelled


# --- the rules of every door ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Publication:
    """A request to publish 1 to EVENTS_MOST events: all of them are stored, or none.

    `request_id`: the name of the request that asks, where it is not the one that is served here.
    `are_read`: the payloads are bytes that were read as strict JSON.
    """

    account: Account
    events: Sequence[NewEvent]
    by: str = ""
    request_id: str | None = None
    are_read: bool = False


Published = list[Event] | Invalid | Conflict


@overload
def accept_events(requests: Sequence[Publication]) -> list[Published]: ...


@overload
def accept_events(
    requests: Sequence[Publication], *, receivers_most: int | None
) -> list[Published | None]: ...


def accept_events(
    requests: Sequence[Publication], *, receivers_most: int | None = None
) -> Sequence[Published | None]:
    """Judge what some requests publish and store it, with all deliveries, in one transaction and a
    few statements. A request is stored whole or not at all, whatever becomes of the others.

    The answer to each: its events in order, or why there are none: Invalid or Conflict, with the
    details by the number of the event, then by its field. An event that was there for its event id
    has `replayed` true. None: one of its events has more than `receivers_most` receivers, or costs
    more to judge than others should wait for; it is not stored, and wants a transaction of its own.
    Raises TypeError for a payload that JSON has nothing for.
    """
    answers = _judged(requests)
    events = _events(answers)
    if not events:
        return answers
    has_keys = any(event.key is not None for event in events)
    for chance in range(_CHANCES):
        try:
            # Where none can be taken there is nothing to come back to.
            with transaction.atomic(using=db_alias(), savepoint=has_keys):
                first = _known(events) if chance else {}  # most keys are new
                return _published(answers, first, receivers_most)
        except fanout.KeyTaken:
            continue  # it was published before, or somebody does so at this moment
    answers = [
        _ONCE.without_keys(answer) if isinstance(answer, list) else answer for answer in answers
    ]
    with transaction.atomic(using=db_alias()):
        return _published(answers, {}, receivers_most)


# --- judging -------------------------------------------------------------------------------------


def _judged(requests: Sequence[Publication]) -> list[Published]:
    """The events that are to be stored, or what is wrong with them."""
    alias = db_alias()
    found = [[_one(asked, new, alias) for new in asked.events] for asked in requests]
    undeclared = _undeclared([event for each in found for _, event in each])
    answers: list[Published] = []
    for each in found:
        details = {
            str(place): problems | undeclared.get(event.pk, {})
            for place, (problems, event) in enumerate(each)
            if problems or event.pk in undeclared
        }
        answers.append(Invalid(details) if details else [event for _, event in each])
    return answers


def _one(asked: Publication, new: NewEvent, alias: str) -> tuple[dict[str, Any], Event]:
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
        payload = encode(new.payload, is_read=asked.are_read)
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
    # By the clock that all hosts go by, as deliveries: lists and the catalogue go by the ids.
    now = clock(alias)
    if deliver_at is not None and deliver_at > now + AHEAD_MOST:
        note("deliverAt", f"Must be at most {AHEAD_MOST.days} days ahead.")
    if details:
        return details, Event(account=asked.account)
    event = Event.new(
        asked.account,
        payload,
        type=new.type,
        key=new.event_id,
        channels=tuple(dict.fromkeys(new.channels)),
        ordering_key=new.ordering_key,
        subject=new.subject,
        reference=new.reference,
        time=time or now,
        deliver_at=deliver_at,
        created_by=asked.by[:150],
        at=now,
    )
    event.request_id = asked.request_id
    return {}, event


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


def _undeclared(events: Sequence[Event]) -> dict[str, dict[str, Any]]:
    """By the id of an event, that its type is not declared, where it must be."""
    if not conf.settings.event_types_declared:
        return {}
    by_account: dict[Account, list[Event]] = {}
    for event in events:
        if event.type:
            by_account.setdefault(event.account, []).append(event)
    found: dict[str, dict[str, Any]] = {}
    for account, own in by_account.items():
        missing = _missing(account, {event.type for event in own})
        for event in own:
            if event.type in missing:
                found[event.pk] = {"type": [_undeclared_sentence(missing[event.type])]}
    return found


def _missing(account: Account, types: Collection[str]) -> dict[str, str]:
    """Which of these types are not declared, and which declared one is the nearest."""
    there = EventType.objects.offered_to(account)
    known = set(there.filter(name__in=types).values_list("name", flat=True))
    missing = dict.fromkeys(sorted(set(types) - known), "")
    if missing:
        names = list(there.values_list("name", flat=True)[:1000])
        for type in list(missing)[:LIKENED_MOST]:
            missing[type] = nearest(type, names)
    return missing


def _undeclared_sentence(meant: str) -> str:
    return f"Is not declared{f'; did you mean {meant}?' if meant else '.'}"


# --- storing -------------------------------------------------------------------------------------

_ONCE: Once[Event] = Once(
    field="eventId",
    key_of=lambda event: (event.account_id, event.key),
    is_same=lambda first, again: bytes(first.payload) == again.payload and first.type == again.type,
    other=lambda event: f"The eventId {event.key} was used with another payload or type.",
    under_way="An event with this eventId is being published.",
)


def _events(answers: Iterable[Published | None]) -> list[Event]:
    return [event for answer in answers if isinstance(answer, list) for event in answer]


def _published(
    answers: Sequence[Published], firsts: dict[Key, Event], receivers_most: int | None
) -> list[Published | None]:
    """Stored with their deliveries; or the first ones of the same event ids instead. Raises
    KeyTaken."""
    events = _events(answers)
    ids = [event.pk for event in events]
    together = receivers_most is not None
    judged = dict(zip(ids, fanout.judge(db_alias(), events, together=together), strict=True))
    found: list[Published | None] = []
    for answer in answers:
        if not isinstance(answer, list):
            found.append(answer)
        elif receivers_most is not None and not all(
            judged[event.pk].is_within(receivers_most) for event in answer
        ):
            found.append(None)
        else:
            found.append(_ONCE.beside(answer, firsts))
    new = [event for event in _events(found) if not event.replayed]
    fanout.put(db_alias(), [(event, judged[event.pk]) for event in new])
    return found


def _known(events: Sequence[Event]) -> dict[Key, Event]:
    """The events of the last day that have these keys. Keys of older ones are free again."""
    keys: dict[int, set[str]] = {}
    for event in events:
        if event.key is not None:
            keys.setdefault(event.account_id, set()).add(event.key)
    those = Q(pk__in=[])
    for account, own in keys.items():
        those |= Q(account=account, key__in=own)
    rows = Event.objects.filter(those, key_spent="")
    found = list(rows)
    before = clock(db_alias()) - IDEMPOTENCY_KEPT
    old = {event.pk for event in found if event.created_at <= before}
    if old:
        rows.filter(pk__in=old).update(key_spent=F("pk"))
    return {_ONCE.key_of(event): event for event in found if event.pk not in old}
