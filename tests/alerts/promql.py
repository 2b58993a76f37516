"""As much of Prometheus as the alert rules need: instant vectors, rate, increase, aggregation,
comparison and `or`, by the rules of https://prometheus.io/docs/prometheus/latest/querying/."""

import operator
import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from operator import itemgetter

from prometheus_client.parser import text_string_to_metric_families

LOOKBACK = 300.0  # seconds that a sample stays the present one
Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
Value = Vector | float

TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?)(?![\w])|(?P<range>\[\d+[smhd]\])|(?P<word>[A-Za-z_:]\w*)"
    r'|(?P<text>"[^"]*")|(?P<sign>!=|==|>=|<=|[-+*/<>=(){},]))'
)
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
COMPARE = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
COUNT: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
TOGETHER: dict[str, Callable[..., float]] = {"sum": sum, "max": max, "min": min}


Match = tuple[str, str, str]


@dataclass
class Samples:
    """What was scraped, when: of each metric its series."""

    times: list[float] = field(default_factory=list)
    metrics: dict[str, dict[Labels, list[tuple[float, float]]]] = field(default_factory=dict)

    def add(self, at: float, text: str | None) -> None:
        """`text`: what /metrics said; None when it said nothing."""
        self.times.append(at)
        self._add(at, "up", frozenset({("job", "webhooks")}), float(text is not None))
        for name, labels, value in _read(text or ""):
            self._add(at, name, labels, value)

    def _add(self, at: float, name: str, labels: Labels, value: float) -> None:
        self.metrics.setdefault(name, {}).setdefault(labels, []).append((at, value))

    def instant(self, name: str, matches: list[Match], at: float) -> Vector:
        """By the last scrape; what it did not have any more is stale."""
        last = self.times[bisect_right(self.times, at) - 1]
        if not last <= at <= last + LOOKBACK:
            return {}
        found = self.within(name, matches, last - 1e-6, last)
        return {labels: points[-1][1] for labels, points in found.items()}

    def within(
        self, name: str, matches: list[Match], begin: float, end: float
    ) -> dict[Labels, list[tuple[float, float]]]:
        found = {}
        for labels, points in self.metrics.get(name, {}).items():
            if _fits(labels, matches):
                first = bisect_right(points, begin, key=itemgetter(0))
                after = bisect_right(points, end, key=itemgetter(0))
                if first < after:
                    found[labels] = points[first:after]
        return found


