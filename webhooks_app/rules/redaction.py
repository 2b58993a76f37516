"""Secrets of a webhook that its receiver sends back: found before an answer is stored.

Many frameworks answer an error with the request they got. What is kept of an answer is read by
people who may not see the webhook's secrets. An answer is read as it came, and once more with each
of the escapes undone by which frameworks write; so the spelling of a secret does not matter.
"""

import html
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import lru_cache

from .validators import MASK

SHORTEST = 4  # characters; a shorter secret is found in any text by chance
RUN = 16  # so many characters in a row that are also in a secret are masked
MARGIN = 512  # bytes: RUN characters in the longest spelling, an escape in an escape

# A run of RUN characters holds one of the blocks into which a secret is cut.
_BLOCK = RUN // 2
_FEW = 200  # pieces that are sought one by one; more are looked up in a set
_SMALL = 4096  # characters of secrets that stay cut, 256 times at the most

_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|u[0-9a-fA-F]{4}|u\{[0-9a-fA-F]{1,6}\}|x[0-9a-fA-F]{2}(?:\\x[0-9a-fA-F]{2})*"
    r"|[\"'\\/bfnrt0])"
)
_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "0": "\0"}
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_PERCENT = re.compile(r"(?:%[0-9a-fA-F]{2})+")
_LATIN = re.compile("[\x80-\xff]{2,}")

# A reading of a text: its characters, and where in the text each of them and the end lie.
_Reading = tuple[str, Sequence[int]]


def masked(text: str, secrets: Collection[str], keep: int | None = None) -> str:
    """`all_masked` of one text, of which all is kept unless told otherwise."""
    return all_masked([(text, len(text) if keep is None else keep)], secrets)[0]


def all_masked(texts: Sequence[tuple[str, int]], secrets: Collection[str]) -> list[str]:
    """Of each text so many characters, with the mask in place of what is also in one of `secrets`,
    in whatever spelling.

    That is each secret of SHORTEST to RUN characters, each word of at least twice SHORTEST in one
    with spaces (`Bearer …`), and of longer ones each run of RUN characters, so that half a secret
    is found, too. A text should go on for MARGIN behind what is kept: a secret may lie across the
    end. The time grows as the lengths of the texts and of all secrets; what an exchange leaves is
    handed over together, because the secrets are gone through once for all of it.
    """
    small = sum(map(len, secrets)) <= _SMALL
    cut = _cut_once(tuple(secrets)) if small else _Cut(secrets)
    readings = [_readings(text, cut.ascii) if secrets else [] for text, _ in texts]
    pieces = cut.pieces([reading for each in readings for reading, _ in each])
    return [
        _with_masks(text, keep, _found(each, pieces))
        for (text, keep), each in zip(texts, readings, strict=True)
    ]


def _with_masks(text: str, keep: int, spans: set[tuple[int, int]]) -> str:
    parts: list[str] = []
    end = 0
    for begin, until in sorted(spans):
        if begin >= keep:
            break
        if begin > end or not parts:
            parts += [text[end:begin], MASK]
        end = max(end, until)
    return "".join([*parts, text[end:keep]])


def _found(readings: list[_Reading], pieces: dict[int, set[str]]) -> set[tuple[int, int]]:
    """Where in a text, from and to."""
    return {
        (places[begin], places[end])
        for reading, places in readings
        for length, some in pieces.items()
        for begin, end in _stretches(reading, some, length)
    }


class _Cut:
    """Secrets, cut to be looked for."""

    def __init__(self, secrets: Iterable[str]) -> None:
        secrets = [secret for secret in secrets if len(secret) >= SHORTEST]
        self.ascii = all(map(str.isascii, secrets))
        self._short = {secret for secret in secrets if len(secret) < RUN}
        for secret in secrets:
            if " " in secret or "\t" in secret:
                self._short |= {w for w in secret.split() if 2 * SHORTEST <= len(w) < RUN}
        # Side by side and not in tuples, of which so many would wake the garbage collector.
        self._blocks: list[str] = []
        self._secrets: list[str] = []
        self._at: list[int] = []
        for secret in secrets:
            if len(secret) >= RUN:
                at = range(0, len(secret) - _BLOCK + 1, _BLOCK)
                self._blocks += [secret[begin : begin + _BLOCK] for begin in at]
                self._secrets += [secret] * len(at)
                self._at += at

    def pieces(self, readings: list[str]) -> dict[int, set[str]]:
        """By length, what is to be masked wherever it is, as far as the readings may hold it."""
        many = len(self._short) + len(self._blocks) > _FEW
        blocks = _looked_up(readings, _BLOCK, many)
        found: dict[int, set[str]] = {}
        for piece in self._short:
            if len(piece) < _BLOCK or piece[:_BLOCK] in blocks:
                found.setdefault(len(piece), set()).add(piece)
        # What lies around the blocks that are there: a run begins in the block before at the most.
        around = {
            secret[max(0, at - _BLOCK) : at + RUN]
            for block, secret, at in zip(self._blocks, self._secrets, self._at, strict=True)
            if block in blocks
        }
        if around:
            runs = _looked_up(readings, RUN, many)
            found[RUN] = {
                run
                for stretch in around
                for begin in range(len(stretch) - RUN + 1)
                if (run := stretch[begin : begin + RUN]) in runs
            }
        return found


