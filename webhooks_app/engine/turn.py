"""What the event loop of a worker and the thread that reads for it hand to each other: plain data,
which belongs to whoever has it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..models.webhook import BREAKER_AFTER
from ..rules.failures import Failure
from ..rules.rates import Rate
from . import calls, message
from .line import Found, Question
from .store import Claimed, Want


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
class Heartbeat:
    """What a worker tells of itself."""

    in_flight: int = 0
    in_flight_of: Mapping[str, int] = field(default_factory=dict)  # by webhook
    sent: int = 0
    unwritten: int = 0  # outcomes that cannot be written
    holds: bool = False  # the site is held, and it begins no call


@dataclass(slots=True)
class Turn:
    """What the loop asks."""

    wants: Sequence[Want] = ()
    lines: Sequence[Question] = ()  # of webhooks that are sent to in order
    room: bool = False  # what is just found may be claimed, too
    look: bool = False  # something was announced
    busy: frozenset[int] | None = None  # given when it is time to look at the ownership
    leaving: bool = False  # the worker stops: take and claim nothing more
    held: Sequence[str] = ()  # webhooks that may be callable again
    # What waits in memory since a while: by webhook its version and the ids.
    waiting: Mapping[str, tuple[int, Sequence[str]]] = field(default_factory=dict)
    open_breakers: Sequence[str] = ()  # breakers that people may have closed
    resting: Sequence[
        str
    ] = ()  # webhooks whose receiver asked for a pause that they may have ended
    verifying: Mapping[str, int] = field(default_factory=dict)  # under way: webhook and account
    heartbeat: Heartbeat | None = None  # given when it is time for one


@dataclass(slots=True)
class Answer:
    """What was found."""

    owned: frozenset[int] = frozenset()
    # By how much the database's clock is ahead of the monotonic one, in microseconds. None: it is
    # this host's.
    clock_ahead: int | None = None
    site_held: bool = False  # nothing was looked for
    looked: bool = False
    scanned: bool = False  # a scan is through
    waiting: list[str] = field(default_factory=list)  # webhooks, found by a scan
    marked: list[str] = field(default_factory=list)  # found by a look
    back_to: Any = None  # the due time from which that look read
    arrived: list[Claimed] = field(default_factory=list)  # what no earlier look saw
    claimed: list[tuple[Want, list[Claimed]]] = field(default_factory=list)
    lines: list[Found] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    freed: list[str] = field(default_factory=list)
    # Of what waits in memory: webhooks of another version; and ids, by webhook, of what is not
    # pending any more.
    changed: list[str] = field(default_factory=list)
    ended: dict[str, set[str]] = field(default_factory=dict)
    closed: list[str] = field(default_factory=list)  # breakers that people closed
    rested: list[str] = field(default_factory=list)  # webhooks whose pause they ended
    # Breakers that are open, of some webhooks: for how many seconds, and how often they opened.
    opened: dict[str, tuple[float, int]] = field(default_factory=dict)
    verifications: list[calls.Verification] = field(default_factory=list)

    @property
    def claimed_anything(self) -> bool:
        heads = any(found.heads or found.keys for found in self.lines)
        return bool(self.arrived) or heads or any(rows for _, rows in self.claimed)

    @property
    def stale(self) -> list[str]:
        """Webhooks of which something was read in another version than their lane knows."""
        claimed = [
            want.webhook_id
            for want, rows in self.claimed
            if rows and rows[-1].version != want.version
        ]
        lines = [
            found.question.webhook_id
            for found in self.lines
            if any(row.version != found.question.version for h in found.heads for row in h.rows)
        ]
        return claimed + lines
