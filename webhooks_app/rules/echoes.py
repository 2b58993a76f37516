"""Secrets of a webhook that its receiver sends back: found before an answer is stored.

Many frameworks answer an error with the request they got. What is kept of an answer is read by
people who may not see the webhook's secrets.
"""

import html
import json
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from .validators import MASK

SHORTEST = 4  # code points; a shorter secret is found in any text by chance


def spellings(secrets: Iterable[str]) -> tuple[bytes, ...]:
    """The bytes by which `secrets` may come back, the longest first: plain, percent-encoded, in
    JSON, in HTML. Of a value with spaces (`Bearer …`) its long words count too."""
    found: set[str] = set()
    for secret in secrets:
        for text in (secret, *(word for word in secret.split() if len(word) >= 2 * SHORTEST)):
            if len(text) >= SHORTEST:
                found |= {text, quote(text, safe=""), quote(text), quote_plus(text)}
                found |= {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
                found |= {html.escape(text), html.escape(text, quote=False)}
    return tuple(sorted((text.encode() for text in found), key=len, reverse=True))


def masked(answer: bytes, spellings: Iterable[bytes]) -> bytes:
    """`answer` with the mask in place of each spelling."""
    for spelling in spellings:
        if spelling in answer:
            answer = answer.replace(spelling, MASK.encode())
    return answer
