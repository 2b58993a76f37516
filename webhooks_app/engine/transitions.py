"""The states of a delivery and who changes them. Here stands what people ask for: retry, replay,
cancel, and stop and start of a webhook. Finish is the store's, purge is `pruner`'s.

State × verb (– changes nothing):

| verb   | pending                      | delivered      | failed         | cancelled      |
| ------ | ---------------------------- | -------------- | -------------- | -------------- |
| finish | delivered, failed or pending | recorded only  | recorded only  | recorded only  |
| retry  | due now                      | pending        | pending        | pending        |
| replay | –                            | –              | pending        | –              |
| cancel | cancelled                    | –              | –              | –              |
| skip   | –                            | –              | – (it blocks)  | –              |
| delete | cancelled                    | –              | –              | –              |
| purge  | – (held too long: cancelled) | removed        | removed        | removed        |

(retry and replay of what has ended start again with tries 0; delete is the webhook's. Where a
webhook was stopped because some of these failed, `blocked`, retry, replay and skip of the last of
them start it.)

Each is one UPDATE with its precondition in the WHERE; whoever comes late changes no row.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.db import router, transaction
from django.db.models import Exists, F, Min, OuterRef, QuerySet

from ..models import Delivery, Event, Webhook, WebhookHealth
from ..models.compiled_query import Found
from ..models.delivery import OPEN, DeliveryQuerySet, db_now
from ..models.primary import present
from ..models.webhook import OnDead
from . import store
from .store import record


def retry(delivery_id: str, *, by: str = "") -> bool:
    """Due now; unless pending, tries from 0. False when its webhook is deleted."""
    with transaction.atomic(using=router.db_for_write(Delivery)):
        return bool(retry_all([delivery_id], by=by, delivered_too=True))


def retry_all(ids: Sequence[str], *, by: str = "", delivered_too: bool = False) -> int:
    """`retry` of many; what is delivered stays so unless told otherwise. Returns how many.

    Takes the row locks in the order of the ids, so that two of these never deadlock.
    """
    asked = Delivery.objects.filter(pk__in=ids).order_by().values_list("pk", "webhook_id")
    of = dict(asked)
    # Apart, not joined: with statistics from an empty table PostgreSQL would begin at the webhooks.
    webhooks = Webhook.objects.live().filter(pk__in=set(of.values()))
    live = set(webhooks.values_list("pk", flat=True))
    ids = [pk for pk, webhook in of.items() if webhook in live]
    rows_ = Delivery.objects.filter(pk__in=ids)
    if not delivered_too:
        rows_ = rows_.exclude(state=Delivery.State.DELIVERED)
    with _deciding(ids):
        return _hurry(rows_, by) + _restart(rows_, by)


def failed_since(
    webhook_id: str, since: datetime, until: datetime | None = None
) -> "QuerySet[Delivery]":
    """What gave up from one moment on, and before the other."""
    failed = Delivery.objects.filter(
        webhook=webhook_id,
        webhook__deleted_at__isnull=True,
        state=Delivery.State.FAILED,
        finished_at__gte=since,
    )
    return failed if until is None else failed.filter(finished_at__lt=until)


def replay_some(failed: "QuerySet[Delivery]", place: str, *, by: str = "") -> tuple[int, str]:
    """The next of these deliveries (`failed_since`) behind a place, once more; returns how many,
    and the place that was reached, `""` at the end."""
    rest = failed.filter(pk__gt=place).order_by("pk").values_list("pk", flat=True)
    if not (ids := list(rest[:AT_ONCE])):
        return 0, ""
    with _deciding(ids):
        # By their keys alone: joined, PostgreSQL would go through all of them for each.
        again = Delivery.objects.filter(pk__in=ids, state=Delivery.State.FAILED)
        return _restart(again, by), ids[-1]


AT_ONCE = 2000  # deliveries whose state one transaction changes, of those that may be very many


def _here() -> store.Store:
    return store.open(router.db_for_write(Delivery))


def _now() -> Any:
    """This moment, by the clock that decides (see `models.primary.present`)."""
    return present(router.db_for_write(Delivery))


def _hurry(deliveries: "QuerySet[Delivery]", by: str) -> int:
    """Bring forward the deliveries that are pending."""
    return deliveries.filter(OPEN).update(due_at=_now(), requested_by=by[:150], reason="")


def _restart(deliveries: "QuerySet[Delivery]", by: str) -> int:
    return deliveries.exclude(state=Delivery.State.PENDING).update(
        state=Delivery.State.PENDING,
        reason="",
        due_at=_now(),
        tries=0,
        finished_at=None,
        requested_by=by[:150],
    )


@contextmanager
def _deciding(ids: Sequence[str]) -> Iterator[None]:
    """In one transaction with what is done to these deliveries: where it leaves nothing that blocks
    a webhook that one of them blocked, that goes on."""
    deliveries = Delivery.objects.filter(pk__in=ids)
    with transaction.atomic(using=router.db_for_write(Webhook)):
        deliveries.lock()
        held_up = set(deliveries.holding_up().order_by().values_list("webhook", flat=True))
        if held_up:  # two who decide on two of them, or resume it, do so one after the other
            Webhook.objects.filter(pk__in=held_up).lock()
        blocked = _blocked(deliveries) if held_up else set()
        yield
        if blocked:
            others = _blocked(Delivery.objects.filter(webhook__in=blocked))
            for webhook_id in sorted(blocked - others):
                start(webhook_id)


def _blocked(deliveries: DeliveryQuerySet) -> set[str]:
    """The webhooks that are stopped because some of these gave up."""
    return set(deliveries.blocking().order_by().values_list("webhook", flat=True))


def skip(delivery_id: str, reason: str) -> bool:
    """Let the deliveries behind one that gave up go on without it, at once or when their webhook is
    resumed. False when nothing waits for that."""
    rows_ = Delivery.objects.filter(pk=delivery_id)
    with _deciding([delivery_id]):
        return bool(rows_.holding_up().update(reason=reason[:255]))


def cancel(delivery_id: str, reason: str) -> bool:
    return bool(cancel_rows(Delivery.objects.filter(OPEN, pk=delivery_id), reason))


def cancel_many(ids: Sequence[str], reason: str) -> int:
    rows_ = Delivery.objects.filter(OPEN, pk__in=ids)
    rows_.lock()
    return cancel_rows(rows_, reason)


def cancel_some(webhook_id: str, reason: str, most: int = AT_ONCE) -> int:
    """Cancel the next deliveries that wait for a webhook; returns how many those were. Rows that
    somebody has locked are left for another time."""
    pending = Delivery.objects.pending().filter(webhook=webhook_id)
    skips = _here().connection.features.has_select_for_update_skip_locked
    with transaction.atomic(using=router.db_for_write(Delivery)):
        found = pending.order_by("due_at", "pk").select_for_update(skip_locked=skips, no_key=skips)
        ids = list(found.values_list("pk", flat=True)[:most])
        return cancel_rows(Delivery.objects.filter(OPEN, pk__in=ids), reason) if ids else 0


def end_fan_out(event_id: str) -> None:
    """Make no further delivery of an event. Waits for a step that is under way; none comes after
    it."""
    Event.objects.fanning_out().filter(pk=event_id).update(
        cancelled_after=F("fanned_out_to"), fanned_out_to=None
    )


def cancel_some_of(event_id: str, place: str, reason: str) -> tuple[int, str]:
    """Cancel the next deliveries of an event that wait behind a place; as `replay_some`."""
    waiting = Delivery.objects.filter(OPEN, event=event_id, pk__gt=place).order_by("pk")
    if not (ids := list(waiting.values_list("pk", flat=True)[:AT_ONCE])):
        return 0, ""
    with transaction.atomic(using=router.db_for_write(Delivery)):
        return cancel_many(ids, reason), ids[-1]


def let_others_in() -> None:
    """Between two transactions that change much."""
    _here().let_others_in()


DELETED = "webhook deleted"
_STEPS_MOST = 5  # of cancelling what waits for deleted webhooks, in one turn of the upkeep


def deleted_since(moment: datetime) -> "QuerySet[Webhook]":
    return Webhook.objects.filter(deleted_at__gte=moment)


_is_any_deleted = Found(lambda since: [deleted_since(since)])


def cancel_deleted(within: timedelta, stopped: Callable[[], bool] = bool) -> int:
    """Cancel the deliveries that still wait for webhooks that were deleted within so long; returns
    how many.

    A delete itself cancels only so much that nobody has to wait for it. None of it is sent
    meanwhile.
    """
    since = db_now() - within
    if not any(_is_any_deleted(_here().connection.alias, since)):
        return 0
    gone = deleted_since(since).filter(
        Exists(Delivery.objects.pending().filter(webhook=OuterRef("pk")))
    )
    cancelled = 0
    for _ in range(_STEPS_MOST):
        if stopped() or (webhook := gone.order_by("deleted_at").values_list("pk").first()) is None:
            break
        done = cancel_some(webhook[0], DELETED)
        cancelled += done
        if not done:
            break  # somebody else is at it
        _here().let_others_in()
    return cancelled


def cancel_rows(pending: "QuerySet[Delivery]", reason: str) -> int:
    return pending.update(state=Delivery.State.CANCELLED, reason=reason[:255], finished_at=_now())


def stop(webhook_id: str, reason: str, *, note: str = "", by: str = "") -> bool:
    """Hold everything of a webhook. False when it is stopped already: the first reason stays."""
    return bool(
        Webhook.objects.live()
        .filter(pk=webhook_id, stopped="")
        .update(stopped=reason, stopped_note=note, stopped_by=by[:150], stopped_at=_now())
    )


def start(webhook_id: str) -> bool:
    """Clear the reason for which a webhook is stopped, and close its breaker. A run of failures
    that would stop it again at the next single one is cleared; a shorter one goes on: a pause
    mends nothing. What gave up meanwhile, of a webhook that is to stop then, stops it still."""
    with transaction.atomic(using=router.db_for_write(Webhook)):
        rows_ = Webhook.objects.live().filter(pk=webhook_id).exclude(stopped="")
        # What gives up in this moment is written before, or after, and finds it started.
        locked = rows_.select_for_update(no_key=True).values_list("stopped", "order", "on_dead")
        if found := locked.first():
            dead_at = _gave_up_at(webhook_id, *found)
            rows_.update(**(record.blocked(dead_at) if dead_at else _STARTED))
            health = WebhookHealth.objects.filter(pk=webhook_id)
            # What people let go on begins with one call (see `Reader`), whatever came before.
            at = present(health.db)
            health.update(breaker_until=None, breaker_trips=0, rests_until=None, run_cleared_at=at)
            if health.filter(failing_since__lte=at - record.FAILING_STOPS_AFTER).exists():
                health.clear_run()
    announce(router.db_for_write(Webhook))
    return found is not None


_STARTED: dict[str, Any] = {
    "stopped": "",
    "stopped_note": "",
    "stopped_by": "",
    "stopped_at": None,
}


def _gave_up_at(webhook_id: str, stopped: str, order: str, on_dead: str) -> datetime | None:
    """When the first of its deliveries gave up for which a webhook, stopped for another reason, is
    to be stopped."""
    if stopped == Webhook.Stopped.BLOCKED or not order or on_dead != OnDead.STOP:
        return None
    dead = Delivery.objects.filter(webhook=webhook_id).dead_since_stop()
    at: datetime | None = dead.aggregate(at=Min("finished_at"))["at"]
    return at


def announce(alias: str) -> None:
    """Wake the workers once the present transaction has committed."""
    store.open(alias).announce()
