"""What an event is called, and what a webhook subscribes to: types, patterns, channels. Pure.

A type is segments with dots between, `order.paid`. A pattern is a type, or `order.*` for all types
below `order`, at any depth, or `*` for all. So the patterns that cover a type are few and known:
a database finds them by equality.
"""

import re
from functools import lru_cache

TYPE_LIMIT = 128  # characters
SEGMENTS_LIMIT = 8  # of a type
PATTERN_LIMIT = TYPE_LIMIT + 2
CHANNEL_LIMIT = 128  # characters
EVENT_CHANNELS_LIMIT = 5  # that an event names
SUBSCRIPTIONS_LIMIT = 20  # of a webhook
TYPES_LIMIT = 100  # patterns of a subscription
CHANNELS_LIMIT = 10  # of a subscription
ROWS_LIMIT = 1000  # patterns of a webhook, over all its subscriptions

EVERY = "*"
BELOW = ".*"

_TYPE = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\Z")
_CHANNEL = re.compile(r"[A-Za-z0-9\-_.:+]+\Z")

_TYPE_FORM = (
    f"Must be at most {SEGMENTS_LIMIT} words of letters, digits, _ and -, with dots between, "
    f"together at most {TYPE_LIMIT} characters: order.paid."
)
_PATTERN_FORM = (
    f"Must be {EVERY}, a type such as order.paid, or all types below one such as order{BELOW}; "
    "a star stands nowhere else."
)
_CHANNEL_FORM = f"Must be 1 to {CHANNEL_LIMIT} characters of letters, digits and - _ . : +."


def _is_type(text: str, segments: int = SEGMENTS_LIMIT) -> bool:
    if len(text) > TYPE_LIMIT or text.count(".") >= segments:
        return False
    return _TYPE.match(text) is not None


def event_type(value: object) -> str:
    """The type of an event. Raises ValueError with a sentence."""
    if isinstance(value, str) and _is_type(value):
        return value
    raise ValueError(_TYPE_FORM)


def pattern(value: object) -> str:
    """What a subscription names: a type, all types below one, or all. Raises ValueError."""
    if isinstance(value, str):
        above = value.removesuffix(BELOW)
        if value == EVERY or (above == value and _is_type(value)):
            return value
        # One segment more must fit behind it.
        if above != value and _is_type(above, SEGMENTS_LIMIT - 1):
            return value
    raise ValueError(_PATTERN_FORM)


def channel(value: object) -> str:
    """One channel, of an event or of a subscription. Raises ValueError."""
    if isinstance(value, str) and len(value) <= CHANNEL_LIMIT and _CHANNEL.match(value):
        return value
    raise ValueError(_CHANNEL_FORM)


@lru_cache(maxsize=1024)
def lookups(type: str) -> tuple[str, ...]:
    """Every pattern that covers a type, the nearest first: at most SEGMENTS_LIMIT + 1.

    `a.b.c` is covered by `a.b.c`, `a.b.*`, `a.*` and `*`.
    """
    segments = type.split(".")
    above = (".".join(segments[:end]) + BELOW for end in range(len(segments) - 1, 0, -1))
    return (type, *above, EVERY)