_cut_once = lru_cache(maxsize=256)(_Cut)


def _looked_up(readings: list[str], length: int, many: bool) -> str | set[str]:
    """Of which `piece in …` tells whether a piece of that length is in one of the readings."""
    if not many:
        return "\n".join(readings)
    return {
        reading[at : at + length] for reading in readings for at in range(len(reading) - length + 1)
    }


def _stretches(reading: str, pieces: set[str], length: int) -> Iterator[tuple[int, int]]:
    """From and to, of pieces that overlap as one."""
    begin = end = -1
    for at in _places(reading, pieces, length):
        if not begin <= at <= end:
            if end >= 0:
                yield begin, end
            begin = end = at
        end = max(end, at + length)
    if end >= 0:
        yield begin, end


def _places(reading: str, pieces: set[str], length: int) -> Iterator[int]:
    if len(pieces) > 10:
        for at in range(len(reading) - length + 1):
            if reading[at : at + length] in pieces:
                yield at
        return
    for piece in pieces:
        at = reading.find(piece)
        while at >= 0:
            yield at
            at = reading.find(piece, at + 1)


# --- readings -----------------------------------------------------------------------------------


def _readings(text: str, ascii: bool) -> list[_Reading]:
    """As it is and with its escapes undone: JSON may stand in JSON and in a page, and a page in it;
    an address or a form in JSON. Where secrets are more than ASCII, also as they were before a
    server read the bytes of a header as latin-1 (WSGI, Node)."""
    plain: _Reading = text, range(len(text) + 1)
    json, page = (
        _decoded(plain, "\\", _ESCAPE, _of_escape),
        _decoded(plain, "&", _ENTITY, _of_entity),
    )
    found = [plain, json, page]
    if json:
        found += [
            _decoded(json, "\\", _ESCAPE, _of_escape),
            _decoded(json, "&", _ENTITY, _of_entity),
        ]
    if page:
        found.append(_decoded(page, "\\", _ESCAPE, _of_escape))
    for reading in (plain, json):
        if reading:
            found.append(_decoded(reading, "%", _PERCENT, _of_percent))
            if "+" in reading[0]:
                form = reading[0].replace("+", " "), reading[1]
                found.append(_decoded(form, "%", _PERCENT, _of_percent) or form)
    readings = [reading for reading in found if reading]
    if not ascii:
        found = [_decoded(reading, "", _LATIN, _of_latin) for reading in readings]
        readings += [reading for reading in found if reading]
    return readings


def _decoded(
    reading: _Reading,
    sign: str,
    pattern: re.Pattern[str],
    meaning: Callable[[str], Iterable[tuple[str, int]]],
) -> _Reading | None:
    """Without the escapes that `pattern` finds, in which `sign` is; `meaning` gives the characters
    of one, and where in it they are. None: there are none."""
    text, places = reading
    if sign not in text:
        return None
    parts: list[str] = []
    at: list[int] = []
    end = 0
    for escape in pattern.finditer(text):
        begin = escape.start()
        parts.append(text[end:begin])
        at += places[end:begin]
        for character, place in meaning(escape[0]):
            parts.append(character)
            at.append(places[begin + place])
        end = escape.end()
    if not parts:
        return None
    parts.append(text[end:])
    at += places[end:]
    return "".join(parts), at


def _of_escape(escape: str) -> Iterable[tuple[str, int]]:
    r"""JSON's, and those of JavaScript, PHP, Python: `\/ \u002B \u{2b} \x2b`."""
    match escape[1]:
        case "u" if len(escape) == 12:
            return [(bytes.fromhex(escape[2:6] + escape[8:]).decode("utf-16-be"), 0)]
        case "u":
            number = int(escape[2:].strip("{}"), 16)
            return [(chr(number) if number <= 0x10FFFF else "\ufffd", 0)]
        case "x":
            return _of_bytes(bytes.fromhex(escape.replace("\\x", "")), 4)
    return [(_LETTERS.get(escape[1], escape[1]), 0)]


def _of_entity(entity: str) -> Iterable[tuple[str, int]]:
    return [(character, 0) for character in html.unescape(entity)]


def _of_percent(escapes: str) -> Iterable[tuple[str, int]]:
    return _of_bytes(bytes.fromhex(escapes.replace("%", "")), 3)


def _of_latin(run: str) -> Iterable[tuple[str, int]]:
    return _of_bytes(run.encode("latin-1"), 1)


def _of_bytes(data: bytes, width: int) -> Iterator[tuple[str, int]]:
    """UTF-8, and where it is none, latin-1; each byte takes so many characters."""
    place = 0
    for character in data.decode("utf-8", "surrogateescape"):
        is_byte = "\udc80" <= character <= "\udcff"
        yield (chr(ord(character) - 0xDC00) if is_byte else character), place
        place += width * (1 if is_byte else len(character.encode()))
