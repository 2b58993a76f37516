"""What has ended is written down: outcomes in batches cut by size and time, in the order in which
they came, by a Writer in another thread or process.

Nothing that a receiver has answered is forgotten: what could not be written is written later; where
nobody said whether it was (a COMMIT without its answer), the next write looks first. What cannot be
written of one webhook is set aside, and the others go on.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.db import connections

from . import faults
from .knobs import Knobs
from .lanes import Lanes
from .store import Finished
from .store.errors import is_away
from .threads import OneThread, is_no_memory, patiently
from .writer import LATE, LOCKED, Note, Writer, WriterProcess, Written

log = logging.getLogger("webhooks")


@dataclass(slots=True)
class Aside:
    """Outcomes of one webhook that could not be written; the others go on."""

    locked: bool  # somebody holds its rows: nothing more of it is sent meanwhile
    items: list[Finished] = field(default_factory=list)
    rounds: int = 0
    again_at: float = 0.0  # monotonic seconds


class Completer:
    """All of it belongs to the event loop. Plain rows go to the writing thread or process, and a
    `Written` comes from there."""

    def __init__(
        self,
        alias: str,
        lanes: Lanes,
        knobs: Knobs,
        wake: asyncio.Event,
        writer: WriterProcess | None,
    ) -> None:
        self._alias = alias
        self._lanes = lanes  # of a webhook that is locked nothing more is sent
        self._knobs = knobs
        self._wake = wake  # the worker's cycle: there is room again
        self._thread = OneThread("webhooks-writer")
        self._writer: Writer | WriterProcess | None = writer
        # Sending adds to the results; a write takes them, in this order, to the written ones.
        self._results: list[Finished] = []
        self._being_written: list[Finished] = []
        self._written: list[Finished] = []  # until the worker's next read begins
        self._in_doubt = 0  # so many of the results, the first ones, may have been written
        self._due = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None  # then what there is becomes due
        self._aside: dict[str, Aside] = {}  # by webhook
        self._again_at = 0.0  # the next of them is tried again, monotonic seconds
        self._once_more = 0  # of those being written: set aside, and tried again just now
        self._notes: dict[str, Note] = {}  # by webhook, made by sending and not yet written
        self._noted: set[str] = set()  # webhooks, since the worker's last read began
        self._stopped: set[str] = set()  # webhooks, by outcomes that are not written yet

    # --- what is told -------------------------------------------------------------------------

    def add(self, item: Finished) -> None:
        aside = self._aside.get(item.attempt.webhook_id)
        if aside is not None and aside.locked:
            aside.items.append(item)
        else:
            self._results.append(item)
        if item.stops:
            # Nothing more goes to it; that this is written down takes a moment.
            self._stopped.add(item.attempt.webhook_id)
            self._lanes.hold(item.attempt.webhook_id)
        if len(self._results) >= self._knobs.batch_most:
            self._due.set()
        elif not self._being_written:
            self._write_soon()

    def note(self, webhook_id: str, **columns: Any) -> None:
        """Write these columns into the health of the webhook, for people and for the worker that
        owns it next."""
        _, before = self._notes.get(webhook_id, (webhook_id, {}))
        self._notes[webhook_id] = (webhook_id, before | columns)
        self._write_soon()

    def flush(self) -> None:
        """Write the outcomes that wait now."""
        self._due.set()

    def _write_soon(self) -> None:
        """Write in a moment, with all outcomes that come until then, in one transaction."""
        if self._alarm is None:
            self._alarm = asyncio.get_running_loop().call_later(self._knobs.batch_age, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._due.set()

    # --- what is asked ------------------------------------------------------------------------

    @property
    def unwritten(self) -> int:
        """Outcomes that are not known to be written."""
        return len(self._results) + len(self._being_written) + self._waiting_aside

    @property
    def is_full(self) -> bool:
        """So many wait to be written that nothing more should be sent."""
        return self.unwritten > self._knobs.unwritten_most

    @property
    def _waiting_aside(self) -> int:
        return sum(len(one.items) for one in self._aside.values()) if self._aside else 0

    @property
    def set_aside(self) -> int:
        """Outcomes that could not be written, those that are tried again just now among them."""
        return self._waiting_aside + self._once_more

    @property
    def is_busy(self) -> bool:
        """Whether waiting for the writing makes sense. For outcomes that no further try will write
        nobody waits."""
        most = self._knobs.unrecorded_after
        aside = any(one.locked or one.rounds <= most for one in self._aside.values())
        return bool(aside or self._results or self._being_written or self._written)

    @property
    def has_news(self) -> bool:
        """Whether something was written, or is to be, of which the lanes do not know."""
        return bool(self.unwritten or self._written)

    def is_kept(self, webhook_id: str) -> bool:
        """Whether the webhook is held here for a reason that the database does not know yet."""
        aside = self._aside.get(webhook_id)
        return webhook_id in self._stopped or (aside is not None and aside.locked)

    def is_untold(self, webhook_id: str) -> bool:
        """Whether there is a note for the health of the webhook that is not yet written."""
        return webhook_id in self._notes

    def knows_better(self, webhook_id: str) -> bool:
        """Whether this worker knows of the webhook's breaker and rest more than a read that began
        at the last `begin_read`."""
        return webhook_id in self._notes or webhook_id in self._noted

    def begin_read(self) -> list[Finished]:
        """The outcomes that were written since the last read began. Not before this read begins are
        their deliveries forgotten: a read that was under way while they were written still saw them
        due."""
        written, self._written = self._written, []
        for item in written:
            if item.stops:
                self._stopped.discard(item.attempt.webhook_id)
        self._noted.clear()
        return written

    # --- what is written ----------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled. Raises MemoryError, or the database's error that says so."""
        while True:
            with contextlib.suppress(TimeoutError):
                # What is set aside comes again by itself.
                async with asyncio.timeout(self._knobs.batch_age if self._aside else None):
                    await self._due.wait()
            self._due.clear()
            again = self._again(time.monotonic())
            if self._results or self._notes or again:
                await self._write(again)
            if self._results or self._notes:
                self._write_soon()

    async def close(self) -> None:
        if self._writer is not None:
            await self._thread.run(self._writer.close)

    async def end(self) -> None:
        """Of its thread."""
        await self._thread.run(connections.close_all)
        self._thread.close()

    async def _write(self, again: list[str]) -> None:
        """Write a batch of outcomes, or those that were set aside of the webhooks `again`; and the
        notes."""
        was_full = self.is_full
        batch = self._again_of(again) if again else self._next_batch()
        self._once_more = len(batch) if again else 0
        self._being_written += batch
        if self._results:
            self._due.set()
        notes = {key: one for key, one in self._notes.items() if key not in self._aside}
        try:
            written = await self._written_by_writer(batch, list(notes.values()), again)
        except Exception as error:
            if is_no_memory(error):
                raise
            await self._put_back(error)
            return
        finally:
            self._once_more = 0
        self._in_doubt = 0
        done = self._being_written[: written.number]
        del self._being_written[: written.number]
        if written.aside or again:
            done = self._without_aside(done, dict(written.aside), again)
        self._written += done
        for webhook_id, note in notes.items():
            if webhook_id in written.unset:
                self._put_aside(webhook_id, [], LOCKED)
            elif self._notes[webhook_id] is note:
                del self._notes[webhook_id]
            self._noted.add(webhook_id)
        if was_full:
            self._wake.set()

    def _next_batch(self) -> list[Finished]:
        cut = self._in_doubt or self._knobs.batch_most
        batch = self._results[:cut]
        del self._results[:cut]
        return batch

    def _again_of(self, webhook_ids: list[str]) -> list[Finished]:
        batch = [item for one in webhook_ids for item in self._aside[one].items]
        for one in webhook_ids:
            self._aside[one].items = []
        return batch

    async def _written_by_writer(
        self, batch: list[Finished], notes: Sequence[Note], again: list[str]
    ) -> Written:
        writer = self._writer
        if writer is None or writer.has_ended:
            writer = self._writer = await self._thread.run(Writer, self._alias, self._knobs)
        writing = partial(
            writer.write,
            in_doubt=self._in_doubt > 0,
            # Others wait already: the next call asks how this batch went.
            ahead=bool(self._results) and not (notes or self._in_doubt or again),
            again=self._last_tries(again) if again else None,
        )
        asked = self._thread.run(writing, batch, notes)
        written: Written = await patiently(asked, writer.hang_up, self._knobs)
        return written

    async def _put_back(self, error: Exception) -> None:
        """The write failed. Receivers have answered these deliveries already: their outcomes are
        written later, whatever the error is."""
        faults.note()
        level = logging.DEBUG if self._in_doubt else logging.WARNING  # once an outage
        # A COMMIT may have come through without its answer.
        self._in_doubt = max(1, len(self._being_written))
        self._results = [*self._being_written, *self._results]
        self._being_written = []
        log.log(
            level,
            "outcomes cannot be written (%s), trying again",
            faults.told(error),
            exc_info=not is_away(error),
        )
        await asyncio.sleep(self._knobs.write_again)

    # --- what is set aside --------------------------------------------------------------------

    def _again(self, now: float) -> list[str]:
        """Webhooks whose outcomes are to be tried again; once in a while, because all other
        outcomes wait for it."""
        if not self._aside or now < self._again_at or self._in_doubt:
            return []
        self._again_at = now + self._knobs.again_apart
        due = [(one.again_at, key) for key, one in self._aside.items() if one.again_at <= now]
        return [key for _, key in sorted(due)]

    def _last_tries(self, webhook_ids: list[str]) -> list[str]:
        most = self._knobs.unrecorded_after
        return [key for key in webhook_ids if self._aside[key].rounds >= most]

    def _without_aside(
        self, done: list[Finished], places: dict[int, str], again: list[str]
    ) -> list[Finished]:
        """Which of these outcomes are written; the others, whose places are given, are set aside.
        `again`: the webhooks that were tried once more."""
        by_webhook: dict[str, tuple[str, list[Finished]]] = {}
        for place, why in places.items():
            item = done[place]
            by_webhook.setdefault(item.attempt.webhook_id, (why, []))[1].append(item)
        for webhook_id, (why, items) in by_webhook.items():
            self._put_aside(webhook_id, items, why)
        for webhook_id in again:
            if webhook_id in by_webhook:
                continue
            if self._aside[webhook_id].items:  # landed meanwhile
                self._aside[webhook_id].again_at = 0.0
            else:
                # Held, it is found to be callable by a look at those that are held.
                del self._aside[webhook_id]
        return [item for place, item in enumerate(done) if place not in places]

    def _put_aside(self, webhook_id: str, items: list[Finished], why: str) -> None:
        one = self._aside.get(webhook_id)
        locked = why in (LOCKED, LATE)
        if one is None:
            one = self._aside[webhook_id] = Aside(locked)
            words = "%d outcomes of webhook %s are not written yet (%s), the others go on"
            level = logging.DEBUG if why == LATE else logging.WARNING
            log.log(level, words, len(items), webhook_id, why)
        elif one.rounds == self._knobs.unrecorded_after and not locked:
            log.error(
                "%d outcomes of webhook %s can neither be written nor their deliveries held (%s); "
                "they are kept in memory, and sent again after a restart",
                *(len(items), webhook_id, why),
            )
        one.locked = locked
        one.items = [*items, *one.items]
        one.again_at = time.monotonic()
        if why != LATE:
            pause = self._knobs.again_first * 2 ** min(one.rounds, 10)
            one.again_at += min(pause, self._knobs.again_longest)
            one.rounds += 1
        if locked:
            self._lanes.hold(webhook_id)
