"""Deliveries: stored for the worker, sent once more, given up."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, TypedDict

from django.db import transaction

from ..engine import transitions
from ..models import AuditEntry, Delivery, Webhook
from ..models.delivery import SKIPPED
from . import intake
from .base import because, db_alias
from .errors import ActionError, Conflict, NotCallable, alone
from .intake import Draft


def deliver(
    webhook: Webhook,
    payload: Any,
    *,
    type: str = "",
    reference: str = "",
    idempotency_key: str | None = None,
    due_at: datetime | None = None,
    ordering_key: str = "",
    by: str = "",
) -> Delivery:
    """Store a delivery, in the caller's transaction when there is one; the worker sends it.

    `payload`: bytes are sent as they are and must be strict UTF-8 JSON (else ValueError), anything
    else is encoded as JSON. `type` at most 128 characters names the event, `reference` at most 255
    is the owner's own word for it. With an `idempotency_key` (at most 255) seen in the last 24 h
    the first delivery is returned, its attribute `replayed` true. `due_at`: not before that moment,
    in the current time zone where it names none. `ordering_key`, at most 128: what it is sent in
    order with, where the webhook (as it was read) has `order` "key". Raises Invalid; NotCallable
    for a deleted webhook (one that is held takes deliveries, which wait); Conflict for the same key
    with other bytes, or while another caller stores it; for a payload what `encode` raises.
    """
    body = intake.encode(payload)
    [answer] = intake.accept(
        [[Draft(webhook, body, type, reference, idempotency_key, due_at, ordering_key, by=by)]]
    )
    if isinstance(answer, ActionError):
        raise alone(answer)
    return answer[0]


class Options(TypedDict, total=False):
    """What a delivery of `deliver_many` may be told, as in `deliver`."""

    type: str
    reference: str
    idempotency_key: str | None
    due_at: datetime | None
    ordering_key: str


def deliver_many(
    items: Iterable[tuple[Webhook, Any] | tuple[Webhook, Any, Options]], *, by: str = ""
) -> list[Delivery]:
    """Store many deliveries in a few statements and one transaction: all or none.

    Each is a webhook, a payload, and perhaps a dict of `type`, `reference`, `idempotency_key`,
    `due_at` and `ordering_key`; all as in `deliver`, which also says what is raised. What is sent
    in order is sent in that of the items. The details of Invalid and Conflict go by the number of
    the item, from 0.
    """
    drafts = [_draft(*item, by=by) for item in items]
    [answer] = intake.accept([drafts])
    if isinstance(answer, ActionError):
        raise answer
    return answer


def _draft(webhook: Webhook, payload: Any, options: Options | None = None, *, by: str) -> Draft:
    return Draft(webhook, intake.encode(payload), **(options or {}), by=by)


def retry(delivery: Delivery, *, note: str = "", by: str = "") -> Delivery:
    """Send once more: due now; unless pending, tries from 0. Same id, earlier attempts kept.
    `note`: why, for the audit log, which keeps 255 characters of it.

    Raises NotCallable for a deleted webhook.
    """
    with transaction.atomic(using=db_alias()):
        if not transitions.retry(delivery.pk, by=by):
            raise NotCallable("deleted")
        AuditEntry.objects.note(by, because("Asked for one more try.", note), delivery)
        transitions.announce(db_alias())
    delivery.refresh_from_db()
    return delivery


def replay(webhook: Webhook, *, since: datetime, by: str = "") -> int:
    """Retry every failed delivery that finished since a moment; returns how many. Raises nothing of
    its own."""
    count = transitions.replay(webhook.pk, since, by=by)
    if count:
        since_utc = since.astimezone(UTC)
        words = f"Replayed {count:,} failed since {since_utc:%Y-%m-%d %H:%M} UTC."
        AuditEntry.objects.note(by, words, webhook)
        transitions.announce(db_alias())
    return count


def replayable(webhook: Webhook, since: datetime, *, limit: int = 1000) -> int:
    """How many deliveries `replay` would take, counted up to `limit` + 1: one more than the limit
    means more than that. `replay` itself takes all of them."""
    return transitions.failed_since(webhook.pk, since).order_by()[: limit + 1].count()


def cancel(delivery: Delivery, *, note: str = "", by: str = "") -> Delivery:
    """Give a pending delivery up; an attempt under way is still recorded. Of what is sent in order
    the next one goes then; so it does where the webhook is stopped because this one has failed for
    good, `blocked`, as soon as nothing else does that. `note` as in `retry`. Raises Conflict for
    one that is not pending and blocks nothing."""
    with transaction.atomic(using=db_alias()):
        if transitions.cancel(delivery.pk, f"cancelled by {by}" if by else "cancelled"):
            words = "Cancelled."
        elif transitions.skip(delivery.pk, f"{SKIPPED} by {by}" if by else SKIPPED):
            words = "Skipped: it holds nothing up."
        else:
            raise Conflict("Only a pending delivery can be cancelled.")
        AuditEntry.objects.note(by, because(words, note), delivery)
        transitions.announce(db_alias())
    delivery.refresh_from_db()
    return delivery
