"""Delivery (what is to be sent), Attempt (every exchange), WebhookError (those that failed)."""

from datetime import datetime, timedelta
from typing import Any, Self

from django.db import models, router
from django.db.models import F, Q, Value
from django.db.models.base import ModelState
from django.db.models.functions import Concat
from django.utils import timezone

from .. import conf, request_ids
from ..fields import IdField, KeyField
from ..rules import failures, schedules
from ..rules.ids import ID_LENGTH, first_id, first_key, new_id, new_key
from .account import Account
from .event import Event, EventBody
from .primary import PrimaryModel, PrimaryQuerySet, clock
from .webhook import Form, OnDead, Order, Webhook


def db_now() -> datetime:
    """This moment by the clock that decides what of all this is due, held or over
    (`primary.clock`)."""
    return clock(router.db_for_write(Delivery))


def schedule_of(own: str | None) -> str:
    """What a delivery that is made now keeps, by the schedule of its webhook; None: the site's."""
    return schedules.text(conf.settings.retry_schedule) if own is None else own


# Pending, of rows sought by their ids. The word itself would let PostgreSQL walk through all that
# is pending, when its statistics are from before it came.
OPEN = Q(finished_at__isnull=True)


# What the reason of one begins with that failed and that somebody let the others go on without.
SKIPPED = "skipped"


# A position that is to be drawn when the delivery is stored, by the store alone. Real ones begin
# at 1; those below 0 were given to deliveries that had none when their webhook got an order.
NEXT = 0


def placed(order: str, key: str) -> tuple[str | None, int | None]:
    """Ordering key and position of a new delivery, by the order of its webhook and the key that it
    was given. What is ordered by the webhook has no key: it is one line."""
    if order == Order.WEBHOOK:
        return None, NEXT
    if order == Order.KEY:
        return key, NEXT
    return key or None, None


class DeliveryQuerySet(PrimaryQuerySet["Delivery"]):
    def for_account(self, account: Account | int) -> Self:
        return self.filter(webhook__account=account, webhook__deleted_at__isnull=True)

    def pending(self) -> Self:
        return self.filter(state=Delivery.State.PENDING, finished_at__isnull=True)

    def queued(self) -> Self:
        """The same, of rows sought by their webhook: in the words of the index that begins with it,
        so that none of them is read to be counted."""
        return self.filter(state=Delivery.State.PENDING)

    def due(self, now: datetime) -> Self:
        return self.pending().filter(due_at__lte=now)

    def made(self, since: datetime | None = None, until: datetime | None = None) -> Self:
        """Made from a moment on, and before another: their ids begin with the time."""
        rows = self if since is None else self.filter(pk__gte=first_id(since))
        return rows if until is None else rows.filter(pk__lt=first_id(until))

    def newest_pending(self, most: int) -> Self:
        """The newest `most` of these that are pending, where these are all of one webhook.

        No index holds them in this order, and the finish of every delivery would write it. So the
        newest rows are looked at, which is enough where a queue is long; where it is not, what is
        older and pending is sorted.
        """
        newest = list(self.order_by("-pk").values_list("pk", "finished_at")[:most])
        found = [pk for pk, finished_at in newest if finished_at is None]
        if len(found) < len(newest) == most:
            # By what is no column: else the walk would go on, through all that was delivered.
            # And by the words of the index that begins with the webhook.
            older = self.filter(state=Delivery.State.PENDING)
            older = older.annotate(key=Concat("pk", Value("")))
            older = older.filter(key__lt=newest[-1][0]).order_by("-key")
            found += older.values_list("pk", flat=True)[: most - len(found)]
        return self.filter(pk__in=found)

    # SQLite takes a partial index only where its condition stands in the query, word by word.

    def of_event(self, event_id: str) -> Self:
        return self.filter(event=event_id, event__isnull=False)

    def with_reference(self, reference: str) -> Self:
        return self.filter(reference=reference).exclude(reference="")

    def of_type(self, type: str) -> Self:
        return self.filter(type=type).exclude(type="")

    def blocking(self) -> Self:
        """Those for which their webhook is stopped, `blocked`: of each key one may have given up
        since. What gave up before was let go on without, and holds nobody up any more; nor does
        what somebody skipped."""
        return self.dead_since_stop().filter(webhook__stopped=Webhook.Stopped.BLOCKED)

    def holding_up(self) -> Self:
        """`blocking`; and those for which a webhook that is stopped for another reason will be
        `blocked` once it is resumed."""
        ordered = Q(webhook__on_dead=OnDead.STOP) & Q(webhook__order__gt="")
        stopped = Q(webhook__stopped__gt="") & ordered
        return self.dead_since_stop().filter(Q(webhook__stopped=Webhook.Stopped.BLOCKED) | stopped)

    def dead_since_stop(self) -> Self:
        """In order, gave up since its webhook is stopped, for whatever reason, and not skipped."""
        rows = self.filter(state=Delivery.State.FAILED, position__isnull=False)
        rows = rows.filter(finished_at__gte=F("webhook__stopped_at"))
        return rows.exclude(reason__startswith=SKIPPED)


