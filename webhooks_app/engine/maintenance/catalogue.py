"""The worker notes event types that it sees for the first time, so that publishing need not."""

from collections import Counter
from datetime import timedelta

from django.db import router
from django.db.models import Count, Q

from ... import conf
from ...models import Event, EventType
from ...models.primary import clock
from ...rules.ids import first_id

TYPES_MOST = 1000  # of an account; what nobody declared is not noted beyond
BACK = timedelta(days=1)  # to which a process that has just begun looks
OVERLAP = timedelta(seconds=10)  # in which an event may still commit late
LOOK_AT = 5000  # events of one turn

_place = ""  # the event up to which this process has looked


def turn() -> int:
    """Note the types of the next events, where any type may be published; returns how many new ones
    there were."""
    global _place
    if conf.settings.event_types_declared:
        return 0
    now = clock(router.db_for_write(Event))
    after = Event.objects.filter(pk__gt=_place or first_id(now - BACK)).order_by("pk")
    found = list(after.values_list("pk", "account_id", "type")[:LOOK_AT])
    noted = _note({(account, type) for _, account, type in found})
    goes_on = len(found) == LOOK_AT
    _place = found[-1][0] if goes_on else max(_place, first_id(now - OVERLAP))
    return noted


def _note(types: set[tuple[int, str]]) -> int:
    names = {name for _, name in types}
    accounts = {account for account, _ in types}
    there = EventType.objects.filter(name__in=names)
    known = there.filter(Q(account__in=accounts) | Q(account__isnull=True))
    for account, name in known.values_list("account_id", "name"):
        types -= {(account, name)} if account is not None else {(a, name) for a in accounts}
    if not types:
        return 0
    counts = EventType.objects.filter(account__in={account for account, _ in types})
    room = Counter({account: TYPES_MOST for account, _ in types})
    room.subtract(dict(counts.order_by().values_list("account").annotate(Count("pk"))))
    new = []
    for account, name in sorted(types):
        if room[account] > 0:
            room[account] -= 1
            new.append(EventType(account_id=account, name=name, seen=True))
    EventType.objects.bulk_create(new, ignore_conflicts=True)
    return len(new)
