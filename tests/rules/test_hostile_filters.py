"""Any filter on any payload: the verdict of a matcher that knows no set, no budget and no short
cut, and no more work than the budget says."""

import operator
import sys
from dataclasses import dataclass
from time import process_time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.security.outside import machine
from webhooks_app.rules import filters
from webhooks_app.rules.filters import VISITS, Budget, InvalidFilter, TooCostly, compile_filter

pytestmark = pytest.mark.once

# --- the naive matcher ---------------------------------------------------------------------------

ABSENT = object()
ORDERS = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}
KINDS = {str: "text", int: "number", float: "number", bool: "flag", list: "list", dict: "object"}


def kind(value):
    return "null" if value is None else KINDS.get(type(value), "absent")


def equal(one, other):
    if kind(one) != kind(other):
        return False
    if kind(one) == "list":
        return len(one) == len(other) and all(equal(one[n], other[n]) for n in range(len(one)))
    if kind(one) == "object":
        return set(one) == set(other) and all(equal(one[name], other[name]) for name in one)
    return one == other


def some(value, holds):
    """Of a list one element, of anything else itself."""
    if kind(value) == "list":
        return any(some(element, holds) for element in value)
    return holds(value)


def field(value, name):
    return value.get(name, ABSENT) if kind(value) == "object" else ABSENT


def naive(wanted, value):
    if kind(wanted) == "list":
        return kind(value) == "list" and all(any(naive(w, v) for v in value) for w in wanted)
    if kind(wanted) != "object":
        return some(value, lambda each: equal(each, wanted))
    fields = {name: inner for name, inner in wanted.items() if name[:1] != "$"}
    if not wanted:
        return value is not ABSENT
    return all(
        by_operator(name, inner, value) for name, inner in wanted.items() if name not in fields
    ) and (
        not fields
        or some(
            value, lambda v: all(naive(inner, field(v, name)) for name, inner in fields.items())
        )
    )


def by_operator(name, wanted, value):
    match name:
        case "$or":
            return any(naive(each, value) for each in wanted)
        case "$and":
            return all(naive(each, value) for each in wanted)
        case "$not":
            return not naive(wanted, value)
        case "$exist":
            return wanted == (value is not ABSENT)
        case "$neq" | "$nin":
            return value is not ABSENT and not by_operator(name.replace("n", "", 1), wanted, value)
        case "$eq" if kind(value) == "list":
            return equal(wanted, value) or any(by_operator(name, wanted, v) for v in value)
        case "$eq":
            return equal(wanted, value)
        case "$in" if kind(wanted) == "list":
            return some(value, lambda v: any(equal(v, each) for each in wanted))
        case "$in" if kind(value) == "text":
            return kind(wanted) == "text" and wanted in value
        case "$in":
            return kind(value) == "list" and some(value, lambda v: equal(v, wanted))
        case "$startsWith" | "$endsWith":
            ends = wanted if kind(wanted) == "list" else [wanted]
            has = str.startswith if name == "$startsWith" else str.endswith
            return some(value, lambda v: kind(v) == "text" and any(has(v, each) for each in ends))
    compare = ORDERS[name]
    comparable = kind(wanted) if kind(wanted) in ("text", "number") else "none"
    return some(value, lambda v: kind(v) == comparable and compare(v, wanted))


# --- filters and payloads without end, of few words so that they meet ----------------------------

NAMES = st.sampled_from(["a", "b", "c", "", "a/b"])
TEXTS = st.sampled_from(["", "a", "b", "ab", "aba", "é", "\U00010000", "\uffff", "1"])
NUMBERS = st.sampled_from([0, 1, 1.0, -0.0, 2, 2.5, -1, 2**61 - 1, 2**61, 1e30, int(1e30), 10**400])
PLAIN = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
JSON = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@dataclass
class Long:
    """A list of one element many times and another one at its end, told in few words."""

    element: Any
    times: int
    last: Any


LONG = st.builds(Long, JSON, st.sampled_from([50, 900, 5_000, 19_000, 40_000, 200_000]), JSON)
PAYLOADS = JSON | LONG | st.dictionaries(NAMES, JSON | LONG, max_size=3)


def spelled(payload):
    if isinstance(payload, dict):
        return {name: spelled(value) for name, value in payload.items()}
    if isinstance(payload, Long):
        return [payload.element] * payload.times + [payload.last]
    return payload


CONDITIONS: Any = st.deferred(
    lambda: PLAIN | FIELDS | OPERATORS | MIXED | st.lists(CONDITIONS, max_size=3)
)
FIELDS = st.dictionaries(NAMES, CONDITIONS, max_size=3)
OPERANDS = {
    **dict.fromkeys(("$eq", "$neq"), JSON),
    **dict.fromkeys(ORDERS, NUMBERS | TEXTS),
    **dict.fromkeys(("$in", "$nin"), PLAIN | st.lists(PLAIN, max_size=5)),
    **dict.fromkeys(("$startsWith", "$endsWith"), TEXTS | st.lists(TEXTS, min_size=1, max_size=40)),
    "$exist": st.booleans(),
    **dict.fromkeys(("$or", "$and"), st.lists(CONDITIONS, min_size=1, max_size=4)),
    "$not": CONDITIONS,
}


