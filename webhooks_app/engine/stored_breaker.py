"""The breaker of a webhook, as calls that somebody waits for feed and ask it.

Failures in a row that say that the receiver is not there open it (ten, where the webhook says no
other number), and calls rest; then one call is the probe: an answer closes it, a failure opens it
for longer. Deliveries do the same in the memory of the worker that owns the webhook (`breaker`),
which writes what it finds into the webhook's health and reads there what was found here.
"""

from datetime import datetime, timedelta

from django.db.models import F

from ..models import Attempt, WebhookHealth
from ..models.primary import clock
from ..rules import failures
from .knobs import DEFAULT
from .store.record import COUNTING


def note_away(alias: str, webhook_id: str, exchange: str, *, probe: bool = False) -> None:
    """The receiver of an interaction or a test was not there, as was just recorded in the caller's
    transaction, which holds the health of the webhook (and has closed the breaker of one that was
    there: `store.record`). A test finds out, and opens nothing. Of
    calls that were under way when it opened only the probe opens it once more."""
    if exchange not in COUNTING:
        return
    health = WebhookHealth.objects.using(alias).filter(pk=webhook_id)
    long = health.filter(failures_in_row__gte=F("webhook__breaker_after"))
    run = long.filter(webhook__breaker_off=False).select_related("webhook").first()
    if run is None:
        return
    if not (run.breaker_trips or _are_all_away(alias, webhook_id, run.webhook.breaker_after)):
        return
    now = clock(alias)
    if run.is_resting(now) and not probe:
        return
    until = now + timedelta(seconds=DEFAULT.breaker_pause(run.breaker_trips))
    health.update(breaker_until=until, breaker_trips=F("breaker_trips") + 1)


def _are_all_away(alias: str, webhook_id: str, number: int) -> bool:
    """Of the failures in a row, which hold refusals, too, the last so many."""
    last = Attempt.objects.using(alias).filter(webhook=webhook_id, exchange__in=COUNTING)
    kinds = last.order_by("-id").values_list("kind", flat=True)[:number]
    return all(kind and kind not in failures.ANSWERED for kind in kinds)


def take_probe(alias: str, webhook_id: str, now: datetime, seconds: float) -> bool:
    """Whether this call is the one that may try a breaker whose time is up. For the others it is
    open so much longer: as long as the probe may take."""
    health = WebhookHealth.objects.using(alias).filter(pk=webhook_id, breaker_until__lte=now)
    return bool(health.update(breaker_until=now + timedelta(seconds=seconds)))
