"""WebhookHealth (how a webhook does) and Worker (who sends). Written by the engine only."""

from datetime import datetime, timedelta
from typing import Self

from django.db import models
from django.utils import timezone

from .webhook import FAILING_AFTER, Webhook

WORKER_SILENT_AFTER = timedelta(seconds=30)


class WebhookHealth(models.Model):
    """The last noted error and the run of failures; a table of its own, so that saving a form
    of the webhook can never put a counter back."""

    webhook = models.OneToOneField(
        Webhook, on_delete=models.CASCADE, primary_key=True, related_name="health"
    )
    last_error_at = models.DateTimeField(null=True, blank=True)
    last_error_message = models.TextField(blank=True, default="")
    last_error_kind = models.CharField(max_length=16, blank=True, default="")
    last_attempt_at = models.DateTimeField(null=True, blank=True)
    last_success_at = models.DateTimeField(null=True, blank=True)
    failures_in_row = models.PositiveIntegerField(default=0)
    failing_since = models.DateTimeField(null=True, blank=True)
    breaker_until = models.DateTimeField(null=True, blank=True)
    breaker_trips = models.PositiveIntegerField(default=0)
    # When somebody last asked for a call by hand: once a second each.
    verify_asked_at = models.DateTimeField(null=True, blank=True)
    test_asked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "webhook health"
        indexes = [
            models.Index(
                fields=["failing_since"],
                condition=models.Q(failures_in_row__gte=FAILING_AFTER),
                name="health_failing",
            )
        ]

    def __str__(self) -> str:
        return f"{self.webhook_id}: {self.failures_in_row} failures in a row"

    @property
    def failing(self) -> bool:
        return self.failures_in_row >= FAILING_AFTER


class WorkerQuerySet(models.QuerySet["Worker"]):
    def alive(self, now: datetime | None = None) -> Self:
        return self.filter(seen_at__gt=(now or timezone.now()) - WORKER_SILENT_AFTER)


class Worker(models.Model):
    """A `deliver` process, so that status, /readyz and the admin see who lives. Decides nothing."""

    id = models.CharField(primary_key=True, max_length=64)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    started_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now)
    standby = models.BooleanField(default=False)
    slots = models.PositiveSmallIntegerField(default=0)
    in_flight = models.PositiveIntegerField(default=0)
    sent = models.PositiveBigIntegerField(default=0)

    objects = WorkerQuerySet.as_manager()

    class Meta:
        ordering = ["started_at", "id"]

    def __str__(self) -> str:
        return self.id
