"""Who gets an event: which subscriptions cover its type, hear its channels, and what their filters
say, as far as one transaction has room: a step of the fan-out (`fanout`).
"""

import logging
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple

from ..models import Event, Subscription, Webhook
from ..rules.ids import ID_LENGTH
from ..rules.subscriptions import lookups
from .hearing import Hearing
from .store import Store, microseconds

log = logging.getLogger("webhooks")

STEP = 10_000  # receivers of one transaction, of all its events together
READ_MOST = 25_000  # subscriptions that it reads
LOOKS = 250_000  # subscriptions that it compares with events, and those of the last one
VISITS = 500_000  # elements of payloads that its filters look at: some half a second
VISITS_TOGETHER = 100_000  # of an account, where several share it
FILTERS = 10_000  # different filters that one event is asked in it

_S, _W = Subscription._meta.db_table, Webhook._meta.db_table


class Group(NamedTuple):
    """Subscriptions that hear alike (one pattern, the same channels and filter), of webhooks that
    want the same: a form, an order, and a schedule to try again."""

    wish: str  # as _WISH spells it; "": not looked up yet
    channels: Sequence[str]
    filter: str
    webhooks: list[str]  # in order


Candidates = dict[tuple[int, str], list[Group]]  # by account and pattern


@dataclass(slots=True)
class Judged:
    """Who gets an event, of some candidates."""

    receivers: list[tuple[str, str]] = field(default_factory=list)  # webhook and wish
    filtered: int = 0
    place: str | None = None  # the webhook up to which it was judged; None: to the end

    def is_within(self, receivers: int) -> bool:
        """Whether these are all, and no more than so many."""
        return self.place is None and len(self.receivers) <= receivers


@dataclass(slots=True)
class Room:
    """What is left of a transaction, for all its events together."""

    receivers: int = field(default_factory=lambda: STEP)
    looks: int = field(default_factory=lambda: LOOKS)
    visits: int = field(default_factory=lambda: VISITS)
    in_parts: bool = True  # whether an event for which it is too small is judged in part

    @property
    def is_gone(self) -> bool:
        return min(self.receivers, self.looks, self.visits) <= 0


_WANTED = (("account", "int8"), ("pattern", "text"), ("after", "text"), ("at", "moment"))
# By itself: joined, all webhooks there are might be read.
# In one text, for one look: form and order as `payload,key`; with a schedule of the webhook's own
# `payload,key:5,300`.
_WISH = (
    f"(SELECT h.form || ',' || h.\"order\" || COALESCE(':' || h.retry_schedule, '') FROM {_W} h "
    "WHERE h.id = %s AND h.account_id = %s AND h.deleted_at IS NULL)"
)
# What hears alike comes in one row: ten thousand rows cost more than all that is done with them.
# The wish only where no filter decides yet: for each of ten thousand, it costs more than the rest.
# `|| ''`: not by the index of another column, which holds the subscriptions of all accounts.
_CANDIDATES = f"""
    SELECT account, pattern, wish, channels, filter, {{ids}} FROM (
      SELECT s.account_id AS account, s.pattern, s.channels, s.filter,
             s.webhook_id || '' AS webhook,
             CASE WHEN s.filter = '' THEN {_WISH % ("s.webhook_id", "s.account_id")} END AS wish
      FROM {{rows}}
      JOIN {_S} s ON s.account_id = r.account AND s.pattern = r.pattern
      WHERE {{condition}} AND s.webhook_id || '' > r.after
      {{order}} LIMIT {{most}}
    ) c GROUP BY account, pattern, wish, channels, filter"""
_WISHES = f"SELECT r.id, {_WISH % ('r.id', 'r.account')} FROM {{rows}}"
_IDS = (("id", "text"), ("account", "int8"))
_PRESENT = "s.valid_until IS NULL"
_OF_THEN = tuple(f"s.valid_from <= r.at AND {held}" for held in (_PRESENT, "s.valid_until > r.at"))


def candidates(
    queue: Store,
    wanted: Iterable[tuple[int, str]],
    *,
    after: str = "",
    at: datetime | None = None,
) -> tuple[Candidates, str | None]:
    """The present subscriptions of accounts with these patterns (or those of a moment); and the
    webhook up to which, in the order of their ids, these are all, None where there are no more."""
    moment = 0 if at is None else microseconds.of(at)
    rows = [(account, pattern, after, moment) for account, pattern in sorted(wanted)]
    conditions = (_PRESENT,) if at is None else _OF_THEN
    found, upto = _read(queue, rows, conditions, ""), None
    if _number(found) > READ_MOST:
        # There are more than are read: then the first ones, and ordering costs.
        found = _read(queue, rows, conditions, "ORDER BY webhook")
        every = sorted(chain.from_iterable(group.webhooks for _, group in found))
        last = every[READ_MOST]  # of which there may be more
        upto = every[bisect_left(every, last) - 1]
        for _, group in found:
            del group.webhooks[bisect_left(group.webhooks, last) :]
    by_key: Candidates = {}
    for key, group in found:
        if group.webhooks and (group.wish or group.filter):  # else they are deleted
            by_key.setdefault(key, []).append(group)
    return by_key, upto


