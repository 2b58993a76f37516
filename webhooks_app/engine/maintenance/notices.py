"""Notices by email: to staff and to the account's contact, once for each change of state.

`told` in the webhook's health row is what people were told last (stopped: `TOLD_STOPPED`):

| told     | becomes  | when                                                     |
| -------- | -------- | -------------------------------------------------------- |
| ""       | failing  | 5 calls in a row failed                                  |
| failing  | warned   | it will be stopped within a day                          |
| any      | stopped  | it was stopped (410, or 5 days of nothing but failure)   |
| not ""   | ""       | a call succeeded, its URL changed, or it was resumed     |

The row count of the UPDATE that writes it decides who writes the letter, in the same transaction;
letters are sent later, outside of any, and are tried again while the mail server is away. A letter
that the mail backend cannot send holds up none of the others; and a mail server that takes its
time, or is away, nothing else that the upkeep does.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import inf
from smtplib import (
    SMTPDataError,
    SMTPException,
    SMTPNotSupportedError,
    SMTPRecipientsRefused,
    SMTPSenderRefused,
)

from django.core.mail import EmailMessage, get_connection
from django.db import router, transaction
from django.db.models import F, Q, QuerySet

from ... import conf
from ...models import AuditEntry, Notice, WebhookHealth, states
from ...models.audit import SENT
from ...models.delivery import advice_on, db_now
from ...models.health import CERTIFICATE_SOON
from ...models.webhook import SECRETS_BESIDE
from ...rules import failures
from ...rules.hosts import host_of
from ...rules.safe_text import shown
from ..store.record import FAILING_STOPS_AFTER

log = logging.getLogger("webhooks")

AT_ONCE = 50  # changes of each sort, and letters, a turn
WARNED_BEFORE = timedelta(days=1)
OLD_NEWS = timedelta(days=7)  # nobody is told any more
SENDING_FOR = timedelta(minutes=5)  # whoever took a letter has so long to send it
TRIED_FOR = timedelta(days=2)
TRIES_MOST = 60  # of one letter; an hour apart in the end, so TRIED_FOR is over before
TIMEOUT = 10  # seconds for the mail server
STOPPED = [state.reason for state in states.HOLDS if state.key == "stopped"]
WE = "the worker"  # who sent a letter, for the audit log
TOLD_STOPPED = "disabled"  # as rows have it since 0.1; nobody reads it but us


@dataclass(frozen=True, slots=True)
class Change:
    """A change of `told`, from one state to another; `rows` finds the webhooks that may have it,
    and is the WHERE of the UPDATE as well."""

    rows: Callable[[datetime], "QuerySet[WebhookHealth]"]
    told: str
    write: Callable[[WebhookHealth, datetime], tuple[str, list[str]]]  # subject, sentences


def turn(stopped: Callable[[], bool] = bool, *, seconds: float = inf) -> None:
    """Note what has changed, then send what is due, until `stopped` says so; no letter is begun
    past so many `seconds` but the first."""
    now = db_now()
    for change in CHANGES:
        for row in _loaded(change.rows(now)):
            _note(change, row, now)
    for certificate in CERTIFICATES:
        for row in _loaded(certificate.rows(now)):
            _note_certificate(certificate, row, now)
    _send(stopped, seconds)


def _loaded(rows: "QuerySet[WebhookHealth]") -> list[WebhookHealth]:
    """Some webhooks with their health, without any secret."""
    rows = rows.select_related("webhook__account")
    return list(rows.defer(*SECRETS_BESIDE)[:AT_ONCE])


# --- what has changed ---------------------------------------------------------------------------


def _began_to_fail(now: datetime) -> "QuerySet[WebhookHealth]":
    return WebhookHealth.objects.live().filter(
        states.FAILING.rows(now), told="", webhook__stopped=""
    )


def _will_be_stopped(now: datetime) -> "QuerySet[WebhookHealth]":
    soon = now - FAILING_STOPS_AFTER + WARNED_BEFORE
    rows = WebhookHealth.objects.live().filter(
        told="failing", failing_since__lt=soon, webhook__stopped=""
    )
    return rows.filter(failures_in_row__gt=0)


def _is_stopped(now: datetime) -> "QuerySet[WebhookHealth]":
    rows = WebhookHealth.objects.live().filter(
        webhook__stopped__in=STOPPED, webhook__stopped_at__gt=now - OLD_NEWS
    )
    # The second is the first once more, in the words of the index.
    return rows.exclude(told=TOLD_STOPPED).exclude(webhook__stopped="")


def _recovered(now: datetime) -> "QuerySet[WebhookHealth]":
    rows = WebhookHealth.objects.live().filter(told__gt="").exclude(webhook__stopped__in=STOPPED)
    # Resumed and paused at once, it is told when it is called again.
    resumed = Q(told=TOLD_STOPPED, webhook__stopped="")
    return rows.filter((Q(failures_in_row=0) & ~Q(told=TOLD_STOPPED)) | resumed)


def _failing(row: WebhookHealth, now: datetime) -> tuple[str, list[str]]:
    return "is failing", [
        f"{row.failures_in_row} calls in a row failed, since {_at(row.failing_since)}.",
        *_reason(row),
        "Deliveries are kept and tried again.",
    ]


def _warned(row: WebhookHealth, now: datetime) -> tuple[str, list[str]]:
    end = (row.failing_since or now) + FAILING_STOPS_AFTER
    return f"will be stopped on {_day(end)}", [
        f"Every call since {_at(row.failing_since)} failed. Unless one succeeds, the webhook will "
        f"be stopped at {_at(end)}.",
        *_reason(row),
    ]


def _stopped(row: WebhookHealth, now: datetime) -> tuple[str, list[str]]:
    why = row.webhook.get_stopped_display()
    return "is stopped", [
        f"It was stopped at {_at(row.webhook.stopped_at)}: {why}.",
        *_reason(row),
        "Deliveries are kept and wait until it is resumed.",
    ]


def _works(row: WebhookHealth, now: datetime) -> tuple[str, list[str]]:
    if row.told == TOLD_STOPPED:
        return "is resumed", ["It is called again; what waits goes out, the oldest first."]
    cleared, success = row.run_cleared_at, row.last_success_at
    if cleared and (success is None or success < cleared):
        return "is watched anew", [
            "It was resumed, or its URL was changed; its failures are counted anew."
        ]
    if success is None or (row.last_error_at and success < row.last_error_at):
        return "works again", ["A test succeeded; its failures are counted anew."]
    return "works again", [f"A call succeeded at {_at(success)}."]


CHANGES = (
    Change(_is_stopped, TOLD_STOPPED, _stopped),
    Change(_recovered, "", _works),
    Change(_will_be_stopped, "warned", _warned),
    Change(_began_to_fail, "failing", _failing),
)


@dataclass(frozen=True, slots=True)
class Certificate:
    """Of the receiver, or ours. `ends` and `told` are columns of the health."""

    name: str
    what: str
    ends: str
    told: str
    advice: str

    def rows(self, now: datetime) -> "QuerySet[WebhookHealth]":
        """Webhooks whose certificates end soon or ended lately, of which nobody was told."""
        health = WebhookHealth.objects.live()
        soon = {f"{self.ends}__lt": now + CERTIFICATE_SOON, f"{self.ends}__gt": now - OLD_NEWS}
        ending = health.filter(**{f"{self.ends}__isnull": False, **soon})
        return ending.exclude(**{self.told: F(self.ends)})


CERTIFICATES = (
    Certificate(
        "certificate",
        "The certificate of its receiver",
        "certificate_ends_at",
        "certificate_told",
        "Renew it before that; a webhook is never called past a certificate.",
    ),
    Certificate(
        "client certificate",
        "The client certificate that its calls show",
        "identity_ends_at",
        "identity_told",
        "Enter a new one in the settings of the webhook before that; receivers refuse one that has "
        "ended.",
    ),
)


def _note(change: Change, row: WebhookHealth, now: datetime) -> None:
    with transaction.atomic(using=router.db_for_write(Notice)):
        # Only one of several workers changes the row, and only while the reason still holds.
        still = WebhookHealth.objects.filter(pk__in=change.rows(now).filter(pk=row.pk).values("pk"))
        if still.filter(told=row.told).update(told=change.told):
            subject, sentences = change.write(row, now)
            _write(row, subject, sentences, now)


def _note_certificate(of: Certificate, row: WebhookHealth, now: datetime) -> None:
    ends = getattr(row, of.ends)
    same = WebhookHealth.objects.filter(pk=row.pk, **{of.ends: ends})
    same = same.exclude(**{of.told: ends})
    with transaction.atomic(using=router.db_for_write(Notice)):
        if ends and same.update(**{of.told: ends}):
            verb = "ends" if ends > now else "ended"
            sentence = f"{of.what} {verb} at {_at(ends)}."
            _write(row, f"{of.name} {verb} on {_day(ends)}", [sentence, of.advice], now)


# --- letters ------------------------------------------------------------------------------------


def _write(row: WebhookHealth, subject: str, sentences: list[str], now: datetime) -> None:
    """One letter to the staff, with a link to the console, one to the account's contact."""
    webhook = row.webhook
    name = shown(" ".join(str(webhook).split()))
    facts = [
        f"Webhook: {name}",
        f"Account: {webhook.account.name}",
        f"Host: {host_of(webhook.url)}",
    ]
    link = conf.settings.console_url
    page = [f"{link}webhooks_app/webhook/{webhook.pk}/change/"] if link else []
    contact = webhook.account.contact_email
    for recipients, more in (
        (list(conf.settings.notice_emails), page),
        ([contact] if contact else [], []),
    ):
        if recipients:
            Notice.objects.create(
                webhook=webhook,
                recipients=recipients,
                subject=f"Webhook {name} {subject}"[:255],
                text="\n".join([*facts, "", *sentences, *([""] if more else []), *more]) + "\n",
                created_at=now,
                due_at=now,
            )


