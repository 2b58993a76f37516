"""What the engine asks of its database: the verbs, a line each of what, and what they raise.

`postgres` and `sqlite` have the same verbs in the same order, to be read side by side; what is one
statement on both stands in `common`. One battery of tests runs against both: `tests/store/`.

A store speaks through one connection and belongs to the thread of that connection. Between two
verbs nothing is open, unless the caller opened it. Every verb raises Django's DatabaseError when
the database is away; what else it raises, it says.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, Self

from django.db.backends.base.base import BaseDatabaseWrapper

from ...models import Delivery
from ..knobs import DEFAULT, Knobs
from .values import (
    ALL_WEBHOOKS,
    Asked,
    AttemptRow,
    Claimed,
    Column,
    Finished,
    Head,
    Key,
    Want,
    Watermark,
)

ANNOUNCE_APART = 0.003  # seconds between two announcements of a process


class SharedSession(Exception):
    """Somebody else's statements reach the session that holds the locks, or ours another one."""

    def __init__(self) -> None:
        super().__init__(
            "Several connections share the database's sessions: a pooler in transaction mode "
            "stands in between, which cannot hold a worker's locks. Give `webhooks deliver` a "
            "direct connection to PostgreSQL, or a pooler in session mode."
        )


class Ownership(Protocol):
    """Whose webhooks are whose: 64 slots, each owned by one worker at a time. No clock takes part.
    Asked every third of a second, in the thread that owns the connection."""

    def refresh(self, busy: frozenset[int]) -> frozenset[int]:
        """The slots to claim from now. `busy` slots (something in flight) are never given away.

        Raises SharedSession where no session can be had alone.
        """
        ...

    def check(self) -> None:
        """Raises OperationalError when the slots went with a session that has ended."""
        ...

    def is_lost(self) -> bool:
        """Whether the slots may be another's by now. Asked from any thread, and often."""
        ...

    def is_anothers(self) -> bool:
        """Whether another worker owns all of it, for as long as it runs."""
        ...

    def inherits(self) -> bool:
        """Whether slots are still to come to this worker that no other one will send for."""
        ...

    def retire(self, busy: frozenset[int]) -> None:
        """Take no more slots, and give away those that are not busy."""
        ...

    def forget(self) -> None:
        """The connection is gone, and every lock with it."""
        ...

    def release(self) -> None:
        """Give everything away."""
        ...