Found = list[tuple[tuple[int, str], Group]]  # by account and pattern


def _read(queue: Store, rows: Sequence[Any], conditions: Sequence[str], order: str) -> Found:
    sql = _CANDIDATES.replace("{ids}", queue.joined("webhook")).replace("{order}", order)
    sql = sql.replace("{most}", str(READ_MOST + 1))
    return [
        ((account, pattern), Group(wish or "", channels.split(), text, _cut_up(ids)))
        for condition in conditions
        for account, pattern, wish, channels, text, ids in queue.select(
            sql.replace("{condition}", condition), _WANTED, rows
        )
    ]


def _cut_up(ids: str) -> list[str]:
    return sorted([ids[n : n + ID_LENGTH] for n in range(0, len(ids), ID_LENGTH)])


def _number(found: Found) -> int:
    return sum(len(group.webhooks) for _, group in found)


def judged(
    queue: Store,
    events: Sequence[Event],
    *,
    after: str = "",
    at: datetime | None = None,
    together: bool = False,
) -> list[Judged]:
    """Who gets some events, of the webhooks behind `after`, by the subscriptions of a moment.

    `together`: several share the transaction and wait for each other, so that an account has little
    room in it; an event that wants more is not judged.
    """
    wanted = {(event.account_id, pattern) for event in events for pattern in lookups(event.type)}
    found, upto = candidates(queue, wanted, after=after, at=at)
    accounts = {event.account_id for event in events}
    rooms = dict.fromkeys(accounts, Room())
    if together:
        rooms = {one: Room(visits=VISITS_TOGETHER, in_parts=False) for one in accounts}
    judged = [_judge(event, found, upto, rooms[event.account_id]) for event in events]
    unknown = {
        (ident, event.account_id)
        for event, one in zip(events, judged, strict=True)
        for ident, wish in one.receivers
        if not wish
    }
    if unknown:
        wishes: dict[str, str] = dict(queue.select(_WISHES, _IDS, sorted(unknown)))
        for one in judged:
            known = [(ident, wish or wishes[ident]) for ident, wish in one.receivers]
            one.receivers = [pair for pair in known if pair[1]]  # else it is deleted
    return judged


def _judge(event: Event, found: Candidates, upto: str | None, room: Room) -> Judged:
    """Who of these gets an event, as far as there is room."""
    hearing = Hearing(event.type, event.channels, bytes(event.payload))
    groups = [
        group
        for pattern in lookups(event.type)
        for group in found.get((event.account_id, pattern), ())
        if hearing.hears(group.channels)
    ]
    if room.is_gone and groups:
        return Judged(place="")
    groups.sort(key=_first)
    receivers: dict[str, str] = {}  # webhooks and their wishes
    refused: set[str] = set()
    end = None  # the first webhook that is not judged
    for number, group in enumerate(groups):
        is_full = room.is_gone or hearing.tried >= FILTERS
        if is_full and not room.in_parts:
            return Judged(place="")
        if is_full and _first(group) > _first(groups[0]):
            end = _first(group)
            groups = groups[:number]
            break
        if _takes(hearing, group.filter, room):
            receivers.update(dict.fromkeys(group.webhooks, group.wish))
        else:
            refused.update(group.webhooks)
        room.looks -= len(group.webhooks)
    return _cut(groups, receivers, refused.difference(receivers), end, upto, room)


def _first(group: Group) -> str:
    return group.webhooks[0]


def _takes(hearing: Hearing, text: str, room: Room) -> bool:
    if not text:
        return True
    before = hearing.visits
    said = hearing.says(text)
    room.visits -= hearing.visits - before
    if said == "unreadable":
        log.error("a stored filter cannot be read by this version, it takes nothing")
    return said == "takes"


def _cut(
    groups: Sequence[Group],
    receivers: dict[str, str],
    refused: set[str],
    end: str | None,
    upto: str | None,
    room: Room,
) -> Judged:
    """What was found, up to the webhook `end`, and to as many receivers as there is room for."""
    chosen, place = sorted(receivers), upto
    if end is not None:
        del chosen[bisect_left(chosen, end) :]
        place = max(ident for group in groups for ident in group.webhooks if ident < end)
    if len(chosen) > room.receivers:
        del chosen[room.receivers :]
        place = chosen[-1]
    room.receivers -= len(chosen)
    filtered = refused if place is None else [ident for ident in refused if ident <= place]
    return Judged([(ident, receivers[ident]) for ident in chosen], len(filtered), place)