class Delivery(PrimaryModel):
    """One payload for one webhook, sent until it is delivered or dead. The row is the queue.

    `id` is the `webhook-id` and `X-Request-Id` of every try.
    """

    class State(models.TextChoices):
        PENDING = "pending", "pending"
        DELIVERED = "delivered", "delivered"
        FAILED = "failed", "failed"
        CANCELLED = "cancelled", "cancelled"

    id = IdField(primary_key=True, max_length=ID_LENGTH, default=new_id, editable=False)
    webhook = models.ForeignKey(
        Webhook, on_delete=models.CASCADE, related_name="deliveries", db_index=False
    )
    type = models.CharField("event type", max_length=128, blank=True, default="")
    reference = models.CharField(max_length=255, blank=True, default="")
    payload = models.BinaryField()
    state = models.CharField(max_length=9, choices=State, default=State.PENDING)
    reason = models.CharField(max_length=255, blank=True, default="")
    due_at = models.DateTimeField(default=timezone.now)
    tries = models.PositiveSmallIntegerField(default=0)
    retry_schedule = models.CharField(max_length=255, default="", blank=True)
    idempotency_key = models.CharField(max_length=255, null=True, blank=True)  # noqa: DJ001
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    last_status = models.PositiveSmallIntegerField(null=True, blank=True)
    last_error = models.TextField(blank=True, default="")
    # Who made it, and who asked for the next try ("" = the retry schedule).
    created_by = models.CharField(max_length=150, blank=True, default="")
    requested_by = models.CharField(max_length=150, blank=True, default="")

    # Of an event: the payload is read there, in this form, and is empty here (but for a worker of
    # an older version, see `engine.fanout`). No constraint in the database, as with attempts.
    event = models.ForeignKey(
        Event,
        on_delete=models.CASCADE,
        related_name="deliveries",
        null=True,
        blank=True,
        db_index=False,
        db_constraint=False,
    )
    form = models.CharField(max_length=16, choices=Form, null=True, blank=True)  # noqa: DJ001
    # Of the request that stored it, as the logs name it; null where no request did.
    stored_in = models.CharField("request id", max_length=64, null=True, blank=True)  # noqa: DJ001
    # Null but for what is sent in order (`placed` says when): what it waits behind is pending, of
    # the same webhook and key, and has a smaller position.
    ordering_key = models.CharField(max_length=128, null=True, blank=True)  # noqa: DJ001
    position = models.BigIntegerField(null=True, blank=True, editable=False)

    behind: bool | None = None  # whether the order holds it, where that was asked (see `states`)
    replayed = False  # set where an idempotency key found this delivery again

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "deliveries"
        indexes = [
            models.Index(
                fields=["webhook", "due_at", "id"],
                condition=Q(state="pending"),
                name="delivery_pending_webhook",
            ),
            # Twice the same condition, so that a claim, which gives the first half only, and a
            # finish, which gives the second, are never read through this one.
            models.Index(
                fields=["due_at", "webhook", "tries"],
                condition=Q(state="pending", finished_at__isnull=True),
                name="delivery_due",
            ),
            models.Index(fields=["webhook", "id"], name="delivery_list"),
            models.Index(
                fields=["webhook", "finished_at"],
                condition=Q(state="failed"),
                name="delivery_failed",
            ),
            # Those whose last attempt failed: from one failure to the next.
            models.Index(
                fields=["webhook", "id"],
                condition=Q(last_error__gt=""),
                name="delivery_erred",
            ),
            # Staff look for a reference without knowing its webhook.
            models.Index(
                fields=["reference", "webhook", "id"],
                condition=~Q(reference=""),
                name="delivery_reference",
            ),
            models.Index(
                fields=["webhook", "type", "id"], condition=~Q(type=""), name="delivery_type"
            ),
            # Of the few states: those of the many are found by walking through `delivery_list`.
            # `state` is the same in all of it; SQLite, when it knows how many there are of each
            # webhook, would else prefer the walk.
            models.Index(
                fields=["webhook", "state", "id"],
                condition=Q(state="failed"),
                name="delivery_list_failed",
            ),
            # The same of all webhooks: lists of what gave up, and the jobs that replay it.
            models.Index(fields=["id"], condition=Q(state="failed"), name="delivery_failed_id"),
            models.Index(
                fields=["webhook"],
                condition=Q(state="pending", reason="unrecorded"),
                name="delivery_unrecorded",
            ),
            models.Index(
                fields=["webhook", "state", "id"],
                condition=Q(state="cancelled"),
                name="delivery_list_cancelled",
            ),
            models.Index(
                fields=["event", "id"], condition=Q(event__isnull=False), name="delivery_event"
            ),
            # The head of each key; and what came before a delivery, with all that says whether that
            # holds it: a line may be long, and its rows lie far apart.
            models.Index(
                fields=[
                    *("webhook", "ordering_key", "position"),
                    *("due_at", "tries", "reason", "id"),
                ],
                condition=Q(state="pending", position__isnull=False),
                name="delivery_in_line",
            ),
            # In words that are not said where the head is looked for: that would be read through
            # all that has been delivered.
            models.Index(
                fields=["webhook", "ordering_key", "position"],
                condition=Q(position__gt=0),
                name="delivery_sequence",
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["webhook", "idempotency_key"],
                condition=Q(idempotency_key__isnull=False),
                name="delivery_idempotency",
            ),
            models.CheckConstraint(
                condition=Q(state="pending", finished_at__isnull=True)
                | Q(state__in=["delivered", "failed", "cancelled"], finished_at__isnull=False),
                name="delivery_state",
            ),
        ]

    def __str__(self) -> str:
        return self.id

    @classmethod
    def new(
        cls,
        webhook_id: str,
        payload: bytes,
        *,
        type: str,
        reference: str,
        retry_schedule: str,
        created_by: str,
        event_id: str | None = None,
        form: str | None = None,
        at: datetime | None = None,
        order: str = "",
        ordering_key: str = "",
    ) -> Self:
        """One that is due now, for whoever makes thousands: its fields are put where Django would
        put them, past what it looks for and tells, which is half of what it costs to store a
        delivery. Its id begins with the time (`at`) by the clock that all hosts go by: what is made
        after a job is none of its business."""
        now = at or clock(router.db_for_write(cls))
        key, position = placed(order, ordering_key)
        delivery = cls.__new__(cls)
        delivery.__dict__ = {
            "_state": ModelState(),
            "id": new_id(now.timestamp()),
            "webhook_id": webhook_id,
            "type": type,
            "reference": reference,
            "payload": payload,
            "state": _PENDING,
            "reason": "",
            "due_at": now,
            "tries": 0,
            "retry_schedule": retry_schedule,
            "idempotency_key": None,
            "created_at": now,
            "finished_at": None,
            "last_status": None,
            "last_error": "",
            "created_by": created_by,
            "requested_by": "",
            "event_id": event_id,
            "form": form,
            "stored_in": request_ids.current.get() or None,
            "ordering_key": key,
            "position": position,
        }
        return delivery

    @property
    def sequence(self) -> int | None:
        """Its place in the order, as its receiver is told; None where there is none."""
        return self.position if self.position is not None and self.position > NEXT else None

    @property
    def previous(self) -> int | None:
        """The place of the one before it in its order; None where there is none. Asks."""
        if self.sequence is None:
            return None
        rows = Delivery.objects.filter(webhook=self.webhook_id, ordering_key=self.ordering_key)
        before = rows.filter(position__gt=0, position__lt=self.sequence)
        found: int | None = before.aggregate(last=models.Max("position"))["last"]
        return found

    @property
    def delays(self) -> tuple[float, ...]:
        """Seconds to wait after each failure, as they stood when the delivery was made."""
        return schedules.delays(self.retry_schedule)

    @property
    def max_tries(self) -> int:
        return len(self.delays) + 1

    def body(self) -> tuple[str, bytes]:
        """What is sent, with its content type (`""`: JSON): its own payload, or its event's in the
        form that was wanted. Empty where the event is kept no longer."""
        if self.event_id is None:
            return "", bytes(self.payload)
        if self.form == Form.PAYLOAD:
            rows: Any = Event.objects.filter(pk=self.event_id).values_list("payload")
            return "", bytes(next(iter(rows), (b"",))[0])
        rows = EventBody.objects.filter(event=self.event_id, form=self.form)
        content_type, payload = rows.values_list("content_type", "payload").first() or ("", b"")
        return content_type, bytes(payload)


