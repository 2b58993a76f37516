"""JSON as strictly as every database and receiver can carry it (RFC 8259, I-JSON RFC 7493)."""

import gc
import json
import math
import re
from array import array
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from typing import Any

MAX_DEPTH = 64

# Escapes of surrogates, where `\\` has been taken out: both of a pair, and any.
_PAIR = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..")
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_UNDISTURBED = 10_000  # characters of a text from which on the garbage collector is in the way
_SPACE = re.compile(r"[ \t\n\r]*")
_STEPS = bytes(1 if sign in b"[{" else 255 for sign in range(256))  # 255 is -1 as a signed byte
_NO_BRACKETS = bytes(sign for sign in range(256) if sign not in b"[]{}")
_LEAF = bytes((1, 255))


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
_MANY = 10_000  # objects; to call Python for each costs more than to read the text twice


def _decoded(text: str, unique: bool) -> Any:
    many = unique and text.count("{") > _MANY
    value = _DECODERS[unique and not many].decode(text)
    if many:
        objects: list[list[tuple[str, Any]]] = []
        json.JSONDecoder(object_pairs_hook=objects.append).decode(text)
        for pairs in objects:
            if len(pairs) > 1:
                _unique(pairs)
    return value


def _too_deep(data: bytes) -> bool:
    """In a few passes of C over the bytes: a regular expression for strings begins anew at each
    quote of one that does not end."""
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return False
    plain = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside = b"".join(plain.split(b'"')[::2])
    steps = outside.translate(_STEPS, _NO_BRACKETS)
    for many in (64, 8, 2):  # side by side they are as deep as one of them
        steps = steps.replace(_LEAF * many, _LEAF)
    return max(accumulate(array("b", steps)), default=0) > MAX_DEPTH


def _check_escapes(text: str) -> None:
    """Of JSON text that is well formed."""
    if "\\u" not in text:
        return
    plain = text.replace("\\\\", "__")
    if "\\u0000" in plain:
        raise ValueError("a text holds a NUL character")
    if _HALF.search(plain) and _HALF.search(_PAIR.sub("_", plain)):
        raise ValueError("a text holds half a surrogate pair")


def _undisturbed(read: Callable[[str], Any], text: str) -> Any:
    """Without the garbage collector, which would look at half a million arrays again and again
    while they are made. Whoever switches it off switches it on, in whatever order threads end."""
    collects = gc.isenabled()
    if collects:
        gc.disable()
    try:
        return read(text)
    finally:
        if collects:
            gc.enable()


def check_text(text: str) -> None:
    """Raises ValueError for text that no database and no UTF-8 can hold."""
    if "\0" in text:
        raise ValueError("a text holds a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("a text holds half a surrogate pair") from None


def loads(data: bytes, *, unique: bool = True) -> Any:
    """The value of a JSON text in strict UTF-8.

    `unique=False` lets the last of equal keys win, as receivers written in JavaScript do.
    Whatever the text, the time it takes grows as its length. Raises ValueError with a sentence for
    anything else than JSON, bytes that are no UTF-8, NaN and Infinity, numbers past a double or
    4,300 digits, NUL, lone surrogates, nesting past 64 levels.
    """
    data = bytes(data)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    if text.startswith("\ufeff"):
        raise ValueError("it begins with a byte order mark (BOM)")
    if _too_deep(data):
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    try:
        # Nothing that the garbage collector would look at for long.
        if len(text) < _UNDISTURBED:
            value = _DECODERS[unique].decode(text)
        else:
            value = _undisturbed(partial(_decoded, unique=unique), text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        if "digits" in str(error):
            raise ValueError("a number has too many digits") from None
        raise
    try:
        _check_escapes(text)
    except ValueError:
        # Of equal keys only the last counts.
        if unique:
            raise
        _check_escapes(json.dumps(value))
    return value


_plain = json.JSONDecoder()
_scan: Any = json.decoder.scanstring  # type: ignore[attr-defined]


def members(data: bytes) -> dict[str, bytes]:
    """The members of a JSON object, each value as the bytes that stand there. Of what `loads` has
    found to be an object with each key once."""
    text = data.decode()
    found = {}
    place = _behind_space(text, _behind_space(text, 0) + 1)
    while text[place] != "}":
        name, place = _scan(text, place + 1)
        begin = _behind_space(text, _behind_space(text, place) + 1)
        found[name], place = _value(text, begin)
    return found


def items(data: bytes) -> list[bytes]:
    """The items of a JSON list, as `members`."""
    text = data.decode()
    found = []
    place = _behind_space(text, _behind_space(text, 0) + 1)
    while text[place] != "]":
        item, place = _value(text, place)
        found.append(item)
    return found


def _behind_space(text: str, place: int) -> int:
    return _SPACE.match(text, place).end()  # type: ignore[union-attr]  # it may be none


def _value(text: str, begin: int) -> tuple[bytes, int]:
    """The bytes of the value that begins there, and where the next one does, or the end is."""
    _, end = _undisturbed(lambda text: _plain.raw_decode(text, begin), text)
    place = _behind_space(text, end)
    if text[place] == ",":
        place = _behind_space(text, place + 1)
    return text[begin:end].encode(), place
