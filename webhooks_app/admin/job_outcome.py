"""What became of the deliveries that a job replayed: not only that they were queued."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Max
from django.urls import reverse
from django.utils.http import urlencode

from ..models import Delivery, Job, Webhook
from ..models.delivery import db_now
from ..models.delivery_filters import LOOKED_THROUGH, condition, select
from ..models.statement_timeout import TooSlow, in_time
from ..models.states import webhooks_in
from ..models.webhook import SECRETS
from ..presentation.banner import lower
from ..presentation.looks import State, webhook_state

COUNTED_IN = 0.25  # seconds
LOOKED_AT = 1000  # deliveries of a selection whose webhooks are looked at before it is replayed
NAMED = 5
WATCHED = timedelta(minutes=10)  # how long a page looks again after the job has ended


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many of them are in which state now, and with what error some of them gave up."""

    delivered: int
    under_way: int
    gave_up: int
    cancelled: int
    error: str

    @property
    def sent(self) -> int:
        return self.delivered + self.under_way + self.gave_up + self.cancelled


def outcome_of(job: Job) -> Outcome | None:
    """None of a job that sends nothing, and where it could not be counted in time."""
    if job.verb != Job.Verb.RETRY or not job.done:
        return None
    touched = Delivery.objects.filter(job.touched()).order_by()
    rows = touched.values_list("state").annotate(Count("pk"), Max("last_error"))
    try:
        found = in_time(lambda: list(rows), COUNTED_IN, using=rows.db)
    except TooSlow:
        return None
    counted = {state: count for state, count, _ in found}
    errors = {state: error for state, _, error in found}
    return Outcome(
        delivered=counted.get(Delivery.State.DELIVERED, 0),
        under_way=counted.get(Delivery.State.PENDING, 0),
        gave_up=counted.get(Delivery.State.FAILED, 0),
        cancelled=counted.get(Delivery.State.CANCELLED, 0),
        error=errors.get(Delivery.State.FAILED, ""),
    )


def verdict(job: Job, outcome: Outcome) -> tuple[State, str]:
    """What a job that has ended came to."""
    of = f"{outcome.delivered:,} of {outcome.sent:,} arrived"
    if not outcome.gave_up and not outcome.cancelled:
        if not outcome.under_way:
            return State(
                "arrived", "Arrived", "ok", "ok"
            ), f"Replayed: all {outcome.sent:,} arrived"
        return State("sent", "Sent", "retry", "idle"), f"Replayed: {of}, the others are under way"
    if not outcome.delivered and not outcome.under_way:
        words = f"Replayed: none of {outcome.sent:,} arrived"
        return State("lost", "Gave up again", "bad", "bad"), words
    return State("partly", "Partly", "warn", "warn"), f"Replayed: {of}"


def parts(job: Job, outcome: Outcome) -> list[tuple[str, str, str]]:
    """Number, word and list of each outcome."""
    place = reverse("admin:webhooks_app_delivery_changelist")

    def listed(**words: str) -> str:
        return f"{place}?{urlencode({**words, 'created': 'any'})}"

    found = [
        (outcome.delivered, "delivered", listed(job=job.pk, state="delivered")),
        (outcome.under_way, "under way", listed(job=job.pk, state="pending")),
    ]
    # While it runs only what has happened; none of them is an outcome when it has ended.
    if outcome.gave_up or not job.is_open:
        found.append((outcome.gave_up, "gave up again", listed(job=job.pk, state="failed")))
    if outcome.cancelled:
        found.append((outcome.cancelled, "cancelled", listed(job=job.pk, state="cancelled")))
    found.append((job.skipped, "skipped", listed(skipped=job.pk)))
    return [(f"{count:,}", word, link) for count, word, link in found]


def is_watched(job: Job, outcome: Outcome | None) -> bool:
    """Whether its page looks again by itself."""
    if job.is_open:
        return True
    ended = job.finished_at or job.created_at
    return bool(outcome and outcome.under_way and db_now() - ended < WATCHED)


def skipped_by(job: Job, rows: Any) -> Any:
    """Of some deliveries, of which only so many are looked through, those that it looked at and
    left as they were."""
    for name, value in job.selection.items():
        rows = rows.filter(condition(name, value, db_now(), LOOKED_THROUGH))
    return rows.filter(pk__gte=job.first, pk__lte=job.place).exclude(job.touched())


def likely_to_fail(
    words: Mapping[str, str], now: datetime, *, counted: bool
) -> list[tuple[Webhook, str, str]]:
    """Of the webhooks of a selection those that deliver nothing now: the webhook, its state in
    words, its last error. So many of its deliveries are looked at, whichever are found first;
    where they could not be `counted` in time, none is named but a webhook that the selection names
    itself."""
    rows = Webhook.objects.live().filter(webhooks_in("silent", now))
    if "webhook" in words:
        rows = rows.filter(pk=words["webhook"])
    elif counted:
        some = select(words, now).order_by().values("webhook")[:LOOKED_AT]
        rows = rows.filter(pk__in=some)
    else:
        return []
    rows = rows.select_related("health").defer(*SECRETS).order_by("pk")[:NAMED]
    return [(row, lower(webhook_state(row, now).word), _error(row)) for row in rows]


def _error(webhook: Webhook) -> str:
    health = getattr(webhook, "health", None)
    return health.last_error_message if health else ""
