"""What a worker does beside sending: steps of jobs, notices, who is unsteady, totals of the hours
that are over, the purge. In a thread and on a connection of its own, so that no delivery waits; and
what may take long has a share of each turn, so that nothing of it waits either."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import connections, router
from django.db.models import QuerySet

from ... import conf
from ...models import AuditEntry, Job, SigningKey, sequences
from ...models.primary import clock
from .. import fanout, faults, lag, store, transitions
from ..knobs import DEFAULT, Knobs
from ..store.errors import is_away, is_locked
from ..threads import OneThread
from . import accepted, catalogue, jobs, pruner, steadiness, totals
from . import notices as letters
from .pruner import Steps

log = logging.getLogger("webhooks")

DELETED_LATELY = timedelta(hours=1)  # what waits for webhooks deleted since is looked for each time


async def run(alias: str, knobs: Knobs) -> None:
    """Upkeep until cancelled; then the step that is under way stops at its next batch. A step that
    fails is tried again in the next round."""
    thread = OneThread("webhooks-upkeep")
    due, stopping = Due(), threading.Event()
    put_off: set[str] = set()
    under_way: dict[str, Steps] = {}
    works = partial(
        turn,
        stopped=stopping.is_set,
        put_off=put_off,
        under_way=under_way,
        share=knobs.upkeep_share,
    )
    try:
        await thread.run(lambda: store.open(alias).own(knobs))
        while True:
            await asyncio.sleep(knobs.upkeep_every)
            await thread.run(
                works,
                due.now("notices", knobs.notices_every),
                due.now("purge", knobs.purge_every),
                due.now("steadiness", knobs.steadiness_every),
                due.now("accepted", knobs.accepted_every),
            )
    finally:
        stopping.set()
        await thread.run(connections.close_all)
        thread.close()


class Due:
    """When each thing was done last; at first everything is due."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def now(self, what: str, every: float) -> bool:
        """Whether a step is due; then it is due again after `every` seconds."""
        due = time.monotonic() >= self._at.get(what, 0.0)
        if due:
            self._at[what] = time.monotonic() + every
        return due


def turn(
    notices: bool = True,
    purge: bool = False,
    judge: bool = False,
    count: bool = False,
    *,
    stopped: Callable[[], bool] = bool,
    put_off: set[str] | None = None,
    under_way: dict[str, Steps] | None = None,
    share: float = DEFAULT.upkeep_share,
) -> None:
    """One round: a step of every job, the notices, who is unsteady and totals, what is accepted
    and how late we are, the purge.

    What fails in one of these is logged, and keeps none of the others from its turn. `put_off`
    remembers between rounds what fails, so that the log says it once an outage; `under_way` what
    was not done within its `share` of a round (seconds), and goes on in the next.
    """
    put_off = set() if put_off is None else put_off
    under_way = {} if under_way is None else under_way
    within = timedelta(days=36_500) if purge else DELETED_LATELY
    steps: list[tuple[str, Callable[[], object]]] = [
        ("counting errors of the database", faults.write_down),
        ("jobs", jobs.turn),
        ("fan-out", fanout.turn),
        ("cancelling for deleted webhooks", partial(transitions.cancel_deleted, within, stopped)),
    ]
    if notices:
        steps.append(("notices", partial(letters.turn, stopped, seconds=share)))
        steps.append(("event types", catalogue.turn))
    if judge:
        steps.append(("steadiness", partial(steadiness.judge, stopped=stopped)))
        steps.append(("totals", totals.add_up))
    if count:
        steps.append(("counting what is accepted", accepted.count))
        steps.append(("noting how late we are", lag.note))
    if purge:
        under_way.setdefault("purge", pruner.purging(conf.settings.retention))
        under_way.setdefault("purge of records", purging_records())
    for what in list(under_way):
        steps.append((what, partial(_go_on, under_way, what, share, stopped)))
    for what, step in steps:
        if stopped():
            return
        told = what in put_off
        try:
            step()
        except MemoryError:
            raise
        except Exception as error:
            passes = is_away(error) or is_locked(error)
            if passes:
                faults.note()
                connections.close_all()  # the next step finds out itself
            elif sequences.is_behind(error):
                sequences.catch_up()
            level = logging.DEBUG if told else logging.WARNING if passes else logging.ERROR
            log.log(level, "%s: put off (%s)", what, faults.told(error), exc_info=not passes)
            put_off.add(what)
        else:
            if told:
                log.warning("%s: goes on", what)
                put_off.discard(what)


def _go_on(
    under_way: dict[str, Steps], what: str, share: float, stopped: Callable[[], bool]
) -> None:
    """Take steps of what is under way, one at least, until its share is over. What raises goes on
    no more."""
    steps, until = under_way.pop(what), time.monotonic() + share
    while pruner.take(steps):
        if stopped() or time.monotonic() >= until:
            under_way[what] = steps
            return


def purge_records(
    *, dry_run: bool = False, at_once: int = 1000, stopped: Callable[[], bool] = bool
) -> dict[str, int]:
    """Remove jobs that ended, and lines of the audit log, past their own days of retention; and
    signing secrets whose overlap is over.

    Returns how many of each. Deletes `at_once` rows a transaction, until `stopped` says so.
    """
    old = _old_records()
    if dry_run:
        return {name: expired.count() for name, expired in old.items()}
    removed = dict.fromkeys(old, 0)
    pruner.walk(purging_records(removed, at_once), stopped)
    return removed


def purging_records(removed: dict[str, int] | None = None, at_once: int = 1000) -> Steps:
    """`purge_records` step by step; counts in `removed` what has gone."""
    old = _old_records()
    removed = dict.fromkeys(old, 0) if removed is None else removed
    for name, expired in old.items():
        for idents in pruner.batches(expired.order_by(), at_once):
            removed[name] += expired.filter(pk__in=idents).delete()[0]
            yield


def _old_records() -> "dict[str, QuerySet[Any]]":
    now = clock(router.db_for_write(Job))
    return {
        "jobs": Job.objects.filter(finished_at__lt=now - conf.settings.job_retention),
        "audit entries": AuditEntry.objects.filter(at__lt=now - conf.settings.audit_retention),
        "old signing secrets": SigningKey.objects.expired(),
    }
