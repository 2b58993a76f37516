"""What the verbs share: the database they write to, the row of a webhook as it is now."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from django.db import connections, router

from ..engine import transitions
from ..fields import WrongKey
from ..models import Delivery, Webhook, site, states
from ..models.compiled_query import Prepared
from .errors import NotCallable


def db_alias() -> str:
    """The database of the deliveries. A connection to it that broke is made anew: what calls us may
    be a process without requests, at whose beginning Django does that."""
    alias = router.db_for_write(Delivery)
    connection = connections[alias]
    # In a transaction, Django would close it under whoever began that.
    if connection.errors_occurred and not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()
    return alias


@contextmanager
def readable() -> Iterator[None]:
    """Secrets are read inside. Raises NotCallable(`unreadable`) where no key opens one."""
    try:
        yield
    except WrongKey as reason:
        raise NotCallable("unreadable") from reason


# Of a verb that somebody waits for, each of `transitions.AT_ONCE` deliveries; a job does the rest.
STEPS_MOST = 5

Step = Callable[[str], tuple[int, str]]


def in_steps(step: Step, steps: Iterable[int]) -> tuple[int, str]:
    """So many steps of a verb, others come between them: how many deliveries, and the place behind
    which there may be more, `""` at the end. A step gets the place that the one before reached, the
    first one `""`, and returns the same of its own."""
    done, place = 0, ""
    for _ in steps:
        some, place = step(place)
        done += some
        if not place:
            break
        transitions.let_others_in()
    return done, place


CALLS = "calls that go out must not be made"


def outside_transactions(what: str) -> None:
    """No transaction may stay open while a receiver, or much work, takes its time (a TestCase's own
    may). Raises RuntimeError."""
    blocks = connections[db_alias()].atomic_blocks
    if any(not getattr(block, "_from_testcase", False) for block in blocks):
        raise RuntimeError(f"{what} inside transaction.atomic")


def because(words: str, note: str) -> str:
    """What was done, and why where somebody said so: "Resumed: the move is over"."""
    return f"{words.removesuffix('.')}: {note.strip()[:255]}" if note.strip() else words


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


STORED = Prepared(Webhook, lambda ident: Webhook.objects.filter(pk=ident), beside="health")


SITE_RETRY_AFTER = 60.0  # seconds; nobody knows how long an operator holds the site


def fresh(webhook: Webhook) -> Webhook:
    """The row as it is now, of one that is about to be called; what the caller holds may be old."""
    row = STORED.first(webhook.pk)
    if row is None:
        raise Webhook.DoesNotExist
    if row.deleted_at is not None:
        raise NotCallable("deleted")
    refuse_while_held()
    return row


def refuse_while_held() -> None:
    """Raises NotCallable while the site calls nobody."""
    if site.is_held():
        raise NotCallable(states.SITE.reason, SITE_RETRY_AFTER)
