"""How often a webhook may be called: `100/minute` as a text, and the pace that keeps it. No I/O."""

from dataclasses import dataclass
from typing import Self

COUNT_MOST = 100_000
SECONDS = {"second": 1, "minute": 60, "hour": 3600}
# As Django REST framework writes the rates of its throttles.
_PERIODS = SECONDS | {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600}
_LONGEST = len("100000/second")
PATTERN = f"^([1-9][0-9]{{0,4}}|{COUNT_MOST})/({'|'.join(_PERIODS)})$"  # of such a text
TOLERANCE = 0.25  # seconds by which a call may come early, where there are 4 a second and more
WORDS = 'Must be like "100/minute": 1 to 100000 calls, and second, minute or hour.'


@dataclass(frozen=True, slots=True)
class Rate:
    """So many calls in so many seconds."""

    count: int
    seconds: int

    @classmethod
    def read(cls, text: str) -> Self:
        """Raises ValueError with a sentence for whoever wrote it."""
        count, _, period = text[: _LONGEST + 1].partition("/")
        is_number = count.isascii() and count.isdecimal() and count[0] != "0"
        if not is_number or int(count) > COUNT_MOST or period not in _PERIODS:
            raise ValueError(WORDS)
        return cls(int(count), _PERIODS[period])

    def __str__(self) -> str:
        period = next(word for word, seconds in SECONDS.items() if seconds == self.seconds)
        return f"{self.count}/{period}"

    @property
    def interval(self) -> float:
        """Seconds from one call to the next."""
        return self.seconds / self.count


@dataclass(slots=True)
class Pace:
    """Keeps a rate exactly, however late it is asked: the generic cell rate algorithm (GCRA, ITU-T
    I.371). Times are monotonic seconds.

    Calls have their times, an interval apart. Whoever is late by less than the tolerance catches up
    and loses nothing of the rate; what was missed by more is not made up for, so that nobody gets a
    burst after a pause. Where calls are rarer than four a second there is no tolerance.
    """

    rate: Rate
    interval: float
    tolerance: float
    due: float  # when the next call has its time

    @classmethod
    def begin(cls, rate: Rate, now: float) -> Self:
        """One call may go at once, and no burst follows it."""
        tolerance = TOLERANCE if rate.interval <= TOLERANCE else 0.0
        return cls(rate, rate.interval, tolerance, now + tolerance)

    @property
    def next_at(self) -> float:
        """From when on the next call may go."""
        return self.due - self.tolerance

    def went(self, now: float) -> None:
        """A call has gone."""
        self.due = max(self.due, now) + self.interval

    def wait(self, seconds: float, now: float) -> None:
        """The next call may go after these, at most an interval: as another worker has said, who
        made the last one."""
        self.due = now + min(seconds, self.interval) + self.tolerance
