"""What has ended is written in batches."""

import asyncio
import time

import pytest

from webhooks_app.engine.completer import Completer
from webhooks_app.engine.http.exchange import Outcome
from webhooks_app.engine.knobs import Knobs
from webhooks_app.engine.lanes import Lanes
from webhooks_app.engine.sending import verdict
from webhooks_app.engine.store import Claimed, microseconds
from webhooks_app.engine.writer import Written

pytestmark = pytest.mark.once


class Book:
    """A writer that writes into a list."""

    has_ended = False

    def __init__(self):
        self.batches = []

    def write(self, batch, notes, **_):
        self.batches.append([item.attempt.request_id for item in batch])
        return Written(len(batch), [], [])

    def hang_up(self):
        pass

    def close(self):
        pass


def ended(ident):
    at = microseconds.now()
    row = Claimed(ident, "5f" + "0" * 22, 0, b"{}", "", "", (microseconds.at(at), ident), 1)
    return verdict(row, "https://receiver.example.com/", Outcome(microseconds.at(at)), at, 1.0)


def written(scenario, **knobs):
    """What a writer was given, by a completer that `scenario` adds to."""

    async def main():
        book = Book()
        completer = Completer("default", Lanes(), Knobs(**knobs), asyncio.Event(), book)
        running = asyncio.create_task(completer.run())
        await scenario(completer)
        while completer.unwritten:
            await asyncio.sleep(0.001)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await completer.end()
        return book

    return asyncio.run(main())


def test_what_ends_within_some_milliseconds_is_written_in_one_transaction():
    async def a_few(completer):
        for ident in "abc":
            completer.add(ended(ident))
            await asyncio.sleep(0)

    assert written(a_few, batch_age=0.5).batches == [["a", "b", "c"]]


def test_nothing_waits_longer_than_that():
    async def two(completer):
        completer.add(ended("a"))
        while completer.unwritten:
            await asyncio.sleep(0.001)
        completer.add(ended("b"))

    assert written(two, batch_age=0.05).batches == [["a"], ["b"]]


def test_very_many_do_not_wait():
    async def many(completer):
        for ident in "abcde":
            completer.add(ended(ident))

    began = time.monotonic()
    book = written(many, batch_age=60.0, batch_most=5)
    assert book.batches == [["a", "b", "c", "d", "e"]]
    assert time.monotonic() - began < 30


def test_what_ends_while_others_are_written_follows_them():
    async def more(completer):
        completer.add(ended("a"))
        completer.flush()
        await asyncio.sleep(0)
        completer.add(ended("b"))

    batches = written(more, batch_age=0.05).batches
    assert [ident for batch in batches for ident in batch] == ["a", "b"]
