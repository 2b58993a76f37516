"""Text of strangers for the eyes of people: what commands, hides or turns is shown as an escape."""

import unicodedata
from functools import cache

JOINERS = "\u200c\u200d"  # part of ordinary words in Persian and Hindi, and of emoji
KNOWN_LIMIT = 4096  # characters that are remembered; no text is to fill the memory with them


def shown(text: str, keep: str = "") -> str:
    """`text` with controls, bidi and other invisible characters as `\\u202e`, but for those of
    `keep`: harmless for a terminal, and on a page nothing runs backwards or hides."""
    return text if text.isprintable() else text.translate(_known(keep))


def _escape(code: int) -> str:
    """As JSON writes it: so text that is JSON stays the same JSON."""
    pair = chr(code).encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{pair[place : place + 4]}" for place in range(0, len(pair), 4))


@cache
def _known(keep: str) -> "_Known":
    return _Known({ord(character): character for character in keep})


class _Known(dict[int, str]):
    """How characters are shown, judged when they are met."""

    def __missing__(self, code: int) -> str:
        category = unicodedata.category(chr(code))
        acts = category[0] == "C" or category in ("Zl", "Zp")
        found = _escape(code) if acts else chr(code)
        if len(self) < KNOWN_LIMIT:
            self[code] = found
        return found
