"""Exchanges that somebody waits for: interaction, verification, test. Recorded, never retried."""

import json
import secrets
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from django.db import connections, router, transaction
from django.db.models import Q
from django.views.decorators.debug import sensitive_variables

from ..models import Attempt, Webhook, WebhookHealth
from ..models.delivery import KEYS_AHEAD
from ..models.primary import clock, present
from ..rules import failures, responses
from ..rules.failures import Failure
from ..rules.ids import first_key, new_id, timestamp
from . import attempt_rows, store, stored_breaker, timings
from .http import bridge, message
from .http.bridge import NoSlot
from .http.exchange import Asked, Outcome, Request
from .http.sender import Sender
from .store import record

__all__ = ["Call", "Interaction", "NoSlot", "OurFault", "Test", "Verification", "make"]

MANUAL_CALLS_APART = timedelta(seconds=1)


class OurFault(Exception):
    """The exchange broke on a fault of this process; nothing is recorded."""


class Call(Protocol):
    """One exchange: what is sent, and what its answer means."""

    webhook: Webhook
    exchange: str
    request_id: str

    def request(self, head: message.Head) -> Request: ...
    def judge(self, outcome: Outcome) -> tuple[Failure | None, Any]: ...
    def conclude(self, failure: Failure | None, outcome: Outcome) -> None: ...


@dataclass(frozen=True, slots=True)
class Ended:
    """A call and how it went; `by`: who asked for it."""

    call: Call
    outcome: Outcome
    by: str = ""


Recorded = tuple[attempt_rows.Entry, Any]  # and the judged answer


def _now() -> float:
    """What a call says it was sent at, in seconds since 1970: receivers judge it."""
    return clock(router.db_for_write(Attempt)).timestamp()


class Interaction:
    """A matched interaction; the receiver's answer is handed back."""

    exchange: str = Attempt.Exchange.INTERACTION

    def __init__(
        self, webhook: Webhook, interaction: dict[str, Any], *, probe: bool = False
    ) -> None:
        self.webhook = webhook
        self.probe = probe  # tries a breaker whose time is up
        self.request_id = new_id()
        self.body = interaction_body(webhook, interaction)

    def request(self, head: message.Head) -> Request:
        return message.post(head, request_id=self.request_id, now=_now(), body=self.body)

    def judge(self, outcome: Outcome) -> tuple[Failure | None, Any]:
        if outcome.failure is not None:
            return outcome.failure, None
        try:
            return None, responses.interaction(outcome.body)
        except ValueError as error:
            if responses.is_compressed(outcome.headers, outcome.body):
                return Failure("encoded", "invalid JSON: the answer is compressed"), None
            return Failure("bad_json", f"invalid JSON: {error}"), None

    def conclude(self, failure: Failure | None, outcome: Outcome) -> None:
        """Nothing of the webhook itself changes."""


class Test(Interaction):
    """An interaction that is sent to find out."""

    exchange: str = Attempt.Exchange.TEST
    __test__ = False  # not a test of pytest's


class Verification:
    """The challenge. Its outcome belongs to the URL and token that it was sent with."""

    exchange: str = Attempt.Exchange.VERIFICATION

    def __init__(self, webhook: Webhook) -> None:
        self.webhook = webhook
        self.request_id = new_id()
        # Never digits alone, no markup: receivers echo it with any content type.
        self.challenge = "c" + secrets.token_hex(16)

    def request(self, head: message.Head) -> Request:
        return message.challenge(
            head, request_id=self.request_id, now=_now(), challenge=self.challenge
        )

    def judge(self, outcome: Outcome) -> tuple[Failure | None, Any]:
        if outcome.status is None or (outcome.failure and outcome.failure.kind == "too_big"):
            return outcome.failure, None
        failure = responses.verification(
            outcome.status, outcome.body, self.challenge, rotated=outcome.rotated
        )
        compressed = responses.is_compressed(outcome.headers, outcome.body)
        if compressed and failure and failure.kind == "v_body":
            failure = Failure("encoded", "Verification failed: the answer is compressed")
        return failure, None

    def conclude(self, failure: Failure | None, outcome: Outcome) -> None:
        """Under the row lock: what was sent must still be what stands there, else ask again."""
        rows = Webhook.objects.live().select_for_update(no_key=True)
        row = rows.filter(pk=self.webhook.pk).first()
        if row is None or (row.url, row.token) != (self.webhook.url, self.webhook.token):
            return
        if failure is None:
            row.verified_at = clock(router.db_for_write(Webhook))
        elif outcome.status is not None:
            # Only an HTTP answer withdraws it; a receiver that is down proves nothing.
            row.verified_at = None
        row.verification_due_at = None
        row.save(update_fields=["verified_at", "verification_due_at"])


