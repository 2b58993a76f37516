"""What a request asks to be stored, and the answer to it: for the views, and for any other door."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from .. import actions
from ..models import Delivery, Webhook
from ..models.delivery import db_now
from ..rules.nearest import unknown_keys
from . import body, query
from .errors import Problem, invalid

BULK_MOST = 1000  # deliveries
TOLD_MOST = 100  # of them that are answered for
DUE_MOST = timedelta(days=30)  # ahead
REPLAYED = "Idempotent-Replayed"

# What the API calls the fields of a draft: of a single one, and in a list.
_HEADER = {"idempotency_key": "Idempotency-Key", "ordering_key": "orderingKey"}
_FIELD = {"idempotency_key": "idempotencyKey", "ordering_key": "orderingKey"}
_TEXTS = {
    "type": "type",
    "reference": "reference",
    "idempotencyKey": "idempotency_key",
    "orderingKey": "ordering_key",
}
_KNOWN = ("payload", *_TEXTS, "dueAt")


def single(request: query.Head, webhook: Webhook, sent: bytes, by: str) -> list[actions.Draft]:
    """`POST /webhooks/:id/deliveries`: the body is the payload. Raises Problem 400."""
    draft = actions.Draft(
        webhook,
        b"",
        type=query.text(request, "type", actions.TYPE_LIMIT),
        reference=query.text(request, "reference", actions.REFERENCE_LIMIT),
        idempotency_key=request.META.get("HTTP_IDEMPOTENCY_KEY"),
        due_at=_due(query.moment(request, "dueAt")),
        ordering_key=query.text(request, "orderingKey", actions.ORDERING_KEY_LIMIT),
        by=by,
    )
    try:
        draft.payload = actions.encode(sent)
    except ValueError as error:
        raise Problem(400, body.NO_JSON.format(error)) from None
    return [draft]


def bulk(request: query.Head, webhook: Webhook, sent: bytes, by: str) -> list[actions.Draft]:
    """`POST /webhooks/:id/deliveries/bulk`: a list, each payload as it stands there. Raises Problem
    400."""
    refuse_key(request, "idempotencyKey")
    items = rows_of(sent, "deliveries", BULK_MOST, f"Must be at most {BULK_MOST:,}.")
    problems: dict[str, Any] = {}
    drafts = []
    for place, item in enumerate(items):
        if found := _strange(item):
            problems[str(place)] = found
            if len(problems) == TOLD_MOST:
                break
        elif not problems:
            drafts.append(_draft(webhook, item, by))
    if problems:
        raise invalid({"deliveries": problems})
    return drafts


def _draft(webhook: Webhook, item: dict[str, Any], by: str) -> actions.Draft:
    texts = {field: item[name] for name, field in _TEXTS.items() if name in item}
    return actions.Draft(webhook, item["payload"], due_at=_due_of(item), by=by, **texts)


def rows_of(sent: bytes, name: str, most: int, too_many: str) -> list[Any]:
    """The items of a body that is a list by this name, the `payload` of each as the bytes that
    stand there. Raises Problem 400."""
    value = body.loads_slicing(sent, "payload", rows=name, most=most, too_many=too_many)
    problems = unknown_keys(value, (name,), "field")
    items = value.get(name)
    if name not in value:
        problems[name] = ["This field is required."]
    elif not isinstance(items, list) or not items:
        problems[name] = ["Must be a list that is not empty."]
    if problems:
        raise invalid(problems)
    return items or []


def strange(item: Any, known: Collection[str], required: Collection[str]) -> Any:
    """What is wrong with the shape of an item."""
    if not isinstance(item, dict):
        return ["Must be an object."]
    if all(name in item for name in required) and all(
        name in known and value is not None for name, value in item.items()
    ):
        return {}
    problems = unknown_keys(item, known, "field")
    for name in known:
        if name in required and name not in item:
            problems[name] = ["This field is required."]
        elif item.get(name, "") is None:
            problems[name] = ["This field may not be null."]
    return problems


def refuse_key(request: query.Head, field: str) -> None:
    """Raises Problem 400 for a key of a whole bulk: it would protect nothing."""
    if "HTTP_IDEMPOTENCY_KEY" in request.META:
        raise invalid({"Idempotency-Key": [f"Give each item of a bulk its own {field} instead."]})


def _strange(item: Any) -> Any:
    problems = strange(item, _KNOWN, ("payload",))
    if not isinstance(item, dict):
        return problems
    if len(item.get("payload", b"")) > actions.PAYLOAD_LIMIT:
        problems["payload"] = ["Must have at most 1 MiB."]
    try:
        _due_of(item)
    except Problem as problem:
        problems.update(problem.details or {})
    return problems


def _due_of(item: dict[str, Any]) -> datetime | None:
    value = item.get("dueAt")
    return None if value is None else _due(query.read_moment("dueAt", value))


def _due(moment: datetime | None) -> datetime | None:
    """Raises Problem 400 for one that is too far ahead."""
    if moment is not None and moment > db_now() + DUE_MOST:
        raise invalid({"dueAt": [f"Must be at most {DUE_MOST.days} days ahead."]})
    return moment


# --- the answer -----------------------------------------------------------------------------------


def of_single(answer: actions.Answer) -> Delivery:
    """What was stored for `single`. Raises Problem, ActionError."""
    if isinstance(answer, actions.ActionError):
        error = actions.alone(answer)
        if isinstance(error, actions.Invalid):
            raise invalid(_renamed(error.details, _HEADER))
        raise error
    return answer[0]


def of_bulk(answer: actions.Answer) -> list[Delivery]:
    """What was stored for `bulk`. Raises Problem, ActionError."""
    if isinstance(answer, actions.Invalid | actions.Conflict):
        details = {
            place: _renamed(found, _FIELD) for place, found in (answer.details or {}).items()
        }
        if isinstance(answer, actions.Invalid):
            raise invalid({"deliveries": details})
        raise Problem(409, answer.message, {"deliveries": details})
    if isinstance(answer, actions.ActionError):
        raise answer
    return answer


def _renamed(details: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(field, field): found for field, found in details.items()}


def headers(deliveries: list[Delivery]) -> dict[str, str]:
    """Of the answer that shows them."""
    return replayed(delivery.replayed for delivery in deliveries)


def replayed(each: Iterable[bool]) -> dict[str, str]:
    return {REPLAYED: "true"} if all(each) else {}
