"""Any filter on any payload: the verdict of a matcher that knows no set, no budget and no short
cut, and no more work than the budget says."""

import operator
import sys
from collections import Counter
from random import randrange
from time import process_time

import pytest

from tests.rules.hostile_pairs import pairs, spelled
from tests.security.outside import machine
from webhooks_app.rules import filters
from webhooks_app.rules.filters import VISITS, Budget, TooCostly, compile_filter

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


# --- any pair -------------------------------------------------------------------------------------


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


CALLS_MOST = 10  # functions that run for a visit
COMPARED_MOST = 200_000  # steps, or more, of the naive matcher; a pair that may take it more is
# asked only whether it keeps to its budget


def judge(filter, payload):
    """What became of a pair: its verdict, None where the budget did not reach; and whether the
    naive matcher was asked."""
    verdict, spent, calls = work(filter, payload)
    assert spent <= VISITS
    assert calls <= CALLS_MOST * (spent + filters.NODES_LIMIT)
    possible = 3 * size(filter.source) * size(payload)
    if verdict is None:
        assert possible > VISITS
        return None, False
    if possible >= COMPARED_MOST:
        return verdict, False
    assert verdict is naive(filter.source, payload)
    return verdict, True


SHARES = {True: 0.1, False: 0.3, None: 0.03}  # of each verdict, at the least


def judge_all(pairs):
    found, compared = Counter(), 0
    for pair in pairs:
        try:
            verdict, was_compared = judge(pair.filter, spelled(pair.told))
        except AssertionError as wrong:
            raise AssertionError(f"{pair.filter.text} on {pair.told!r}") from wrong
        found[verdict] += 1
        compared += was_compared
    number = found.total()
    print(f"{number:,} pairs, {compared:,} of them beside the naive matcher: {dict(found)}")
    assert compared >= 0.8 * number
    for verdict, share in SHARES.items():
        assert found[verdict] >= share * number, found
    return number


def test_any_pair_has_the_verdict_of_the_naive_matcher_and_stays_within_its_budget():
    assert judge_all(pairs(seed=1, filters=30, payloads=15)) == 450


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_hostile_pairs():
    assert judge_all(pairs(seed=randrange(2**32), filters=2_000, payloads=50)) == 100_000


# --- known attacks -------------------------------------------------------------------------------

NUMBERED = list(range(200))
SAME_HASH = [n * (2**61 - 1) for n in range(2, 350)]
DEEP = [0] * 300
for _ in range(60):
    DEEP = [DEEP, DEEP[-1]]
TURNED = {"$neq": 2}
for _ in range(11):
    TURNED = {"$not": TURNED}
JOINED = 2
for _ in range(5):
    JOINED = {"$and": [JOINED, 1], "$or": [1, 2]}
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
    "turned round again and again": (
        {"a": {"b": {"$or": [TURNED] * 9}}},
        {"a": [{"b": 1}] * 900},
    ),
    "joined again and again": (
        {"a": {"b": JOINED}},
        {"a": [{"b": 1}] * 6_600},
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
    judge(filter, payload)
