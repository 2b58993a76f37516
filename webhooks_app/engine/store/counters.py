"""Totals that never fall, so that a rate is right over any time and any restart: the attempts by
exchange and kind of error, the deliveries given up, the database's errors.

Attempts and what is given up are counted in the transaction that writes them: each once, whatever
is tried again. There is a row for each slot: the slot of a webhook has one worker at a time, so no
two workers ever wait for a row; interactions, tests and verifications have rows of other names.
What is accepted is counted elsewhere (see `engine.maintenance.accepted`).
"""

from collections import Counter as Counts
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from ...models import Counter
from ...models.webhook import slot_of
from .base import Store
from .values import AttemptRow

# The name of an attempt's counter is that of its exchange.
GIVEN_UP, DATABASE_ERRORS = "given_up", "database"

_COLUMNS = (("name", "text"), ("kind", "text"), ("slot", "int2"), ("count", "int8"))


def note(store: Store, attempts: Sequence[AttemptRow], given_up: Iterable[str] = ()) -> None:
    """Count attempts, and the deliveries that were given up with these kinds of error, in the
    transaction that writes them."""
    found = Counts([(attempt.exchange, attempt.kind) for attempt in attempts])
    found.update((GIVEN_UP, kind) for kind in given_up)
    add(store, found, slot_of(attempts[0].webhook_id))


def add(store: Store, found: Mapping[tuple[str, str], int], slot: int) -> None:
    """Add to the rows of a slot, sorted so that two writers never deadlock."""
    values = [(*key, slot, number) for key, number in sorted(found.items())]
    store.execute(_upsert(), _COLUMNS, values)


@cache
def _upsert() -> str:
    table = Counter._meta.db_table
    names = ", ".join(name for name, _ in _COLUMNS)
    return f"""
        INSERT INTO {table} ({names}) SELECT {names} FROM {{rows}} WHERE true
        ON CONFLICT (name, kind, slot) DO UPDATE SET count = {table}.count + excluded.count"""