def _reason(row: WebhookHealth) -> Iterator[str]:
    if row.last_error_kind:
        yield f"The last error: {shown(' '.join(row.last_error_message.split())[:300])}"
        yield failures.why(row.last_error_kind)
        yield f"What to do: {advice_on(row.last_error_kind)}"


def _at(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if moment else "a while ago"


def _day(moment: datetime) -> str:
    day = moment.astimezone(UTC)
    return f"{day.day} {day:%b %Y}"


def _send(stopped: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    due = Notice.objects.filter(due_at__lte=db_now()).order_by("due_at", "pk")
    due = due.select_related("webhook").defer(*SECRETS_BESIDE)
    for number, notice in enumerate(list(due[:AT_ONCE])):
        if stopped() or (number and time.monotonic() >= until):
            return
        mine = Notice.objects.filter(pk=notice.pk, due_at=notice.due_at)
        # From now on: those before it may have taken long.
        if not mine.update(due_at=db_now() + SENDING_FOR, tries=F("tries") + 1):
            continue  # another worker sends it
        try:
            EmailMessage(
                notice.subject,
                notice.text,
                to=notice.recipients,
                connection=get_connection(timeout=TIMEOUT),
            ).send()
        except Exception as error:  # a backend of the host raises what it likes
            if _put_off(notice, error):
                return
            continue
        with transaction.atomic(using=router.db_for_write(Notice)):
            notice.delete()
            AuditEntry.objects.note(WE, f"{SENT}{notice.subject}", notice.webhook)


def _put_off(notice: Notice, error: Exception) -> bool:
    """Try a letter again later, each time after a longer while, until its time is over. True where
    all that are due wait with it: for the same server, each as long as this one did."""
    now, why, of_all = db_now(), type(error).__name__, _is_of_the_server(error)
    letters = Notice.objects.filter(pk=notice.pk)
    if of_all:
        letters |= Notice.objects.filter(due_at__lte=now)
    for late in letters.filter(Q(created_at__lt=now - TRIED_FOR) | Q(tries__gt=TRIES_MOST)):
        log.error("a notice is given up (%s): %s", why, late.subject)
        late.delete()
    wait = timedelta(seconds=min(60 * 2**notice.tries, 3600))
    if letters.update(due_at=now + wait):
        log.warning("no notice was sent (%s), it is tried again", why)
    return of_all


def _is_of_the_server(error: Exception) -> bool:
    """Whether the mail server failed as a whole. Else it has answered about this one letter, or
    the backend could make nothing of it."""
    if isinstance(error, SMTPException):
        of_the_letter = SMTPRecipientsRefused | SMTPSenderRefused | SMTPDataError
        return not isinstance(error, of_the_letter | SMTPNotSupportedError)
    return isinstance(error, OSError)
