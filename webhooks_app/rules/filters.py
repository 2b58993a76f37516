"""Which payloads a subscription takes: JSON that mirrors them, compiled into functions. Pure.

The operators are those of Hookdeck and Outpost, with the meaning that their documentation gives:
`$eq $neq $gt $gte $lt $lte $in $nin $startsWith $endsWith $exist $or $and $not`.

- A plain value means equal; an object holds field by field; all its keys hold together, operators
  and fields mixed. `{}` holds for whatever is there.
- A list in the payload holds where one of its elements does, however deep lists stand in lists: the
  fields of one object for one and the same element, each operator by itself. A list in the filter
  wants each of its items found in some element of a list in the payload.
- `$neq` and `$nin` hold where no element is equal. `$exist`, `$not`, `$and` and `$or` ask the list
  as a whole.
- Numbers compare with numbers (1 = 1.0; true is no number), texts with texts by code point; other
  pairs do not hold. Nothing is converted, no case folded.
- `$in` with a list: one of its values; with one value: a part of a text, an element of a list.
- Of a field that is not there nothing holds but `{"$exist": false}`, and what `$not` turns round.

Whatever filter and payload, `matches` looks at no more than its budget of elements; a condition
that finds nothing to look at has looked at one, and so has each `$not` and whatever joins several.
"""

import json
import operator
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from .nearest import shortened, unknown

SIZE_LIMIT = 8 * 1024  # bytes of a filter as compact JSON
NODES_LIMIT = 256  # conditions and operators of a filter; the values of `$in` are not counted
DEPTH_LIMIT = 16  # objects and lists in each other
VALUES_LIMIT = 1000  # of `$in`, `$nin`, `$startsWith`, `$endsWith`
VISITS = 20_000  # elements of a payload that one filter looks at
WEIGHT_KEPT = 100_000  # of compiled filters: some 50 MB of large ones, 15,000 of usual ones

SIGNS_A_VISIT = 256  # characters that are searched for the price of an element
AFFIXES_A_VISIT = 16  # beginnings or ends that are compared for that price


class TooCostly(Exception):
    """A filter would look at more elements of this payload than it may."""


class InvalidFilter(ValueError):
    """`problems`: sentences by the place in the filter, a JSON Pointer (RFC 6901)."""

    def __init__(self, problems: dict[str, list[str]]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{at}: {' '.join(said)}" for at, said in problems.items()))


class Budget:
    """How many elements may still be looked at. One for each filter and payload."""

    __slots__ = ("left", "visits")

    def __init__(self, visits: int = VISITS) -> None:
        self.visits = self.left = visits

    def spend(self, visits: int) -> None:
        """Raises TooCostly, before anything is looked at."""
        if visits > self.left:
            raise TooCostly
        self.left -= visits

    @property
    def spent(self) -> int:
        return self.visits - self.left


class Check(NamedTuple):
    """One condition of a filter, tried on a payload. `holds` is None where the budget did not
    reach; `there` says whether the payload has what is asked about, which is `value`."""

    pointer: str
    holds: bool | None
    there: bool
    value: Any


Test = Callable[[Any, Budget], bool]  # of a value of the payload, or of _MISSING

_MISSING: Any = type("Missing", (), {"__repr__": lambda self: "missing"})()


class Filter:
    """A filter that was found good. `text` is its compact JSON, to store and to compare by."""

    __slots__ = ("_test", "source", "text", "weight")

    def __init__(self, text: str, source: dict[str, Any], test: Test, nodes: int) -> None:
        self.text, self.source, self._test = text, source, test
        self.weight = nodes + len(text) // 32  # in memory, a node some 500 bytes

    def matches(self, payload: Any, budget: Budget) -> bool:
        """Whether a payload, as `strictjson.loads` reads it, is taken. Raises TooCostly."""
        return self._test(payload, budget)

    def checks(self, payload: Any, budget: Budget) -> list[Check]:
        """Each of its conditions by itself, for people: what holds, and what the payload has there.

        What is asked of the elements of a list is one check.
        """
        return list(_checked(self.source, "", payload, budget))

    def refusals(self, payload: Any, budget: Budget) -> list[str]:
        """The places of the conditions for which a payload is not taken, the outermost of each."""
        found: list[str] = []
        above = None
        for check in self.checks(payload, budget):
            if above is not None and check.pointer.startswith(f"{above}/"):
                continue
            above = check.pointer
            if not check.holds:
                found.append(above)
        return found


def compile_filter(value: Any) -> Filter:
    """Raises InvalidFilter for anything that is no filter, or past one of the limits above."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError):
        raise InvalidFilter({"": ["Must be JSON."]}) from None
    if size > SIZE_LIMIT:
        raise InvalidFilter({"": [f"Must be at most {SIZE_LIMIT // 1024} KiB of JSON."]})
    source = json.loads(text)
    if not isinstance(source, dict):
        raise InvalidFilter({"": ["Must be an object."]})
    compiler = _Compiler()
    test = compiler.condition(source, "", 1)
    if compiler.problems:
        raise InvalidFilter(compiler.problems)
    return Filter(text, source, test, compiler.nodes)


class Compiled:
    """The filters that were asked for last, WEIGHT_KEPT of them: one may take as much memory as a
    hundred others. Of any thread."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Filter] = OrderedDict()
        self._lock = threading.Lock()
        self.weight = 0

    def __call__(self, text: str) -> Filter:
        """The filter of a text that was stored. Raises ValueError for what this version cannot
        read."""
        with self._lock:
            found = self._kept.get(text)
            if found is not None:
                self._kept.move_to_end(text)
                return found
        made = compile_filter(json.loads(text))
        with self._lock:
            if text not in self._kept:
                self._kept[text] = made
                self.weight += made.weight
            while self.weight > WEIGHT_KEPT:
                _, oldest = self._kept.popitem(last=False)
                self.weight -= oldest.weight
        return made


compiled = Compiled()


# --- plain values --------------------------------------------------------------------------------

_EXACT = 1 << 60  # beyond it, integers can be chosen so that their hashes are all the same


def _key(value: Any) -> Any:
    """What stands for a plain value in a set: 1 for 1.0, too, but not for true. _MISSING for what
    is not plain."""
    kind = type(value)
    if kind is str:
        return value
    if kind is int or kind is float:
        return value if -_EXACT < value < _EXACT else _digits(int(value))
    if kind is bool or value is None:
        return (value,)
    return _MISSING


def _digits(number: int) -> bytes:
    """Its own, in time that grows as their number: as decimal ones it grows as the square."""
    return number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)


