"""Messages that say the same: each word with a digit in it (a number, an address, an id) is one
blank, so that "connect ECONNREFUSED 10.1.2.3:8443" and "… 10.1.2.4:8443" become one."""

import re

BLANK = "…"
_LETTER = "[]A-Za-z0-9._:[-]"  # of a word, for Python and for PostgreSQL alike
_WORD = rf"{_LETTER}*[0-9]{_LETTER}*"


def blanked(message: str) -> str:
    """What a message has in common with others of its sort. Blanked again it stays as it is."""
    return re.sub(rf"{_WORD}|{BLANK}", BLANK, message)


def pattern(blanked_message: str) -> str:
    """A regular expression for exactly the messages of which `blanked` makes this one; for
    Python, SQLite (Django's function) and PostgreSQL.

    Raises ValueError for a text that `blanked` cannot have made.
    """
    if blanked(blanked_message.replace(BLANK, "0")) != blanked_message:
        raise ValueError(blanked_message)
    parts = (re.escape(part) for part in blanked_message.split(BLANK))
    return rf"\A{f'({_WORD}|{BLANK})'.join(parts)}\Z"
