"""JSON as strictly as every database and receiver can carry it (RFC 8259, I-JSON RFC 7493)."""

import gc
import json
import math
import re
from array import array
from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate
from typing import Any

MAX_DEPTH = 64
WALKED_KEYS_MOST = 100  # of an object that is walked through in Python

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


def _too_deep(data: bytes, most: int) -> bool:
    """In a few passes of C over the bytes: a regular expression for strings begins anew at each
    quote of one that does not end."""
    if data.count(b"[") + data.count(b"{") <= most:
        return False
    plain = data
    if b"\\" in data:  # a look for one sign is thirty times as quick as one for two
        plain = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside = b"".join(plain.split(b'"')[::2])
    steps = outside.translate(_STEPS, _NO_BRACKETS)
    for many in (64, 8, 2):  # side by side they are as deep as one of them
        steps = steps.replace(_LEAF * many, _LEAF)
    return max(accumulate(array("b", steps)), default=0) > most


def _check_escapes(text: str) -> None:
    """Of JSON text that is well formed."""
    if "\\" not in text or "\\u" not in text:
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


def check_made(data: bytes) -> None:
    """Of what Python's encoder made of a value, without reading it. Raises ValueError as `loads`
    for nesting and NUL, the two things that it writes and `loads` does not read."""
    if _too_deep(data, MAX_DEPTH):
        raise ValueError(_deeper(MAX_DEPTH))
    _check_escapes(data.decode())


def loads(data: bytes, *, unique: bool = True) -> Any:
    """The value of a JSON text in strict UTF-8.

    `unique=False` lets the last of equal keys win, as receivers written in JavaScript do.
    Whatever the text, the time it takes grows as its length. Raises ValueError with a sentence for
    anything else than JSON, bytes that are no UTF-8, NaN and Infinity, numbers past a double or
    4,300 digits, NUL, lone surrogates, nesting past 64 levels.
    """
    text = _text(bytes(data), MAX_DEPTH)
    read = _DECODERS[unique].decode
    if len(text) >= _UNDISTURBED:
        read = partial(_decoded, unique=unique)
    value = _read(read, text, MAX_DEPTH)
    try:
        _check_escapes(text)
    except ValueError:
        # Of equal keys only the last counts.
        if unique:
            raise
        _check_escapes(json.dumps(value))
    return value


_scan: Any = json.decoder.scanstring  # type: ignore[attr-defined]


class TooMany(ValueError):
    """An array has more items than may be; what stands behind them was not looked at."""


def loads_slicing(data: bytes, name: str, *, rows: str = "", most: int = 0) -> Any:
    """As `loads`, but of an object the member `name` is the bytes that stand in `data` for it: JSON
    within JSON, to be handed on as it came.

    With `rows` it is the member of each object in the outer object's array of that name, of which
    there may be `most`. The sliced values may have 64 levels of their own. Raises ValueError as
    `loads`, TooMany.
    """
    depth = MAX_DEPTH + (3 if rows else 1)
    text = _text(bytes(data), depth)

    def walked(text: str) -> Any:
        walk = _Walk(text)
        value = _row(walk, name) if not rows else _rows(walk, name, rows, most)
        walk.end()
        return value

    value = _read(walked, text, depth)
    _check_escapes(text)
    return value


def _rows(walk: "_Walk", name: str, rows: str, most: int) -> Any:
    if walk.sign != "{":
        return walk.value()
    found: dict[str, Any] = {}
    for key in walk.names():
        if key == rows and walk.sign == "[":
            found[key] = [_row(walk, name) for _ in walk.items(most)]
        else:
            found[key] = walk.value()
    return found


def _row(walk: "_Walk", name: str) -> Any:
    if walk.sign != "{":
        return walk.value()
    return {key: walk.slice() if key == name else walk.value() for key in walk.names()}


class _Walk:
    """A way through a JSON text, of which only some objects and arrays are gone through in Python;
    all else is read by the decoder. Always stands at the first sign of a value, or behind one."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._scan: Callable[[str, int], tuple[Any, int]] = _DECODERS[True].scan_once  # type: ignore[attr-defined]
        self._at = self._behind_space(0)

    @property
    def sign(self) -> str:
        """`""` at the end."""
        return self._text[self._at : self._at + 1]

    def value(self) -> Any:
        try:
            value, self._at = self._scan(self._text, self._at)
        except StopIteration as stopped:
            raise self._wrong("Expecting value", stopped.value) from None
        return value

    def slice(self) -> bytes:
        start = self._at
        self.value()
        return self._text[start : self._at].encode()

    def names(self) -> Iterator[str]:
        """Of the object that begins here; whoever gets one reads its value before the next."""
        text = self._text
        seen: set[str] = set()
        while self._goes_on("}", first=not seen):
            at = self._at
            if text[at : at + 1] != '"':
                raise self._wrong("Expecting property name enclosed in double quotes", at)
            key, at = _scan(text, at + 1, True)
            if key in seen:
                raise ValueError("an object has the same key twice")
            if len(seen) == WALKED_KEYS_MOST:
                raise ValueError(f"an object has more than {WALKED_KEYS_MOST} keys")
            seen.add(key)
            if text[at : at + 1] != ":":
                at = self._behind_space(at)
                if text[at : at + 1] != ":":
                    raise self._wrong("Expecting ':' delimiter", at)
            self._at = self._behind_space(at + 1)
            yield key

    def items(self, most: int) -> Iterator[int]:
        """Of the array that begins here; whoever gets one reads it before the next."""
        number = 0
        while self._goes_on("]", first=not number):
            if number == most:
                raise TooMany(f"an array has more than {most:,} items")
            yield number
            number += 1

    def end(self) -> None:
        self._at = self._behind_space(self._at)
        if self.sign:
            raise self._wrong("Extra data", self._at)

    def _goes_on(self, closing: str, *, first: bool) -> bool:
        """Steps to the next part of what `closing` ends, or behind it."""
        # The first time past the bracket that opened it.
        at = self._behind_space(self._at + first)
        sign = self._text[at : at + 1]
        if sign == closing:
            self._at = at + 1
            return False
        if first:
            self._at = at
            return True
        if sign != ",":
            raise self._wrong("Expecting ',' delimiter", at)
        self._at = self._behind_space(at + 1)
        return True

    def _behind_space(self, at: int) -> int:
        sign = self._text[at : at + 1]
        if sign > " " or not sign:
            return at
        return _SPACE.match(self._text, at).end()  # type: ignore[union-attr]

    def _wrong(self, message: str, at: int) -> json.JSONDecodeError:
        return json.JSONDecodeError(message, self._text, at)


def _text(data: bytes, depth: int) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    if text.startswith("\ufeff"):
        raise ValueError("it begins with a byte order mark (BOM)")
    if _too_deep(data, depth):
        raise ValueError(_deeper(depth))
    return text


def _deeper(depth: int) -> str:
    return f"it is nested deeper than {depth} levels"


def _read(read: Callable[[str], Any], text: str, depth: int) -> Any:
    """What `read` makes of a text; what the decoder raises is raised as a sentence."""
    try:
        # Below that there is nothing that the garbage collector would look at for long.
        return read(text) if len(text) < _UNDISTURBED else _undisturbed(read, text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise ValueError(_deeper(depth)) from None
    except ValueError as error:
        if "digits" in str(error):
            raise ValueError("a number has too many digits") from None
        raise
