"""The language of filters: a table for each operator and rule."""

import json
import time

import pytest

from webhooks_app.rules import filters
from webhooks_app.rules.filters import (
    NAMES,
    Budget,
    InvalidFilter,
    TooCostly,
    compile_filter,
    compiled,
)

pytestmark = pytest.mark.once


def matches(filter, payload, **limits):
    return compile_filter(filter).matches(payload, Budget(**limits))


TRIED = []


def table(*rows):
    TRIED.extend(filter for filter, _, _ in rows)
    return pytest.mark.parametrize(("filter", "payload", "holds"), rows)


ORDER = {
    "id": 7,
    "state": "paid",
    "total": 120.5,
    "note": None,
    "gift": True,
    "customer": {"name": "Ann", "tags": ["vip", "eu"]},
    "items": [{"sku": "A", "qty": 1}, {"sku": "B", "qty": 5}],
}


@table(
    ({}, ORDER, True),
    ({}, 5, True),
    ({}, None, True),
    ({"state": "paid"}, ORDER, True),
    ({"state": "open"}, ORDER, False),
    ({"state": "Paid"}, ORDER, False),
    ({"id": 7.0}, ORDER, True),
    ({"id": "7"}, ORDER, False),
    ({"gift": True}, ORDER, True),
    ({"gift": 1}, ORDER, False),
    ({"id": True}, {"id": 1}, False),
    ({"note": None}, ORDER, True),
    ({"other": None}, ORDER, False),
    ({"note": {}}, ORDER, True),
    ({"other": {}}, ORDER, False),
    ({"customer": {"name": "Ann"}}, ORDER, True),
    ({"customer": {"name": "Bob"}}, ORDER, False),
    ({"customer": {"name": {"first": "Ann"}}}, ORDER, False),
    ({"state": "paid", "id": 7}, ORDER, True),
    ({"state": "paid", "id": 8}, ORDER, False),
    ({"customer": "Ann"}, ORDER, False),
    ({"": 1}, {"": 1}, True),
    ({"a.b": 1}, {"a": {"b": 1}}, False),
    ({"n": 10**400}, {"n": 10**400}, True),
    ({"n": 10**400}, {"n": 10**400 + 1}, False),
    ({"n": 1e30}, {"n": int(1e30)}, True),
    ({"n": 2**61 - 1}, {"n": 0}, False),
)
def test_plain_values_are_equal_and_objects_hold_field_by_field(filter, payload, holds):
    assert matches(filter, payload) is holds


@table(
    ({"customer": {"tags": "vip"}}, ORDER, True),
    ({"customer": {"tags": "us"}}, ORDER, False),
    ({"a": 1}, {"a": []}, False),
    ({"a": 1}, {"a": [[[1]], 2]}, True),
    ({"a": {}}, {"a": []}, True),
    ({"items": {"sku": "B", "qty": {"$gt": 2}}}, ORDER, True),
    ({"items": {"sku": "A", "qty": {"$gt": 2}}}, ORDER, False),
    ({"items": {"price": {"$exist": False}}}, ORDER, True),
    ({"items": {"price": {"$exist": False}}}, {"items": []}, False),
    ({"sku": "A"}, ORDER["items"], True),
    ({"sku": "C"}, ORDER["items"], False),
    ({"a": {"$gte": 3, "$lte": 5}}, {"a": [1, 10]}, True),
    ({"a": {"$gte": 3, "$lte": 5}}, {"a": [10, 11]}, False),
)
def test_a_list_in_the_payload_holds_where_an_element_does(filter, payload, holds):
    assert matches(filter, payload) is holds


@table(
    ({"a": ["x"]}, {"a": ["x", "y"]}, True),
    ({"a": ["x", "y"]}, {"a": ["y", "z", "x"]}, True),
    ({"a": ["x", "y"]}, {"a": ["x"]}, False),
    ({"a": ["x"]}, {"a": "x"}, False),
    ({"a": []}, {"a": []}, True),
    ({"a": []}, {"a": 1}, False),
    ({"a": []}, {}, False),
    ({"a": [{"b": 1}, {"b": 2}]}, {"a": [{"b": 2}, {"b": 1}]}, True),
    ({"a": [{"b": 1}, {"b": 3}]}, {"a": [{"b": 2}, {"b": 1}]}, False),
    ({"a": [{"$gt": 5}, "x"]}, {"a": ["x", 6]}, True),
    ({"a": [[1], 2]}, {"a": [[1, 3], 2]}, True),
    ({"a": [[1], 2]}, {"a": [1, 2]}, False),
    ({"a": [1]}, {"a": [True]}, False),
)
def test_a_list_in_the_filter_wants_each_item_in_some_element(filter, payload, holds):
    assert matches(filter, payload) is holds


