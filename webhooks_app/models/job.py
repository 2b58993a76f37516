"""Job: one verb for many deliveries, carried out by the worker step by step."""

from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from ..rules.ids import ID_LENGTH, id_time, new_id
from .delivery import Attempt, Delivery
from .delivery_filters import select
from .primary import PrimaryModel

PACE = 200  # deliveries a second, unless somebody says otherwise
PACE_LIMIT = 1000


class Job(PrimaryModel):
    """Retry or cancel every delivery that a selection holds, the oldest first.

    `place` is the id of the last delivery looked at and is written in the transaction that
    changes the deliveries, so that whoever goes on after a crash goes on exactly there. What is
    made after the job is none of its business: `last` is its upper bound.
    """

    class Verb(models.TextChoices):
        RETRY = "retry", "replay"  # to retry many is to replay
        CANCEL = "cancel", "cancel"

    class State(models.TextChoices):
        RUNNING = "running", "running"
        PAUSED = "paused", "paused"
        STOPPED = "stopped", "stopped"
        DONE = "done", "done"

    id = models.CharField(primary_key=True, max_length=ID_LENGTH, default=new_id, editable=False)
    verb = models.CharField(max_length=6, choices=Verb)
    selection = models.JSONField(default=dict)  # words of models.delivery_filters
    delivered_too = models.BooleanField(default=False)  # what was delivered already, too
    pace = models.PositiveSmallIntegerField("deliveries a second", default=PACE)
    state = models.CharField(max_length=7, choices=State, default=State.RUNNING)
    expected = models.PositiveIntegerField(null=True, blank=True)  # when it could be counted
    first = models.CharField(max_length=ID_LENGTH)  # the oldest delivery that it holds
    last = models.CharField(max_length=ID_LENGTH)
    place = models.CharField(max_length=ID_LENGTH, blank=True, default="")
    done = models.PositiveIntegerField(default=0)
    skipped = models.PositiveIntegerField(default=0)
    created_by = models.CharField(max_length=150, blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now)
    step_at = models.DateTimeField(default=timezone.now)  # not before this moment
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        default_permissions = ()  # seen with the deliveries, made by who may operate
        indexes = [
            models.Index(fields=["step_at"], condition=Q(state="running"), name="job_running"),
            models.Index(
                fields=["id"], condition=Q(state__in=["running", "paused"]), name="job_open"
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["running", "paused"], finished_at__isnull=True)
                | Q(state__in=["stopped", "done"], finished_at__isnull=False),
                name="job_state",
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_verb_display().capitalize()} {self.id}"

    @property
    def is_open(self) -> bool:
        return self.state in (self.State.RUNNING, self.State.PAUSED)

    def deliveries(self, now: datetime) -> "QuerySet[Delivery]":
        """All that it holds, looked at or not."""
        return select(self.selection, now).filter(pk__lte=self.last)

    @property
    def signature(self) -> str:
        """Who asks for what it does, as deliveries and attempts keep it."""
        return f"{self.created_by[:110]}, job {self.pk}"

    def touched(self) -> Q:
        """The deliveries that it changed, as far as they still tell: asked of each by itself, since
        nothing leads from a job to its attempts."""
        tried = Attempt.objects.ended(since=self.created_at).filter(
            requested_by=self.signature, delivery=OuterRef("pk"), delivery__isnull=False
        )
        asked = Q(requested_by=self.signature) | Q(Exists(tried))
        if self.verb == self.Verb.CANCEL:
            asked = Q(reason=f"cancelled by {self.signature}")
        return asked & Q(pk__gte=self.first, pk__lte=self.place)

    @property
    def share(self) -> float:
        """How far it is, 0 to 1: of the number when that is known, else of the time it spans."""
        if self.state == self.State.DONE:
            return 1.0
        if not self.place:
            return 0.0
        if self.expected:
            return min((self.done + self.skipped) / self.expected, 1.0)
        first, last, place = (id_time(ident) for ident in (self.first, self.last, self.place))
        span: Any = (last - first).total_seconds() or 1.0
        return float(min(max((place - first).total_seconds() / span, 0.0), 1.0))