_PENDING = Delivery.State.PENDING.value

KEYS_AHEAD = timedelta(minutes=1)  # that the key of an attempt may be ahead of its end


class AttemptQuerySet(PrimaryQuerySet["Attempt"]):
    def for_account(self, account: Account) -> Self:
        return self.filter(webhook__account=account, webhook__deleted_at__isnull=True)

    def failed(self) -> Self:
        return self.exclude(kind="")

    def ended(self, since: datetime | None = None, until: datetime | None = None) -> Self:
        """Ended from a moment on, and before another. Their keys begin with that moment, so the
        primary key serves as the index; they may say a later one where a clock was set back."""
        rows = self if since is None else self.filter(ended_since(since))
        return rows if until is None else rows.filter(ended_before(until))


def ended_since(moment: datetime) -> Q:
    """The attempts that ended from a moment on (see `AttemptQuerySet.ended`)."""
    return Q(pk__gte=first_key(moment), ended_at__gte=moment)


def ended_before(moment: datetime) -> Q:
    return Q(pk__lt=first_key(moment, KEYS_AHEAD), ended_at__lt=moment)


class Attempt(PrimaryModel):
    """One exchange with a receiver, of any kind, as it went. Never changed afterwards."""

    class Exchange(models.TextChoices):
        DELIVERY = "delivery", "delivery"
        INTERACTION = "interaction", "interaction"
        VERIFICATION = "verification", "verification"
        TEST = "test", "test"
        TOKEN = "token", "token"

    id = KeyField(primary_key=True, default=new_key, editable=False)
    # No constraints in the database: to look both up for each row would be a quarter of what a
    # delivery costs PostgreSQL. The engine alone writes attempts, sees that what they belong to is
    # there, and alone removes that, by purge.
    webhook = models.ForeignKey(
        Webhook,
        on_delete=models.CASCADE,
        related_name="attempts",
        db_index=False,
        db_constraint=False,
    )
    delivery = models.ForeignKey(
        Delivery,
        on_delete=models.CASCADE,
        related_name="attempts",
        null=True,
        blank=True,
        db_index=False,
        db_constraint=False,
    )
    exchange = models.CharField(max_length=12, choices=Exchange)
    request_id = models.CharField("webhook-id", max_length=ID_LENGTH)
    number = models.PositiveSmallIntegerField("try", default=1)
    requested_by = models.CharField(max_length=150, blank=True, default="")
    # The date of an exchange wherever it is shown: when its outcome was noted.
    ended_at = models.DateTimeField(default=timezone.now)
    # Milliseconds; the phases are null where the exchange did not come that far, or where a kept
    # connection had no need of them.
    duration_ms = models.PositiveIntegerField(default=0)
    dns_ms = models.PositiveIntegerField(null=True, blank=True)
    connect_ms = models.PositiveIntegerField(null=True, blank=True)
    tls_ms = models.PositiveIntegerField(null=True, blank=True)
    wait_ms = models.PositiveIntegerField(null=True, blank=True)
    read_ms = models.PositiveIntegerField(null=True, blank=True)
    url = models.CharField("URL as sent, without token", max_length=2048)
    address = models.CharField(max_length=64, blank=True, default="")
    status = models.PositiveSmallIntegerField(null=True, blank=True)
    kind = models.CharField("error kind", max_length=16, blank=True, default="")
    message = models.TextField("error", blank=True, default="")
    answer = models.TextField("first 4 KiB of the answer", blank=True, default="")
    # One "name: value" a line; of failed exchanges alone.
    answer_headers = models.TextField("some headers of the answer", blank=True, default="")
    # As OpenSSL says it, "TLSv1.3". Null: over http, no session, or written before this was kept.
    tls_version = models.CharField("TLS version", max_length=16, null=True)  # noqa: DJ001

    objects = AttemptQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["webhook", "id"], name="attempt_list"),
            models.Index(
                fields=["delivery", "id"],
                condition=Q(delivery__isnull=False),
                name="attempt_delivery",
            ),
            models.Index(fields=["webhook", "id"], condition=~Q(kind=""), name="attempt_failed"),
            models.Index(fields=["kind", "id"], condition=~Q(kind=""), name="attempt_kind"),
            models.Index(
                fields=["webhook", "kind", "id"], condition=~Q(kind=""), name="attempt_failed_kind"
            ),
            # The deliveries that met a kind of error, in the order of their list.
            models.Index(
                fields=["kind", "delivery"],
                condition=~Q(kind="") & Q(delivery__isnull=False),
                name="attempt_met",
            ),
            # Failures among millions of successes, and what is counted of them.
            models.Index(
                fields=["id", "kind", "webhook", "exchange", "ended_at"],
                condition=~Q(kind=""),
                name="attempt_failures",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(
                    exchange__in=["delivery", "interaction", "verification", "test", "token"]
                ),
                name="attempt_exchange",
            )
        ]

    def __str__(self) -> str:
        return f"{self.exchange} {self.request_id} #{self.number}"

    @property
    def ok(self) -> bool:
        return not self.kind

    @property
    def kept_headers(self) -> list[tuple[str, str]]:
        """Name and value of the headers of the answer that are kept."""
        lines = (line.partition(": ") for line in self.answer_headers.splitlines())
        return [(name, value) for name, _, value in lines]

    @property
    def started_at(self) -> datetime:
        return self.ended_at - timedelta(milliseconds=self.duration_ms)

    @property
    def why(self) -> str:
        return failures.why(self.kind)

    @property
    def advice(self) -> str:
        return advice_on(self.kind)

    @property
    def title(self) -> str:
        return failures.title(self.kind)


def calls_from(kind: str) -> str:
    """The addresses we call from, for a failure that a receiver's firewall may explain."""
    if kind not in failures.NOT_CONNECTED or not (addresses := conf.settings.egress_addresses):
        return ""
    return f"We call from {', '.join(addresses)}."


def advice_on(kind: str) -> str:
    """What to do about a failure of this kind, with the addresses that must be let in."""
    return " ".join(filter(None, [failures.advice(kind), calls_from(kind)]))


class WebhookErrorManager(models.Manager["WebhookError"]):
    def get_queryset(self) -> AttemptQuerySet:  # type: ignore[override]
        return AttemptQuerySet(self.model, using=self._db).failed()

    def for_account(self, account: Account) -> AttemptQuerySet:
        return self.get_queryset().for_account(account)

    def ended(
        self, since: datetime | None = None, until: datetime | None = None
    ) -> AttemptQuerySet:
        return self.get_queryset().ended(since, until)


class WebhookError(Attempt):
    """The error history: the attempts that failed. A view of them, never a second record."""

    objects = WebhookErrorManager()  # type: ignore[assignment]

    class Meta:
        proxy = True
        ordering = ["-id"]
        verbose_name = "error"
        verbose_name_plural = "errors"