@table(
    ({"a": {"$eq": 1}}, {"a": 1.0}, True),
    ({"a": {"$eq": 1}}, {"a": True}, False),
    ({"a": {"$eq": 1}}, {"a": [0, 1]}, True),
    ({"a": {"$eq": [1, 2]}}, {"a": [1.0, 2]}, True),
    ({"a": {"$eq": [1, 2]}}, {"a": [2, 1]}, False),
    ({"a": {"$eq": [1, 2]}}, {"a": [[1, 2], 3]}, True),
    ({"a": {"$eq": {"b": 1}}}, {"a": {"b": 1}}, True),
    ({"a": {"$eq": {"b": 1}}}, {"a": {"b": 1, "c": 2}}, False),
    ({"a": {"$eq": {"b": 1}}}, {"a": [{"b": 1}]}, True),
    ({"a": {"$eq": {"b": [True]}}}, {"a": {"b": [1]}}, False),
    ({"a": {"$neq": 1}}, {"a": 2}, True),
    ({"a": {"$neq": 1}}, {"a": "1"}, True),
    ({"a": {"$neq": 1}}, {"a": 1}, False),
    ({"a": {"$neq": 1}}, {"a": [2, 1]}, False),
    ({"a": {"$neq": 1}}, {"a": []}, True),
    ({"a": {"$neq": 1}}, {}, False),
    ({"a": {"$neq": [1]}}, {"a": [1]}, False),
    ({"a": {"$neq": None}}, {"a": None}, False),
)
def test_equal_and_not_equal(filter, payload, holds):
    assert matches(filter, payload) is holds


@table(
    ({"a": {"$gt": 1}}, {"a": 1}, False),
    ({"a": {"$gt": 1}}, {"a": 1.5}, True),
    ({"a": {"$gte": 1}}, {"a": 1}, True),
    ({"a": {"$lt": 1}}, {"a": 0}, True),
    ({"a": {"$lte": 1}}, {"a": 1.0}, True),
    ({"a": {"$lte": 1}}, {"a": 1.1}, False),
    ({"a": {"$gte": 0}}, {"a": True}, False),
    ({"a": {"$gte": 0}}, {"a": "1"}, False),
    ({"a": {"$gte": 0}}, {"a": None}, False),
    ({"a": {"$lt": 5}}, {}, False),
    ({"a": {"$gt": 1, "$lt": 3}}, {"a": 2}, True),
    ({"a": {"$gt": 1, "$lt": 3}}, {"a": 3}, False),
    ({"a": {"$gte": "2026-11-29"}}, {"a": "2026-11-29T10:00:00Z"}, True),
    ({"a": {"$lt": "a"}}, {"a": "Z"}, True),
    ({"a": {"$lt": "\uffff"}}, {"a": "\U00010000"}, False),
    ({"a": {"$gt": 3}}, {"a": [1, "x", 4]}, True),
    ({"a": {"$gt": 1.5}}, {"a": 10**400}, True),
)
def test_order_of_numbers_and_of_texts(filter, payload, holds):
    assert matches(filter, payload) is holds


@table(
    ({"a": {"$in": ["x", 1]}}, {"a": "x"}, True),
    ({"a": {"$in": ["x", 1]}}, {"a": 1.0}, True),
    ({"a": {"$in": ["x", 1]}}, {"a": True}, False),
    ({"a": {"$in": ["x", 1]}}, {"a": "xy"}, False),
    ({"a": {"$in": ["x", 1]}}, {"a": ["z", "x"]}, True),
    ({"a": {"$in": []}}, {"a": 1}, False),
    ({"a": {"$in": "bc"}}, {"a": "abcd"}, True),
    ({"a": {"$in": "bc"}}, {"a": "abd"}, False),
    ({"a": {"$in": "bc"}}, {"a": ["bc"]}, True),
    ({"a": {"$in": "bc"}}, {"a": ["abcd"]}, False),
    ({"a": {"$in": 5}}, {"a": [4, 5]}, True),
    ({"a": {"$in": 5}}, {"a": 5}, False),
    ({"a": {"$in": ["x"]}}, {}, False),
    ({"a": {"$nin": ["x", "y"]}}, {"a": "z"}, True),
    ({"a": {"$nin": ["x", "y"]}}, {"a": "y"}, False),
    ({"a": {"$nin": ["x", "y"]}}, {"a": ["z", "y"]}, False),
    ({"a": {"$nin": ["x", "y"]}}, {"a": []}, True),
    ({"a": {"$nin": ["x", "y"]}}, {}, False),
    ({"a": {"$nin": "bc"}}, {"a": "abcd"}, False),
    ({"a": {"$nin": "bc"}}, {"a": 7}, True),
    ({"a": {"$in": [f"{n}" for n in range(1000)]}}, {"a": "999"}, True),
)
def test_membership_and_parts_of_texts(filter, payload, holds):
    assert matches(filter, payload) is holds