def make(call: Call, *, by: str = "") -> Recorded:
    """Make a call from a synchronous caller; returns what was recorded and the judged answer.

    Raises NoSlot when all slots of the process, or its account's or webhook's share of them, are
    taken (nothing was sent then), OurFault when the fault is our own; nothing is recorded in either
    case.
    """
    prepared = prepare(call)
    if not isinstance(prepared, Outcome):
        webhook, request = call.webhook, prepared
        seconds = webhook.exchange_timeout

        async def work(sender: Sender) -> Outcome:
            return await sender.send(request, timeout=seconds)

        with meanwhile.get()():
            shared = bridge.shared()
            try:
                prepared = shared.run(work, account=webhook.account_id, webhook=webhook.pk)
            except bridge.LoopEnded as error:
                raise OurFault from error
    return finish(call, prepared, by=by)


@sensitive_variables()
def prepare(call: Call) -> Request | Outcome:
    """The request to send, or the outcome of one that cannot be made. Raises OurFault where the
    webhook was written meanwhile."""
    try:
        return call.request(message.head(call.webhook))
    except message.Unsendable as error:
        return unsent(error)
    except message.Changed as error:
        raise OurFault from error


def unsent(error: message.Unsendable) -> Outcome:
    """What came of a request that cannot be made."""
    return Outcome(started_at=datetime.now(UTC), failure=error.failure)


def finish(call: Call, outcome: Outcome, *, by: str = "") -> Recorded:
    """Judge and record the outcome of a call, and change what it says of its webhook, in one
    transaction.

    Raises OurFault.
    """
    if outcome.our_fault:
        raise OurFault
    [found] = finish_all([Ended(call, outcome, by)])
    return found


def finish_all(ended: Sequence[Ended], *, locked_most: float = 0.0) -> list[Recorded]:
    """`finish` for several calls together, none of which ended by a fault of ours. `locked_most`:
    seconds to wait for rows that somebody else has locked, 0 for as long as it takes."""
    if not ended:
        return []
    alias = router.db_for_write(Attempt)
    found = [_judged(each, alias) for each in ended]
    entries = [entry for entry, _ in found]

    def write() -> None:
        with store.transaction(alias, locked_most) as here:
            for each, entry in zip(ended, entries, strict=True):
                each.call.conclude(entry.failure, each.outcome)
            asked = [each.outcome.asked for each in ended if each.outcome.asked is not None]
            tokens = [_of_asked(each, alias).row() for each in asked]
            gone = {entry.webhook_id for entry in entries if _stops(entry)}
            here.record([*tokens, *[entry.row() for entry in entries]], gone)
            # After the health of the webhooks, which is locked before them wherever both are.
            _note(alias, ended, entries)
            if gone:
                record.stop_gone(here, gone)

    record.with_free_keys(write)
    if timings.kept:
        for entry in entries:
            timings.exchanges[entry.exchange].note(entry.outcome.duration_ms / 1000)
    return found


def finish_again(ended: Ended) -> Recorded:
    """`finish` of one whose record has failed, or was committed when the connection broke: what is
    there is not written twice."""
    if ended.outcome.our_fault:
        raise OurFault
    alias = router.db_for_write(Attempt)
    since = ended.outcome.started_at - KEYS_AHEAD
    rows = Attempt.objects.using(alias).filter(
        webhook=ended.call.webhook.pk, id__gte=first_key(since)
    )
    if rows.filter(request_id=ended.call.request_id).exists():
        return _judged(ended, alias)
    [found] = finish_all([ended])
    return found


def _judged(ended: Ended, alias: str) -> Recorded:
    call, outcome = ended.call, ended.outcome
    failure, answer = call.judge(outcome)
    # Dated as everything it is compared with: this host's own clock may be wrong.
    outcome.started_at = clock(alias) - timedelta(milliseconds=outcome.duration_ms)
    entry = attempt_rows.Entry(
        webhook_id=call.webhook.pk,
        exchange=call.exchange,
        request_id=call.request_id,
        url=message.without_token(call.webhook.url),
        outcome=outcome,
        failure=failure,
        requested_by=ended.by[:150],
    )
    return entry, answer


def _note(alias: str, ended: Sequence[Ended], entries: Sequence[attempt_rows.Entry]) -> None:
    """Tell the breakers of the webhooks that were called in vain."""
    for each, entry in zip(ended, entries, strict=True):
        if isinstance(each.call, Interaction) and failures.is_away(entry.failure):
            probe = each.call.probe
            stored_breaker.note_away(alias, entry.webhook_id, entry.exchange, probe=probe)


def _stops(entry: attempt_rows.Entry) -> bool:
    is_interaction = entry.exchange == Attempt.Exchange.INTERACTION
    return is_interaction and entry.failure is not None and entry.failure.kind == "gone"


