"""Filters and payloads that mean harm, drawn from a seed: of few words, so that they meet, as wide,
deep and long as they may be, and most payloads made of what a filter asks for."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from webhooks_app.rules.filters import Filter, InvalidFilter, compile_filter

NAMES = ("a", "b", "c", "", "a/b")
TEXTS = ("", "a", "b", "ab", "aba", "é", "\U00010000", "\uffff", "1")
# 2**61 - 1 is the number by which Python's hashes are taken: all of its multiples have the same.
NUMBERS = (0, 1, 1.0, -0.0, 2, 2.5, -1, 2**61 - 1, 2**61, 2**62 - 2, 1e30, int(1e30), 10**400)
PLAIN = (None, True, False, *NUMBERS, *TEXTS)
COMPARED = ("$gt", "$gte", "$lt", "$lte")
OPERATORS = (
    *("$eq", "$neq", "$in", "$nin", *COMPARED, "$startsWith", "$endsWith"),
    *("$exist", "$not", "$or", "$and"),
)
LONG = (*(50, 100, 200, 300, 600, 900) * 2, 5_000, 19_000, 40_000, 200_000)


@dataclass(frozen=True)
class Times:
    """A list of one element, or a text of one part, many times, and what comes at its end; told in
    few words."""

    element: Any
    times: int
    last: Any


def spelled(told: Any) -> Any:
    if isinstance(told, dict):
        return {name: spelled(value) for name, value in told.items()}
    if isinstance(told, list):
        return [spelled(value) for value in told]
    if isinstance(told, Times):
        if isinstance(told.element, str) and isinstance(told.last, str):
            return told.element * told.times + told.last
        return [spelled(told.element)] * told.times + [spelled(told.last)]
    return told


class Draw:
    def __init__(self, dice: Random) -> None:
        self.dice = dice

    def _is(self, share: float) -> bool:
        return self.dice.random() < share

    def _of(self, choices: Any) -> Any:
        return self.dice.choice(choices)

    def _some(self, make: Any, most: int, least: int = 0) -> list[Any]:
        return [make() for _ in range(self.dice.randint(least, most))]

    def _named(self, make: Any) -> dict[str, Any]:
        names = self.dice.sample(NAMES, self.dice.randint(0, 3))
        return {name: make() for name in names}

    def plain(self) -> Any:
        return self._of(PLAIN)

    def json(self, depth: int = 0) -> Any:
        if depth > 4 or self._is(0.5):
            return self.plain()
        if self._is(0.5):
            return self._some(lambda: self.json(depth + 1), 4)
        return self._named(lambda: self.json(depth + 1))

    # --- filters ----------------------------------------------------------------------------------

    def filter(self) -> dict[str, Any]:
        kind = self.dice.random()
        if kind < 0.2:
            return {self._of(NAMES): self._wide()}
        if kind < 0.3:
            return self._deep()
        return self._of((self._fields, self._operators, self._mixed))(1)

    def _wide(self) -> Any:
        """Many conditions beside each other on one value."""
        number = self._of((40, 80, 200))
        each: Any = self._of(
            (
                self.plain,
                lambda: {"$not": {self._of(COMPARED): self._comparable()}},
                lambda: {"$neq": self.plain()},
                lambda: {"$exist": self._is(0.5)},
                lambda: {self._of(NAMES): self.plain()},
                lambda: {"$in": self._of(TEXTS)},
                lambda: [self.plain()],
            )
        )
        items = [each() for _ in range(number)]
        return items if self._is(0.2) else {self._of(("$or", "$and")): items}

    def _deep(self) -> Any:
        condition = self.plain()
        for _ in range(self.dice.randint(5, 14)):
            turn = self.dice.random()
            if turn < 0.4:
                condition = {self._of(NAMES): condition}
            elif turn < 0.7:
                condition = {"$not": condition}
            else:
                condition = [condition]
        return condition if isinstance(condition, dict) else {"$eq": 1, "a": condition}

    def condition(self, depth: int) -> Any:
        if depth > 4 or self._is(0.3):
            return self.plain()
        if self._is(0.2):
            return self._some(lambda: self.condition(depth + 1), 3)
        return self._of((self._fields, self._operators, self._mixed))(depth)

    def _fields(self, depth: int) -> dict[str, Any]:
        return self._named(lambda: self.condition(depth + 1))

    def _operators(self, depth: int) -> dict[str, Any]:
        names = self.dice.sample(OPERATORS, self.dice.randint(1, 2))
        return {name: self._operand(name, depth) for name in names}

    def _mixed(self, depth: int) -> dict[str, Any]:
        return self._fields(depth) | self._operators(depth)

    def _comparable(self) -> Any:
        return self._of(NUMBERS + TEXTS)

    def _operand(self, name: str, depth: int) -> Any:
        if name in ("$eq", "$neq"):
            return self.json(2)
        if name in COMPARED:
            return self._comparable()
        if name in ("$in", "$nin"):
            most = 300 if self._is(0.05) else 5
            return self.plain() if self._is(0.4) else self._some(self.plain, most)
        if name in ("$startsWith", "$endsWith"):
            one = self._of(TEXTS)
            return one if self._is(0.5) else [one, *self._some(lambda: self._of(TEXTS), 40)]
        if name == "$exist":
            return self._is(0.5)
        if name == "$not":
            return self.condition(depth + 1)
        return self._some(lambda: self.condition(depth + 1), 4, 1)

    # --- payloads ---------------------------------------------------------------------------------

    def payload(self) -> Any:
        return self._worse(self.json())

    def meeting(self, wanted: Any) -> Any:
        """What a filter looks at: mostly what it asks for, at times something near."""
        return self._worse(self._asked(wanted))

    def _asked(self, wanted: Any) -> Any:
        if isinstance(wanted, list):
            return [self._asked(each) for each in wanted]
        if not isinstance(wanted, dict):
            return self._near(wanted)
        operators = [name for name in wanted if name[:1] == "$"]
        fields = {name: self._asked(w) for name, w in wanted.items() if name not in operators}
        if operators and (not fields or self._is(0.3)):
            return self._operated(wanted, self._of(operators))
        if fields and self._is(0.1):
            del fields[self._of(sorted(fields))]
        return fields

    def _operated(self, wanted: dict[str, Any], name: str) -> Any:
        operand = wanted[name]
        if name in ("$or", "$and"):
            return self._asked(self._of(operand))
        if name == "$not":
            return self._asked(operand)
        if name == "$exist":
            return self.json(3)
        if name in ("$eq", "$neq"):
            return operand if self._is(0.7) else self.json(3)
        if isinstance(operand, list):
            return self._near(self._of(operand)) if operand else operand
        return self._near(operand)

    def _near(self, value: Any) -> Any:
        if self._is(0.6):
            return value
        if self._is(0.3):
            return self.plain()
        if isinstance(value, str):
            return self._of((value + "a", value[:-1], "a" + value, [value], value.upper()))
        if isinstance(value, int) and not isinstance(value, bool):
            return self._of((value + 1, -value, [value], str(value)[:9], value == 1))
        return [value]

    def _worse(self, value: Any) -> Any:
        """The same, with one part that is longer or deeper than it need be."""
        if self._is(0.4):
            return value
        if isinstance(value, dict) and value and self._is(0.8):
            name = self._of(sorted(value))
            return value | {name: self._worse(value[name])}
        if self._is(0.15):
            for depth in range(self._of((1, 3, 40))):
                value = [value, value] if depth < 6 else [value]
            return value
        return Times(self._of((value, self.plain())), self._of(LONG), self._of((value, "a", 1)))


@dataclass(frozen=True)
class Pair:
    filter: Filter
    told: Any  # the payload


def pairs(seed: int, filters: int, payloads: int) -> Iterator[Pair]:
    """So many filters, each with so many payloads: a third of these is common to many filters, the
    others are made for the one. No two pairs are the same."""
    draw = Draw(Random(seed))
    common: dict[str, Any] = {}
    while len(common) < 20 * payloads:
        told = draw.payload()
        common[repr(told)] = told
    texts = sorted(common)
    seen: set[str] = set()
    while len(seen) < filters:
        try:
            filter = compile_filter(draw.filter())
        except InvalidFilter as invalid:
            if "at most" in str(invalid):  # it is too large
                continue
            raise
        if filter.text in seen:
            continue
        seen.add(filter.text)
        asked = {text: common[text] for text in draw.dice.sample(texts, payloads // 3)}
        while len(asked) < payloads:
            told = draw.meeting(filter.source)
            asked[repr(told)] = told
        for told in asked.values():
            yield Pair(filter, told)
