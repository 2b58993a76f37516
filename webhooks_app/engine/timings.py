"""How long the exchanges of this process took since it began, and how late it was with the first
call of a delivery. Kept where somebody may ask for it (see `metrics_port`)."""

import threading
from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ..models import Attempt
from .store import microseconds

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
LATENESS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)


class Histogram:
    """Numbers by the first of some bounds that holds them."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._lock = threading.Lock()

    def note(self, number: float) -> None:
        place = bisect_left(self.bounds, number)
        with self._lock:
            self._counts[place] += 1
            self._sum += number

    def read(self) -> tuple[list[tuple[str, int]], float]:
        """How many values there are up to each bound, as Prometheus spells it, and the sum of
        all."""
        with self._lock:
            counts, total = list(self._counts), self._sum
        within, found = 0, []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), counts, strict=True):
            within += count
            found.append((bound, within))
        return found, total


kept = False  # whether anybody may ask
exchanges = {exchange: Histogram(SECONDS) for exchange in Attempt.Exchange.values}
first_calls = Histogram(LATENESS)


def note_delivery(tries: int, due_at: Any, started_at: int, duration_ms: int) -> None:
    """A try of a delivery; the first one is as late as it began after `due_at` (as the database
    gave it): since the delivery was accepted, was to go out, or was asked for again."""
    exchanges[Attempt.Exchange.DELIVERY.value].note(duration_ms / 1000)
    if not tries:
        first_calls.note(max(0, started_at - _moment(due_at)) / microseconds.SECOND)


def _moment(value: Any) -> int:
    if isinstance(value, datetime):
        return microseconds.of(value)
    return microseconds.of(datetime.fromisoformat(value).replace(tzinfo=UTC))
