"""Identifiers of webhooks and deliveries: 24 lowercase hex digits that sort by time; and moments
as text."""

import re
import secrets
import time
from datetime import UTC, datetime

ID_LENGTH = 24
MOMENT_LENGTH = 64  # characters that a moment may have
_ID = re.compile(r"[0-9a-f]{24}\Z")


def new_id(now: float | None = None) -> str:
    """A new id: 4 bytes seconds, 2 bytes fraction of the second, 6 random bytes.

    Ids made one after the other sort so. `now` is seconds since the epoch (default: the clock).
    """
    ticks = int((time.time() if now is None else now) * 65536)
    return f"{ticks:012x}{secrets.token_hex(6)}"


def is_id(text: object) -> bool:
    """Whether `text` has the form of an id."""
    return isinstance(text, str) and _ID.match(text) is not None


def first_id(moment: datetime) -> str:
    """The smallest id that can be made from a moment on: ids begin with their time.

    Moments before 1970 and after 2106 count as those.
    """
    ticks = min(max(int(moment.timestamp() * 65536), 0), 2**48 - 1)
    return f"{ticks:012x}" + "0" * 12


def id_time(ident: str) -> datetime:
    """The moment an id was made, to 1/65536 s."""
    return datetime.fromtimestamp(int(ident[:12], 16) / 65536, UTC)


def timestamp(moment: datetime | None) -> str:
    """The documented form of a moment: UTC, milliseconds, `Z`; `""` for none."""
    if moment is None:
        return ""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_moment(text: str) -> datetime:
    """An ISO 8601 moment (or date) in UTC, which it also is where it names no offset, whatever the
    site's time zone. Raises ValueError."""
    if len(text) > MOMENT_LENGTH:
        raise ValueError("too long for a moment")
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("outside of the years 1 to 9999, in UTC") from None
