"""What the event loop of a worker and the thread that reads for it hand to each other: plain data,
which belongs to whoever has it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..models.webhook import BREAKER_AFTER
from ..rules.failures import Failure
from ..rules.rates import Rate
from .http import message
from .line import Found
from .store import Claimed, Want


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a worker tells of itself."""

    in_flight: int = 0
    in_flight_of: Mapping[str, int] = field(default_factory=dict)  # by webhook
    sent: int = 0
    unwritten: int = 0  # outcomes that cannot be written
    holds: bool = False  # the site is held, and it begins no call


@dataclass(slots=True)
class Due:
    """What became due, as a look and a scan found it."""

    site_held: bool = False  # nothing was looked for
    looked: bool = False
    scanned: bool = False  # a scan is through
    waiting: list[str] = field(default_factory=list)  # webhooks, found by a scan
    marked: list[str] = field(default_factory=list)  # webhooks, found by a look
    back_to: Any = None  # the due time from which that look read
    arrived: list[Claimed] = field(default_factory=list)  # what no earlier look saw


@dataclass(slots=True)
class Claims:
    """What was read for lanes that asked."""

    rows: list[tuple[Want, list[Claimed]]] = field(default_factory=list)
    lines: list[Found] = field(default_factory=list)
    held: list[str] = field(default_factory=list)  # gave nothing, for they may not be called

    @property
    def found_anything(self) -> bool:
        lines = any(found.heads or found.keys for found in self.lines)
        return lines or any(rows for _, rows in self.rows)

    @property
    def stale(self) -> list[str]:
        """Webhooks of which something was read in another version than their lane knows."""
        claimed = [
            want.webhook_id for want, rows in self.rows if rows and rows[-1].version != want.version
        ]
        lines = [
            found.question.webhook_id
            for found in self.lines
            if any(row.version != found.question.version for h in found.heads for row in h.rows)
        ]
        return claimed + lines


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a lane needs to know of its webhook. `failure`: no request can be made of it."""

    version: int
    top: int
    timeout: float
    url: str
    head: message.Head | None
    failure: Failure | None = None
    breaker_left: float = 0.0  # seconds
    breaker_trips: int = 0
    breaker_after: int = BREAKER_AFTER  # failures in a row; 0: never
    rate: Rate | None = None
    rest_left: float = 0.0  # seconds,
    rests: int = 0  # as its receiver has asked so many times in a row; 0: by its rate
    is_back: bool = False  # people let it go on, and no call has succeeded since
    is_failing: bool = False  # its last call failed
    order: str = ""  # what is sent one after the other
    stops_at_dead: bool = False  # when all tries of one of these have failed


@dataclass(slots=True)
class Loads:
    """What was loaded, and of whom no key opens the secrets."""

    loaded: dict[str, Loaded] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Memory:
    """What a worker has in memory that people may have changed; of very much, some in turn."""

    # What waits since a while: by webhook its version and the ids.
    waiting: Mapping[str, tuple[int, Sequence[str]]] = field(default_factory=dict)
    held: Sequence[str] = ()  # webhooks that may be callable again
    open_breakers: Sequence[str] = ()
    resting: Sequence[str] = ()  # webhooks whose receivers asked for a pause


@dataclass(slots=True)
class Changes:
    """What people have changed of it, and what interactions did."""

    held: list[str] = field(default_factory=list)  # webhooks that may not be called any more
    freed: list[str] = field(default_factory=list)  # that may be called again
    changed: list[str] = field(default_factory=list)  # that have another version
    # Of what waits, by webhook, ids of what is not pending any more.
    ended: dict[str, set[str]] = field(default_factory=dict)
    closed: list[str] = field(default_factory=list)  # webhooks whose breakers people closed
    rested: list[str] = field(default_factory=list)  # whose pause they ended
    # Breakers that are open, of some webhooks: for how many seconds, and how often they opened.
    opened: dict[str, tuple[float, int]] = field(default_factory=dict)
