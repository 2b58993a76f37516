"""What the verbs of `manage.py webhooks` read and print."""

import json
import re
from argparse import ArgumentTypeError
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Protocol

from django.core.management.base import CommandError
from django.db.models import QuerySet

from webhooks_app.models import Account, Actor, AuditEntry
from webhooks_app.models.delivery import db_now
from webhooks_app.rules.ids import read_moment
from webhooks_app.rules.safe_text import shown

BY = Actor("command line", AuditEntry.Door.COMMAND)  # for the record
LONGEST = timedelta(days=36_500)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def wrong_usage(message: str) -> CommandError:
    """To be raised: exit code 2."""
    return CommandError(message, returncode=2)


def account_of(name: str, *, otherwise: str = "") -> Account:
    """Raises CommandError where there is none, and says what to do `otherwise`."""
    account = Account.objects.filter(name=name).first()
    if account is None:
        raise wrong_usage(f"There is no account {name}{otherwise}.")
    return account


class Step(Protocol):
    def __call__(self, line: str = "") -> None: ...


class Console:
    """Standard output for results, standard error for notes and progress."""

    def __init__(self, out: Any, err: Any) -> None:
        self.out = out
        self.err = err

    def line(self, text: str = "") -> None:
        self.out.write(shown(text))
        self.out.flush()  # also in a pipe a line is read when it is written

    def note(self, text: str) -> None:
        self.err.write(shown(text))

    def json(self, value: Any) -> None:
        self.out.write(json.dumps(value, indent=2))

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Columns as wide as their widest cell; the last one runs on."""
        cells = [list(headings), *([shown(str(cell)) for cell in row] for row in rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(headings) - 1)]
        for row in cells:
            padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
            self.out.write("  ".join([*padded, row[-1]]).rstrip())

    @contextmanager
    def progress(self, title: str, total: int | None = None) -> Iterator[Step]:
        """Yields what to call after each step: a bar on a terminal, its lines in a pipe."""
        bar = self._bar()
        if bar is None:

            def step(line: str = "") -> None:
                if line:
                    self.note(line)

            yield step
            return
        with bar:
            task = bar.add_task(title, total=total)

            def advance(line: str = "") -> None:
                if line:
                    bar.console.print(shown(line), markup=False, highlight=False)
                bar.advance(task)

            yield advance

    def _bar(self) -> Any:
        if not self.err.isatty():
            return None
        try:
            from rich.console import Console as RichConsole
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        except ImportError:  # rich comes with the extra `server`
            return None
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
        return Progress(*columns, console=RichConsole(stderr=True), transient=True)


def duration(text: str) -> timedelta:
    """`45s`, `30m`, `2h` or `30d`. ValueError for anything else (argparse says so)."""
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if match is None:
        raise ValueError(text)
    found = timedelta(**{_UNITS[match[2]]: int(match[1])})
    if found > LONGEST:
        raise ArgumentTypeError(f"must be at most {LONGEST.days}d")
    return found


class FromNow(timedelta):
    """A moment so far from now, by the clock of the database: known once a verb runs."""


def resolved(option: Any) -> Any:
    """The value of an option; of a FromNow its moment."""
    return db_now() + option if isinstance(option, FromNow) else option


def moment(text: str) -> datetime | FromNow:
    """A time ago (`2h`) or an ISO date and time (UTC without an offset)."""
    try:
        return FromNow(seconds=-duration(text).total_seconds())
    except ValueError:
        pass
    try:
        return read_moment(text)
    except ValueError:
        raise ArgumentTypeError(
            "must be a time ago like 2h, or a moment like 2018-01-12T13:40, in UTC where it names "
            "no offset; it must lie in the years 1 to 9999"
        ) from None


def moment_ahead(text: str) -> datetime | FromNow:
    """A time from now (`2h`) or an ISO date and time (UTC without an offset)."""
    try:
        return FromNow(seconds=duration(text).total_seconds())
    except ValueError:
        return moment(text)


MANY = 1000  # counted no further: an unbounded count reads the whole table


def bounded(rows: "QuerySet[Any]", most: int = MANY) -> int:
    """How many there are, one more than `most` where there are more than that."""
    return rows.order_by()[: most + 1].count()


def many(number: int, most: int = MANY) -> str:
    """A bounded count in words."""
    return f"{most:,}+" if number > most else f"{number:,}"


def count(number: int, word: str, most: int | None = None) -> str:
    """`1 webhook`, `2 webhooks`, `1 delivery`, `2 deliveries`; `1,000+ deliveries` of a count that
    is bounded by `most`."""
    if number == 1:
        return f"1 {word}"
    figure = f"{number:,}" if most is None else many(number, most)
    return f"{figure} {word[:-1]}ies" if word.endswith("y") else f"{figure} {word}s"
