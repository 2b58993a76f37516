"""Deliveries: stored for the worker, sent once more, given up."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import IntegrityError, transaction
from django.utils import timezone

from .. import conf
from ..engine import store, transitions
from ..models import AuditEntry, Delivery, Webhook
from ..models.delivery import schedule_text
from ..models.primary import clock
from ..rules import strictjson
from .base import db_alias
from .errors import Conflict, Invalid, NotCallable

IDEMPOTENCY_KEPT = timedelta(hours=24)
PAYLOAD_LIMIT = 1024 * 1024  # bytes


def deliver(
    webhook: Webhook,
    payload: Any,
    *,
    type: str = "",
    reference: str = "",
    idempotency_key: str | None = None,
    due_at: datetime | None = None,
    by: str = "",
) -> Delivery:
    """Store a delivery, in the caller's transaction when there is one; the worker sends it.

    `payload`: bytes are sent as they are and must be strict UTF-8 JSON (else ValueError), anything
    else is encoded as JSON. `type` at most 128 characters names the event, `reference` at most 255
    is the owner's own word for it. With an `idempotency_key` (at most 255) seen in the last 24 h
    the first delivery is returned, its attribute `replayed` true. `due_at`: not before that moment,
    in the current time zone where it names none. Raises Invalid; NotCallable for a deleted webhook
    (one that is held takes deliveries, which wait); Conflict for the same key with other bytes, or
    while another caller stores it; for a payload what `encode` raises.
    """
    delivery = _new_delivery(webhook, payload, type=type, reference=reference, by=by)
    if due_at is not None:
        delivery.due_at = timezone.make_aware(due_at) if timezone.is_naive(due_at) else due_at
    if idempotency_key is None:
        store.open(db_alias()).put_one(delivery)
    else:
        delivery = _deliver_once(delivery, idempotency_key)
    transitions.announce(db_alias())
    return delivery


def deliver_many(pairs: Iterable[tuple[Webhook, Any]], *, by: str = "") -> list[Delivery]:
    """Store many deliveries, due now, in a few statements and one transaction: all or none.

    Payloads as in `deliver`. Raises NotCallable for a deleted webhook; for a payload what `encode`
    raises.
    """
    deliveries = [_new_delivery(webhook, payload, by=by) for webhook, payload in pairs]
    if deliveries:
        store.open(db_alias()).put(deliveries)
        transitions.announce(db_alias())
    return deliveries


def _new_delivery(
    webhook: Webhook,
    payload: Any,
    *,
    type: str = "",
    reference: str = "",
    by: str = "",
) -> Delivery:
    details: dict[str, Any] = {}
    for field, text, limit in (("type", type, 128), ("reference", reference, 255)):
        problem = text_problem(text, limit)
        if problem:
            details[field] = [problem]
    if details:
        raise Invalid(details)
    if webhook.deleted_at is not None:
        raise NotCallable("deleted")
    return Delivery.new(
        webhook.pk,
        encode(payload),
        type=type,
        reference=reference,
        retry_schedule=schedule_text(conf.retry_schedule()),
        created_by=by[:150],
    )


def text_problem(text: object, limit: int) -> str:
    """What is wrong with a text, in a sentence; `""` for nothing."""
    if not isinstance(text, str) or len(text) > limit:
        return f"Must be a text of at most {limit} characters."
    try:
        strictjson.check_text(text)
    except ValueError as error:
        return f"Not usable: {error}."
    return ""


def encode(payload: Any) -> bytes:
    """The bytes that are sent for a payload, at most PAYLOAD_LIMIT. Raises ValueError when they are
    more or no strict JSON, TypeError for a value that JSON has nothing for."""
    if isinstance(payload, bytes | bytearray | memoryview):
        body = bytes(payload)
        if len(body) <= PAYLOAD_LIMIT:
            strictjson.loads(body)
    else:
        body = json.dumps(
            payload,
            cls=DjangoJSONEncoder,
            ensure_ascii=False,
            allow_nan=False,
            separators=(",", ":"),
        ).encode()
    if len(body) > PAYLOAD_LIMIT:
        raise ValueError("it is larger than 1 MiB")
    return body


def _deliver_once(delivery: Delivery, key: str) -> Delivery:
    """The unique index decides between twins; whoever loses gets the winner's delivery."""
    problem = text_problem(key, 255) or ("" if key else "Must not be empty.")
    if problem:
        raise Invalid({"Idempotency-Key": [problem]})
    keyed = Delivery.objects.filter(webhook_id=delivery.webhook_id, idempotency_key=key)
    delivery.idempotency_key = key
    for _ in range(3):
        # A key older than a day has had its time; it is free again.
        old = keyed.filter(created_at__lte=clock(db_alias()) - IDEMPOTENCY_KEPT)
        old.update(idempotency_key=None)
        first = keyed.first()
        if first is None:
            try:
                with transaction.atomic(using=db_alias()):
                    store.open(db_alias()).put_one(delivery)
                return delivery
            except IntegrityError:
                continue
        if bytes(first.payload) != delivery.payload:
            raise Conflict("This Idempotency-Key was used with another body.")
        first.replayed = True
        return first
    raise Conflict("A request with this Idempotency-Key is under way.")


def retry(delivery: Delivery, *, by: str = "") -> Delivery:
    """Send once more: due now; unless pending, tries from 0. Same id, earlier attempts kept.

    Raises NotCallable for a deleted webhook.
    """
    if not transitions.retry(delivery.pk, by=by):
        raise NotCallable("deleted")
    AuditEntry.objects.note(by, "Asked for one more try.", delivery)
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


def replayable(webhook: Webhook, since: datetime) -> int:
    """How many deliveries `replay` would take; counts them all."""
    return transitions.failed_since(webhook.pk, since).count()


def cancel(delivery: Delivery, *, by: str = "") -> Delivery:
    """Give a pending delivery up; an attempt under way is still recorded. Raises Conflict for one
    that is not pending."""
    if not transitions.cancel(delivery.pk, f"cancelled by {by}" if by else "cancelled"):
        raise Conflict("Only a pending delivery can be cancelled.")
    AuditEntry.objects.note(by, "Cancelled.", delivery)
    delivery.refresh_from_db()
    return delivery
