"""Webhooks: made, changed, deleted, brought back, paused, resumed."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction
from django.db.models import F

from .. import conf
from ..engine import transitions
from ..fields import WrongKey
from ..models import (
    Account,
    AuditEntry,
    Delivery,
    Header,
    SigningKey,
    Webhook,
    WebhookHealth,
    lines,
    states,
)
from ..models.primary import clock, present
from ..models.webhook import BREAKER_AFTER, SECRETS, Form, OnDead, Order
from ..rules import certificates, signing, validators
from ..rules.forms import header_problem
from . import credentials
from .base import because, db_alias, is_number, readable
from .errors import Conflict, Invalid, NotCallable
from .limits import (
    breaker_problems,
    columns,
    refuse,
    refuse_beside_older_workers,
    webhooks_problem,
)
from .subscriptions import end_subscriptions


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
    form: str = Form.PAYLOAD,
    oauth: Mapping[str, Any] | None = None,
    identity: str = "",
    ca_certificates: str = "",
    rate_limit: str | None = None,
    retry_schedule: Sequence[float] | None = None,
    breaker_after: int = BREAKER_AFTER,
    breaker_off: bool = False,
    order: str = Order.NONE,
    on_dead: str = OnDead.CONTINUE,
    by: str = "",
) -> Webhook:
    """Store a webhook and ask for its verification, which the worker does.

    `timeout` is seconds for a whole exchange, 0.1 to 60, None for the site's; `max_in_flight` the
    most deliveries under way at once, 1 to 1,000; `form` what is sent of events (`Form`). `oauth`
    has the names of the API (`tokenUrl`, `clientId`, `clientSecret`, `scopes`, `authMethod`,
    `extraParams`); `identity` is one PEM with a private key and its chain; `ca_certificates` the
    PEM of the authorities that are trusted in place of the public ones. `rate_limit`: how many
    deliveries may go out, retries too, as `100/minute` (1 to 100,000 a second, minute or hour),
    None for any number. `retry_schedule`: seconds to wait after each failure, at most 30 of up to 7
    days, none for one try, None for the site's. `breaker_after`: so many calls in a row that meet
    nobody (3 to 100) let it rest, unless `breaker_off`. `order`: what is sent one after the other
    (`Order`), `on_dead` what becomes of that when all tries of one have failed (`OnDead`). Raises
    Invalid, also where the account has as many as it may (WEBHOOKS_PER_ACCOUNT); OlderWorkers for
    an order, a rate limit, OAuth and certificates.
    """
    given = {"oauth": oauth, "identity": identity, "ca_certificates": ca_certificates}
    limits, problems = columns({"rate_limit": rate_limit, "retry_schedule": retry_schedule})
    now = clock(db_alias())
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
        form=form,
        order=order,
        on_dead=on_dead,
        **credentials.columns(given),
        breaker_after=breaker_after,
        breaker_off=breaker_off,
        created_at=now,
        updated_at=now,
        verification_due_at=now,
        **limits,
    )
    headers = list(headers)
    _validate(webhook, headers, problems)
    refuse(webhooks_problem(account))
    if rate_limit is not None or order:
        refuse_beside_older_workers()
    with transaction.atomic(using=db_alias()):
        webhook.save(force_insert=True)
        ends_at = certificates.ends_at(webhook.identity)
        WebhookHealth.objects.create(webhook=webhook, identity_ends_at=ends_at)
        SigningKey.objects.create(webhook=webhook, secret=signing.new_secret())
        Header.objects.replace(webhook, headers)
        AuditEntry.objects.note(by, "Created.", webhook)
        transitions.announce(db_alias())
    return webhook


WORDS = {  # of fields, where their own names are not good enough
    "url": "URL",
    "auth_username": "user name",
    "auth_password": "password",
    "max_in_flight": "calls in flight",
    "signature_prefix": "names of the signature headers",
    "on_dead": "what becomes of the order when a delivery gives up",
    "oauth": "OAuth",
    "identity": "client certificate",
    "ca_certificates": "certificate authorities",
    "rate_count": "rate limit",
    "rate_seconds": "rate limit",
    "retry_schedule": "retry schedule",
    "breaker_after": "breaker",
    "breaker_off": "breaker",
}
FIELDS = (
    *("name", "url", "token", "auth_username", "auth_password", "timeout", "max_in_flight"),
    *("signature_prefix", "form", "rate_limit", "retry_schedule", "breaker_after", "breaker_off"),
    *("order", "on_dead"),
    *credentials.FIELDS,
)
RATE = frozenset(("rate_count", "rate_seconds"))
ORIGIN_SHOWN = 100  # characters: two of them fit into a line of the audit log


def update_webhook(webhook: Webhook, *, by: str = "", **changes: Any) -> Webhook:
    """Change FIELDS (and `headers`, as a whole; units as in `create_webhook`). Equal values change
    nothing. Returns the row as it is then.

    Takes the row lock (not that of its key, for which every attempt that is recorded would have
    to wait), so of two updates at once one wins whole. A new URL unverifies the webhook and begins
    a new run of failures; a new URL or token asks for a verification; a breaker that is turned off
    is closed. Raises Invalid; Webhook.DoesNotExist when it was deleted meanwhile; NotCallable when
    a secret that stays cannot be read (a new one in its place mends the webhook); OlderWorkers as
    `create_webhook`; TypeError for a name that is none of these.
    """
    unknown = set(changes) - {*FIELDS, "headers"}
    if unknown:
        raise TypeError(f"update_webhook() has no {', '.join(sorted(unknown))}")
    changes |= credentials.columns(changes)
    with transaction.atomic(using=db_alias()):
        row = Webhook.objects.live().select_for_update(no_key=True).get(pk=webhook.pk)
        old_headers = _pairs(row)
        headers = changes.pop("headers", old_headers)
        if headers is None:
            raise NotCallable("unreadable")
        headers = [(name, value) for name, value in headers]
        changes, problems = columns(changes)
        fields = [field for field, value in changes.items() if _differs(row, field, value)]
        old_url = row.url
        for field in fields:
            setattr(row, field, changes[field])
        if fields or headers != old_headers or problems:
            with readable():
                _validate(row, headers, problems)
            has_new_rate = row.rate is not None and not RATE.isdisjoint(fields)
            if has_new_rate or (row.order and "order" in fields):
                refuse_beside_older_workers()
            # Which sees to version and verification, also where the headers alone have changed.
            row.save(update_fields={"name", *fields})
            if "identity" in fields:
                WebhookHealth.objects.begin([row.pk])
                _health(row).update(identity_ends_at=certificates.ends_at(row.identity))
            changed = list(dict.fromkeys(WORDS.get(field, field) for field in fields))
            if "url" in fields:
                changed[changed.index(WORDS["url"])] = _moved(old_url, row.url)
            if headers != old_headers:
                Header.objects.replace(row, headers)
                changed.append("headers")
            if "breaker_off" in fields and row.breaker_off:
                _health(row).update(breaker_until=None, breaker_trips=0)
            if not RATE.isdisjoint(fields):
                # What the limit before held back; not the pause that a receiver asked for.
                _health(row).filter(rests=0).update(rests_until=None)
            AuditEntry.objects.note(by, f"Changed {', '.join(changed)}.", row)
            transitions.announce(db_alias())
    return row


def _moved(old: str, new: str) -> str:
    """ "URL (erp.example.com → orders.example.com)": path and query may hold secrets."""
    before, after = (_origin(url) for url in (old, new))
    return f"URL ({before} → {after})" if before != after else f"URL (same host, {after})"


def _origin(url: str) -> str:
    """Host and port, with the scheme where it is not https; no longer than a line has room for."""
    try:
        parsed = validators.parse_url(url)
    except ValueError:
        return "one that cannot be used"
    origin = f"http://{parsed.authority}" if parsed.scheme == "http" else parsed.authority
    return origin if len(origin) <= ORIGIN_SHOWN else f"{origin[:48]}…{origin[-48:]}"


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


def _validate(
    webhook: Webhook, headers: Sequence[tuple[str, str]], problems: dict[str, Any]
) -> None:
    """`problems`: what is wrong with its limits."""
    details = validators.webhook_errors(
        name=webhook.name,
        url=webhook.url,
        token=webhook.token,
        headers=headers,
        username=webhook.auth_username,
        password=webhook.auth_password,
        signature_prefix=webhook.signature_prefix,
        has_oauth=bool(webhook.oauth),
        has_identity=bool(webhook.identity),
        **conf.settings.url_rules,
    )
    timeout, cap = webhook.timeout, webhook.max_in_flight
    if timeout is not None and not (is_number(timeout) and 0.1 <= timeout <= 60):
        details["timeout"] = ["Must be a number of seconds from 0.1 to 60, or null."]
    if not (isinstance(cap, int) and is_number(cap) and 1 <= cap <= 1000):
        details["maxInFlight"] = ["Must be a whole number from 1 to 1000."]
    if problem := _form_problem(webhook.form, headers):
        details["form"] = [problem]
    details |= problems
    if breaker := breaker_problems(webhook):
        details["breaker"] = breaker
    for name, value, words in (
        ("order", webhook.order, Order.values),
        ("onDead", webhook.on_dead, OnDead.values),
    ):
        if value not in words:
            details[name] = [f"Must be one of: {', '.join(word or '(nothing)' for word in words)}."]
    if details:
        raise Invalid(details)


def _form_problem(form: str, headers: Sequence[tuple[str, str]]) -> str:
    if form not in Form.values:
        return f"Must be one of: {', '.join(Form.values)}."
    names = (name for name, _ in headers if isinstance(name, str))
    return next(filter(None, (header_problem(form, name) for name in names)), "")


def delete_webhook(webhook: Webhook, *, by: str = "") -> None:
    """Hide the webhook, wipe its secrets and headers at once, cancel what waits: of very much the
    first thousands, the worker the rest. None of it is sent.

    The history stays for staff until retention ends. Does nothing to one that is deleted already,
    and raises nothing of its own.
    """
    with transaction.atomic(using=db_alias()):
        rows = Webhook.objects.live().select_for_update(no_key=True).filter(pk=webhook.pk)
        if not rows.update(
            deleted_at=present(db_alias()),
            **dict.fromkeys(SECRETS, ""),
            auth_username="",
            ca_certificates="",
            verified_at=None,
            verification_due_at=None,
            version=F("version") + 1,
        ):
            return
        # Only where there is one: who writes down an attempt needs this row, and would wait.
        health = WebhookHealth.objects.filter(pk=webhook.pk, identity_ends_at__isnull=False)
        health.update(identity_ends_at=None)
        Header.objects.replace(webhook, ())
        SigningKey.objects.filter(webhook=webhook.pk).delete()
        end_subscriptions(webhook.pk)
        transitions.cancel_some(webhook.pk, transitions.DELETED)
        AuditEntry.objects.note(by, "Deleted.", webhook)


def restore_webhook(webhook: Webhook, *, by: str = "") -> Webhook:
    """Undo a delete, as long as the row is kept (the retention time).

    Secrets and headers were wiped and stay so: it comes back paused and unverified, to be
    completed and enabled by a person. What was cancelled stays cancelled. Raises Conflict when it
    is not deleted, is gone for good, or what waited for it is still being cancelled.
    """
    with transaction.atomic(using=db_alias()):
        rows = Webhook.objects.filter(pk=webhook.pk, deleted_at__isnull=False)
        if rows.exists() and Delivery.objects.pending().filter(webhook=webhook.pk).exists():
            raise Conflict("What waits for the webhook is still being cancelled; try again soon.")
        if problem := webhooks_problem(webhook.account):
            raise Conflict(problem)
        if not rows.update(
            deleted_at=None,
            stopped=Webhook.Stopped.PAUSED,
            stopped_note="brought back without its secrets",
            stopped_by=by[:150],
            stopped_at=present(db_alias()),
            version=F("version") + 1,
        ):
            raise Conflict("The webhook is not deleted, or is gone for good.")
        # One that a call under way has made beside the delete.
        SigningKey.objects.filter(webhook=webhook.pk).delete()
        AuditEntry.objects.note(by, "Brought back.", webhook)
    webhook.refresh_from_db()
    return webhook


def pause(webhook: Webhook, *, note: str = "", by: str = "") -> None:
    """Stop calling until `enable`; deliveries are held. `note`: why, 255 characters of it are kept.
    Changes nothing when already stopped, and raises nothing of its own."""
    with transaction.atomic(using=db_alias()):
        if transitions.stop(webhook.pk, Webhook.Stopped.PAUSED, note=note[:255], by=by):
            AuditEntry.objects.note(by, because("Paused.", note), webhook)


def enable(webhook: Webhook, *, note: str = "", by: str = "") -> None:
    """Clear any reason for which the webhook is stopped; what was held goes out gently. Where it
    sends in order and is to stop at what gives up, and something gave up while it was stopped for
    another reason, it is `blocked` from then on, until that is retried or skipped, or `enable`
    comes once more.

    `note`: why; 255 characters of it are kept in the audit log. Changes nothing when it is not
    stopped, and raises nothing of its own."""
    with transaction.atomic(using=db_alias()):
        if transitions.start(webhook.pk):
            AuditEntry.objects.note(by, because("Resumed.", note), webhook)


def close_breaker(webhook: Webhook, *, by: str = "") -> None:
    """Call again at once, instead of waiting for the breaker's own probe, or for the end of a pause
    that the receiver asked for. Raises nothing of its own."""
    with transaction.atomic(using=db_alias()):
        _health(webhook).update(breaker_until=None, breaker_trips=0, rests_until=None)
        AuditEntry.objects.note(by, "Closed the breaker.", webhook)


def _health(webhook: Webhook) -> Any:
    return WebhookHealth.objects.filter(webhook=webhook.pk)


def clear_error(webhook: Webhook, *, by: str = "") -> None:
    """Forget the last noted error; the error history stays. Raises nothing of its own."""
    with transaction.atomic(using=db_alias()):
        _health(webhook).update(
            last_error_at=None,
            last_error_message="",
            last_error_kind="",
            error_cleared_at=present(db_alias()),
        )
        AuditEntry.objects.note(by, "Cleared the last error.", webhook)


def request_verification(webhook: Webhook, *, by: str = "") -> None:
    """Ask the worker for a verification; until then the webhook says `waiting`. Does nothing to one
    that is deleted, and raises nothing of its own."""
    with transaction.atomic(using=db_alias()):
        rows = Webhook.objects.live().filter(pk=webhook.pk)
        if not rows.update(verification_due_at=present(db_alias())):
            return
        AuditEntry.objects.note(by, "Asked for a verification.", webhook)
        transitions.announce(db_alias())


def delivery_reason(delivery: Delivery) -> str:
    """Why a pending delivery is held now: as `hold_reason` of its webhook, else its own."""
    return states.delivery_hold_reason(delivery, clock(db_alias()))


def heads(webhook: Webhook) -> list[lines.Head]:
    """The deliveries behind which others wait, of a webhook that is sent to in order: at most 10,
    those that are tried again last first. Empty where nothing is held up."""
    return lines.heads(webhook, clock(db_alias()))


def hold_reason(webhook: Webhook) -> str:
    """Why deliveries of the webhook are held now, a key of `models.states.SENTENCES`; `""` when it
    is called. Goes by the row and health that the caller holds."""
    return states.hold_reason(webhook, clock(db_alias()))