def note_asked(asked: Asked) -> None:
    """Record a call for an access token that was made for a delivery. Raises DatabaseError."""
    alias = router.db_for_write(Attempt)
    row = _of_asked(asked, alias).row()

    def write() -> None:
        with transaction.atomic(using=alias):
            store.open(alias).record([row])

    record.with_free_keys(write)
    if timings.kept:
        timings.exchanges[row.exchange].note(row.duration_ms / 1000)


def _of_asked(asked: Asked, alias: str) -> attempt_rows.Entry:
    outcome = asked.outcome
    ended_at = clock(alias) - timedelta(seconds=time.monotonic() - asked.ended)
    outcome.started_at = ended_at - timedelta(milliseconds=outcome.duration_ms)
    return attempt_rows.Entry(
        webhook_id=asked.webhook_id,
        exchange=Attempt.Exchange.TOKEN,
        request_id=new_id(),
        url=asked.url,
        outcome=outcome,
        failure=outcome.failure,
    )


def recorded(entry: attempt_rows.Entry) -> Attempt:
    """The row of what `make` has recorded."""
    rows = Attempt.objects.using(router.db_for_write(Attempt))
    rows = rows.filter(webhook=entry.webhook_id, request_id=entry.request_id)
    return rows.order_by("-id")[0]


@contextmanager
def _without_connections() -> Iterator[None]:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
    yield


# No database connection is held while a receiver takes its time. A server that has a better use for
# them than to close them sets its own way.
meanwhile: ContextVar[Callable[[], AbstractContextManager[None]]] = ContextVar(
    "meanwhile", default=_without_connections
)


def limit_rate(which: str, webhook_id: str, error: Callable[[], Exception]) -> None:
    """Raise `error` when the same was asked less than a second ago, by any process."""
    field = f"{which}_asked_at"
    now = present(router.db_for_write(WebhookHealth))
    free = Q(**{f"{field}__isnull": True}) | Q(**{f"{field}__lte": now - MANUAL_CALLS_APART})
    asked = WebhookHealth.objects.filter(free, pk=webhook_id)
    if not asked.update(**{field: now}):
        WebhookHealth.objects.begin([webhook_id])
        if not asked.update(**{field: now}):
            raise error()


# --- the body of an interaction -----------------------------------------------------------------


def interaction_errors(interaction: dict[str, Any]) -> dict[str, list[str]]:
    """What is wrong with a caller's interaction; unknown keys are sent on."""
    details: dict[str, list[str]] = {}
    for key in ("attributes", "userAttributes", "node", "result", "status"):
        if key in interaction and not isinstance(interaction[key], dict):
            details[key] = ["Must be an object."]
    for key in ("chatId", "messageId", "userId", "externalId", "sessionId", "timestamp"):
        if key in interaction and not isinstance(interaction[key], str):
            details[key] = ["Must be a text."]
    return details


def interaction_body(webhook: Webhook, interaction: dict[str, Any]) -> bytes:
    """The bytes of an interaction, in the generation the caller chose: `result` or not."""
    body = dict(interaction)
    if "result" in body:
        body.setdefault("timestamp", timestamp(clock(router.db_for_write(Attempt))))
        body.setdefault("status", {"code": 200, "type": "success"})
    else:
        node = dict(body.get("node") or {})
        node.update(type="WEBHOOK", webhookId=webhook.pk, webhookName=webhook.name)
        body["node"] = node
        body.setdefault("messageId", str(uuid.uuid4()))
        # Receivers crash without these two.
        body.setdefault("userAttributes", {})
        body.setdefault("attributes", {})
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode()


def sample_interaction(webhook: Webhook, generation: int = 2) -> dict[str, Any]:
    """What `test` sends. Receivers of the first generation look for `result`."""
    if generation == 1:
        return {
            "conversationId": "0" * 24,
            "result": {
                "source": "app",
                "resolvedQuery": "Test",
                "confidence": 1,
                "score": 1,
                "lifespan": 0,
                "incomplete": False,
                "storyId": "0" * 24,
                "interaction": {"id": "0" * 24, "name": "Test", "action": ""},
                "parameters": {},
                "sessionParameters": {},
                "contexts": [],
                "fulfillment": [{"type": "webhook", "webhookId": webhook.pk, "used": True}],
            },
            "sessionId": "0",
        }
    return {
        "chatId": "0" * 24,
        "messageId": str(uuid.uuid4()),
        "userId": "0" * 24,
        "externalId": "",
        "node": {"id": str(uuid.uuid4()), "name": "Test"},
        "userAttributes": {"default_name": "Test"},
        "attributes": {},
    }
