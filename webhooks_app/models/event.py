"""Event (what happened), EventBody (its bytes in other forms), EventType (the catalogue)."""

from datetime import datetime
from typing import Any, Self

from django.db import models
from django.db.models import Q
from django.db.models.base import ModelState
from django.utils import timezone
from django.utils.functional import cached_property

from ..fields import IdField, WordsField
from ..rules.ids import ID_LENGTH, first_id, new_id
from .account import Account
from .primary import PrimaryModel, PrimaryQuerySet

FIRST_MOST = 100  # deliveries of an event that are shown with it


class EventQuerySet(PrimaryQuerySet["Event"]):
    def for_account(self, account: Account | int) -> Self:
        return self.filter(account=account)

    def made(self, since: datetime | None = None, until: datetime | None = None) -> Self:
        """Made from a moment on, and before another: their ids begin with the time."""
        rows = self if since is None else self.filter(pk__gte=first_id(since))
        return rows if until is None else rows.filter(pk__lt=first_id(until))

    def keyed(self, key: str) -> Self:
        """With this `eventId`, those of long ago included."""
        return self.filter(key=key)

    def in_channel(self, channel: str) -> Self:
        """Reads all the rows that it is asked of."""
        return self.filter(channels__hold=channel)

    # SQLite takes a partial index only where its condition stands in the query, word by word.

    def with_reference(self, reference: str) -> Self:
        return self.filter(reference=reference).exclude(reference="")

    def about(self, subject: str) -> Self:
        return self.filter(subject=subject).exclude(subject="")

    def fanning_out(self) -> Self:
        """Of which some receivers are still to be given their delivery."""
        return self.filter(fanned_out_to__isnull=False)


class Event(PrimaryModel):
    """Something that happened in an account: published once, one delivery for each subscribed
    webhook. Its payload is stored here alone.

    `id` is the `webhook-event-id` of all its deliveries.
    """

    id = IdField(primary_key=True, max_length=ID_LENGTH, default=new_id, editable=False)
    # No constraint in the database, here and below, as with attempts: nobody looks it up twice,
    # and a process of an older version may delete an account without knowing of events.
    account = models.ForeignKey(
        Account,
        on_delete=models.CASCADE,
        related_name="events",
        db_index=False,
        db_constraint=False,
    )
    type = models.CharField(max_length=128)
    payload = models.BinaryField()
    # The publisher's own id (`eventId`), by which a repeat is known for a day. Then the key is
    # spent: `key_spent` is the event's own id, and another event may take the key.
    key = models.CharField("event id", max_length=256, null=True, blank=True)  # noqa: DJ001
    key_spent = models.CharField(max_length=ID_LENGTH, blank=True, default="")
    channels = WordsField(max_length=700, blank=True, default=())
    ordering_key = models.CharField(max_length=128, blank=True, default="")
    subject = models.CharField(max_length=255, blank=True, default="")
    reference = models.CharField(max_length=255, blank=True, default="")
    time = models.DateTimeField(default=timezone.now)  # when it happened
    deliver_at = models.DateTimeField(null=True, blank=True)  # not before that moment
    matched = models.PositiveIntegerField(default=0)  # webhooks that got a delivery
    filtered = models.PositiveIntegerField(default=0)  # subscribed, but for a filter
    # When subscriptions were looked at, by the clock of the database, read after them.
    judged_at = models.DateTimeField(default=timezone.now)
    # The webhook up to which, in the order of ids, it is fanned out; null: to all.
    fanned_out_to = models.CharField(max_length=ID_LENGTH, null=True, blank=True)  # noqa: DJ001
    # The one up to which it was when somebody cancelled it before it was fanned out to all.
    cancelled_after = models.CharField(max_length=ID_LENGTH, null=True, blank=True)  # noqa: DJ001
    created_at = models.DateTimeField(default=timezone.now)
    created_by = models.CharField(max_length=150, blank=True, default="")

    replayed = False  # set where an event id found this event again
    request_id: str | None = None  # of the request that publishes it, where that is told

    objects = EventQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        default_permissions = ("add", "view")
        indexes = [
            models.Index(fields=["account", "id"], name="event_list"),
            models.Index(fields=["account", "type", "id"], name="event_type"),
            # Not by account first: the console looks for a reference among all of them.
            models.Index(
                fields=["reference", "account", "id"],
                condition=~Q(reference=""),
                name="event_reference",
            ),
            models.Index(
                fields=["subject", "account", "id"], condition=~Q(subject=""), name="event_subject"
            ),
            models.Index(
                fields=["id"], condition=Q(fanned_out_to__isnull=False), name="event_fanning_out"
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["key", "account", "key_spent"],
                condition=Q(key__isnull=False),
                name="event_key",
            )
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.id}"

    @classmethod
    def new(
        cls,
        account: Account,
        payload: bytes,
        *,
        type: str,
        key: str | None,
        channels: tuple[str, ...],
        ordering_key: str,
        subject: str,
        reference: str,
        time: datetime,
        deliver_at: datetime | None,
        created_by: str,
        at: datetime,
    ) -> Self:
        """One that nobody has judged yet; made as `Delivery.new` makes them, `at` a moment by the
        clock that all hosts go by."""
        event = cls.__new__(cls)
        event.__dict__ = {
            "_state": ModelState(),
            "id": new_id(at.timestamp()),
            "account_id": account.pk,
            "type": type,
            "payload": payload,
            "key": key,
            "key_spent": "",
            "channels": channels,
            "ordering_key": ordering_key,
            "subject": subject,
            "reference": reference,
            "time": time,
            "deliver_at": deliver_at,
            "matched": 0,
            "filtered": 0,
            "judged_at": at,
            "fanned_out_to": None,
            "created_at": at,
            "created_by": created_by,
        }
        event._state.fields_cache["account"] = account
        return event

    @cached_property
    def first_deliveries(self) -> list[tuple[str, str]]:
        """The ids of the first FIRST_MOST, and of their webhooks."""
        rows: Any = self.deliveries.order_by("pk")
        return list(rows.values_list("pk", "webhook_id")[:FIRST_MOST])

    @property
    def fan_out(self) -> str:
        """`done`, or `running` while a worker goes on with very many receivers."""
        return "done" if self.fanned_out_to is None else "running"