def _is_plain(value: Any) -> bool:
    return _key(value) is not _MISSING


def _is_number(value: Any) -> bool:
    return type(value) is int or type(value) is float


def _same(one: Any, other: Any, budget: Budget) -> bool:
    """Whether two values are equal, all the way down."""
    budget.spend(1)
    if type(one) is dict and type(other) is dict:
        return one.keys() == other.keys() and all(_same(one[n], other[n], budget) for n in one)
    if type(one) is list and type(other) is list:
        return len(one) == len(other) and all(map(_same, one, other, [budget] * len(one)))
    return _is_plain(one) and _key(one) == _key(other)


# --- the elements that a condition looks at ------------------------------------------------------


def _elements(value: Any, budget: Budget, lists: bool = False) -> "list[Any]":
    """The elements of a list and of the lists in it, or a value that is no list; with `lists` these
    themselves, too."""
    budget.spend(1)
    if type(value) is not list:
        return [value]
    found = [value] if lists else []
    rest = [value]
    while rest:
        elements = rest.pop()
        budget.spend(len(elements))
        for element in elements:
            if type(element) is list:
                rest.append(element)
                if lists:
                    found.append(element)
            else:
                found.append(element)
    return found


# --- conditions ----------------------------------------------------------------------------------


def _one_of(values: list[Any]) -> Test:
    """However many they are, by one look into a set."""
    keys = frozenset(map(_key, values))

    def test(value: Any, budget: Budget) -> bool:
        return any(_key(element) in keys for element in _elements(value, budget))

    return test


