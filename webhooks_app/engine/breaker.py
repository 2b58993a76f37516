"""The breaker of one receiver, as the worker that owns the webhook keeps it. In memory, no I/O; all
times are monotonic seconds.

Failures in a row that say that nobody is there open it, and nothing is sent. When its time is up,
one call is the probe: an answer closes the breaker, a failure opens it for longer. Calls that
somebody waits for keep the same rules in the webhook's health (`stored_breaker`); each side hears
of what the other one found.
"""

from dataclasses import dataclass

from ..models.webhook import BREAKER_AFTER
from .knobs import Knobs


@dataclass(slots=True)
class Breaker:
    after: int = BREAKER_AFTER  # failures in a row that open it; 0: never
    failures: int = 0  # in a row
    trips: int = 0  # how often it has opened since the last answer
    until: float = 0.0  # nothing is sent before

    def failed(self, now: float, knobs: Knobs) -> bool:
        """A call ended as if nobody were there. True where that opens the breaker: of many calls
        that were under way together only the first does."""
        self.failures += 1
        if not 0 < self.after <= self.failures or self.until > now:
            return False
        self.open(now + knobs.breaker_pause(self.trips), self.trips + 1)
        return True

    def answered(self) -> bool:
        """A receiver that answers is there, even if it refuses. True where that closes the breaker;
        a pause for a fault of our own goes on."""
        closes = self.trips > 0
        if closes:
            self.until = 0.0
        self.failures = self.trips = 0
        return closes

    def heard(self, until: float, trips: int, now: float, knobs: Knobs) -> bool:
        """Calls that somebody waits for have opened it, or one of them is the probe. True where
        that is news."""
        if until <= max(now, self.until) + knobs.breaker_news:
            return False
        self.open(until, trips)
        return True

    def open(self, until: float, trips: int) -> None:
        """For the `trips`th time in a row. The next failure opens it again."""
        self.until, self.trips = until, trips
        self.failures = max(self.failures, self.after)

    def pause(self, until: float) -> None:
        """Nothing is sent before, for a fault of our own: of the receiver it says nothing."""
        self.until = max(self.until, until)
