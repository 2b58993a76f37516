"""The known word that an unknown one was probably meant to be."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches

NEAR = 0.65  # of 1; pass and password are 0.67
LOOKED_AT = 40  # characters of a word; comparing costs their square
UNKNOWN_MOST = 10  # unknown keys of an object that are answered for


def nearest(word: str, known: Iterable[str]) -> str:
    """The nearest of `known`, whatever the case; `""` when none is near."""
    words = {name.lower(): name for name in known}
    found = get_close_matches(word[:LOOKED_AT].lower(), words, n=1, cutoff=NEAR)
    return words[found[0]] if found else ""


def unknown(word: str, known: Iterable[str], noun: str) -> str:
    """A sentence for a word that is none of `known`: a field, a parameter, a setting."""
    meant = nearest(word, known)
    return f"There is no such {noun}{f'; did you mean {meant}?' if meant else '.'}"


def unknown_keys(sent: Iterable[str], known: Collection[str], noun: str) -> dict[str, list[str]]:
    """By its name, what to say of each of the first keys that were sent and are none of `known`."""
    strange = [key for key in sent if key not in known][:UNKNOWN_MOST]
    return {shortened(key): [unknown(key, known, noun)] for key in strange}


def shortened(word: str) -> str:
    """An unknown word as it may be repeated to whoever sent it."""
    return word if len(word) <= LOOKED_AT else word[: LOOKED_AT - 1] + "…"