def _contains(wanted: Any) -> Test:
    """A text has it as a part, a list as an element."""
    key = _key(wanted)

    def test(value: Any, budget: Budget) -> bool:
        if type(value) is list:
            return any(_key(element) == key for element in _elements(value, budget))
        budget.spend(1)
        if type(value) is str and type(wanted) is str:
            budget.spend(len(value) // SIGNS_A_VISIT)
            return wanted in value
        return False

    return test


def _equal(wanted: Any) -> Test:
    if _is_plain(wanted):
        return _one_of([wanted])

    def test(value: Any, budget: Budget) -> bool:
        return any(_same(wanted, part, budget) for part in _elements(value, budget, lists=True))

    return test


def _in(wanted: Any) -> Test:
    return _one_of(wanted) if type(wanted) is list else _contains(wanted)


def _unless(test: Test) -> Test:
    """It is there, and the test does not hold."""

    def unless(value: Any, budget: Budget) -> bool:
        if value is _MISSING:
            budget.spend(1)
            return False
        return not test(value, budget)

    return unless


def _not(test: Test) -> Test:
    def turned(value: Any, budget: Budget) -> bool:
        budget.spend(1)  # they may stand in each other
        return not test(value, budget)

    return turned


def _compared(compare: Callable[[Any, Any], bool]) -> Callable[[Any], Test]:
    def of(bound: Any) -> Test:
        fits = _is_number if _is_number(bound) else lambda value: type(value) is str

        def test(value: Any, budget: Budget) -> bool:
            elements = _elements(value, budget)
            return any(fits(element) and compare(element, bound) for element in elements)

        return test

    return of


def _affixed(has: Callable[[str, tuple[str, ...]], bool]) -> Callable[[Any], Test]:
    def of(wanted: Any) -> Test:
        affixes = tuple(wanted) if type(wanted) is list else (wanted,)
        dear = len(affixes) // AFFIXES_A_VISIT

        def test(value: Any, budget: Budget) -> bool:
            texts = [element for element in _elements(value, budget) if type(element) is str]
            budget.spend(len(texts) * dear)
            return any(has(text, affixes) for text in texts)

        return test

    return of


def _exists(wanted: bool) -> Test:
    def test(value: Any, budget: Budget) -> bool:
        budget.spend(1)
        return (value is not _MISSING) is wanted

    return test


def _joined(holds: Callable[[Iterator[bool]], bool]) -> Callable[[list[Test]], Test]:
    """All of several tests, or any; a single one stands for itself."""

    def of(tests: list[Test]) -> Test:
        if len(tests) == 1:
            return tests[0]

        def together(value: Any, budget: Budget) -> bool:
            budget.spend(1)  # they may stand in each other
            return holds(test(value, budget) for test in tests)

        return together

    return of


_all, _any = _joined(all), _joined(any)


def _fields(tests: list[tuple[str, Test]]) -> Test:
    """All of them of one element, where the payload has a list."""

    def of_one(value: Any, budget: Budget) -> bool:
        fields = value if type(value) is dict else {}
        return all(test(fields.get(name, _MISSING), budget) for name, test in tests)

    def test(value: Any, budget: Budget) -> bool:
        return any(of_one(element, budget) for element in _elements(value, budget))

    return test


def _each_found(keys: frozenset[Any], tests: list[Test]) -> Test:
    """Each of the plain values in some element, and some element for each of the tests."""

    def test(value: Any, budget: Budget) -> bool:
        budget.spend(1)
        if type(value) is not list:
            return False
        if keys and not keys <= set(map(_key, _elements(value, budget))):
            return False
        budget.spend(len(value) * len(tests))
        return all(any(test(element, budget) for element in value) for test in tests)

    return test


# --- from JSON to conditions ---------------------------------------------------------------------

_PLAIN = "a text, a number, true, false or null"


def _plain_or_list(value: Any) -> str:
    values = value if type(value) is list else [value]
    if len(values) > VALUES_LIMIT:
        return f"Must be at most {VALUES_LIMIT:,} values."
    return "" if all(map(_is_plain, values)) else f"Must be {_PLAIN}, or a list of such values."


def _text_or_list(value: Any) -> str:
    values = value if type(value) is list else [value]
    if len(values) > VALUES_LIMIT:
        return f"Must be at most {VALUES_LIMIT:,} values."
    texts = bool(values) and all(type(each) is str for each in values)
    return "" if texts else "Must be a text or a list of texts."


def _comparable(value: Any) -> str:
    fits = _is_number(value) or type(value) is str
    return "" if fits else "Must be a number or a text."


def _flag(value: Any) -> str:
    return "" if type(value) is bool else "Must be true or false."


# What compares a value: what is wrong with its operand, in a sentence, and the test it makes.
_OPERATORS: dict[str, tuple[Callable[[Any], str], Callable[[Any], Test]]] = {
    "$eq": (lambda value: "", _equal),
    "$neq": (lambda value: "", lambda value: _unless(_equal(value))),
    "$gt": (_comparable, _compared(operator.gt)),
    "$gte": (_comparable, _compared(operator.ge)),
    "$lt": (_comparable, _compared(operator.lt)),
    "$lte": (_comparable, _compared(operator.le)),
    "$in": (_plain_or_list, _in),
    "$nin": (_plain_or_list, lambda value: _unless(_in(value))),
    "$startsWith": (_text_or_list, _affixed(str.startswith)),
    "$endsWith": (_text_or_list, _affixed(str.endswith)),
    "$exist": (_flag, _exists),
}
_JOINED: dict[str, Callable[[list[Test]], Test]] = {"$or": _any, "$and": _all}
NAMES = (*_OPERATORS, *_JOINED, "$not")


def at(pointer: str, name: str | int) -> str:
    """The place below one, as a JSON Pointer."""
    return f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}"