@table(
    ({"a": {"$startsWith": "ab"}}, {"a": "abc"}, True),
    ({"a": {"$startsWith": "ab"}}, {"a": "xab"}, False),
    ({"a": {"$startsWith": ["x", "ab"]}}, {"a": "abc"}, True),
    ({"a": {"$startsWith": "ab"}}, {"a": ["x", "abc"]}, True),
    ({"a": {"$startsWith": "1"}}, {"a": 12}, False),
    ({"a": {"$startsWith": ""}}, {"a": ""}, True),
    ({"a": {"$startsWith": ""}}, {}, False),
    ({"a": {"$endsWith": "bc"}}, {"a": "abc"}, True),
    ({"a": {"$endsWith": ["x", "bc"]}}, {"a": "abc"}, True),
    ({"a": {"$endsWith": "BC"}}, {"a": "abc"}, False),
)
def test_beginnings_and_ends_of_texts(filter, payload, holds):
    assert matches(filter, payload) is holds


@table(
    ({"a": {"$exist": True}}, {"a": None}, True),
    ({"a": {"$exist": True}}, {"a": []}, True),
    ({"a": {"$exist": True}}, {}, False),
    ({"a": {"$exist": False}}, {}, True),
    ({"a": {"$exist": False}}, {"a": None}, False),
    ({"a": {"b": {"$exist": False}}}, {}, True),
    ({"a": {"b": {"$exist": False}}}, {"a": 5}, True),
    ({"a": {"b": {"$exist": False}}}, {"a": {"b": 1}}, False),
    ({"a": {"b": {"$exist": True}}}, {"a": "b"}, False),
    ({"a": {"$not": {"$eq": 1}}}, {}, True),
    ({"a": {"$not": 1}}, {}, True),
    ({"a": {"$not": {"$exist": False}}}, {}, False),
)
def test_what_is_not_there(filter, payload, holds):
    assert matches(filter, payload) is holds


@table(
    ({"$or": [{"a": 1}, {"b": 2}]}, {"b": 2}, True),
    ({"$or": [{"a": 1}, {"b": 2}]}, {"a": 2, "b": 1}, False),
    ({"a": {"$or": [1, 2, {"$gt": 10}]}}, {"a": 2}, True),
    ({"a": {"$or": [1, 2, {"$gt": 10}]}}, {"a": 11}, True),
    ({"a": {"$or": [1, 2, {"$gt": 10}]}}, {"a": 3}, False),
    ({"a": {"$or": [["x", "y"], ["z"]]}}, {"a": ["z"]}, True),
    ({"$and": [{"a": 1}, {"b": 2}]}, {"a": 1, "b": 2}, True),
    ({"$and": [{"a": 1}, {"b": 2}]}, {"a": 1}, False),
    ({"a": {"b": {"$and": [{"$gt": 1}, {"$lt": 3}]}}}, {"a": {"b": 2}}, True),
    ({"$not": {"a": 1}}, {"a": 2}, True),
    ({"$not": {"a": 1}}, {"a": 1}, False),
    ({"a": {"$not": {"$in": ["x"]}}}, {"a": "y"}, True),
    ({"a": {"$not": {"$in": ["x"]}}}, {"a": ["y", "x"]}, False),
    ({"$not": {"$not": {"a": 1}}}, {"a": 1}, True),
)
def test_or_and_and_not_at_any_depth(filter, payload, holds):
    assert matches(filter, payload) is holds


