"""Text of strangers for the eyes of people: what commands, hides or turns is shown as an escape."""

import unicodedata

JOINERS = "\u200c\u200d"  # part of ordinary words in Persian and Hindi, and of emoji


def shown(text: str, keep: str = "") -> str:
    """`text` with controls, bidi and other invisible characters as `\\u202e`, but for those of
    `keep`: harmless for a terminal, and on a page nothing runs backwards or hides."""
    if text.isprintable():
        return text
    return "".join(
        character if character in keep or not _acts(character) else f"\\u{ord(character):04x}"
        for character in text
    )


def _acts(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] == "C" or category in ("Zl", "Zp")
