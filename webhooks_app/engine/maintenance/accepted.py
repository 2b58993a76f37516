"""How many deliveries were accepted since the installation began: counted by looking, a while after
they were stored. A row that producers write in their own transactions would be held for as long as
the longest of those.

The counter keeps its place, the last delivery that is counted, beside the number.
"""

from datetime import datetime, timedelta

from django.db import router, transaction
from django.db.models import Count, F, Max, QuerySet

from ...models import Counter, Delivery
from ...models.delivery import db_now
from ...rules.ids import first_id
from .. import store

ACCEPTED = "accepted"
AT_ONCE = 100_000  # deliveries that one look counts
# An id is made a moment before its row commits. What is younger, or younger than a transaction that
# still writes, is not counted yet: its neighbours may be on their way.
SETTLED_AFTER = timedelta(minutes=1)
WAITED_MOST = timedelta(hours=1)  # for such a transaction


def count() -> int:
    """Count what was stored since the last look and is settled; returns how many. Where several
    workers look at once, one of them counts."""
    Counter.objects.get_or_create(name=ACCEPTED, kind="", slot=0)
    own = Counter.objects.filter(name=ACCEPTED)
    place = own.values_list("place", flat=True)[0]
    until = first_id(_settled(db_now()))
    found = _behind(place).filter(pk__lt=until)[:AT_ONCE].aggregate(n=Count("pk"), last=Max("pk"))
    number = found["n"]
    reached = found["last"] if number == AT_ONCE else max(until, place)
    counted = own.filter(place=place).update(count=F("count") + number, place=reached)
    return number if counted else 0


def behind(place: str) -> int:
    """How many deliveries are there that the counter at this place has not counted; as far as one
    look counts. The number is right at any moment, and does not fall when they are counted."""
    alias = router.db_for_write(Delivery)
    with transaction.atomic(alias):
        store.open(alias).by_index_only()
        return _behind(place).using(alias)[:AT_ONCE].count()


def _behind(place: str) -> "QuerySet[Delivery, str]":
    return Delivery.objects.filter(pk__gt=place).order_by("pk").values_list("pk", flat=True)


def _settled(now: datetime) -> datetime:
    writing = store.open(router.db_for_write(Delivery)).writers().values()
    return max(min([now, *writing]) - SETTLED_AFTER, now - WAITED_MOST)