@table(
    ({"$or": [{"a": 1}, {"a": 2}], "b": 3}, {"a": 1, "b": 3}, True),
    ({"$or": [{"a": 1}, {"a": 2}], "b": 3}, {"a": 1, "b": 4}, False),
    ({"x": {"$or": [{"a": 1}], "b": 3}}, {"x": {"a": 1, "b": 4}}, False),
    ({"x": {"$eq": {"b": 4}, "b": 3}}, {"x": {"b": 4}}, False),
    ({"x": {"$exist": True, "b": 3}}, {"x": {"b": 3}}, True),
    ({"a": {"$gt": 1, "$not": {"$gt": 5}}}, {"a": 6}, False),
)
def test_all_keys_of_an_object_hold_together(filter, payload, holds):
    assert matches(filter, payload) is holds


NESTED = 1
for _ in range(20):
    NESTED = {"a": NESTED}
JSON_ONLY = "Must be JSON."


@pytest.mark.parametrize(
    ("filter", "problems"),
    [
        ([], {"": "Must be an object."}),
        ("a", {"": "Must be an object."}),
        (None, {"": "Must be an object."}),
        ({"a": {1, 2}}, {"": JSON_ONLY}),
        ({"a": float("nan")}, {"": JSON_ONLY}),
        ({"a": "\ud800"}, {"": JSON_ONLY}),
        ({"total": {"$gte": True}}, {"/total/$gte": "Must be a number or a text."}),
        ({"total": {"$lt": [1]}}, {"/total/$lt": "Must be a number or a text."}),
        ({"a": {"$gtee": 1}}, {"/a/$gtee": "There is no such operator; did you mean $gte?"}),
        ({"a": {"$exists": True}}, {"/a/$exists": "did you mean $exist?"}),
        ({"a": {"$startswith": "x"}}, {"/a/$startswith": "did you mean $startsWith?"}),
        ({"$quux": 1}, {"/$quux": "There is no such operator."}),
        ({"a": {"$exist": 1}}, {"/a/$exist": "Must be true or false."}),
        ({"a": {"$in": [[1]]}}, {"/a/$in": "or a list of such values"}),
        ({"a": {"$in": {}}}, {"/a/$in": "or a list of such values"}),
        ({"a": {"$in": list(range(1001))}}, {"/a/$in": "at most 1,000 values"}),
        ({"a": {"$startsWith": 5}}, {"/a/$startsWith": "Must be a text or a list of texts."}),
        ({"a": {"$endsWith": []}}, {"/a/$endsWith": "Must be a text or a list of texts."}),
        ({"$or": {"a": 1}}, {"/$or": "Must be a list of conditions"}),
        ({"$and": []}, {"/$and": "Must be a list of conditions"}),
        ({"$or": [{"$xor": 1}, {"a": {"$gt": None}}]}, {"/$or/0/$xor": "", "/$or/1/a/$gt": ""}),
        ({"a": {"$not": {"$gte": None}}}, {"/a/$not/$gte": "number or a text"}),
        ({"a/b": {"~": {"$lt": None}}}, {"/a~1b/~0/$lt": "number or a text"}),
        (NESTED, {"": "nested at most 16 levels"}),
        ({"a": {"$eq": NESTED}}, {"": "nested at most 16 levels"}),
        ({f"k{n}": 1 for n in range(256)}, {"": "at most 256 conditions"}),
        ({"a": {"$eq": list(range(256))}}, {"": "at most 256 conditions"}),
        ({"a": "x" * 8200}, {"": "at most 8 KiB"}),
        ({"$" + "x" * 8000: 1}, {"": ""}),
    ],
)
def test_what_is_no_filter_is_refused_with_its_places(filter, problems):
    with pytest.raises(InvalidFilter) as refused:
        compile_filter(filter)
    found = refused.value.problems
    if problems != {"": ""}:
        assert found.keys() == problems.keys()
        for pointer, said in problems.items():
            assert said in " ".join(found[pointer])
    assert len(" ".join(said for all_said in found.values() for said in all_said)) < 500


