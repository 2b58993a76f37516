"""The verbs: the public Python API. The REST API, the admin and the commands are thin doors to it.

(Not to be confused with a ModelAdmin's actions.) `interact`, `verify` and `test` call out and
raise RuntimeError inside `transaction.atomic`; all others only write rows, inside the caller's
transaction when there is one. `by` is the name of who asked, for the record: what people change is
noted as an AuditEntry in the same transaction (`models.Actor` names the door as well).
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import IntegrityError, connections, router, transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from . import conf
from .engine import breaker, calls, queue
from .engine.history import Entry, storable
from .fields import Sealed, WrongKey
from .models import (
    AccessToken,
    Account,
    Attempt,
    AuditEntry,
    Delivery,
    Header,
    Job,
    SigningKey,
    Webhook,
    WebhookHealth,
    states,
)
from .models.in_time import TooSlow, in_time
from .models.job import PACE, PACE_LIMIT
from .models.prepared import Prepared
from .models.primary import present
from .models.selection import select
from .models.signing import KEYS_MOST, SigningKeyQuerySet
from .rules import signing, strictjson, validators
from .rules.failures import Failure
from .rules.ids import first_id

COUNTED = 1000  # nothing is counted further
COUNTED_IN = 0.15  # seconds
GRACE = timedelta(days=1)  # for which an old signing secret holds beside the new one
GRACE_MOST = timedelta(days=7)
IDEMPOTENCY_KEPT = timedelta(hours=24)
PAYLOAD_LIMIT = 1024 * 1024  # bytes


class ActionError(Exception):
    """Something was asked that cannot be done; `message` says why, for the one who asked."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Invalid(ActionError):
    """Bad input; `details` has a list of sentences per field, nested as the input was; `message`
    is all of them in one line, each with its path: `headers.3.name: …`."""

    def __init__(self, details: dict[str, Any]) -> None:
        found = (f"{path}: {line}" if path else line for path, line in sentences(details))
        super().__init__(" ".join(found))
        self.details = details


