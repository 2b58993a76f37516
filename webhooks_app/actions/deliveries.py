"""Deliveries: stored for the worker, sent once more, given up."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypedDict

from django.db import transaction
from django.db.models import QuerySet

from ..engine import transitions
from ..models import AuditEntry, Delivery, Job, Webhook
from ..models.delivery import SKIPPED
from ..models.job import PACE_LIMIT
from ..models.primary import clock
from ..rules.ids import timestamp
from . import intake
from .base import STEPS_MOST, because, db_alias, in_steps
from .errors import ActionError, Conflict, NotCallable, alone
from .intake import Draft
from .jobs import create_job


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
    """Retry every failed delivery that finished since a moment; returns how many. Some thousand a
    transaction, each with its line in the audit log, however many there are: `start_replay` is for
    who waits. Raises nothing of its own."""
    failed = transitions.failed_since(webhook.pk, since, clock(db_alias()))
    return _replayed(webhook, failed, since, by, count())[0]


def start_replay(webhook: Webhook, *, since: datetime, by: str = "") -> tuple[int, Job | None]:
    """`replay` of 10,000 deliveries at most, and the rest by a job of the worker: returns how many
    were retried at once, and the job where there is a rest. Raises nothing of its own."""
    until = clock(db_alias())
    failed = transitions.failed_since(webhook.pk, since, until)
    replayed, place = _replayed(webhook, failed, since, by, range(STEPS_MOST))
    if not (place and failed.filter(pk__gt=place).exists()):
        return replayed, None
    words = {
        "webhook": webhook.pk,
        "failed_since": timestamp(since),
        "failed_until": timestamp(until + timedelta(milliseconds=1)),
    }
    note = f"all after the first {replayed:,}"
    return replayed, create_job(Job.Verb.RETRY, words, pace=PACE_LIMIT, note=note, by=by)


def _replayed(
    webhook: Webhook, failed: "QuerySet[Delivery]", since: datetime, by: str, steps: Iterable[int]
) -> tuple[int, str]:
    def step(place: str) -> tuple[int, str]:
        with transaction.atomic(using=db_alias()):
            done, reached = transitions.replay_some(failed, place, by=by)
            if done:
                since_utc = since.astimezone(UTC)
                words = f"Replayed {done:,} failed since {since_utc:%Y-%m-%d %H:%M} UTC."
                AuditEntry.objects.note(by, words, webhook)
                transitions.announce(db_alias())
        return done, reached

    return in_steps(step, steps)


def replayable(webhook: Webhook, since: datetime, *, limit: int = 1000) -> int:
    """How many deliveries `replay` would take, counted up to `limit` + 1: one more than the limit
    means more than that. `replay` itself takes all of them."""
    return transitions.failed_since(webhook.pk, since).order_by()[: limit + 1].count()


def cancel(delivery: Delivery, *, note: str = "", by: str = "") -> Delivery:
    """Give a pending delivery up; an attempt under way is still recorded. Of what is sent in order
    the next one goes then; so it does where the webhook is stopped because this one has failed for
    good, `blocked`, as soon as nothing else does that; where it is paused meanwhile, when it is
    resumed. `note` as in `retry`. Raises Conflict for one that is not pending and blocks
    nothing."""
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