class EventBody(PrimaryModel):
    """The bytes of an event in a form other than the payload itself; all its deliveries in that
    form share them. Made at publication, never changed."""

    event = models.ForeignKey(
        Event, on_delete=models.CASCADE, related_name="bodies", db_index=False
    )
    form = models.CharField(max_length=16)
    content_type = models.CharField(max_length=64)
    payload = models.BinaryField()

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["event", "form"], name="eventbody_event_form")
        ]

    def __str__(self) -> str:
        return f"{self.event_id} as {self.form}"


class EventTypeQuerySet(PrimaryQuerySet["EventType"]):
    def known_to(self, account: Account | int) -> Self:
        """An account's own and those of the whole site."""
        return self.filter(Q(account=account) | Q(account__isnull=True))

    def declared(self) -> Self:
        """By a person or a program, and not archived."""
        return self.filter(seen=False, archived_at__isnull=True)

    def offered_to(self, account: Account | int) -> Self:
        """Those that its events may have where types must be declared: one of the site is none
        where the account has archived its own of that name."""
        own = EventType.objects.filter(account=account, archived_at__isnull=False)
        rows = self.known_to(account).declared()
        return rows.exclude(account__isnull=True, name__in=own.order_by().values("name"))


class EventType(PrimaryModel):
    """An entry of the catalogue: an event type of an account, or of the whole site. An account's
    own wins over the site's of the same name."""

    account = models.ForeignKey(
        Account,
        on_delete=models.CASCADE,
        related_name="event_types",
        null=True,
        blank=True,
        db_index=False,
        db_constraint=False,
    )
    name = models.CharField(max_length=128)
    group = models.CharField(max_length=128, blank=True, default="")
    description = models.CharField(max_length=4000, blank=True, default="")
    example = models.TextField(blank=True, default="")  # a payload, as JSON; empty: none
    # Noted by a worker because an event had it; false: declared.
    seen = models.BooleanField(default=False)
    archived_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = EventTypeQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(fields=["account", "name"], name="eventtype_name"),
            models.UniqueConstraint(
                fields=["name"], condition=Q(account__isnull=True), name="eventtype_site_name"
            ),
        ]

    def __str__(self) -> str:
        return self.name
