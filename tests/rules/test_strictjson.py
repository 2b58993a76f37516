import contextlib
import json

import pytest
from hypothesis import given
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
