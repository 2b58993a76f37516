"""WebhookHealth (how a webhook does), HourlyCount (what came of its exchanges, hour by hour),
HourlyTotal (the same of all webhooks) and Worker (who sends). Written by the engine only."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from django.db import models
from django.db.models import Sum
from django.db.models.fields.related_descriptors import ReverseOneToOneDescriptor
from django.utils import timezone

from .primary import PrimaryModel, PrimaryQuerySet, clock, present
from .webhook import FAILING_AFTER, Webhook

HOUR = timedelta(hours=1)
WORKER_SILENT_AFTER = timedelta(seconds=30)
# A webhook of which this share of the calls of so long failed is unsteady.
UNSTEADY_SHARE = 0.01
UNSTEADY_WITHIN = timedelta(hours=24)
CERTIFICATE_SOON = timedelta(days=14)  # people are told of a certificate that ends within


class HealthAccessor(ReverseOneToOneDescriptor):
    """`webhook.health`: an empty one where there is no row yet, however the webhook was made."""

    def __get__(self, instance: Any, cls: Any = None) -> Any:
        try:
            return super().__get__(instance, cls)
        except self.RelatedObjectDoesNotExist:
            return WebhookHealth(webhook=instance)  # which remembers it with the instance


class HealthField(models.OneToOneField[Any, Any]):
    related_accessor_class = HealthAccessor

    def deconstruct(self) -> Any:
        # To the database it is what it is to Django.
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.OneToOneField", args, kwargs


class WebhookHealthQuerySet(PrimaryQuerySet["WebhookHealth"]):
    def live(self) -> Self:
        return self.filter(webhook__deleted_at__isnull=True)

    def begin(self, webhook_ids: Iterable[str]) -> int:
        """Make the rows that are missing; returns for how many of these webhooks there is one."""
        webhooks = Webhook.objects.using(self.db).filter(pk__in=set(webhook_ids))
        rows = [WebhookHealth(webhook_id=pk) for pk in webhooks.values_list("pk", flat=True)]
        self.bulk_create(rows, ignore_conflicts=True)
        return len(rows)

    def clear_run(self) -> int:
        """What failed so far counts no more, breaker and rests are ended. An attempt under way may
        still fail, as the first of a new run."""
        return self.update(
            failures_in_row=0,
            failing_since=None,
            run_cleared_at=present(self.db),
            breaker_until=None,
            breaker_trips=0,
            rests_until=None,
        )

    def watch_anew(self) -> None:
        """For a new URL, in a transaction: run and certificate were seen at another place,
        perhaps."""
        self.lock()
        self.update(certificate_ends_at=None)
        self.clear_run()

    def certificate_ends_soon(self, now: datetime) -> Self:
        """Or has ended: the receiver's."""
        soon = now + CERTIFICATE_SOON
        return self.filter(certificate_ends_at__isnull=False, certificate_ends_at__lt=soon)

    def identity_ends_soon(self, now: datetime) -> Self:
        """The same of the certificate that we show."""
        soon = now + CERTIFICATE_SOON
        return self.filter(identity_ends_at__isnull=False, identity_ends_at__lt=soon)


