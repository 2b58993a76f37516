"""Plain data that a store takes and gives. Moments that are whole numbers are microseconds, as in
`microseconds`."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Self

from ...models.webhook import SLOTS

ALL_SLOTS = frozenset(range(SLOTS))
ALL_WEBHOOKS = 2**31 - 1  # for a scan in one step
# Bytes of a payload that a claim brings along; of what waits in memory there may be thousands.
CARRIED_MOST = 16_384

Column = tuple[str, str]  # name and PostgreSQL type, as pg_type calls it; or `moment`
Place = tuple[Any, str]  # in a webhook's queue: due_at as the database gave it, and id


@dataclass(frozen=True, slots=True)
class Want:
    """How many deliveries of a webhook there is room for, and the place read up to."""

    webhook_id: str
    room: int
    after: Place | None
    version: int = 0  # of the webhook as the lane knows it


_XIDS = 2**32  # PostgreSQL numbers transactions in a circle


@dataclass(frozen=True, slots=True)
class Watermark:
    """What a look saw: everything due up to `until`, of the transactions before `horizon`.

    Three are PostgreSQL's: the oldest transaction that ran while the look was taken, the first of
    those of which none had ended, and who ran before that one. `waiting` is SQLite's: id and due
    time of what was due within reach of the next look.
    """

    until: datetime
    horizon: str = ""
    after: int = 0
    running: frozenset[int] = frozenset()
    waiting: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def by(cls, until: datetime, snapshot: str) -> Self:
        """`snapshot` as PostgreSQL spells it, `horizon:after:running,running`."""
        horizon, after, running = snapshot.split(":")
        ids = (int(ident) % _XIDS for ident in running.split(",") if ident)
        return cls(until, horizon, int(after) % _XIDS, frozenset(ids))

    def has_ended(self, transaction_id: int) -> bool:
        return (
            transaction_id not in self.running
            and (self.after - transaction_id - 1) % _XIDS < _XIDS // 2
        )


# Of what is sent in order with what. None: with all of its webhook.
Key = str | None


@dataclass(frozen=True, slots=True)
class Asked:
    """So many deliveries of a key, from its head on."""

    webhook_id: str
    key: Key
    room: int


class EventLines(NamedTuple):
    """What a request says of the event that it delivers."""

    head: bytes  # header lines
    content_type: str  # "": that of the webhook's other calls


@dataclass(slots=True)
class Claimed:
    """A delivery that is due, as the claim read it."""

    id: str
    webhook_id: str
    tries: int
    body: bytes | None  # None: more than CARRIED_MOST, see `payload`; or of an event, see `bodies`
    retry_schedule: str
    requested_by: str
    place: Place
    version: int  # of the webhook
    event_id: str | None = None
    form: str = ""  # of an event's
    of: EventLines | None = None
    stored_in: str | None = None  # the request that stored it
    key: Key = None
    # Of what is sent in order: its position, and that of the one before it, if there was one.
    sequence: tuple[int, int | None] | None = None


@dataclass(slots=True)
class Head:
    """What was read of a key: `rows` may go one after the other. Then comes one that `waits` for
    its next try, or there may be `more`."""

    webhook_id: str
    key: Key
    rows: list[Claimed] = field(default_factory=list)
    waits: bool = False
    more: bool = False


class AttemptRow(NamedTuple):
    """An attempt as it is written: plain values, fit to be handed to another process."""

    id: int
    webhook_id: str
    delivery_id: str | None
    exchange: str
    request_id: str
    number: int
    requested_by: str
    ended_at: int  # microseconds
    duration_ms: int
    dns_ms: int | None
    connect_ms: int | None
    tls_ms: int | None
    wait_ms: int | None
    read_ms: int | None
    url: str
    address: str
    status: int | None
    kind: str
    message: str
    answer: str
    answer_headers: str
    tls_version: str | None
    certificate_ends_at: int | None  # no column: it goes to the webhook's health


class Finished(NamedTuple):
    """What becomes of a delivery after an attempt: plain values, as AttemptRow."""

    attempt: AttemptRow
    tries: int  # before this attempt
    state: str
    due_at: int | None  # microseconds; None: as it was
    finished_at: int | None
    stops: str = ""  # the reason for which its webhook is stopped with it
