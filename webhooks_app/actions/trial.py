"""Subscriptions tried before they are saved: on one event, and on the events there were. Reads
only."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models.functions import Length

from ..models import Account, Event
from ..rules.filters import Budget, Check, compiled
from .reasons import Asked

HISTORY_MOST = 1000  # events
HISTORY_BYTES = 32 * 1024 * 1024  # of payloads that are read
HISTORY_SECONDS = 2.0
READ_AT_ONCE = 4 * 1024 * 1024  # bytes of payloads


@dataclass(frozen=True, slots=True)
class Trial:
    """Whether an event is taken, `by` which subscription (its place; None: by none), and how each
    condition stands. Pointers lead into the list of the subscriptions: `/0/filter/total/$gte`."""

    matches: bool
    by: int | None
    checks: list[Check]


@dataclass(frozen=True, slots=True)
class History:
    """Of the `looked` newest events of an account the ids of those that are taken. `cut`: why no
    more were looked at, `time` or `size`; `""` where that was no reason."""

    looked: int
    matched: list[str]
    cut: str


def tried(subscriptions: Sequence[Mapping[str, Any]], asked: Asked) -> Trial:
    """What subscriptions, as `judged` gives them, say of one event."""
    by, checks = None, []
    for place, one in enumerate(subscriptions):
        takes, found = _checked(one, f"/{place}", asked)
        checks += found
        if takes and by is None:
            by = place
    return Trial(by is not None, by, checks)


def tried_on_history(
    account: Account | int, subscriptions: Sequence[Mapping[str, Any]], most: int = HISTORY_MOST
) -> History:
    """Which of the newest events, `most` of them, they would have taken. Reads payloads of at most
    HISTORY_BYTES, for at most HISTORY_SECONDS."""
    until = time.monotonic() + HISTORY_SECONDS
    rows = Event.objects.for_account(account).order_by("-pk").annotate(size=Length("payload"))
    events = list(rows.only("type", "channels")[:most])
    payloads = _Payloads(events)
    matched: list[str] = []
    for looked, event in enumerate(events):
        asked = Asked(event.type, event.channels, b"null")
        near = [one for one in subscriptions if _is_near(one, asked)]
        if near and all(one["filter"] for one in near):
            payload = payloads.of(event)
            if payload is None:
                return History(looked, matched, "size")
            asked = Asked(event.type, event.channels, payload)
            for one in near:
                if time.monotonic() >= until:
                    return History(looked, matched, "time")
                if asked.says(one["filter"]) == "takes":
                    break
            else:
                near = []
        if near:
            matched.append(event.pk)
    return History(len(events), matched, "")


def _is_near(one: Mapping[str, Any], asked: Asked) -> bool:
    """Whether it covers the type and hears the channels."""
    return asked.covers(one["types"]) and asked.hears(one["channels"])


def _checked(one: Mapping[str, Any], pointer: str, asked: Asked) -> tuple[bool, list[Check]]:
    """Whether a subscription takes it, and each of its conditions."""
    channels = list(asked.channels)
    covers = asked.covers(one["types"])
    hears = asked.hears(one["channels"])
    checks = [Check(f"{pointer}/types", covers, True, asked.type)]
    if one["channels"]:
        checks.append(Check(f"{pointer}/channels", hears, bool(channels), channels))
    if not one["filter"]:
        return covers and hears, checks
    said = asked.says(one["filter"])
    place = f"{pointer}/filter"
    if said in ("too-costly", "unreadable"):
        checks.append(Check(place, None, True, None))
    if said == "unreadable":
        return False, checks
    found = compiled(one["filter"]).checks(asked.payload, Budget())
    checks += [check._replace(pointer=place + check.pointer) for check in found]
    return covers and hears and said == "takes", checks


class _Payloads:
    """Those of some events, in their order, read some at a time."""

    def __init__(self, events: Sequence[Any]) -> None:
        self._events = events
        self._read: dict[str, bytes] = {}
        self._left = HISTORY_BYTES

    def of(self, event: Any) -> bytes | None:
        """None where all that may be read was read."""
        if event.pk not in self._read:
            self._read = self._next(event)
        return self._read.get(event.pk)

    def _next(self, first: Any) -> dict[str, bytes]:
        """The payloads from an event on."""
        idents, size = [], 0
        for event in self._events[self._events.index(first) :]:
            if size + event.size > min(self._left, READ_AT_ONCE):
                break
            size += event.size
            idents.append(event.pk)
        self._left -= size
        rows = Event.objects.filter(pk__in=idents).values_list("pk", "payload")
        return {ident: bytes(payload) for ident, payload in rows}
