"""The conditions of a filter that was tried, for people: values shortened to what can be read."""

import json
import math
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..rules.filters import Check
from ..rules.safe_text import shown
from .looks import State

ITEMS, DEPTH, SIGNS = 5, 2, 100  # of a value that is shown: of a list or object, inwards, of a text
MORE = "…"

HOLDS = {
    True: State("holds", "Holds", "ok", "ok"),
    False: State("not", "Does not hold", "bad", "bad"),
    None: State("costly", "Too costly", "warn", "warn"),
}


@dataclass(frozen=True, slots=True)
class CheckRow:
    state: State
    place: str
    value: str


def excerpt(value: Any, depth: int = DEPTH) -> Any:
    """The beginning of a JSON value, as JSON: whatever its size, what is made of it is small."""
    if isinstance(value, str):
        return value if len(value) <= SIGNS else value[:SIGNS] + MORE
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 4 * SIGNS:
        return _beginning(value)
    if not isinstance(value, list | dict) or not value:
        return value
    if depth == 0:
        return MORE
    if isinstance(value, list):
        few = [excerpt(item, depth - 1) for item in value[:ITEMS]]
        return few + [MORE] * (len(value) > ITEMS)
    names = list(value)[:ITEMS]
    shortened = {excerpt(name): excerpt(value[name], depth - 1) for name in names}
    return shortened | ({MORE: MORE} if len(value) > ITEMS else {})


def _beginning(number: int) -> str:
    """The first signs of a long one: all its digits would cost the square of their number."""
    surplus = int(number.bit_length() * math.log10(2)) - SIGNS  # digits, never one too many
    sign = "-" if number < 0 else ""
    return f"{sign}{abs(number) // _power(surplus // 64)}"[:SIGNS] + MORE


@cache
def _power(number: int) -> int:
    return 10 ** (64 * number)  # JSON's numbers need 67 of these


def check_rows(checks: list[Check]) -> list[CheckRow]:
    return [CheckRow(HOLDS[check.holds], _place(check.pointer), _value(check)) for check in checks]


def _place(pointer: str) -> str:
    """ "Subscription 1: filter /total/$gte" of `/0/filter/total/$gte`."""
    number, _, place = pointer[1:].partition("/")
    part, slash, inner = place.partition("/")
    return shown(f"Subscription {int(number) + 1}: {part} {slash}{inner}".rstrip())


def _value(check: Check) -> str:
    if not check.there:
        return "not there"
    return shown(json.dumps(excerpt(check.value), ensure_ascii=False))
