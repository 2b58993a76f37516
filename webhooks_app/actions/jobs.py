"""Jobs: one verb for many deliveries, carried out by the worker."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from ..models import AuditEntry, Delivery, Job
from ..models.delivery_filters import select
from ..models.job import PACE, PACE_LIMIT
from ..models.primary import clock
from ..models.statement_timeout import TooSlow, in_time
from ..rules.ids import first_id
from .base import because, db_alias, is_number
from .errors import Invalid

COUNTED = 1000  # nothing is counted further
COUNTED_IN = 0.15  # seconds


def matching(words: Mapping[str, str], *, limit: int) -> int | None:
    """How many deliveries a selection holds (`models.delivery_filters`), counted up to `limit` + 1.

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
        return select(words, clock(db_alias()))
    except ValueError as error:
        raise Invalid({"selection": [f"Not understood: {error}."]}) from error


def create_job(
    verb: str,
    words: Mapping[str, str],
    *,
    delivered_too: bool = False,
    pace: int = PACE,
    note: str = "",
    by: str = "",
) -> Job:
    """Have the worker retry or cancel (`Job.Verb`) all deliveries that a selection holds now.

    `pace` is deliveries a second, 1 to 1,000. What was delivered is sent again with
    `delivered_too` only. `note`: why, for the audit log, which keeps 255 characters of it. Raises
    Invalid (`verb`, `selection`, `pace`).
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
    made = clock(db_alias(), anew=True)  # what is made after the job is none of its business
    now = first_id(made)
    job = Job(
        verb=verb,
        selection=dict(words),
        delivered_too=delivered_too,
        pace=_pace(pace),
        expected=count if count is not None and count <= COUNTED else None,
        first=oldest or now,
        last=now,
        created_by=by[:150],
        created_at=made,
        step_at=made,
    )
    said = f"Started: {job.get_verb_display()} what a selection holds."
    with transaction.atomic(using=db_alias()):
        job.save(force_insert=True)
        AuditEntry.objects.note(by, because(said, note), job)
    return job


def _pace(pace: int) -> int:
    if not (isinstance(pace, int) and is_number(pace) and 1 <= pace <= PACE_LIMIT):
        raise Invalid({"pace": [f"Must be a whole number from 1 to {PACE_LIMIT:,}."]})
    return pace


def pause_job(job: Job, *, by: str = "") -> bool:
    """Take no further step until `resume_job`. False when it is not running."""
    return _turn_job(job, "Paused.", by, Job.State.RUNNING, state=Job.State.PAUSED)


def resume_job(job: Job, *, by: str = "") -> bool:
    """Go on where it was paused. False when it is not paused."""
    return _turn_job(job, "Resumed.", by, Job.State.PAUSED, state=Job.State.RUNNING)


def stop_job(job: Job, *, by: str = "") -> bool:
    """End it; what it has done stays done. False when it has ended already."""
    ended = {"state": Job.State.STOPPED, "finished_at": clock(db_alias())}
    return _turn_job(job, "Stopped.", by, *OPEN, **ended)


def set_pace(job: Job, pace: int, *, by: str = "") -> bool:
    """Go on at so many deliveries a second, 1 to 1,000. Raises Invalid; False when the job has
    ended."""
    return _turn_job(job, f"Set the pace to {pace:,} a second.", by, *OPEN, pace=_pace(pace))


OPEN = (Job.State.RUNNING, Job.State.PAUSED)


def _turn_job(job: Job, words: str, by: str, *when: str, **changes: Any) -> bool:
    with transaction.atomic(using=db_alias()):
        turned = bool(Job.objects.filter(pk=job.pk, state__in=when).update(**changes))
        if turned:
            AuditEntry.objects.note(by, words, job)
    return turned
