"""Messages that say the same: each word with a digit in it (a number, an address, an id) is one
blank, so that "connect ECONNREFUSED 10.1.2.3:8443" and "… 10.1.2.4:8443" become one."""

import re

BLANK = "…"
LIMIT = 2048  # characters of a message that one looks for the like of
BLANKS_LIMIT = 100  # in it
# Of a word, for Python and for PostgreSQL alike. No reading of a word is tried twice: its first
# digit ends the letters before it.
_LETTER = "[]A-Za-z0-9._:[-]"
_NO_DIGIT = "[]A-Za-z._:[-]"
_WORD = rf"{_NO_DIGIT}*[0-9]{_LETTER}*"
_DIGITS = frozenset("0123456789")
_WORDS = re.compile(rf"{_LETTER}+")


def blanked(message: str) -> str:
    """What a message has in common with others of its sort. Blanked again it stays as it is."""
    return _WORDS.sub(_blank, message)


def _blank(word: re.Match[str]) -> str:
    return word[0] if _DIGITS.isdisjoint(word[0]) else BLANK


def start(blanked_message: str) -> str:
    """How all messages begin of which `blanked` makes this one."""
    return blanked_message.partition(BLANK)[0]


def pattern(blanked_message: str) -> str:
    """A regular expression for exactly the messages of which `blanked` makes this one; for
    Python, SQLite (Django's function) and PostgreSQL.

    Raises ValueError for a text that `blanked` cannot have made, and for one past LIMIT.
    """
    if len(blanked_message) > LIMIT or blanked_message.count(BLANK) > BLANKS_LIMIT:
        raise ValueError("too long")
    if blanked(blanked_message.replace(BLANK, "0")) != blanked_message:
        raise ValueError(blanked_message)
    parts = (re.escape(part) for part in blanked_message.split(BLANK))
    return rf"\A{f'({_WORD}|{BLANK})'.join(parts)}\Z"