class WebhookHealth(PrimaryModel):
    """The last noted error and the run of failures; a table of its own, so that saving a form
    of the webhook can never put a counter back.

    A webhook may have no row: nobody has called it yet. Who writes begins one (`begin`), who reads
    `webhook.health` finds an empty one.
    """

    webhook = HealthField(
        Webhook, on_delete=models.CASCADE, primary_key=True, related_name="health"
    )
    last_error_at = models.DateTimeField(null=True, blank=True)
    last_error_message = models.TextField(blank=True, default="")
    last_error_kind = models.CharField(max_length=16, blank=True, default="")
    last_attempt_at = models.DateTimeField(null=True, blank=True)
    last_success_at = models.DateTimeField(null=True, blank=True)  # of a call; not of a test
    failures_in_row = models.PositiveIntegerField(default=0)
    failing_since = models.DateTimeField(null=True, blank=True)
    breaker_until = models.DateTimeField(null=True, blank=True)
    breaker_trips = models.PositiveIntegerField(default=0)
    # Until when nothing goes out although more is due: its receiver asked for a pause, `rests`
    # times in a row; or, 0, it is called as often as its own rate limit lets it.
    rests_until = models.DateTimeField(null=True, blank=True)
    rests = models.PositiveIntegerField(default=0, db_default=0)
    # What a person cleared, a new URL too; the attempts before it say nothing of it any more.
    run_cleared_at = models.DateTimeField(null=True, blank=True)
    error_cleared_at = models.DateTimeField(null=True, blank=True)
    # When the receiver's certificate ends, as it was seen at the last TLS handshake.
    certificate_ends_at = models.DateTimeField(null=True, blank=True)
    # When the certificate ends that we show to the receiver; noted by whoever sets or loads it.
    identity_ends_at = models.DateTimeField(null=True, blank=True)
    # Since when a stored secret of it cannot be opened by the worker that owns the webhook. Told,
    # never asked: another worker may have the key.
    unreadable_since = models.DateTimeField(null=True, blank=True)
    # Since when UNSTEADY_SHARE of the calls failed; null while fewer do.
    unsteady_since = models.DateTimeField(null=True, blank=True)
    # What people were told last by email: "", failing, warned or disabled, which means stopped; and
    # of which end of a certificate.
    told = models.CharField(max_length=8, blank=True, default="")
    certificate_told = models.DateTimeField(null=True, blank=True)
    identity_told = models.DateTimeField(null=True, blank=True)
    # When somebody last asked for a call by hand: once a second each.
    verify_asked_at = models.DateTimeField(null=True, blank=True)
    test_asked_at = models.DateTimeField(null=True, blank=True)

    objects = WebhookHealthQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "webhook health"
        indexes = [
            models.Index(
                fields=["failing_since", "webhook"],
                condition=models.Q(failures_in_row__gte=FAILING_AFTER),
                name="health_failing_webhook",
            ),
            # Small, because a row leaves them as soon as people have been told.
            models.Index(
                fields=["webhook"],
                condition=models.Q(failures_in_row__gte=FAILING_AFTER, told=""),
                name="health_untold",
            ),
            models.Index(
                fields=["told", "failing_since"],
                condition=models.Q(told__gt=""),
                name="health_told",
            ),
            models.Index(
                fields=["certificate_ends_at"],
                condition=models.Q(certificate_ends_at__isnull=False),
                name="health_certificate",
            ),
            models.Index(
                fields=["identity_ends_at"],
                condition=models.Q(identity_ends_at__isnull=False),
                name="health_identity",
            ),
            models.Index(
                fields=["webhook"],
                condition=models.Q(unsteady_since__isnull=False),
                name="health_unsteady",
            ),
            models.Index(
                fields=["webhook"],
                condition=models.Q(unreadable_since__isnull=False),
                name="health_unreadable",
            ),
            models.Index(
                fields=["breaker_until", "webhook"],
                condition=models.Q(breaker_until__isnull=False),
                name="health_breaker_webhook",
            ),
            models.Index(
                fields=["rests_until", "webhook"],
                condition=models.Q(rests_until__isnull=False),
                name="health_rests",
            ),
            models.Index(
                fields=["webhook"], condition=models.Q(failures_in_row__gte=1), name="health_erred"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.webhook_id}: {self.failures_in_row} failures in a row"

    @property
    def failing(self) -> bool:
        return self.failures_in_row >= FAILING_AFTER

    def is_resting(self, now: datetime) -> bool:
        """Whether the breaker is open."""
        return self.breaker_until is not None and self.breaker_until > now

    def is_limited(self, now: datetime) -> bool:
        """Whether more is due than may go out now."""
        return self.rests_until is not None and self.rests_until > now


# The latency histogram: a column of HourlyCount and its upper bound in milliseconds.
LATENCY_COLUMNS = (
    ("ms_50", 50),
    ("ms_100", 100),
    ("ms_250", 250),
    ("ms_500", 500),
    ("ms_1000", 1000),
    ("ms_2500", 2500),
    ("ms_5000", 5000),
    ("ms_10000", 10000),
    ("slower", None),
)
COUNT_COLUMNS = ("delivered", "failed", *(name for name, _ in LATENCY_COLUMNS))


def percentile(histogram: Sequence[int], share: float) -> int | None:
    """The upper bound in milliseconds under which a share (0 to 1) of the answers came.

    `histogram` holds the counts of LATENCY_COLUMNS in their order. None when there was no answer,
    or when the answer lies beyond the last bound.
    """
    total = sum(histogram)
    reached = 0
    for count, (_, bound) in zip(histogram, LATENCY_COLUMNS, strict=True):
        reached += count
        if total and reached >= share * total:
            return bound
    return None


class HourlyCountQuerySet(PrimaryQuerySet["HourlyCount"]):
    def since(self, moment: datetime) -> Self:
        """From the hour of a moment on."""
        return self.filter(hour__gte=hour_of(moment))

    def totals(self) -> dict[str, int]:
        """The sum of every count (see COUNT_COLUMNS)."""
        sums = self.order_by().aggregate(**{name: Sum(name) for name in COUNT_COLUMNS})
        return {name: total or 0 for name, total in sums.items()}

    def totals_by(self, *fields: str) -> "models.QuerySet[HourlyCount, dict[str, int]]":
        """The sums grouped by fields, such as `webhook` or `hour`, as dicts in their order."""
        sums = {name: Sum(name) for name in COUNT_COLUMNS}
        return self.order_by(*fields).values(*fields).annotate(**sums)

    def percentile(self, share: float) -> int | None:
        """`percentile` of all answers of these hours."""
        totals = self.totals()
        return percentile([totals[name] for name, _ in LATENCY_COLUMNS], share)


class Counts(PrimaryModel):
    """COUNT_COLUMNS as columns."""

    delivered = models.IntegerField(default=0)
    failed = models.IntegerField(default=0)
    ms_50 = models.IntegerField(default=0)
    ms_100 = models.IntegerField(default=0)
    ms_250 = models.IntegerField(default=0)
    ms_500 = models.IntegerField(default=0)
    ms_1000 = models.IntegerField(default=0)
    ms_2500 = models.IntegerField(default=0)
    ms_5000 = models.IntegerField(default=0)
    ms_10000 = models.IntegerField(default=0)
    slower = models.IntegerField(default=0)

    class Meta:
        abstract = True


class HourlyCount(Counts):
    """What came of a webhook's deliveries and interactions that ended in one hour (of UTC).

    Every attempt counts; verifications and tests do not. The histogram is of the attempts that
    got an answer, whatever its status, by the duration of the whole exchange.
    """

    pk = models.CompositePrimaryKey("webhook_id", "hour")
    webhook = models.ForeignKey(
        Webhook, on_delete=models.CASCADE, related_name="hours", db_index=False
    )
    hour = models.DateTimeField()

    objects = HourlyCountQuerySet.as_manager()

    class Meta:
        ordering = ["webhook", "hour"]
        indexes = [
            models.Index(fields=["hour"], name="hourly_hour"),
            models.Index(
                fields=["hour", "webhook"], condition=models.Q(failed__gt=0), name="hourly_failed"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.webhook_id} {self.hour:%Y-%m-%d %H}h"


class HourlyTotal(Counts):
    """The HourlyCounts of all webhooks together, of an hour that is over (see
    `engine.maintenance.totals`).

    An hour without a row has not been summed, or something was counted in it since.
    """

    hour = models.DateTimeField(primary_key=True)

    class Meta:
        ordering = ["hour"]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H}h"


def totals_since(start: datetime, now: datetime) -> list[dict[str, Any]]:
    """The counts of all webhooks together, a dict for each hour in which there were some; from
    the hour of a moment on. What has not been summed is summed here."""
    hour, last = hour_of(start), hour_of(now)
    found: list[Any] = list(HourlyTotal.objects.filter(hour__gte=hour).values())
    known = {row["hour"] for row in found}
    hours = (hour + HOUR * place for place in range((last - hour) // HOUR + 1))
    unknown = [hour for hour in hours if hour not in known]
    found += HourlyCount.objects.filter(hour__in=unknown).totals_by("hour")
    return found


def hour_of(moment: datetime) -> datetime:
    """The start of the hour (of UTC) in which a moment lies."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def release(version: str) -> tuple[int, ...]:
    """The first two numbers of a version; none for what is none."""
    major, _, rest = version.partition(".")
    minor = rest.partition(".")[0]
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else ()


class WorkerQuerySet(PrimaryQuerySet["Worker"]):
    def releases(self) -> dict[str, tuple[int, ...]]:
        """Their versions, and the first two numbers of each."""
        versions = self.order_by().values_list("version", flat=True).distinct()
        return {version: release(version) for version in versions}

    def before(self, since: tuple[int, int]) -> Self:
        """Of versions before that one."""
        older = [version for version, numbers in self.releases().items() if numbers < since]
        return self.filter(version__in=older)

    def alive(self, now: datetime | None = None) -> Self:
        return self.filter(seen_at__gt=(now or clock(self.db)) - WORKER_SILENT_AFTER)


class Worker(PrimaryModel):
    """A `deliver` process, so that status, /readyz and the admin see who lives. Decides nothing."""

    id = models.CharField(primary_key=True, max_length=64)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    # Of this package; empty for those that did not tell it yet, before 0.2.
    version = models.CharField(max_length=32, blank=True, default="", db_default="")
    started_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now)
    standby = models.BooleanField(default=False)
    slots = models.PositiveSmallIntegerField(default=0)
    in_flight = models.PositiveIntegerField(default=0)
    # Deliveries under way by webhook, as of `seen_at`; only of the webhooks that have some.
    in_flight_of = models.JSONField(default=dict)
    sent = models.PositiveBigIntegerField(default=0)
    # Outcomes that cannot be written down, nor that they cannot: this process alone knows them.
    unwritten = models.PositiveIntegerField(default=0)
    # It knows that the site is held, and begins no call. Never said by versions that know no hold.
    holds = models.BooleanField(default=False, db_default=False)

    objects = WorkerQuerySet.as_manager()

    class Meta:
        ordering = ["started_at", "id"]
        verbose_name_plural = "our side"  # what the page is called that shows them

    def __str__(self) -> str:
        return self.id