class Store(ABC):
    # Whether one worker owns all webhooks, and any other one waits for its end.
    is_all_or_nothing: bool
    has_one_writer: bool  # whether transactions that write wait for each other
    look_again: float  # seconds after an announcement, for what was committed meanwhile

    def __init__(self, connection: BaseDatabaseWrapper, knobs: Knobs = DEFAULT) -> None:
        self.connection = connection
        self.knobs = knobs

    # --- what is put in: in the caller's transaction, by any thread ---------------------------

    @abstractmethod
    def number(self, deliveries: Sequence[Delivery]) -> None:
        """Draw the positions of those that are to have one (NEXT), growing in this order, in the
        caller's transaction. What is drawn once another's has been committed is greater than that.
        The verbs that put draw what is missing."""

    @abstractmethod
    def put_one(self, delivery: Delivery) -> None:
        """Insert a new delivery. One that is due at once is due by the database's clock, where it
        has one. Raises IntegrityError where its idempotency key is taken, Replaced where nobody
        will ever read it."""

    @abstractmethod
    def put(self, deliveries: Sequence[Delivery]) -> None:
        """Insert new deliveries, thousands in a statement, all or none. Raises as `put_one`."""

    @abstractmethod
    def put_once(self, deliveries: Sequence[Delivery]) -> int:
        """Insert new deliveries that have idempotency keys, but those whose key is taken; returns
        how many were. In the caller's transaction; waits for others that store the same keys.
        Raises Replaced."""

    @abstractmethod
    def put_of_events(self, deliveries: Sequence[Delivery]) -> None:
        """Insert new deliveries of events, due at the moments that they name, in the caller's
        transaction. Raises Replaced as `put_one`."""

    @abstractmethod
    def announce(self) -> None:
        """Wake the workers once the present transaction has committed."""

    # --- what a worker reads ------------------------------------------------------------------

    @abstractmethod
    def ownership(self) -> Ownership:
        """What makes webhooks this worker's own, by this connection."""

    @abstractmethod
    def share_ownership(self) -> None:
        """Before a fork of what will write outcomes: where it can be had, what this process will
        own is another's only when that child has ended, too."""

    @abstractmethod
    def clock(self) -> datetime | None:
        """This moment by the database's clock; None where that is this host's."""

    @abstractmethod
    def moment(self, value: datetime) -> Any:
        """A moment as a parameter of raw SQL, and as a claim reads `due_at`."""

    @abstractmethod
    def has_changed(self) -> bool:
        """Whether another connection has committed since the last question, where that can be
        told."""

    @abstractmethod
    def look(
        self, back_to: datetime, now: datetime, seen: Watermark
    ) -> tuple[list[str], Watermark]:
        """Webhooks with a pending delivery that became due after `back_to`, up to `now`, as far as
        the last look did not see it; and what this one saw."""

    @abstractmethod
    def arrivals(
        self,
        back_to: datetime,
        now: datetime,
        seen: Watermark,
        slots: Collection[int],
        most: int,
    ) -> tuple[list[Claimed], set[str], Watermark | None]:
        """`look` and the claim of what it finds in one statement, of these slots only.

        Returns the deliveries of callable webhooks, in the order in which they became due, the
        webhooks of the others, and what was seen: None when there were `most`, and may be more; or
        where it cannot be had so.
        """

    @abstractmethod
    def writers(self) -> dict[int, datetime]:
        """Transactions that are writing, and when they began; where several can."""

    @abstractmethod
    def scan(
        self, now: datetime, after: str = "", most: int = ALL_WEBHOOKS
    ) -> tuple[list[str], str | None]:
        """Webhooks with a pending delivery that is due, of the first `most` behind `after` that
        have something pending; and the last of these, None when there are no more."""

    @abstractmethod
    def claim(self, wants: Sequence[Want], now: datetime) -> list[Claimed]:
        """Due deliveries of callable webhooks, by due time, from each webhook's own place on.
        Writes nothing; only the owner of these webhooks may call it."""

    # --- what is sent in order ----------------------------------------------------------------

    @abstractmethod
    def heads(self, asked: Sequence[Asked], now: datetime) -> list[Head]:
        """What is next of some keys of callable webhooks: of each the first that are in line, by
        position. In line is what is due or was tried. Of a key with nothing in line, or of a
        webhook that may not be called, there is none. Only the owner of these webhooks may ask."""

    @abstractmethod
    def news(
        self, since: Mapping[str, Any], now: datetime, most: int
    ) -> list[tuple[str, str, Key, bool]]:
        """Of these webhooks what is pending and became due after a moment each, `most` of each, the
        first ones: webhook, id, key, and whether it has a position."""

    @abstractmethod
    def keys(self, webhook_id: str, after: str | None, most: int) -> list[Key]:
        """The keys of a webhook of which something with a position is pending: `most` behind
        `after`, in the database's order. From the beginning (None) the one that is None first."""

    @abstractmethod
    def adopt(self, webhook_id: str, most: int) -> int:
        """Give positions to what waits without one, before all others: it was made when nothing of
        its webhook was in order yet. At most so many; returns how many. Rows that somebody has
        locked are left for another time."""

    @abstractmethod
    def payload(self, delivery_id: str) -> bytes:
        """The body of a claimed delivery that is sent now. Raises DoesNotExist when it was
        removed."""

    @abstractmethod
    def pending_of(self, ids: Sequence[str]) -> set[str]:
        """Which of these deliveries are still to be sent."""

    # --- what is written down -----------------------------------------------------------------

    @abstractmethod
    def finish(self, batch: Sequence[Finished]) -> None:
        """New states, attempts and health of a batch, in one transaction.

        A delivery that was cancelled meanwhile, or taken over by another worker, keeps its state;
        the attempt is recorded all the same, because it happened. Raises IntegrityError when a
        delivery was removed meanwhile.
        """

    @abstractmethod
    def unrecorded(self, batch: Sequence[Finished]) -> Sequence[Finished]:
        """Without those whose attempt is there already: the connection broke in a COMMIT, and
        nobody told whether it came through."""

    @abstractmethod
    def hold_unrecorded(self, item: Finished) -> bool:
        """A receiver has answered, and that cannot be written down: the delivery waits for a
        person, because to send it again by itself might go on for ever. False when it is removed,
        or somebody else has decided already."""

    @abstractmethod
    def record(self, attempts: Sequence[AttemptRow], stops: Collection[str] = ()) -> None:
        """Attempts, health and hourly counts of some exchanges, in the caller's transaction.
        `stops`: webhooks that the caller stops after that. Raises IntegrityError when a webhook of
        theirs was removed meanwhile."""

    @abstractmethod
    def execute(self, sql: str, columns: tuple[Column, ...], rows: Sequence[Sequence[Any]]) -> int:
        """Run `sql` for some rows; `{rows}` in it stands for the FROM item, called `r`. Returns how
        many rows it changed."""

    @abstractmethod
    def select(
        self, sql: str, columns: tuple[Column, ...], rows: Sequence[Sequence[Any]]
    ) -> list[Any]:
        """What `sql` finds for some rows, of many in portions; `{rows}` as in `execute`."""

    @abstractmethod
    def joined(self, texts: str) -> str:
        """SQL: the texts of a group of rows in one, in any order."""

    @abstractmethod
    def insert(
        self, table: str, columns: tuple[Column, ...], rows: Sequence[Sequence[Any]]
    ) -> None:
        """New rows of a table."""

    # --- the connection -----------------------------------------------------------------------

    @abstractmethod
    def own(
        self, knobs: Knobs = DEFAULT, *, lock_timeout: float = 0.0, repeats: bool = False
    ) -> Self:
        """The same with a direct connection of its own, outside any pool, that becomes that of this
        thread. It never hangs on a cut network; nor, where rows are locked one by one, longer than
        `lock_timeout` seconds on one that somebody has locked (0: as the server says). `repeats`:
        it asks the same few questions again and again. None reads a table whole."""

    @abstractmethod
    def limit_locks(self, seconds: float) -> None:
        """Wait so long for a row that somebody has locked, until the present transaction ends."""

    @abstractmethod
    def by_index_only(self) -> None:
        """Read no table whole until the present transaction ends."""

    @abstractmethod
    def lock_table(self, table: str) -> None:
        """Nobody else writes this table until the present transaction ends; who just did has
        committed before anything is read."""

    @abstractmethod
    def let_others_in(self) -> None:
        """Between two of many transactions, where there is one writer at a time: pause, for as long
        as whoever has waited for the last one needs to see that it is over."""

    @abstractmethod
    async def listen(self, announced: Callable[[], None]) -> None:
        """Call `announced` at every announcement, for ever. What is missed while the database is
        away, a worker finds by looking."""

    @abstractmethod
    def hang_up(self) -> None:
        """Break the connection under a verb that never ends. Called from another thread."""
