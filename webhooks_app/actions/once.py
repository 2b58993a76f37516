"""Stored once for a key: what is asked for, beside what was there already."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ..models import Delivery, Event
from .errors import Conflict

Row = TypeVar("Row", Delivery, Event)
Key = tuple[Any, str | None]  # whose key it is, and the key; None: it has none, and no twin


@dataclass(frozen=True, slots=True)
class Once(Generic[Row]):
    """What makes two rows of a model twins, and what is told of those that cannot be stored."""

    field: str  # what requests call the key
    key_of: Callable[[Row], Key]
    is_same: Callable[[Row, Row], bool]  # of the first and another one with its key
    other: Callable[[Row], str]  # that it is not the same
    under_way: str  # that somebody stores its twin at this moment

    def beside(self, rows: Sequence[Row], firsts: dict[Key, Row]) -> list[Row] | Conflict:
        """The same rows, in place of twins the `firsts`, as they were `replayed`. What is new joins
        `firsts`; of a request with another row under a key nothing does."""
        found: list[Row] = []
        own: dict[Key, Row] = {}
        conflicts: dict[str, Any] = {}
        message = ""
        for place, row in enumerate(rows):
            key = self.key_of(row)
            first = None if key[1] is None else firsts.get(key) or own.get(key)
            if first is None:
                found.append(row)
                if key[1] is not None:
                    own[key] = row
            elif self.is_same(first, row):
                found.append(_replayed(first))
            else:
                said = self.other(row)
                conflicts[str(place)] = {self.field: [said]}
                message = message or said
        if conflicts:
            return Conflict(message, conflicts)
        firsts |= own
        return found

    def without_keys(self, rows: list[Row]) -> list[Row] | Conflict:
        """The same where no row has a key: of the others, somebody else stores the twins."""
        places = [place for place, row in enumerate(rows) if self.key_of(row)[1] is not None]
        if not places:
            return rows
        details = {str(place): {self.field: [self.under_way]} for place in places}
        return Conflict(self.under_way, details)


def _replayed(first: Row) -> Row:
    again = copy.copy(first)
    again.replayed = True
    return again
