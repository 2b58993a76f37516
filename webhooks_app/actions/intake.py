"""What is stored for the worker: the one set of rules for every door, for one delivery and for
thousands."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Length
from django.utils import timezone

from ..engine import store, transitions
from ..models import Delivery, Webhook
from ..models.delivery import NEXT, schedule_of
from ..models.primary import clock
from ..rules import strictjson
from .base import db_alias
from .errors import ActionError, Invalid, NotCallable
from .once import Key, Once

IDEMPOTENCY_KEPT = timedelta(hours=24)
PAYLOAD_LIMIT = 1024 * 1024  # bytes
TYPE_LIMIT, REFERENCE_LIMIT, KEY_LIMIT, ORDERING_KEY_LIMIT = 128, 255, 255, 128  # characters

OTHER_BODY = "This Idempotency-Key was used with another body."
UNDER_WAY = "A request with this Idempotency-Key is under way."
_LOOKED_UP_AT_ONCE = 500  # keys
_CHANCES = 3  # to store what has keys, while others store the same ones


@dataclass(slots=True)
class Draft:
    """A delivery that somebody asks for.

    `payload`: its bytes, as `encode` returned them. `type` at most 128 characters, `reference` and
    `idempotency_key` (not empty) at most 255, `ordering_key` 128. `due_at`: aware, not before that
    moment; None: now. `request_id`: the name of the request that asks, where it is not the one that
    is served here.
    """

    webhook: Webhook
    payload: bytes
    type: str = ""
    reference: str = ""
    idempotency_key: str | None = None
    due_at: datetime | None = None
    ordering_key: str = ""
    by: str = ""
    request_id: str | None = None


Answer = list[Delivery] | ActionError


def accept(requests: Sequence[Sequence[Draft]]) -> list[Answer]:
    """Judge the drafts of some requests and store what they ask for, in one transaction and a few
    statements; the worker sends it. A request is stored whole or not at all, whatever becomes of
    the others.

    The answer to each: its deliveries in order, or why there are none. A delivery that was there
    for its idempotency key, within the last 24 h and with the same bytes, has `replayed` true.
    Why: Invalid, with the details by the number of the draft, then by its field; Conflict for a key
    that came with other bytes, or is stored by somebody else right now; NotCallable for a deleted
    webhook (one that is held takes deliveries, which wait).
    """
    alias = db_alias()
    answers = [_judged(drafts, alias) for drafts in requests]
    if any(delivery.idempotency_key for delivery in _deliveries(answers)):
        answers = _store_once(answers)
    else:
        store.open(alias).put(list(_deliveries(answers)))
    if any(isinstance(answer, list) for answer in answers):
        transitions.announce(alias)
    return answers


def encode(payload: Any, *, is_read: bool = False) -> bytes:
    """The bytes that are sent for a payload, at most PAYLOAD_LIMIT. Raises ValueError when they are
    more or no strict JSON, TypeError for a value that JSON has nothing for. `is_read`: bytes that
    were read as strict JSON before."""
    if isinstance(payload, bytes | bytearray | memoryview):
        body = bytes(payload)
        if len(body) <= PAYLOAD_LIMIT and not is_read:
            strictjson.loads(body)
    else:
        body = _made(payload)
    if len(body) > PAYLOAD_LIMIT:
        raise ValueError("it is larger than 1 MiB")
    return body


def _made(payload: Any) -> bytes:
    try:
        body = json.dumps(
            payload,
            cls=DjangoJSONEncoder,
            ensure_ascii=False,
            allow_nan=False,
            separators=(",", ":"),
        ).encode()
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if len(body) <= PAYLOAD_LIMIT:
        strictjson.check_made(body)
    return body


def _deliveries(answers: Iterable[Answer]) -> Iterable[Delivery]:
    return (each for answer in answers if isinstance(answer, list) for each in answer)


# --- judged ---------------------------------------------------------------------------------------


def _judged(drafts: Sequence[Draft], alias: str) -> Answer:
    """The deliveries that are to be stored."""
    details = {
        str(place): problems for place, draft in enumerate(drafts) if (problems := _problems(draft))
    }
    if details:
        return Invalid(details)
    if any(draft.webhook.deleted_at is not None for draft in drafts):
        return NotCallable("deleted")
    own = {draft.webhook.retry_schedule for draft in drafts}
    schedules = {schedule: schedule_of(schedule) for schedule in own}
    return [_new(draft, clock(alias), schedules[draft.webhook.retry_schedule]) for draft in drafts]


def _problems(draft: Draft) -> dict[str, list[str]]:
    found = {
        "type": text_problem(draft.type, TYPE_LIMIT),
        "reference": text_problem(draft.reference, REFERENCE_LIMIT),
        "ordering_key": text_problem(draft.ordering_key, ORDERING_KEY_LIMIT),
    }
    if draft.idempotency_key is not None:
        key = draft.idempotency_key
        found["idempotency_key"] = (
            "Must not be empty." if key == "" else text_problem(key, KEY_LIMIT)
        )
    return {field: [problem] for field, problem in found.items() if problem}


def text_problem(text: object, limit: int) -> str:
    """What is wrong with a text, in a sentence; `""` for nothing."""
    if text == "":
        return ""
    if not isinstance(text, str) or len(text) > limit:
        return f"Must be a text of at most {limit} characters."
    if text.isascii() and "\0" not in text:
        return ""
    try:
        strictjson.check_text(text)
    except ValueError as error:
        return f"Not usable: {error}."
    return ""


def _new(draft: Draft, now: datetime, retry_schedule: str) -> Delivery:
    delivery = Delivery.new(
        draft.webhook.pk,
        draft.payload,
        type=draft.type,
        reference=draft.reference,
        retry_schedule=retry_schedule,
        created_by=draft.by[:150],
        at=now,
        order=draft.webhook.order,
        ordering_key=draft.ordering_key,
    )
    delivery.idempotency_key = draft.idempotency_key
    delivery.stored_in = draft.request_id or delivery.stored_in
    if draft.due_at is not None:
        due_at = draft.due_at
        due_at = timezone.make_aware(due_at) if timezone.is_naive(due_at) else due_at
        delivery.due_at = max(due_at, delivery.created_at)
    return delivery


# --- with idempotency keys ------------------------------------------------------------------------

_ONCE: Once[Delivery] = Once(
    field="idempotency_key",
    key_of=lambda delivery: (delivery.webhook_id, delivery.idempotency_key),
    is_same=lambda first, again: bytes(first.payload) == again.payload,
    other=lambda again: OTHER_BODY,
    under_way=UNDER_WAY,
)


def _store_once(judged: list[Answer]) -> list[Answer]:
    """Store what is new of these. The unique index decides between twins: whoever loses begins
    anew, and then sees the winner's delivery."""
    alias = db_alias()
    for chance in range(_CHANCES):
        with transaction.atomic(using=alias):
            # The first time without a look: a key is hardly ever there, and where reading comes
            # before writing, SQLite may refuse to write.
            firsts = _firsts(_deliveries(judged)) if chance else {}
            answers: list[Answer] = [
                _ONCE.beside(answer, firsts) if isinstance(answer, list) else answer
                for answer in judged
            ]
            if _store_all(alias, answers):
                return answers
            transaction.set_rollback(True, using=alias)
        # Their positions went back with the transaction, and others may draw them now.
        for delivery in _deliveries(judged):
            if delivery.position is not None:
                delivery.position = NEXT
    answers = [
        _ONCE.without_keys(answer) if isinstance(answer, list) else answer for answer in judged
    ]
    store.open(alias).put(list(_deliveries(answers)))
    return answers