@lru_cache
def _read(text: str) -> list[tuple[str, Labels, float]]:
    return [
        (sample.name, frozenset(sample.labels.items()), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def _fits(labels: Labels, matches: list[Match]) -> bool:
    given = dict(labels)
    return all((given.get(name, "") == value) == (sign == "=") for name, sign, value in matches)


def increase(points: list[tuple[float, float]], begin: float, end: float) -> float | None:
    """As Prometheus: a fall is a restart from nought, and what lies between the ends of the range
    and the first and last sample is guessed from the rest."""
    if len(points) < 2:
        return None
    values = [value for _, value in points]
    grown = 0.0
    for before, after in pairwise(values):
        grown += after - before if after >= before else after
    first, last = points[0][0], points[-1][0]
    apart = (last - first) / (len(points) - 1)
    to_start, to_end = first - begin, end - last
    to_start = to_start if to_start < 1.1 * apart else apart / 2
    to_end = to_end if to_end < 1.1 * apart else apart / 2
    if grown > 0 and values[0] >= 0:  # no counter was less than nought
        to_start = min(to_start, (last - first) * values[0] / grown)
    return grown * (last - first + to_start + to_end) / (last - first)


class Query:
    """An expression, to be asked at any time."""

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        place = 0
        while place < len(text.rstrip()):
            match = TOKEN.match(text, place)
            assert match, f"not understood: {text[place:]}"
            kind = str(match.lastgroup)
            self.tokens.append((kind, match[kind]))
            place = match.end()

    def at(self, samples: Samples, time: float) -> Value:
        self.samples, self.time, self.place = samples, time, 0
        value = self._any()
        assert self.place == len(self.tokens), self.tokens[self.place :]
        return value

    def _next(self, *wanted: str) -> str:
        """The next token, if it is one of these (or any)."""
        if self.place == len(self.tokens):
            return ""
        text = self.tokens[self.place][1]
        if wanted and text not in wanted:
            return ""
        self.place += 1
        return text

    def _expect(self, text: str) -> None:
        assert self._next(text), (text, self.tokens[self.place :])

    def _any(self) -> Value:
        left = self._compared()
        while self._next("or"):
            right = self._compared()
            assert isinstance(left, dict)
            assert isinstance(right, dict)
            left = right | left
        return left

    def _compared(self) -> Value:
        left = self._sum()
        if not (sign := self._next(*COMPARE)):
            return left
        right = self._sum()
        assert isinstance(left, dict)
        assert isinstance(right, float)
        return {labels: one for labels, one in left.items() if COMPARE[sign](one, right)}

    def _sum(self) -> Value:
        left = self._product()
        while sign := self._next("+", "-"):
            left = _counted(COUNT[sign], left, self._product())
        return left

    def _product(self) -> Value:
        left = self._one()
        while sign := self._next("*", "/"):
            left = _counted(COUNT[sign], left, self._one())
        return left

    def _one(self) -> Value:
        kind = self.tokens[self.place][0]
        word = self._next()
        if kind == "number":
            return float(word)
        if word == "(":
            value = self._any()
            self._expect(")")
            return value
        assert kind == "word", word
        if word in TOGETHER:
            return self._together(TOGETHER[word])
        if word in ("rate", "increase"):
            return self._over_time(word)
        return self.samples.instant(word, self._matches(), self.time)

    def _together(self, how: Callable[..., float]) -> Vector:
        by: list[str] = []
        if self._next("by"):
            self._expect("(")
            while not self._next(")"):
                by.append(self._next())
                self._next(",")
        self._expect("(")
        vector = self._any()
        self._expect(")")
        assert isinstance(vector, dict)
        groups: dict[Labels, list[float]] = {}
        for labels, value in vector.items():
            key = frozenset(pair for pair in labels if pair[0] in by)
            groups.setdefault(key, []).append(value)
        return {labels: how(values) for labels, values in groups.items()}

    def _over_time(self, word: str) -> Vector:
        self._expect("(")
        name, matches = self._next(), self._matches()
        length = self._next().strip("[]")
        seconds = float(length[:-1]) * UNITS[length[-1]]
        self._expect(")")
        begin = self.time - seconds
        found = self.samples.within(name, matches, begin, self.time)
        grown = {labels: increase(points, begin, self.time) for labels, points in found.items()}
        part = seconds if word == "rate" else 1.0
        return {labels: one / part for labels, one in grown.items() if one is not None}

    def _matches(self) -> list[Match]:
        matches = []
        if self._next("{"):
            while not self._next("}"):
                name, sign, value = self._next(), self._next("=", "!="), self._next()
                assert sign, "matches of regular expressions are not known"
                matches.append((name, sign, value.strip('"')))
                self._next(",")
        return matches


def _counted(how: Callable[[float, float], float], left: Value, right: Value) -> Value:
    if isinstance(left, float) and isinstance(right, float):
        return how(left, right)
    if isinstance(left, float):
        assert isinstance(right, dict)
        return {labels: how(left, one) for labels, one in right.items()}
    if isinstance(right, float):
        return {labels: how(one, right) for labels, one in left.items()}
    found = {}
    for labels in left.keys() & right.keys():
        if how is operator.truediv and not right[labels]:
            continue  # NaN, which no comparison lets pass
        found[labels] = how(left[labels], right[labels])
    return found


@dataclass
class Rule:
    """An alert, and since when its expression has held."""

    name: str
    query: Query
    wait: float = 0.0
    since: float | None = None

    @classmethod
    def read(cls, rule: dict[str, str]) -> "Rule":
        length = rule.get("for", "0s")
        wait = float(length[:-1]) * UNITS[length[-1]]
        return cls(rule["alert"], Query(rule["expr"]), wait)

    def rings(self, samples: Samples, at: float) -> bool:
        if not self.query.at(samples, at):
            self.since = None
            return False
        self.since = at if self.since is None else self.since
        return at - self.since >= self.wait
