"""What a request asks to be published, and the answer to it: for the views, and for any other
door."""

from typing import Any

from .. import actions
from ..models import Event
from . import body, intake, query
from .errors import Problem, invalid

_NAMES = {
    "type": "type",
    "payload": "payload",
    "eventId": "event_id",
    "channels": "channels",
    "orderingKey": "ordering_key",
    "subject": "subject",
    "reference": "reference",
}
_MOMENTS = {"time": "time", "deliverAt": "deliver_at"}
_KNOWN = (*_NAMES, *_MOMENTS)
_REQUIRED = ("type", "payload")
_TOO_MANY = f"Must be 1 to {actions.EVENTS_MOST:,} events."


def single(request: query.Head, sent: bytes) -> list[actions.NewEvent]:
    """`POST /events`. Raises Problem 400."""
    value = body.loads_slicing(sent, "payload")
    if problems := intake.strange(value, _KNOWN, _REQUIRED):
        raise invalid(problems)
    key = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if key is not None and value.setdefault("eventId", key) != key:
        raise invalid({"eventId": ["Idempotency-Key says another one."]})
    return [_new(value)]


def bulk(request: query.Head, sent: bytes) -> list[actions.NewEvent]:
    """`POST /events/bulk`: a list. Raises Problem 400."""
    intake.refuse_key(request, "eventId")
    items = intake.rows_of(sent, "events", actions.EVENTS_MOST, _TOO_MANY)
    problems: dict[str, Any] = {}
    new = []
    for place, item in enumerate(items):
        try:
            if found := intake.strange(item, _KNOWN, _REQUIRED):
                problems[str(place)] = found
            else:
                new.append(_new(item))
        except Problem as problem:
            problems[str(place)] = problem.details
        if len(problems) == intake.TOLD_MOST:
            break
    if problems:
        raise invalid({"events": problems})
    return new


def _new(item: dict[str, Any]) -> actions.NewEvent:
    """Raises Problem 400 for moments that cannot be read."""
    values = {name: item[key] for key, name in _NAMES.items() if key in item}
    for key, name in _MOMENTS.items():
        if key in item:
            values[name] = query.read_moment(key, item[key])
    return actions.NewEvent(**values)


# --- the answer -----------------------------------------------------------------------------------


def of_single(answer: actions.Published) -> Event:
    """What was stored for `single`. Raises ActionError."""
    if isinstance(answer, actions.ActionError):
        raise actions.alone(answer)
    return answer[0]


def of_bulk(answer: actions.Published) -> list[Event]:
    """What was stored for `bulk`. Raises Problem."""
    if isinstance(answer, actions.Invalid):
        raise invalid({"events": answer.details})
    if isinstance(answer, actions.Conflict):
        raise Problem(409, answer.message, {"events": answer.details})
    return answer


def headers(events: list[Event]) -> dict[str, str]:
    """Of the answer that shows them."""
    return intake.replayed(event.replayed for event in events)