@st.composite
def operators(draw):
    names = draw(st.lists(st.sampled_from(sorted(OPERANDS)), min_size=1, max_size=2, unique=True))
    return {name: draw(OPERANDS[name]) for name in names}


OPERATORS = operators()
MIXED = st.builds(operator.or_, FIELDS, OPERATORS)
FILTERS = FIELDS | OPERATORS | MIXED


def size(value):
    """Nodes of a value, as far as VISITS; its characters count as they are searched."""
    rest, found = [value], 0
    while rest and found <= VISITS:
        each = rest.pop()
        found += 1 + (len(each) // 256 if isinstance(each, str) else 0)
        if isinstance(each, dict):
            rest += each.values()
        elif isinstance(each, list):
            rest += each
    return found


def work(filter, payload):
    """The verdict or None, what was spent, and the functions of the module that ran for it."""
    calls, budget = 0, Budget()

    def count(frame, event, _):
        nonlocal calls
        calls += event == "call" and frame.f_code.co_filename == filters.__file__

    sys.setprofile(count)
    try:
        verdict = filter.matches(payload, budget)
    except TooCostly:
        verdict = None
    finally:
        sys.setprofile(None)
    return verdict, budget.spent, calls


def judge(wanted, payload):
    try:
        filter = compile_filter(wanted)
    except InvalidFilter as invalid:
        if "at most" in str(invalid):  # it is too large
            return
        raise
    verdict, spent, calls = work(filter, payload)
    assert spent <= VISITS
    assert calls <= 8 * (spent + filters.NODES_LIMIT)
    possible = 3 * size(wanted) * size(payload)
    if verdict is None:
        assert possible > VISITS
    elif possible < 200_000:
        assert verdict is naive(wanted, payload)


NO_LIMIT = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "database": None,
}


@settings(max_examples=150, derandomize=True, **NO_LIMIT)
@given(FILTERS, PAYLOADS)
def test_any_pair_has_the_verdict_of_the_naive_matcher_and_stays_within_its_budget(wanted, payload):
    judge(wanted, spelled(payload))


@pytest.mark.prove
@pytest.mark.timeout(3600)
@settings(max_examples=100_000, **NO_LIMIT)
@given(FILTERS, PAYLOADS)
def test_a_hundred_thousand_hostile_pairs(wanted, payload):
    judge(wanted, spelled(payload))


# --- known attacks -------------------------------------------------------------------------------

NUMBERED = list(range(200))
SAME_HASH = [n * (2**61 - 1) for n in range(2, 350)]
DEEP = [0] * 300
for _ in range(60):
    DEEP = [DEEP, DEEP[-1]]
ATTACKS = {
    "many alternatives on half a million numbers": (
        {"a": {"$or": [-1 - n for n in NUMBERED]}},
        {"a": list(range(500_000))},
    ),
    "many alternatives within the budget": (
        {"a": {"$or": [-1 - n for n in NUMBERED]}},
        {"a": list(range(19_000))},
    ),
    "many conditions on one list": (
        {"$and": [{"a": {"$not": {"$gt": n + 10**6}}} for n in range(48)]},
        {"a": list(range(19_000))},
    ),
    "items by fields": (
        {"a": [{"b": n, "c": {"$gt": n}} for n in range(60)]},
        {"a": [{"b": n} for n in range(19_000)]},
    ),
    "lists in lists": ({"a": [[[[1]]], {"$eq": [1]}]}, {"a": [[DEEP] * 5] * 30}),
    "parts of a long text": (
        {"$and": [{"a": {"$nin": "ab" * n + "c"}} for n in range(1, 50)]},
        {"a": "ab" * 500_000},
    ),
    "many beginnings": (
        {"a": {"$startsWith": [f"x{n}" for n in range(900)]}},
        {"a": ["x"] * 19_000},
    ),
    "integers of one hash": ({"a": {"$in": SAME_HASH}}, {"a": [2**61 - 1] * 19_000}),
    "lists that are asked of no list": (
        {"a": {"b": {"$or": [[]] * 240}}},
        {"a": [{"b": 1}] * 19_000},
    ),
    "fields that are not there": (
        {"a": {"b": {"$or": [{"$neq": 1}, {"$exist": True}] * 40}}},
        {"a": [{}] * 19_000},
    ),
    "equal to the last": (
        {"a": {"$eq": [[1] * 100, 2]}},
        {"a": [[[1] * 100, 3]] * 180},
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_known_attack_costs_more_than_its_budget(attack):
    wanted, payload = ATTACKS[attack]
    filter = compile_filter(wanted)
    began = process_time()
    try:
        verdict = filter.matches(payload, Budget())
    except TooCostly:
        verdict = None
    took = process_time() - began
    assert verdict is not True
    assert took < 0.05 * 5 * machine()
    judge(wanted, payload)
