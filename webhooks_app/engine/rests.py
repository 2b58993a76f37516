"""Lanes that rest: their webhook has a rate limit of its own, or its receiver asked for a pause
(429, or 503 with Retry-After). In memory, no I/O.

A lane with a rate stands aside, with what waits in it, until its pace lets the next call go. A lane
whose receiver asked for a pause keeps nothing in memory and begins again with one call. People are
told of both by `rests_until` in the webhook's health, at most once a second.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import count, islice
from math import inf
from typing import Generic, Protocol, TypeVar

from ..rules.rates import Pace, Rate
from .knobs import Knobs


@dataclass(slots=True, eq=False)
class Rest:
    """The pace and the pause of one lane; all times are monotonic seconds. A lane that never rested
    has none."""

    pace: Pace | None = None  # of the webhook's own rate
    until: float = 0.0  # as the receiver asked
    asked: int = 0  # so many times in a row
    says_until: float = 0.0  # what people are to be told,
    told_until: float = 0.0  # and what they were told last,
    told_at: float = -inf  # at that moment

    def next_at(self) -> float:
        """From when on the next call may go."""
        return self.until if self.pace is None else max(self.until, self.pace.next_at)

    def went(self, now: float) -> None:
        """A call has gone."""
        if self.pace is not None:
            self.pace.went(now)

    @property
    def is_told(self) -> bool:
        """Whether the receiver's pause stands in the webhook's health, or is about to."""
        return self.told_until >= self.until

    def is_over(self, now: float) -> bool:
        """A call went well. False while the receiver's pause lasts: that call had begun before."""
        if self.until > now:
            return False
        self.asked = 0
        return True


class Resting(Protocol):
    """What `Rests` needs of a lane."""

    webhook_id: str
    rest: Rest | None


L = TypeVar("L", bound=Resting)


class Rests(Generic[L]):
    """All lanes of a worker that rest."""

    def __init__(self, knobs: Knobs) -> None:
        self._knobs = knobs
        self.waiting: list[tuple[float, int, L]] = []  # a heap: until then, for their pace
        self._numbers = count()
        self._asked: dict[str, L] = {}  # whose receiver asked for a pause
        self._untold: dict[str, Rest] = {}  # by webhook

    def forget(self, webhook_id: str) -> None:
        self._asked.pop(webhook_id, None)
        self._untold.pop(webhook_id, None)

    # --- a webhook's own rate -------------------------------------------------------------------

    def load(self, lane: L, rate: Rate | None, now: float) -> bool:
        """The rate of the lane's webhook, as it was read. True where it is another one than before,
        and the lane has waited for the pace of the old one."""
        rest = lane.rest
        if rate == (rest.pace.rate if rest and rest.pace else None):
            return False
        rest = lane.rest = rest or Rest()
        rest.pace = Pace.begin(rate, now) if rate else None
        if rest.told_until > max(now, rest.until):
            rest.says_until = rest.until
            self._untold[lane.webhook_id] = rest
        others = [one for one in self.waiting if one[2] is not lane]
        waited = len(others) < len(self.waiting)
        if waited:
            heapify(others)
            self.waiting = others
        return waited

    def wait(self, lane: L, rest: Rest, behind: float, now: float) -> None:
        """A lane has something to send, and its pace does not let it yet. `behind`: so many more
        wait after the next one."""
        at = rest.next_at()
        heappush(self.waiting, (at, next(self._numbers), lane))
        last = at + behind * (rest.pace.interval if rest.pace else 0.0)
        until = max(at, min(last, now + self._knobs.rest_told_ahead))
        apart = self._knobs.rest_told_apart
        if until - now >= apart > rest.told_until - now:
            rest.says_until = until
            self._untold[lane.webhook_id] = rest

    def over(self, now: float) -> Iterator[L]:
        """Lanes whose wait for their pace is over."""
        while self.waiting and self.waiting[0][0] <= now:
            yield heappop(self.waiting)[2]

    # --- a pause that the receiver asked for ----------------------------------------------------

    def ask(self, lane: L, seconds: float | None, now: float) -> bool:
        """The receiver asked for a pause, of so many seconds where it said so. False where the lane
        rests as long already: of many calls under way each brings the same answer."""
        rest = lane.rest = lane.rest or Rest()
        if not seconds:
            if rest.until > now:
                return False
            seconds = self._knobs.rest_pause(rest.asked)
        until = now + min(seconds, self._knobs.rest_most)
        if until <= rest.until:
            return False
        rest.asked += rest.until <= now
        rest.until = rest.says_until = until
        self._asked[lane.webhook_id] = lane
        if until - now >= self._knobs.rest_told_apart:
            self._untold[lane.webhook_id] = rest
        return True

    def resume(self, lane: L, left: float, asked: int, now: float) -> bool:
        """The lane rests as the worker that owned the webhook before has noted. True for a pause,
        False for its rate."""
        rest = lane.rest = lane.rest or Rest()
        rest.told_until = now + left
        if asked:
            rest.until, rest.asked = now + left, asked
            self._asked[lane.webhook_id] = lane
        elif rest.pace is not None:
            rest.pace.wait(left, now)
        return bool(asked)

    def some_asked(self, now: float) -> list[str]:
        """Webhooks whose receiver's pause lasts and is noted, some in turn: people may have ended
        it."""
        some = [self._asked.pop(i) for i in list(islice(self._asked, self._knobs.webhooks_asked))]
        last = {one.webhook_id: one for one in some if one.rest and one.rest.until > now}
        self._asked |= last
        return [ident for ident, one in last.items() if one.rest and one.rest.is_told]

    def end(self, webhook_id: str) -> None:
        """People ended the pause, unless the receiver has asked for another one meanwhile."""
        lane = self._asked.get(webhook_id)
        if lane is not None and lane.rest is not None and lane.rest.is_told:
            self.forget(webhook_id)
            lane.rest.until, lane.rest.told_until, lane.rest.asked = 0.0, 0.0, 0

    # --- what people are told -------------------------------------------------------------------

    def news(self, now: float) -> list[tuple[str, float, int]]:
        """Webhooks of which people are to be told anew: for how many seconds each rests (0: no
        more), and how many times in a row its receiver has asked for it (0: its own rate)."""
        found = []
        for ident, rest in list(self._untold.items()):
            if now - rest.told_at < self._knobs.rest_told_apart:
                continue  # in a moment
            del self._untold[ident]
            rest.told_at, rest.told_until = now, rest.says_until
            asked = rest.asked if rest.says_until == rest.until else 0
            found.append((ident, max(0.0, rest.says_until - now), asked))
        return found
