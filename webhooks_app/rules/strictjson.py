"""JSON as strictly as every database and receiver can carry it (RFC 8259, I-JSON RFC 7493)."""

import json
import math
import re
from typing import Any

MAX_DEPTH = 64

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_BRACKET = re.compile(r"[\[\]{}]")
_SUSPECT = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object has the same key twice")
    return result


# Made once: `json.loads` makes one for each call that has such hooks.
_DECODERS = {
    unique: json.JSONDecoder(
        parse_constant=_constant,
        parse_float=_float,
        object_pairs_hook=_unique if unique else None,
    )
    for unique in (True, False)
}


def _too_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


def _check_characters(value: Any) -> None:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            check_text(item)
        elif isinstance(item, dict):
            waiting.extend(item.keys())
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def check_text(text: str) -> None:
    """Raises ValueError for text that no database and no UTF-8 can hold."""
    if "\0" in text:
        raise ValueError("a text holds a NUL character")
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("a text holds half a surrogate pair")


def loads(data: bytes, *, unique: bool = True) -> Any:
    """The value of a JSON text in strict UTF-8.

    `unique=False` lets the last of equal keys win, as receivers written in JavaScript do.
    Raises ValueError with a sentence for anything else than JSON, bytes that are no UTF-8, NaN and
    Infinity, numbers past a double or 4,300 digits, NUL, lone surrogates, nesting past 64 levels.
    """
    try:
        text = bytes(data).decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    if text.startswith("\ufeff"):
        raise ValueError("it begins with a byte order mark (BOM)")
    if _too_deep(text):
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    try:
        value = _DECODERS[unique].decode(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        if "digits" in str(error):
            raise ValueError("a number has too many digits") from None
        raise
    if _SUSPECT.search(text):
        _check_characters(value)
    return value
