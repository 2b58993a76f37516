import contextlib
import gc
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webhooks_app.rules import strictjson

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "Expecting value"),
        (b"{", "line 1"),
        (b"[1,]", "line 1"),
        (b"{'a': 1}", "line 1"),
        (b'\xef\xbb\xbf{"a": 1}', "BOM"),
        (b"\xff\xfe{\x00}\x00", "UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "UTF-8"),
        (b'"\xed\xa0\x80"', "UTF-8"),
        (b'"\xc0\xaf"', "UTF-8"),
        (b"NaN", "NaN"),
        (b"[Infinity]", "Infinity"),
        (b"[-Infinity]", "Infinity"),
        (b"1e999", "too large"),
        (b"-1e999", "too large"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'[{"a": {"b": 1, "b": 1}}]', "twice"),
        (b"[" + b"{}," * 20_000 + b'{"a": {"b": 1, "b": 1}}]', "twice"),
        (b"[" + b'{"a":1},' * 20_000 + b"1e999]", "too large"),
        (b'"\\u0000"', "NUL"),
        (b'{"\\u0000": 1}', "NUL"),
        (b'"a\x00b"', "control character"),
        (b'"\\ud800"', "surrogate"),
        (b'["\\udc00\\ud800"]', "surrogate"),
        (b'{"\\uDEAD": 1}', "surrogate"),
        (b"[" * 65 + b"]" * 65, "64 levels"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "64 levels"),
        (b"[" * 100_000, "64 levels"),
        (b"9" * 4301, "too many digits"),
    ],
)
def test_refused_with_a_reason(data, reason):
    with pytest.raises(ValueError, match=reason):
        strictjson.loads(data)


@pytest.mark.parametrize(
    "data",
    [
        b"null",
        b" {} ",
        b"1e308",
        b'"\\ud83d\\ude00"',
        '"😀\\u00e9"'.encode(),
        b"[" * 64 + b"]" * 64,
        b'["' + b"[" * 1000 + b'"]',
        b'"\\\\u0000"',
        b"9" * 4300,
    ],
)
def test_accepted(data):
    assert strictjson.loads(data) == json.loads(data)


def test_the_last_of_equal_keys_may_win():
    assert strictjson.loads(b'{"a": 1, "a": 2}', unique=False) == {"a": 2}


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_a_value_or_a_value_error(data):
    with contextlib.suppress(ValueError):
        strictjson.loads(data)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
            children,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(json_values)
def test_what_json_writes_is_read_back(value):
    assert strictjson.loads(json.dumps(value).encode()) == value


# What the reader is defined by, in the plainest words; slow where a text is hostile.


def defined(text, unique):
    """Raises ValueError, or returns the value: recursion, and a look at every text."""

    def pairs(found):
        if unique and len(dict(found)) != len(found):
            raise ValueError("twice")
        return dict(found)

    def refuse(name):
        raise ValueError(name)

    def look(value, levels):
        if isinstance(value, list | dict) and not levels:
            raise ValueError("levels")
        if isinstance(value, str):
            value.encode()
            if "\0" in value:
                raise ValueError("NUL")
        elif isinstance(value, float) and value in (float("inf"), float("-inf")):
            raise ValueError("infinite")
        elif isinstance(value, dict):
            for key, inner in value.items():
                look(key, levels - 1)
                look(inner, levels - 1)
        elif isinstance(value, list):
            for inner in value:
                look(inner, levels - 1)
        return value

    return look(json.loads(text, object_pairs_hook=pairs, parse_constant=refuse), 64)


def verdict(read, *arguments, **options):
    try:
        return True, json.dumps(read(*arguments, **options))
    except ValueError:
        return False, ""


def texts_of(*parts):
    return st.lists(st.sampled_from(parts), max_size=30).map("".join)


ESCAPES = (
    "\\u0000",
    "\\ud83d",
    "\\ude00",
    "\\uD83D",
    "\\uDE00",
    "\\\\",
    '\\"',
    "\\n",
    "u0000",
    "é",
    "[",
)


@given(
    texts_of("[", "]", "{", "}", '"', "\\", "a", ",", ":", "1", "1e999", "NaN", " ")
    | texts_of(*ESCAPES).map(lambda inner: f'["{inner}"]')
    | st.tuples(texts_of(*ESCAPES), texts_of(*ESCAPES)).map(
        lambda pair: f'{{"{pair[0]}": 1, "{pair[1]}": "{pair[0]}", "a": 1, "a": "{pair[1]}"}}'
    )
    | st.tuples(st.integers(60, 68), texts_of(*ESCAPES), st.sampled_from("[{")).map(
        lambda it: (
            f'{"[" * it[0]}"{it[1]}"{"]" * it[0]}'
            if it[2] == "["
            else f'{{"{it[1]}":' * it[0] + "1" + "}" * it[0]
        )
    ),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_every_text_is_judged_as_it_is_defined(text, unique):
    expected = verdict(defined, text, unique)
    assert verdict(strictjson.loads, text.encode(), unique=unique) == expected


# --- slices -------------------------------------------------------------------------------------


def sliced(text):
    return strictjson.loads_slicing(text, "payload", rows="rows", most=3)


def test_a_slice_is_the_bytes_as_they_stand():
    text = b'{"n": 1.0,"rows" : [ {"payload" :  {"a" : 1.50, "\xc3\xa9":[ ]} ,"b":[1]}, 5, []] }'
    assert sliced(text) == {
        "n": 1.0,
        "rows": [{"payload": b'{"a" : 1.50, "\xc3\xa9":[ ]}', "b": [1]}, 5, []],
    }
    assert strictjson.loads_slicing(b' {"payload": "\\u00e9" }\n', "payload") == {
        "payload": b'"\\u00e9"'
    }


def test_of_rows_there_may_be_so_many_and_of_what_stands_behind_nothing_is_said():
    assert len(sliced(b'{"rows": [1, 2, 3]}')["rows"]) == 3
    with pytest.raises(strictjson.TooMany):
        sliced(b'{"rows": [1, 2, 3, 4')


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"rows": [{"payload": 1, "payload": 2}]}', "twice"),
        (b'{"rows": [], "rows": []}', "twice"),
        (b'{"rows": [{"payload": {"a": 1, "a": 1}}]}', "twice"),
        (b'{"rows": [{"payload": "\\u0000"}]}', "NUL"),
        (b'{"rows": [{"payload": "\\ud800"}]}', "surrogate"),
        (b'{"rows": [{"payload": NaN}]}', "NaN"),
        (b'{"rows": [{"payload": ' + b"[" * 65 + b"]" * 65 + b"}]}", "levels"),
        (b'{"rows": [{' + b",".join(b'"%d": 1' % n for n in range(101)) + b"}]}", "100 keys"),
    ],
)
def test_what_is_sliced_is_read_as_strictly(text, reason):
    with pytest.raises(ValueError, match=reason):
        sliced(text)


