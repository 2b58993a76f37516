"""When a delivery is tried again: seconds to wait after each failure. No I/O."""

import math
from functools import lru_cache
from typing import Any

DELAYS_MOST = 30
LONGEST = 7 * 86_400  # seconds
NONE = "none"  # as a person writes that there is one try
_WORDS = f"Must be a number of seconds from 0 to {LONGEST}."
_TOO_MANY = f"Must have at most {DELAYS_MOST} delays."


@lru_cache(maxsize=128)
def delays(text: str) -> tuple[float, ...]:
    """Of a schedule as a delivery keeps it."""
    return tuple(float(part) for part in text.split(",") if part)


@lru_cache(maxsize=16)
def text(delays: tuple[float, ...]) -> str:
    """A schedule as a delivery keeps it: six digits of each delay, milliseconds at the finest, so
    that DELAYS_MOST of them take 240 characters at most."""
    return ",".join(f"{round(delay, 3):g}" for delay in delays)


def problems(schedule: Any) -> Any:
    """What is wrong with a list of delays: sentences, or sentences by the place in it; none for a
    good one."""
    if not isinstance(schedule, list | tuple):
        return ["Must be a list of seconds, or null."]
    if len(schedule) > DELAYS_MOST:
        return [_TOO_MANY]
    return {str(place): [_WORDS] for place, one in enumerate(schedule) if not _is_delay(one)}


def _is_delay(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value <= LONGEST  # type: ignore[operator]  # nor is it NaN


def read(typed: str) -> list[float] | None:
    """As a person types it: `5, 300`, NONE for one try, nothing for the site's own. Raises
    ValueError with a sentence."""
    if not typed.strip():
        return None
    if typed.strip().lower() == NONE:
        return []
    parts = typed.split(",", DELAYS_MOST)
    if len(parts) > DELAYS_MOST:
        raise ValueError(_TOO_MANY)
    try:
        found = [float(part) for part in parts if len(part) <= 20]
    except ValueError:
        found = [math.nan]
    if len(found) < len(parts) or not all(map(_is_delay, found)):
        raise ValueError(f"Must be seconds with commas between, 0 to {LONGEST} each, or {NONE}.")
    return found


def typed(schedule: list[float] | None) -> str:
    """What `read` reads."""
    if schedule is None:
        return ""
    return ", ".join(f"{one:g}" for one in schedule) or NONE
