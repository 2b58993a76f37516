"""Jobs, carried out step by step: each step is bounded, and one transaction with its progress.

Whoever may take a step: the row lock and the place in the job decide between two at once, and
`step_at` keeps the pace. After a kill the next step begins where the last committed one ended.
"""

import logging
from datetime import datetime, timedelta
from typing import Any

from django.db import router, transaction
from django.db.models import F, QuerySet

from ...models import Delivery, Job
from ...models.compiled_query import Found
from ...models.primary import clock, present
from .. import transitions
from ..store.errors import is_away

log = logging.getLogger("webhooks")

STEP_APART = timedelta(seconds=1)
FAILED_APART = timedelta(minutes=1)  # from a step that failed to the next; other jobs go on
LOOK_AT = 5000  # deliveries that one step looks at, at most
JOBS_AT_ONCE = 5


def _now() -> Any:
    """What a step is dated with (see `models.primary.present`)."""
    return present(router.db_for_write(Job))


def _due(now: Any) -> "QuerySet[Job]":
    return Job.objects.filter(step_at__lte=now, state=Job.State.RUNNING)


_is_any_due = Found(lambda now: [_due(now)])


def turn() -> int:
    """One step of every job whose time has come; returns how many deliveries were looked at."""
    alias = router.db_for_write(Job)
    now = clock(alias)
    if not any(_is_any_due(alias, now)):
        return 0
    looked_at = 0
    for job in _due(_now()).order_by("step_at")[:JOBS_AT_ONCE]:
        try:
            looked_at += step(job, now)
            transitions.let_others_in()
        except Exception as error:
            if is_away(error) or isinstance(error, MemoryError):
                raise  # the others would fare no better
            log.exception("a step of job %s failed, it is tried again", job.pk)
            Job.objects.filter(pk=job.pk).update(step_at=_now() + FAILED_APART)
    return looked_at


def step(job: Job, now: datetime) -> int:
    """The next few deliveries of a job. What is read here is judged again by the verb."""
    try:
        found, place, ended = _next(job, now)
    except ValueError as error:  # written by another version
        log.error("job %s cannot be carried out: %s", job.pk, error)
        Job.objects.filter(pk=job.pk).update(state=Job.State.STOPPED, finished_at=now)
        return 0
    with transaction.atomic(using=router.db_for_write(Job)):
        mine = Job.objects.filter(pk=job.pk, state=Job.State.RUNNING, place=job.place)
        if mine.select_for_update().first() is None:
            return 0
        by = job.signature
        if job.verb == Job.Verb.RETRY:
            done = transitions.retry_all(found, by=by, delivered_too=job.delivered_too)
        else:
            done = transitions.cancel_many(found, f"cancelled by {by}")
        mine.update(
            place=place,
            done=F("done") + done,
            skipped=F("skipped") + len(found) - done,
            step_at=_now() + STEP_APART,
            state=Job.State.DONE if ended else Job.State.RUNNING,
            finished_at=now if ended else None,
        )
        if done and job.verb == Job.Verb.RETRY:
            transitions.announce(router.db_for_write(Delivery))
    return len(found)


def _next(job: Job, now: datetime) -> tuple[list[str], str, bool]:
    """Ids to work on, the place they reach up to, and whether that is the end. Raises ValueError
    for a job that cannot be understood."""
    Job.Verb(job.verb)
    ahead = Delivery.objects.filter(pk__gt=job.place, pk__lte=job.last).order_by("pk")
    if not job.place:  # however much older history there is
        ahead = ahead.filter(pk__gte=job.first)
    webhook = job.selection.get("webhook")
    if webhook:
        ahead = ahead.filter(webhook=webhook)
    # However few match, a step looks at so many and no more.
    edge = ahead.values_list("pk", flat=True)[LOOK_AT - 1 : LOOK_AT].first()
    place = edge or job.last
    matching = job.deliveries(now).filter(pk__gt=job.place, pk__lte=place).order_by("pk")
    found = list(matching.values_list("pk", flat=True)[: job.pace + 1])
    if len(found) > job.pace:
        found.pop()
        return found, found[-1], False
    return found, place, edge is None
