"""An event before subscriptions: whether they cover its type and hear its channels, and what their
filters say of it.

For whoever decides that (`subscribers`), and for whoever tells people why (`actions/reasons`,
`actions/trial`).
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Literal

from ..models import Event
from ..rules import filters, strictjson
from ..rules.subscriptions import lookups

Said = Literal["takes", "refuses", "too-costly", "unreadable"]


class Hearing:
    """Equal filters are tried once; the payload is read once, when the first of them asks."""

    def __init__(self, type: str, channels: Sequence[str], of: Event | bytes) -> None:
        self.type, self.channels = type, channels
        self.visits = 0  # elements of the payload that filters have looked at
        self._of = of
        self._said: dict[str, Said] = {}

    @property
    def tried(self) -> int:
        """How many filters."""
        return len(self._said)

    @cached_property
    def payload(self) -> Any:
        of = self._of
        # Of equal keys, which a dictionary of Python's may lead to ({1: …, "1": …}), the last one.
        return strictjson.loads(bytes(of.payload) if isinstance(of, Event) else of, unique=False)

    def covers(self, patterns: Iterable[str]) -> bool:
        """Whether one of these patterns covers its type."""
        return not set(patterns).isdisjoint(lookups(self.type))

    def hears(self, channels: Sequence[str]) -> bool:
        """Whether a subscription with these channels, none for any, hears the event."""
        return not channels or not set(channels).isdisjoint(self.channels)

    def says(self, text: str) -> Said:
        """What a filter says of the payload. One that would be too costly, or that this version
        cannot read, takes nothing."""
        said = self._said.get(text)
        if said is None:
            said = self._said[text] = self._ask(text)
        return said

    def _ask(self, text: str) -> Said:
        budget = filters.Budget()
        try:
            return "takes" if filters.compiled(text).matches(self.payload, budget) else "refuses"
        except filters.TooCostly:
            return "too-costly"
        except ValueError:
            return "unreadable"
        finally:
            self.visits += budget.spent
