"""Identifiers of webhooks and deliveries: 24 lowercase hex digits that sort by time; keys of
attempts: numbers of 63 bits that do; and moments as text."""

import os
import re
import secrets
import threading
import time
from datetime import UTC, datetime, timedelta

ID_LENGTH = 24
MOMENT_LENGTH = 64  # characters that a moment may have
_ID = re.compile(r"[0-9a-f]{24}\Z")
_EVENT_ID = re.compile(r"[A-Za-z0-9\-_.]{1,256}\Z")
_ACCOUNT_NAME = re.compile(r"[a-z0-9-]{1,64}\Z")


def new_id(now: float | None = None) -> str:
    """A new id: 4 bytes seconds, 2 bytes fraction of the second, 6 random bytes.

    Ids made one after the other sort so. `now` is seconds since the epoch (default: the clock).
    """
    ticks = int((time.time() if now is None else now) * 65536)
    try:
        random = _drawn.pop()
    except IndexError:
        random = _draw()
    return f"{ticks:012x}{random}"


# Random parts of ids to come, which any thread pops: to ask the system for each lets another thread
# have the interpreter, and waiting for it costs more than all else of a request.
_drawn: list[str] = []
_DRAWN_AT_ONCE = 256


def _draw() -> str:
    text = secrets.token_hex(6 * _DRAWN_AT_ONCE)
    first, *others = (text[place : place + 12] for place in range(0, len(text), 12))
    _drawn.extend(others)
    return first


def is_id(text: object) -> bool:
    """Whether `text` has the form of an id."""
    return isinstance(text, str) and _ID.match(text) is not None


def is_event_id(text: object) -> bool:
    """Whether `text` has the form of a publisher's own id of an event."""
    return isinstance(text, str) and _EVENT_ID.match(text) is not None


def is_account_name(text: object) -> bool:
    """Whether `text` has the form of an account's name."""
    return isinstance(text, str) and _ACCOUNT_NAME.match(text) is not None


def first_id(moment: datetime, ahead: timedelta = timedelta(0)) -> str:
    """The smallest id that can be made from a moment on, or from one so much `ahead` of it: ids
    begin with their time.

    Moments before 1970 and after 2106 count as those.
    """
    seconds = moment.timestamp() + ahead.total_seconds()
    ticks = min(max(int(seconds * 65536), 0), 2**48 - 1)
    return f"{ticks:012x}" + "0" * 12


def id_time(ident: str) -> datetime:
    """The moment an id was made, to 1/65536 s."""
    return datetime.fromtimestamp(int(ident[:12], 16) / 65536, UTC)


# A key: milliseconds since KEYS_BEGIN (41 bits, up to 2084), the process (10), a counter (12).
KEYS_BEGIN = 1_420_070_400_000  # 2015-01-01, in milliseconds since 1970
KEY_BITS = 22  # below the time
_COUNTED, _PROCESSES = 1 << 12, 1 << 10
_MOST_MS = (1 << 41) - 1


def _key_ms(ms: int) -> int:
    return min(max(ms - KEYS_BEGIN, 0), _MOST_MS)


def first_key(moment: datetime, ahead: timedelta = timedelta(0)) -> int:
    """The smallest key that can be made of a moment, or of one so much `ahead` of it, or of a later
    one. Moments that no key has count as the nearest."""
    seconds = moment.timestamp() + ahead.total_seconds()
    return _key_ms(int(seconds * 1000)) << KEY_BITS


def other_process() -> int:
    """Bits that make a key, by exclusive or, one of another process."""
    return (1 + secrets.randbelow(_PROCESSES - 1)) << 12


class Keys:
    """Makes keys, each larger than the one before, whatever the clock does meanwhile. Any thread
    may ask.

    Two processes in a thousand are of the same number; a table's primary key tells when that
    matters, and `other_process` mends it.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """As a process of its own: a fork must not go on where its parent does."""
        self._lock = threading.Lock()
        self._process = secrets.randbelow(_PROCESSES) << 12
        self._ms = self._counted = 0

    def draw(self, ms: int) -> int:
        """A key of a moment, in milliseconds since 1970; or of the last one, if that was later."""
        ms = min(ms - KEYS_BEGIN, _MOST_MS)
        with self._lock:
            if ms > self._ms:
                self._ms, self._counted = ms, 0
            else:
                self._counted += 1
                if self._counted == _COUNTED:
                    self._ms, self._counted = self._ms + 1, 0
            return self._ms << KEY_BITS | self._process | self._counted


keys = Keys()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=keys.begin)
    os.register_at_fork(after_in_child=_drawn.clear)


def new_key() -> int:
    """A key of this moment, by this machine's clock."""
    return keys.draw(time.time_ns() // 1_000_000)


def timestamp(moment: datetime | None) -> str:
    """The documented form of a moment: UTC, milliseconds, `Z`; `""` for none."""
    if moment is None:
        return ""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return f"{moment.isoformat(timespec='milliseconds')[:-6]}Z"  # in place of +00:00


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