def _store_all(alias: str, answers: list[Answer]) -> bool:
    """False when a key is taken."""
    new = [delivery for delivery in _deliveries(answers) if not delivery.replayed]
    store.open(alias).number(new)  # in the order in which they were asked for
    keyed = [delivery for delivery in new if delivery.idempotency_key is not None]
    # Everybody in the same order, so that two who store the same keys never deadlock.
    if store.open(alias).put_once(sorted(keyed, key=_ONCE.key_of)) < len(keyed):
        return False
    store.open(alias).put([each for each in new if each.idempotency_key is None])
    stored = {each.pk: each for each in new}
    for again in _deliveries(answers):  # in the same request, copied before it was stored
        if again.replayed and (first := stored.get(again.pk)):
            again.due_at, again.created_at = first.due_at, first.created_at
            again.position = first.position
    return True


def _firsts(deliveries: Iterable[Delivery]) -> dict[Key, Delivery]:
    """The deliveries that hold the keys of these. One that has held its key for a day gives it
    up."""
    sizes: dict[Key, set[int]] = {}
    for delivery in deliveries:
        if delivery.idempotency_key is not None:
            sizes.setdefault(_ONCE.key_of(delivery), set()).add(len(delivery.payload))
    found: dict[Key, Delivery] = {}
    keys = sorted(sizes)
    for start in range(0, len(keys), _LOOKED_UP_AT_ONCE):
        for first in _holders(keys[start : start + _LOOKED_UP_AT_ONCE], sizes):
            found[_ONCE.key_of(first)] = first
    return found


def _holders(keys: list[Key], sizes: dict[Key, set[int]]) -> list[Delivery]:
    those = Q(pk__in=[])
    for webhook_id, own in groupby(keys, key=itemgetter(0)):
        those |= Q(webhook_id=webhook_id, idempotency_key__in=[key for _, key in own])
    rows = Delivery.objects.filter(those)
    old = rows.filter(created_at__lte=clock(db_alias()) - IDEMPOTENCY_KEPT)
    old.update(idempotency_key=None)
    # Of the payloads, a mebibyte each perhaps, only those that may be the same are read.
    holders: list[Any] = list(rows.annotate(size=Length("payload")).defer("payload"))
    alike = [row.pk for row in holders if row.size in sizes[_ONCE.key_of(row)]]
    payloads = dict(Delivery.objects.filter(pk__in=alike).values_list("pk", "payload"))
    for row in holders:
        row.payload = payloads.get(row.pk, b"")
    return holders
