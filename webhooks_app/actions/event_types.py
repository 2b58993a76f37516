"""Event types: the catalogue of an account."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from ..models import Account, AuditEntry, Event, EventType, Subscription, sequences
from ..models.primary import clock
from ..rules import strictjson
from ..rules.subscriptions import event_type
from .base import db_alias
from .errors import Conflict, Invalid
from .intake import text_problem

EXAMPLE_LIMIT = 64 * 1024  # bytes as JSON
DECLARED_MOST = 10_000  # of an account, and of the whole site


def declare_event_type(
    account: Account | None,
    name: str,
    *,
    group: str = "",
    description: str = "",
    example: Any = None,
    by: str = "",
) -> EventType:
    """Add an event type to the catalogue of an account, or of the whole site for None.

    `group` (128 characters) puts types together in lists, `description` (4,000) says what happened
    when it is sent, `example` is a payload (64 KiB as JSON; None for none). One that a worker has
    noted because an event had it becomes a declared one. Raises Invalid, also where there are
    DECLARED_MOST; Conflict when it is there already.
    """
    values = _judged(name=name, group=group, description=description, example=example)
    taken = Conflict(f"The event type {name} is declared already.")
    try:
        with transaction.atomic(using=db_alias()):
            whose = {"account__isnull": True} if account is None else {"account": account}
            rows = EventType.objects.filter(**whose)
            row = rows.filter(name=name).select_for_update().first() or EventType(account=account)
            if row.pk is not None and not row.seen:
                raise taken
            if rows.filter(seen=False).count() >= DECLARED_MOST:
                raise Invalid({"name": [f"There are {DECLARED_MOST:,} types, and no more may be."]})
            for field, value in values.items():
                setattr(row, field, value)
            row.seen = False
            row.save()
            AuditEntry.objects.note(by, "Declared.", row)
    except IntegrityError as error:
        if sequences.is_behind(error):
            raise
        raise taken from None  # somebody else does so at this moment
    return row


def update_event_type(event_type: EventType, *, by: str = "", **changes: Any) -> EventType:
    """Change `group`, `description`, `example` (as in `declare_event_type`) or `archived`: an
    archived type is no longer offered, and where types must be declared no event may have it. What
    was noted becomes declared. Returns the row as it is then. Raises Invalid;
    EventType.DoesNotExist when it was removed meanwhile; TypeError for another name."""
    if unknown := set(changes) - {"group", "description", "example", "archived"}:
        raise TypeError(f"update_event_type() has no {', '.join(sorted(unknown))}")
    archived = changes.pop("archived", None)
    values = _judged(**changes)
    with transaction.atomic(using=db_alias()):
        row = EventType.objects.select_for_update().get(pk=event_type.pk)
        before = (row.group, row.description, row.example, row.archived_at, row.seen)
        for field, value in values.items():
            setattr(row, field, value)
        row.seen = False
        if archived is not None:
            row.archived_at = _archived_at(row, archived)
        if before != (row.group, row.description, row.example, row.archived_at, row.seen):
            row.save()
            AuditEntry.objects.note(by, "Archived." if archived else "Changed.", row)
    return row


def _archived_at(row: EventType, archived: bool) -> datetime | None:
    if not archived:
        return None
    return row.archived_at or clock(db_alias())


def expunge_event_type(event_type: EventType, *, by: str = "") -> None:
    """Remove a type for good. Raises Conflict while a subscription names it, or an event of it is
    kept."""
    of_account = {} if event_type.account_id is None else {"account": event_type.account_id}
    subscribed = Subscription.objects.present().filter(pattern=event_type.name, **of_account)
    if subscribed.exists():
        raise Conflict("A subscription names this type.")
    if Event.objects.filter(type=event_type.name, **of_account).exists():
        raise Conflict("There are events of this type.")
    with transaction.atomic(using=db_alias()):
        AuditEntry.objects.note(by, "Removed.", event_type)
        EventType.objects.filter(pk=event_type.pk).delete()


def _judged(**given: Any) -> dict[str, Any]:
    """The values of columns. Raises Invalid."""
    details: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for field, value in given.items():
        judge, limit = _JUDGES[field]
        try:
            values[field] = judge(value, limit)
        except ValueError as error:
            details[field] = [str(error)]
    if details:
        raise Invalid(details)
    return values


def _name(value: Any, _: int) -> str:
    return event_type(value)


def _text(value: Any, limit: int) -> str:
    if problem := text_problem(value, limit):
        raise ValueError(problem)
    return str(value)


def _example(value: Any, limit: int) -> str:
    if value is None:
        return ""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        if len(text) <= limit:
            strictjson.loads(text)
            return text.decode()
    except (TypeError, ValueError) as error:
        raise ValueError(f"Not usable: {error}.") from None
    raise ValueError(f"Must be at most {limit // 1024} KiB of JSON.")


_JUDGES: dict[str, tuple[Callable[[Any, int], str], int]] = {
    "name": (_name, 128),
    "group": (_text, 128),
    "description": (_text, 4000),
    "example": (_example, EXAMPLE_LIMIT),
}
