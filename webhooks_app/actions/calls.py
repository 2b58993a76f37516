"""Calls that go out now, while the caller waits: interactions, verifications, tests."""

from typing import Any

from django.db import IntegrityError, connections

from ..engine import calls, stored_breaker
from ..engine.attempt_rows import Entry, storable
from ..models import Attempt, AuditEntry, Webhook, states
from ..models.primary import clock
from ..rules.failures import Failure
from .base import CALLS, db_alias, fresh, is_number, outside_transactions, readable
from .errors import Busy, ExchangeFailed, Invalid, NotCallable, TooSoon

OUR_FAULT = "The call failed inside this application; try again."


def interact(webhook: Webhook, interaction: dict[str, Any], *, by: str = "") -> dict[str, Any]:
    """Send an interaction now and return the receiver's `{"responses": […], "attributes": {…}}`.

    Never retried. Ten of these or of deliveries that fail in a row so that the receiver seems not
    to be there open the breaker; a 410 stops the webhook. Takes at most the webhook's timeout (0.1
    to 60 s). Raises Invalid; NotCallable, with `retry_after` seconds while its breaker is open or
    the site is held; Busy; ExchangeFailed; Webhook.DoesNotExist; RuntimeError inside
    `transaction.atomic`.
    """
    outside_transactions(CALLS)
    interaction = checked(interaction)
    row = fresh(webhook)
    entry, answer = _call(calls.Interaction(row, interaction, probe=is_probe(row)), by)
    return answer_in(entry, answer)


async def ainteract(
    webhook: Webhook, interaction: dict[str, Any], *, by: str = ""
) -> dict[str, Any]:
    """`interact` for asynchronous callers, in a thread of the event loop's pool. Raises the
    same."""
    from asgiref.sync import sync_to_async

    return await sync_to_async(_in_a_pools_thread, thread_sensitive=False)(webhook, interaction, by)


def _in_a_pools_thread(webhook: Webhook, interaction: dict[str, Any], by: str) -> dict[str, Any]:
    """Connections are a thread's own, and this one has no requests at whose beginning and end
    Django would look after them."""
    connections.close_all()
    try:
        return interact(webhook, interaction, by=by)
    finally:
        connections.close_all()


def verify(webhook: Webhook, *, by: str = "") -> Attempt:
    """Send the verification challenge now; the outcome is kept when URL and token are still so.

    Returns the attempt, whose `ok` says whether it passed. Raises TooSoon (once a second for a
    webhook); NotCallable (deleted, unreadable, the site is held); Busy; Webhook.DoesNotExist;
    RuntimeError inside `transaction.atomic`.
    """
    outside_transactions(CALLS)
    row = fresh(webhook)
    calls.limit_rate("verify", row.pk, TooSoon)
    entry, _ = _call(calls.Verification(row), by)
    AuditEntry.objects.note(by, "Sent a verification.", webhook)
    return calls.recorded(entry)


def test(
    webhook: Webhook,
    *,
    generation: int | None = None,  # noqa: PT028  (not a test of pytest's)
    interaction: dict[str, Any] | None = None,  # noqa: PT028
    by: str = "",  # noqa: PT028
) -> Attempt:
    """Send an interaction now, past pause, breaker and missing verification: one of the caller's
    own, or a sample with the body of a generation (1 has a `result`, 2, the default, has none).

    Returns the attempt, whose `ok` says whether it was answered well. Raises Invalid; TooSoon (once
    a second for a webhook); NotCallable (deleted, unreadable, the site is held); Busy;
    Webhook.DoesNotExist; RuntimeError inside `transaction.atomic`.
    """
    outside_transactions(CALLS)
    if generation is not None and interaction is not None:
        raise Invalid({"generation": ["Send either a generation or an interaction of your own."]})
    if generation is not None and not (is_number(generation) and generation in (1, 2)):
        raise Invalid({"generation": ["Must be 1 or 2."]})
    if interaction is not None:
        try:
            interaction = checked(interaction)
        except Invalid as error:
            raise Invalid({"interaction": error.details}) from None
    row = fresh(webhook)
    calls.limit_rate("test", row.pk, TooSoon)
    body = calls.sample_interaction(row, generation or 2) if interaction is None else interaction
    entry, _ = _call(calls.Test(row, body), by)
    AuditEntry.objects.note(by, "Sent a test.", webhook)
    return calls.recorded(entry)


test.__test__ = False  # type: ignore[attr-defined]  # not a test of pytest's


def is_probe(row: Webhook) -> bool:
    """Where its breaker has been open long enough, this call is the probe, and others wait for what
    comes of it. Raises NotCallable when it may not be called now."""
    now = clock(db_alias())
    reason = states.hold_reason(row, now, told=False)
    until = row.health.breaker_until
    if reason == "breaker" and until is not None:
        raise NotCallable(reason, max(1.0, (until - now).total_seconds()))
    if reason:
        raise NotCallable(reason)
    if until is not None and not stored_breaker.take_probe(
        db_alias(), row.pk, now, row.exchange_timeout
    ):
        raise NotCallable("breaker", max(1.0, row.exchange_timeout))
    return until is not None


def checked(interaction: Any) -> dict[str, Any]:
    """An interaction of a caller's. Raises Invalid."""
    if not isinstance(interaction, dict):
        raise Invalid({"": ["Must be an object."]})
    details = calls.interaction_errors(interaction)
    if details:
        raise Invalid(details)
    return interaction


def _call(call: "calls.Call", by: str) -> tuple[Entry, Any]:
    try:
        with readable():
            return calls.make(call, by=by)
    except calls.NoSlot as reason:
        raise Busy(str(reason)) from reason
    except calls.OurFault as reason:
        raise Busy(OUR_FAULT) from reason
    except IntegrityError as reason:  # removed while it was called
        raise NotCallable("deleted") from reason


def answer_in(entry: Entry, answer: Any) -> dict[str, Any]:
    """What a receiver said. Raises ExchangeFailed."""
    if (failure := entry.failure) is not None:
        recorded = Failure(failure.kind, storable(failure.message))
        raise ExchangeFailed(recorded, entry.ended_at)
    result: dict[str, Any] = answer
    return result