PARTS = ("{", "}", "[", "]", '"payload"', '"rows"', '"a"', ":", ",", "1", " ", "\n", "null", '"')
SHAPES = ('{"rows":[%s]}', '{"rows":[{"payload":%s}]}', '{"payload":%s}', "%s")


@given(texts_of(*PARTS), st.sampled_from(SHAPES))
@settings(max_examples=300)
def test_every_text_is_taken_or_refused_as_without_slices(text, shape):
    text = (shape % text).encode()

    def whole(value):
        """The slices read."""
        if not isinstance(value, dict) or not isinstance(value.get("rows"), list):
            return value
        rows = [
            row | {"payload": json.loads(row["payload"])}
            if isinstance(row, dict) and "payload" in row
            else row
            for row in value["rows"]
        ]
        return value | {"rows": rows}

    try:
        found = strictjson.loads_slicing(text, "payload", rows="rows", most=1000)
    except ValueError:
        with pytest.raises(ValueError, match=r"\w"):
            strictjson.loads(text)
    else:
        assert whole(found) == strictjson.loads(text)


MIB = 1024 * 1024
FAMILIES = {
    "a text of quotes that never ends": b"[" * 65 + b'"' + b'\\"' * (MIB // 2),
    "backslashes": b"[" * 65 + b'"' + b"\\" * MIB,
    "brackets in a text": b"[" * 60 + b'"' + b"[{" * (MIB // 2) + b'"' + b"]" * 60,
    "brackets in texts": b"[" + b'"[[[[[[[[[[",' * (MIB // 13) + b"1]",
    "open brackets": b"[" * MIB,
    "brackets that close nothing": b"[" * 65 + b"]" * MIB,
    "empty texts": b"[" * 64 + b'"",' * (MIB // 3) + b"1" + b"]" * 64,
    "empty arrays": b"[" + b"[]," * (MIB // 3) + b"1]",
    "nested arrays": b"[" + (b"[" * 60 + b"]" * 60 + b",") * (MIB // 121) + b"1]",
    "empty objects": b"[" + b"{}," * (MIB // 3) + b"1]",
    "small objects": b"[" + b'{"":0},' * (MIB // 7) + b"1]",
    "small numbers": b"[" + b"1," * (MIB // 2) + b"1]",
    "fractions": b"[" + b"1e9," * (MIB // 4) + b"1]",
    "one long number": b"9" * MIB,
    "long numbers": b"[" + (b"9" * 4300 + b",") * (MIB // 4301) + b"1]",
    "a long fraction": b"1." + b"9" * MIB,
    "a long exponent": b"1e" + b"9" * MIB,
    "a key again and again": b"{" + b'"a":0,' * (MIB // 6) + b'"a":0}',
    "many keys": b"{" + b",".join(b'"%x":0' % n for n in range(MIB // 9)) + b"}",
    "escapes of quotes": b'["' + b'\\"' * (MIB // 2) + b'"]',
    "escaped letters": b'["' + b"\\u0041" * (MIB // 6) + b'"]',
    "halves of pairs": b'["' + b"\\ud83d\\ude00" * (MIB // 12) + b'\\ud83d"]',
    "small things and one half of a pair": b"[" + b"1," * (MIB // 2) + b'"\\ud83d"]',
    "letters of two bytes and one NUL": b'["' + "é".encode() * (MIB // 2) + b'\\u0000"]',
    "white space": b" " * MIB,
}


def seconds(text, unique):
    """Of CPU in this thread."""
    start = time.thread_time()
    with contextlib.suppress(ValueError):
        strictjson.loads(text, unique=unique)
    return time.thread_time() - start


@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_mebibyte_of_anything_is_read_in_a_moment(family, unique):
    """0.2 s on a machine that has nothing else to do; what is not linear takes minutes."""
    assert seconds(FAMILIES[family], unique) < 2


def test_the_garbage_collector_goes_on_after_a_text_good_or_bad():
    for text in (b"[]", b"["):
        with contextlib.suppress(ValueError):
            strictjson.loads(text)
        assert gc.isenabled()