@pytest.mark.parametrize(
    "filter",
    [
        {f"k{n}": 1 for n in range(255)},
        {"a": {"$in": list(range(1000))}},
        {"a": "x" * 8184},
        {"a": {"$eq": 1}, "b": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": 1}}}}}}}}},
    ],
)
def test_what_is_just_within_the_limits_is_a_filter(filter):
    assert compile_filter(filter).matches({}, Budget()) is False


def test_every_operator_has_a_row_in_the_tables():
    written = json.dumps(TRIED)
    assert [name for name in NAMES if f'"{name}"' not in written] == []


def test_a_filter_keeps_its_text_and_is_made_once_of_it():
    text = '{"a":{"$in":["é",1]}}'
    assert compile_filter({"a": {"$in": ["é", 1]}}).text == text
    assert compiled(text) is compiled(text)
    assert compiled(text).matches({"a": "é"}, Budget())


def test_the_budget_says_what_was_spent_and_is_never_passed():
    small, budget = compile_filter({"a": 1}), Budget()
    assert small.matches({"a": list(range(15_000))}, budget)
    assert 15_000 <= budget.spent <= 15_010
    for length in (20_000, 500_000):
        budget = Budget()
        with pytest.raises(TooCostly):
            small.matches({"a": [0] * length}, budget)
        assert budget.spent <= 20_000


def test_numbers_of_very_many_digits_cost_no_square_of_them():
    many = compile_filter({"$and": [{"$nin": [n]} for n in range(60)]})

    def seconds(payload):
        budget, begin = Budget(), time.process_time()
        assert many.matches(payload, budget)
        return time.process_time() - begin

    huge, large = ([int("9" * digits) - n for n in range(240)] for digits in (4300, 430))
    assert seconds(huge) < 40 * min(seconds(large) for _ in range(5))
    assert compile_filter({"$in": huge[:1]}).matches(huge, Budget())
    assert not compile_filter({"$in": [-huge[0]]}).matches(huge, Budget())
    assert compile_filter({"$eq": 1e300}).matches(int(1e300), Budget())


def test_whether_it_is_too_costly_does_not_depend_on_where_the_element_stands():
    for place in (0, -1):
        payload = [0] * 30_000
        payload[place] = 1
        with pytest.raises(TooCostly):
            matches({"a": 1}, {"a": payload})


def test_checks_say_of_each_condition_whether_it_holds_and_what_is_there():
    filter = {
        "state": "paid",
        "total": {"$gte": 100, "$lt": 120},
        "customer": {"name": "Bob", "mail": {"$exist": True}},
        "items": {"sku": "A", "qty": {"$gt": 2}},
        "$or": [{"id": 7}, {"id": 8}],
        "$not": {"gift": True},
    }
    checks = compile_filter(filter).checks(ORDER, Budget())
    assert [(check.pointer, check.holds, check.there) for check in checks] == [
        ("/state", True, True),
        ("/total/$gte", True, True),
        ("/total/$lt", False, True),
        ("/customer/name", False, True),
        ("/customer/mail/$exist", False, False),
        ("/items", False, True),
        ("/$or", True, True),
        ("/$or/0/id", True, True),
        ("/$or/1/id", False, True),
        ("/$not", False, True),
    ]
    values = {check.pointer: check.value for check in checks}
    assert values["/total/$lt"] == 120.5
    assert values["/customer/mail/$exist"] is None
    assert values["/items"] == ORDER["items"]


def test_checks_past_the_budget_are_undecided_and_the_others_are_not():
    checks = compile_filter({"a": 1, "b": 2}).checks({"a": [0] * 30_000, "b": 2}, Budget())
    assert [(check.pointer, check.holds) for check in checks] == [("/a", None), ("/b", True)]


def test_without_conditions_one_check_says_that_all_holds():
    assert [check.holds for check in compile_filter({}).checks([1], Budget())] == [True]


def test_refusals_name_the_outermost_conditions_that_do_not_hold():
    filter = {
        "state": "open",
        "$or": [{"id": 7}, {"id": 8}],
        "customer": {
            "$and": [{"name": "Ann"}, {"name": {"$in": ["Bob"]}}],
            "mail": {"$exist": True},
        },
        "total": {"$or": [1, 2]},
    }
    refused = compile_filter(filter).refusals(ORDER, Budget())
    assert refused == ["/state", "/customer/$and", "/customer/mail/$exist", "/total/$or"]


def test_of_large_filters_fewer_are_kept_than_of_small_ones(monkeypatch):
    monkeypatch.setattr(filters, "WEIGHT_KEPT", 1000)
    compiled = filters.Compiled()
    first = compiled('{"n":0}')
    for n in range(100):
        compiled(f'{{"n":{n}}}')
    assert compiled('{"n":0}') is first
    for n in range(10):
        compiled(json.dumps({"$or": [{f"{n}": m} for m in range(80)]}))
    assert compiled('{"n":0}') is not first
    assert compiled.weight <= 1000