def sentences(details: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Each sentence of the details of bad input with the path of its field."""
    if isinstance(details, Mapping):
        for key, inner in details.items():
            yield from sentences(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(details, list | tuple):
        for inner in details:
            yield from sentences(inner, path)
    else:
        yield path, str(details)


class NotCallable(ActionError):
    """The webhook may not be called now; `reason` is one of `states.SENTENCES` or `deleted`."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(states.SENTENCES.get(reason, "The webhook is deleted."))
        self.reason = reason
        self.retry_after = retry_after


class Busy(ActionError):
    """We cannot make the call now: all slots for exchanges of this process are taken, or the share
    of them that one account or webhook may have, or the process has a fault of its own. The
    receiver has no part in it and nothing is recorded."""

    retry_after = 1.0  # seconds


class TooSoon(ActionError):
    """Verify and test are allowed once a second for each webhook."""

    def __init__(self, retry_after: float = 1.0) -> None:
        super().__init__("Only one such call a second is made for a webhook; try again.")
        self.retry_after = retry_after


class Conflict(ActionError):
    """The present state of things does not allow it."""


class ExchangeFailed(ActionError):
    """The receiver was called and it did not work; recorded in the error history."""

    def __init__(self, failure: Failure, date: datetime) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.date = date


# --- webhooks ---------------------------------------------------------------------------------


def create_webhook(
    account: Account,
    *,
    name: str,
    url: str,
    token: str = "",
    headers: Sequence[tuple[str, str]] = (),
    auth_username: str = "",
    auth_password: str = "",
    timeout: float | None = None,
    max_in_flight: int = 10,
    signature_prefix: str = "",
    by: str = "",
) -> Webhook:
    """Store a webhook and ask for its verification, which the worker does. Raises Invalid."""
    webhook = Webhook(
        account=account,
        name=name,
        url=url,
        token=token,
        auth_username=auth_username,
        auth_password=auth_password,
        timeout=timeout,
        max_in_flight=max_in_flight,
        signature_prefix=signature_prefix,
    )
    headers = list(headers)
    _validate(webhook, headers)
    with transaction.atomic(using=_db()):
        webhook.save(force_insert=True)
        WebhookHealth.objects.create(webhook=webhook)
        SigningKey.objects.create(webhook=webhook, secret=signing.new_secret())
        Header.objects.replace(webhook, headers)
        AuditEntry.objects.note(by, "Created.", webhook)
        queue.announce(_db())
    return webhook


WORDS = {  # of fields, where their own names are not good enough
    "url": "URL",
    "auth_username": "user name",
    "auth_password": "password",
    "max_in_flight": "calls in flight",
    "signature_prefix": "names of the signature headers",
}
FIELDS = (
    *("name", "url", "token", "auth_username", "auth_password", "timeout", "max_in_flight"),
    "signature_prefix",
)


def update_webhook(webhook: Webhook, *, by: str = "", **changes: Any) -> Webhook:
    """Change fields (and `headers`, as a whole). Equal values change nothing.

    Takes the row lock (not that of its key, for which every attempt that is recorded would have
    to wait), so of two updates at once one wins whole. A new URL unverifies the webhook and begins
    a new run of failures; a new URL or token asks for a verification. Raises Invalid;
    Webhook.DoesNotExist when it was deleted meanwhile; NotCallable when a secret that stays cannot
    be read (a new one in its place mends the webhook).
    """
    unknown = set(changes) - {*FIELDS, "headers"}
    if unknown:
        raise TypeError(f"update_webhook() has no {', '.join(sorted(unknown))}")
    with transaction.atomic(using=_db()):
        row = Webhook.objects.live().select_for_update(no_key=True).get(pk=webhook.pk)
        old_headers = _pairs(row)
        headers = changes.pop("headers", old_headers)
        if headers is None:
            raise NotCallable("unreadable")
        headers = [(name, value) for name, value in headers]
        fields = [field for field, value in changes.items() if _differs(row, field, value)]
        for field in fields:
            setattr(row, field, changes[field])
        if fields or headers != old_headers:
            with _readable():
                _validate(row, headers)
            # Which sees to version and verification, also where the headers alone have changed.
            row.save(update_fields={"name", *fields})
            changed = [WORDS.get(field, field) for field in fields]
            if headers != old_headers:
                Header.objects.replace(row, headers)
                changed.append("headers")
            AuditEntry.objects.note(by, f"Changed {', '.join(changed)}.", row)
            queue.announce(_db())
    return row


def _pairs(webhook: Webhook) -> list[tuple[str, str]] | None:
    """Its headers; None when one cannot be read."""
    try:
        return [(header.name, header.value) for header in webhook.headers.all()]
    except WrongKey:
        return None


def _differs(webhook: Webhook, field: str, value: Any) -> bool:
    try:
        return bool(getattr(webhook, field) != value)
    except WrongKey:
        return True


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except WrongKey as reason:
        raise NotCallable("unreadable") from reason


def _validate(webhook: Webhook, headers: Sequence[tuple[str, str]]) -> None:
    details = validators.webhook_errors(
        name=webhook.name,
        url=webhook.url,
        token=webhook.token,
        headers=headers,
        username=webhook.auth_username,
        password=webhook.auth_password,
        signature_prefix=webhook.signature_prefix,
        **conf.url_rules(),
    )
    timeout, cap = webhook.timeout, webhook.max_in_flight
    if timeout is not None and not (_is_number(timeout) and 0.1 <= timeout <= 60):
        details["timeout"] = ["Must be a number of seconds from 0.1 to 60, or null."]
    if not (isinstance(cap, int) and _is_number(cap) and 1 <= cap <= 1000):
        details["maxInFlight"] = ["Must be a whole number from 1 to 1000."]
    if details:
        raise Invalid(details)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def delete_webhook(webhook: Webhook, *, by: str = "") -> None:
    """Hide the webhook, wipe its secrets and headers at once, cancel what waits: of very much the
    first thousands, the worker the rest. None of it is sent.

    The history stays for staff until retention ends.
    """
    with transaction.atomic(using=_db()):
        rows = Webhook.objects.live().select_for_update(no_key=True).filter(pk=webhook.pk)
        if not rows.update(
            deleted_at=timezone.now(),
            token="",
            auth_username="",
            auth_password="",
            verified_at=None,
            verification_due_at=None,
            version=F("version") + 1,
        ):
            return
        Header.objects.replace(webhook, ())
        SigningKey.objects.filter(webhook=webhook.pk).delete()
        queue.cancel_some(webhook.pk, queue.DELETED)
        AuditEntry.objects.note(by, "Deleted.", webhook)


def restore_webhook(webhook: Webhook, *, by: str = "") -> Webhook:
    """Undo a delete, as long as the row is kept (the retention time).

    Secrets and headers were wiped and stay so: it comes back paused and unverified, to be
    completed and enabled by a person. What was cancelled stays cancelled. Raises Conflict.
    """
    with transaction.atomic(using=_db()):
        rows = Webhook.objects.filter(pk=webhook.pk, deleted_at__isnull=False)
        if rows.exists() and Delivery.objects.pending().filter(webhook=webhook.pk).exists():
            raise Conflict("What waits for the webhook is still being cancelled; try again soon.")
        if not rows.update(
            deleted_at=None,
            stopped=Webhook.Stopped.PAUSED,
            stopped_note="brought back without its secrets",
            stopped_by=by[:150],
            stopped_at=timezone.now(),
            version=F("version") + 1,
        ):
            raise Conflict("The webhook is not deleted, or is gone for good.")
        # One that a call under way has made beside the delete.
        SigningKey.objects.filter(webhook=webhook.pk).delete()
        AuditEntry.objects.note(by, "Brought back.", webhook)
    webhook.refresh_from_db()
    return webhook


def pause(webhook: Webhook, *, note: str = "", by: str = "") -> None:
    """Stop calling until `enable`; deliveries are held. Changes nothing when already stopped."""
    with transaction.atomic(using=_db()):
        if queue.stop(webhook.pk, Webhook.Stopped.PAUSED, note=note[:255], by=by):
            AuditEntry.objects.note(by, f"Paused: {note}" if note else "Paused.", webhook)


def enable(webhook: Webhook, *, by: str = "") -> None:
    """Clear any reason for which the webhook is stopped; what was held goes out gently."""
    with transaction.atomic(using=_db()):
        if queue.start(webhook.pk):
            AuditEntry.objects.note(by, "Resumed.", webhook)


def close_breaker(webhook: Webhook, *, by: str = "") -> None:
    """Call again at once instead of waiting for the breaker's own probe."""
    with transaction.atomic(using=_db()):
        WebhookHealth.objects.filter(webhook=webhook.pk).update(breaker_until=None, breaker_trips=0)
        AuditEntry.objects.note(by, "Closed the breaker.", webhook)


def clear_error(webhook: Webhook, *, by: str = "") -> None:
    """Forget the last noted error; the error history stays."""
    WebhookHealth.objects.filter(webhook=webhook.pk).update(
        last_error_at=None,
        last_error_message="",
        last_error_kind="",
        error_cleared_at=present(_db()),
    )
    AuditEntry.objects.note(by, "Cleared the last error.", webhook)


def request_verification(webhook: Webhook, *, by: str = "") -> None:
    """Ask the worker for a verification; until then the webhook says `waiting`."""
    Webhook.objects.live().filter(pk=webhook.pk).update(verification_due_at=timezone.now())
    AuditEntry.objects.note(by, "Asked for a verification.", webhook)
    queue.announce(_db())


def hold_reason(webhook: Webhook) -> str:
    """Why deliveries of the webhook are held now; `""` when it is called."""
    return states.hold_reason(webhook, timezone.now())


# --- signing secrets --------------------------------------------------------------------------


def reveal_secret(webhook: Webhook, *, by: str = "") -> str:
    """The secret (`whsec_…`) that calls are signed with; one is made where there is none.

    Raises NotCallable when it cannot be read or the webhook is deleted.
    """
    row = _ROW.first(webhook.pk)
    if row is None or row.deleted_at is not None:
        raise NotCallable("deleted")
    with transaction.atomic(using=_db()), _readable():
        secret = _keys().of([row.pk])[row.pk][0].secret
        AuditEntry.objects.note(by, "Revealed the signing secret.", row)
    return secret


def rotate_secret(
    webhook: Webhook, key: str | None = None, grace: timedelta = GRACE, *, by: str = ""
) -> str:
    """Sign calls with a new secret, and for `grace` (0 to 7 days) with the old one as well.

    `key` is `whsec_` and the base64 of 24 to 64 bytes; without one a new one is made. A secret that
    signs already becomes the present one again. At most 10 sign at a time, the newest. Returns the
    new secret. Raises Invalid; Webhook.DoesNotExist when the webhook is deleted.
    """
    secret = _given_secret(key)
    if not timedelta(0) <= grace <= GRACE_MOST:
        raise Invalid({"gracePeriodSeconds": ["Must be 0 to 604800 seconds (7 days)."]})
    with transaction.atomic(using=_db()):
        row = Webhook.objects.live().select_for_update(no_key=True).get(pk=webhook.pk)
        keys = _keys()
        keys.of([row.pk])
        stored = keys.filter(webhook=row)
        ending = []  # without an overlap: what is over, no key opens or is the new one itself
        usable: Any = stored.usable().values_list("pk", "secret", "expires_at")
        for number, (pk, sealed, expires_at) in enumerate(usable):
            stored_secret = _opened(sealed)
            known = stored_secret == secret
            if known and expires_at is None:
                raise Invalid({"key": ["This is the present secret already."]})
            at_once = expires_at is None and not grace
            if known or at_once or stored_secret is None or number >= KEYS_MOST - 1:
                ending.append(pk)
        stored.filter(pk__in=ending).delete()
        stored.expired().delete()
        stored.filter(expires_at__isnull=True).update(expires_at=timezone.now() + grace)
        keys.create(webhook=row, secret=secret, rotated=True)
        held = f" The old one holds for {spelled(grace)}." if grace else ""
        _keys_changed(row, f"Rotated the signing secret.{held}", by)
    return secret


def end_overlap(webhook: Webhook, *, by: str = "") -> int:
    """Sign with the present secret alone from now on; returns how many old ones ended.

    Raises Webhook.DoesNotExist when the webhook is deleted.
    """
    with transaction.atomic(using=_db()):
        row = Webhook.objects.live().select_for_update(no_key=True).get(pk=webhook.pk)
        old = _keys().filter(webhook=row, expires_at__isnull=False)
        ended = old.usable().count()
        old.delete()
        if ended:
            _keys_changed(row, "Ended the overlap of signing secrets.", by)
    return ended


def _keys() -> SigningKeyQuerySet:
    return SigningKey.objects.using(_db())


def _opened(sealed: Sealed) -> str | None:
    """What is stored; None where no key opens it."""
    try:
        return sealed.open()
    except WrongKey:
        return None


def _given_secret(key: str | None) -> str:
    if key is None:
        return signing.new_secret()
    if key == validators.MASK:
        raise Invalid({"key": ["This is the mask of a secret; enter the secret, or leave it out."]})
    try:
        return signing.secret_of(signing.key_of(key))
    except ValueError as problem:
        raise Invalid({"key": [str(problem)]}) from None


def spelled(span: timedelta) -> str:
    """`24 h`, `90 s`."""
    hours = span / timedelta(hours=1)
    return f"{hours:g} h" if hours >= 1 else f"{span.total_seconds():g} s"


def _keys_changed(webhook: Webhook, words: str, by: str) -> None:
    # Whoever keeps a request that was built sees by the version that it is old.
    rows = Webhook.objects.filter(pk=webhook.pk)
    rows.update(version=F("version") + 1, updated_at=timezone.now())
    AuditEntry.objects.note(by, words, webhook)
    queue.announce(_db())


# --- deliveries -------------------------------------------------------------------------------


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
    is the owner's own word for it. With an `idempotency_key` seen in the last 24 h the first
    delivery is returned, its attribute `replayed` true. Raises Invalid; Conflict for the same key
    with other bytes.
    """
    delivery = _new_delivery(webhook, payload, type=type, reference=reference, by=by)
    if due_at is not None:
        delivery.due_at = timezone.make_aware(due_at) if timezone.is_naive(due_at) else due_at
    if idempotency_key is None:
        queue.store_one(connections[_db()], delivery)
    else:
        delivery = _deliver_once(delivery, idempotency_key)
    queue.announce(_db())
    return delivery


def deliver_many(pairs: Iterable[tuple[Webhook, Any]], *, by: str = "") -> list[Delivery]:
    """Store many deliveries in a few statements."""
    deliveries = [_new_delivery(webhook, payload, by=by) for webhook, payload in pairs]
    if deliveries:
        queue.store(connections[_db()], deliveries)
        queue.announce(_db())
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
        problem = _text_problem(text, limit)
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
        retry_schedule=queue.schedule_text(conf.retry_schedule()),
        created_by=by[:150],
    )


def _text_problem(text: object, limit: int) -> str:
    if not isinstance(text, str) or len(text) > limit:
        return f"Must be a text of at most {limit} characters."
    try:
        strictjson.check_text(text)
    except ValueError as error:
        return f"Not usable: {error}."
    return ""


def encode(payload: Any) -> bytes:
    """The bytes that are sent for a payload. Raises ValueError when they are no strict JSON."""
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
    problem = _text_problem(key, 255) or ("" if key else "Must not be empty.")
    if problem:
        raise Invalid({"Idempotency-Key": [problem]})
    keyed = Delivery.objects.filter(webhook_id=delivery.webhook_id, idempotency_key=key)
    delivery.idempotency_key = key
    for _ in range(3):
        # A key older than a day has had its time; it is free again.
        keyed.filter(created_at__lte=timezone.now() - IDEMPOTENCY_KEPT).update(idempotency_key=None)
        first = keyed.first()
        if first is None:
            try:
                with transaction.atomic(using=_db()):
                    queue.store_one(connections[_db()], delivery)
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
    if not queue.retry(delivery.pk, by=by):
        raise NotCallable("deleted")
    AuditEntry.objects.note(by, "Asked for one more try.", delivery)
    queue.announce(_db())
    delivery.refresh_from_db()
    return delivery


def replay(webhook: Webhook, *, since: datetime, by: str = "") -> int:
    """Retry every failed delivery that finished since a moment; returns how many."""
    count = queue.replay(webhook.pk, since, by=by)
    if count:
        since_utc = since.astimezone(UTC)
        words = f"Replayed {count:,} failed since {since_utc:%Y-%m-%d %H:%M} UTC."
        AuditEntry.objects.note(by, words, webhook)
        queue.announce(_db())
    return count


def replayable(webhook: Webhook, since: datetime) -> int:
    """How many deliveries `replay` would take."""
    return queue.failed_since(webhook.pk, since).count()


def cancel(delivery: Delivery, *, by: str = "") -> Delivery:
    """Give a pending delivery up; an attempt under way is still recorded. Raises Conflict."""
    if not queue.cancel(delivery.pk, f"cancelled by {by}" if by else "cancelled"):
        raise Conflict("Only a pending delivery can be cancelled.")
    AuditEntry.objects.note(by, "Cancelled.", delivery)
    delivery.refresh_from_db()
    return delivery


# --- jobs: one verb for many, carried out by the worker ----------------------------------------


def matching(words: Mapping[str, str], *, limit: int) -> int | None:
    """How many deliveries a selection (see models.selection) holds, counted up to `limit` + 1.

    None where counting would mean to read payloads, or where it takes longer than COUNTED_IN
    seconds. Raises Invalid.
    """
    rows = _selected(words).order_by()[: limit + 1]
    try:
        return None if "payload" in words else in_time(rows.count, COUNTED_IN, using=rows.db)
    except TooSlow:
        return None


def _selected(words: Mapping[str, str]) -> "QuerySet[Delivery]":
    try:
        return select(words, timezone.now())
    except ValueError as error:
        raise Invalid({"selection": [f"Not understood: {error}."]}) from error


def create_job(
    verb: str,
    words: Mapping[str, str],
    *,
    delivered_too: bool = False,
    pace: int = PACE,
    by: str = "",
) -> Job:
    """Have the worker retry or cancel (`Job.Verb`) all deliveries that a selection holds now.

    `pace` is deliveries a second, 1 to 1,000. What was delivered is sent again with
    `delivered_too` only. Raises Invalid.
    """
    if verb not in Job.Verb.values:
        raise Invalid({"verb": ["Must be retry or cancel."]})
    count = matching(words, limit=COUNTED)
    plain = {name: value for name, value in words.items() if name != "payload"}
    rows = _selected(plain).order_by("pk").values_list("pk", flat=True)
    try:
        oldest = in_time(rows.first, COUNTED_IN, using=rows.db)
    except TooSlow:
        oldest = Delivery.objects.order_by("pk").values_list("pk", flat=True).first()
    now = first_id(timezone.now())
    job = Job.objects.create(
        verb=verb,
        selection=dict(words),
        delivered_too=delivered_too,
        pace=_pace(pace),
        expected=count if count is not None and count <= COUNTED else None,
        first=oldest or now,
        last=now,
        created_by=by[:150],
    )
    AuditEntry.objects.note(by, f"Started: {job.get_verb_display()} what a selection holds.", job)
    return job


def _pace(pace: int) -> int:
    if not (isinstance(pace, int) and _is_number(pace) and 1 <= pace <= PACE_LIMIT):
        raise Invalid({"pace": [f"Must be a whole number from 1 to {PACE_LIMIT:,}."]})
    return pace


def pause_job(job: Job, *, by: str = "") -> bool:
    """Take no further step until `resume_job`. False when it is not running."""
    return _turn_job(job, "Paused.", by, Job.State.RUNNING, state=Job.State.PAUSED)


def resume_job(job: Job, *, by: str = "") -> bool:
    return _turn_job(job, "Resumed.", by, Job.State.PAUSED, state=Job.State.RUNNING)


def stop_job(job: Job, *, by: str = "") -> bool:
    """End it; what it has done stays done. False when it has ended already."""
    ended = {"state": Job.State.STOPPED, "finished_at": timezone.now()}
    return _turn_job(job, "Stopped.", by, *OPEN, **ended)


def set_pace(job: Job, pace: int, *, by: str = "") -> bool:
    """Deliveries a second, 1 to 1,000. Raises Invalid; False when the job has ended."""
    return _turn_job(job, f"Set the pace to {pace:,} a second.", by, *OPEN, pace=_pace(pace))


OPEN = (Job.State.RUNNING, Job.State.PAUSED)


def _turn_job(job: Job, words: str, by: str, *when: str, **changes: Any) -> bool:
    turned = bool(Job.objects.filter(pk=job.pk, state__in=when).update(**changes))
    if turned:
        AuditEntry.objects.note(by, words, job)
    return turned


# --- access tokens ----------------------------------------------------------------------------


def issue_token(
    account: Account,
    *,
    name: str = "",
    scope: str = AccessToken.Scope.MANAGE,
    expires_at: datetime | None = None,
    by: str = "",
) -> tuple[AccessToken, str]:
    """A new access token and its secret, which is stored nowhere and can never be read again."""
    with transaction.atomic(using=_db()):
        token, secret = AccessToken.issue(account, name=name, scope=scope, expires_at=expires_at)
        AuditEntry.objects.note(by, f"Created, scope {scope}.", token)
    return token, secret


def revoke_token(token: AccessToken, *, by: str = "") -> bool:
    """Refused from now on, by every process. False when it was revoked already."""
    with transaction.atomic(using=_db()):
        revoked = token.revoke()
        if revoked:
            AuditEntry.objects.note(by, "Revoked.", token)
    return revoked


# --- calls that go out now --------------------------------------------------------------------


def interact(webhook: Webhook, interaction: dict[str, Any], *, by: str = "") -> dict[str, Any]:
    """Send an interaction now and return the receiver's `{"responses": […], "attributes": {…}}`.

    Never retried. Ten of these or of deliveries that fail in a row so that the receiver seems not
    to be there open the breaker; a 410 stops the webhook. Raises Invalid, NotCallable, Busy,
    ExchangeFailed.
    """
    _outside_transactions()
    interaction = _checked(interaction)
    row, probe = _callable(webhook)
    entry, answer = _call(calls.Interaction(row, interaction, probe=probe), by)
    return _answer(entry, answer)


async def ainteract(
    webhook: Webhook, interaction: dict[str, Any], *, by: str = ""
) -> dict[str, Any]:
    """`interact` for asynchronous callers: in a thread of the event loop's pool."""
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
    """Send the verification challenge now; the outcome is kept when URL and token are still so."""
    _outside_transactions()
    calls.limit_rate("verify", webhook.pk, TooSoon)
    entry, _ = _call(calls.Verification(_fresh(webhook)), by)
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

    Raises Invalid, TooSoon, NotCallable (deleted, unreadable), Busy.
    """
    _outside_transactions()
    if generation is not None and interaction is not None:
        raise Invalid({"generation": ["Send either a generation or an interaction of your own."]})
    if generation is not None and not (_is_number(generation) and generation in (1, 2)):
        raise Invalid({"generation": ["Must be 1 or 2."]})
    if interaction is not None:
        try:
            interaction = _checked(interaction)
        except Invalid as error:
            raise Invalid({"interaction": error.details}) from None
    calls.limit_rate("test", webhook.pk, TooSoon)
    row = _fresh(webhook)
    body = calls.sample_interaction(row, generation or 2) if interaction is None else interaction
    entry, _ = _call(calls.Test(row, body), by)
    AuditEntry.objects.note(by, "Sent a test.", webhook)
    return calls.recorded(entry)


test.__test__ = False  # type: ignore[attr-defined]  # not a test of pytest's


def _outside_transactions() -> None:
    """No transaction may stay open while a receiver takes its time (a TestCase's own may)."""
    blocks = connections[_db()].atomic_blocks
    if any(not getattr(block, "_from_testcase", False) for block in blocks):
        raise RuntimeError("calls that go out must not be made inside transaction.atomic")


_ROW = Prepared(Webhook, lambda ident: Webhook.objects.filter(pk=ident), beside="health")


def _fresh(webhook: Webhook) -> Webhook:
    """The row as it is now; what the caller holds may be old."""
    row = _ROW.first(webhook.pk)
    if row is None:
        raise Webhook.DoesNotExist
    if row.deleted_at is not None:
        raise NotCallable("deleted")
    return row


def _callable(webhook: Webhook) -> tuple[Webhook, bool]:
    """`_fresh`, of a webhook that may be called now. Where its breaker has been open long enough,
    this call is the probe (true), and others wait for what comes of it."""
    row, now = _fresh(webhook), timezone.now()
    reason = states.hold_reason(row, now, told=False)
    until = row.health.breaker_until
    if reason == "breaker" and until is not None:
        raise NotCallable(reason, max(1.0, (until - now).total_seconds()))
    if reason:
        raise NotCallable(reason)
    if until is not None and not breaker.take_probe(_db(), row.pk, now, row.exchange_timeout):
        raise NotCallable("breaker", max(1.0, row.exchange_timeout))
    return row, until is not None


def _checked(interaction: Any) -> dict[str, Any]:
    if not isinstance(interaction, dict):
        raise Invalid({"": ["Must be an object."]})
    details = calls.interaction_errors(interaction)
    if details:
        raise Invalid(details)
    return interaction


def _call(call: "calls.Call", by: str) -> tuple[Entry, Any]:
    try:
        with _readable():
            return calls.make(call, by=by)
    except calls.NoSlot as reason:
        raise Busy(str(reason)) from reason
    except calls.OurFault as reason:
        raise Busy("The call failed inside this application; try again.") from reason
    except IntegrityError as reason:  # removed while it was called
        raise NotCallable("deleted") from reason


def _answer(entry: Entry, answer: Any) -> dict[str, Any]:
    if (failure := entry.failure) is not None:
        recorded = Failure(failure.kind, storable(failure.message))
        raise ExchangeFailed(recorded, entry.ended_at)
    result: dict[str, Any] = answer
    return result


def _db() -> str:
    """The database of the deliveries. A connection to it that broke is made anew: what calls us may
    be a process without requests, at whose beginning Django does that."""
    alias = router.db_for_write(Delivery)
    connection = connections[alias]
    # In a transaction, Django would close it under whoever began that.
    if connection.errors_occurred and not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()
    return alias