class _Compiler:
    """Compiles one filter; `problems` collects what is wrong with it."""

    def __init__(self) -> None:
        self.problems: dict[str, list[str]] = {}
        self.nodes = 0

    def _wrong(self, pointer: str, sentence: str) -> Test:
        self.problems.setdefault(pointer, []).append(sentence)
        return _exists(True)

    def _enter(self, depth: int) -> None:
        self.nodes += 1
        if self.nodes > NODES_LIMIT:
            raise InvalidFilter({"": [f"Must be at most {NODES_LIMIT} conditions and operators."]})
        if depth > DEPTH_LIMIT:
            raise InvalidFilter({"": [f"Must be nested at most {DEPTH_LIMIT} levels."]})

    def condition(self, wanted: Any, pointer: str, depth: int) -> Test:
        """`depth` is that of `wanted`, if it is an object or a list."""
        if type(wanted) is dict:
            self._enter(depth)
            return self._object(wanted, pointer, depth)
        if type(wanted) is list:
            self._enter(depth)
            return self._list(wanted, pointer, depth)
        self._enter(0)
        return _one_of([wanted])

    def _object(self, wanted: dict[str, Any], pointer: str, depth: int) -> Test:
        tests, fields = [], []
        for name, value in wanted.items():
            if name.startswith("$"):
                tests.append(self._operator(name, value, at(pointer, name), depth))
            else:
                fields.append((name, self.condition(value, at(pointer, name), depth + 1)))
        if fields:
            tests.append(_fields(fields))
        return _all(tests) if tests else _exists(True)

    def _list(self, wanted: list[Any], pointer: str, depth: int) -> Test:
        tests = self._items(wanted, pointer, depth)
        return _each_found(
            frozenset(_key(item) for item in wanted if _is_plain(item)),
            [test for item, test in zip(wanted, tests, strict=True) if not _is_plain(item)],
        )

    def _items(self, wanted: list[Any], pointer: str, depth: int) -> list[Test]:
        return [
            self.condition(item, at(pointer, place), depth + 1) for place, item in enumerate(wanted)
        ]

    def _operator(self, name: str, value: Any, pointer: str, depth: int) -> Test:
        self._enter(depth)
        if name == "$not":
            return _not(self.condition(value, pointer, depth + 1))
        if name in _JOINED:
            return self._joined(name, value, pointer, depth)
        if name not in _OPERATORS:
            return self._wrong(pointer, unknown(shortened(name), NAMES, "operator"))
        judge, make = _OPERATORS[name]
        if said := judge(value):
            return self._wrong(pointer, said)
        if name in ("$eq", "$neq"):
            self._count(value, depth + 1)
        return make(value)

    def _joined(self, name: str, value: Any, pointer: str, depth: int) -> Test:
        if type(value) is not list or not value:
            return self._wrong(pointer, "Must be a list of conditions, at least one.")
        self._enter(depth + 1)
        tests = self._items(value, pointer, depth + 1)
        if name == "$or" and (plain := [item for item in value if _is_plain(item)]):
            others = [test for item, test in zip(value, tests, strict=True) if not _is_plain(item)]
            tests = [_one_of(plain), *others]
        return _JOINED[name](tests)

    def _count(self, value: Any, depth: int) -> None:
        """The values within one that is compared as a whole."""
        if type(value) in (dict, list):
            self._enter(depth)
            for inner in value.values() if type(value) is dict else value:
                self._count(inner, depth + 1)
        else:
            self._enter(0)


# --- a filter tried, condition by condition ------------------------------------------------------


def _checked(wanted: Any, pointer: str, value: Any, budget: Budget) -> Iterator[Check]:
    """The checks of a condition and of what stands below it."""
    whole = type(wanted) is not dict or not wanted
    if whole or (type(value) is list and any(not name.startswith("$") for name in wanted)):
        yield from _check(wanted, pointer, value, budget)
    else:
        for name, inner in wanted.items():
            below = at(pointer, name)
            if not name.startswith("$"):
                there = value.get(name, _MISSING) if type(value) is dict else _MISSING
                yield from _checked(inner, below, there, budget)
                continue
            yield from _check({name: inner}, below, value, budget)
            if name in _JOINED:
                for place, item in enumerate(inner):
                    yield from _checked(item, at(below, place), value, budget)


def _check(wanted: Any, pointer: str, value: Any, budget: Budget) -> Iterator[Check]:
    there = value is not _MISSING
    try:
        holds: bool | None = _Compiler().condition(wanted, "", 0)(value, budget)
    except TooCostly:
        holds = None
    yield Check(pointer, holds, there, value if there else None)
