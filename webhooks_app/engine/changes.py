"""What people change of what a worker has in memory: who may be called, what was cancelled, which
breakers and pauses they ended; and which breakers interactions opened."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from ..models import Webhook, WebhookHealth, states
from ..models.compiled_query import Found
from ..models.webhook import slot_of
from .handover import Changes, Memory
from .knobs import Knobs
from .loading import Loading
from .store import Store
from .transitions import deleted_since


def _open_breakers(after: datetime) -> "QuerySet[WebhookHealth]":
    return WebhookHealth.objects.filter(breaker_until__gt=after)


def _stopped_since(moment: datetime) -> "QuerySet[Webhook]":
    return Webhook.objects.exclude(stopped="").filter(stopped_at__gte=moment)


# Most of the time there is none of these.
def _lately(after: datetime, since: datetime) -> "list[QuerySet[Any]]":
    return [_open_breakers(after), _stopped_since(since), deleted_since(since)]


_is_any = Found(_lately)


class Looking:
    """Belongs to the thread that reads."""

    def __init__(self, store: Store, loading: Loading, knobs: Knobs) -> None:
        self._store = store
        self._alias = store.connection.alias
        self._loading = loading  # whose secrets no key opens is not callable
        self._knobs = knobs
        self._opened_after: datetime | None = None  # the open breakers up to there were read
        self._stopped: set[tuple[str, Any]] = set()  # who was found by the last look, and when

    def begin_anew(self) -> None:
        """Tell of all again."""
        self._stopped = set()

    def changes(self, memory: Memory, owned: frozenset[int], now: datetime) -> Changes:
        found = Changes()
        if memory.waiting:
            self._look_after(found, memory.waiting)
        if memory.held:
            found.freed = self._freed(memory.held)
        if memory.open_breakers:
            found.closed = self._ended(memory.open_breakers, "breaker_until")
        if memory.resting:
            found.rested = self._ended(memory.resting, "rests_until")
        after = max(now, self._opened_after or now)
        since = now - self._knobs.stopped_lately
        opened, *stopped_or_deleted = _is_any(self._alias, after, since)
        self._opened_after = None
        if opened:
            found.opened = self._opened(owned, now, after)
        just_stopped = self._just_stopped(since) if any(stopped_or_deleted) else set()
        new, self._stopped = just_stopped - self._stopped, just_stopped
        stopped = [ident for ident, _ in new if slot_of(ident) in owned]
        found.held += [ident for ident in stopped if ident not in found.held]
        return found

    def _look_after(self, found: Changes, waiting: Mapping[str, tuple[int, Sequence[str]]]) -> None:
        """What was claimed a while ago may have been cancelled since; its webhook may have been
        paused, deleted or sent elsewhere."""
        versions = {ident: version for ident, version, ok in self.callable(waiting) if ok}
        found.held += [ident for ident in waiting if ident not in versions]
        found.changed = [i for i, version in versions.items() if version != waiting[i][0]]
        pending = self._store.pending_of([i for webhook in versions for i in waiting[webhook][1]])
        for webhook in versions:
            if ended := set(waiting[webhook][1]) - pending:
                found.ended[webhook] = ended

    def _freed(self, webhook_ids: Sequence[str]) -> list[str]:
        # A deleted one is asked for once more: what is left of it is cancelled then.
        return [
            ident
            for ident, version, ok in self.callable(webhook_ids, deleted_too=True)
            if ok and not self._loading.is_unreadable(ident, version)
        ]

    def callable(
        self, webhook_ids: Iterable[str], *, deleted_too: bool = False
    ) -> list[tuple[str, int, bool]]:
        """Id, version and whether it may be called, of those of these webhooks that exist.

        Judged here: the same condition as a subquery has the database read all webhooks once its
        statistics are old.
        """
        rows = Webhook.objects.using(self._alias).filter(pk__in=list(webhook_ids))
        found = rows.values_list("pk", "version", *states.CLAIM_COLUMNS, named=True)
        return [
            (row.pk, row.version, states.may_be_claimed(row))
            if row.deleted_at is None or not deleted_too
            else (row.pk, row.version, True)
            for row in found
        ]

    def _ended(self, webhook_ids: Sequence[str], until: str) -> list[str]:
        """Of which people have cleared the moment in that column."""
        rows = WebhookHealth.objects.using(self._alias).filter(pk__in=list(webhook_ids))
        return list(rows.filter(**{f"{until}__isnull": True}).values_list("pk", flat=True))

    def _opened(
        self, owned: frozenset[int], now: datetime, after: datetime
    ) -> dict[str, tuple[float, int]]:
        """Some breakers in turn: interactions open them, too."""
        most = self._knobs.webhooks_asked
        found = _open_breakers(after).using(self._alias)
        columns = ("pk", "breaker_until", "breaker_trips")
        some = list(found.order_by("breaker_until").values_list(*columns)[:most])
        if len(some) == most:
            self._opened_after = some[-1][1]
        return {
            ident: ((until - now).total_seconds(), trips)
            for ident, until, trips in some
            if until is not None and slot_of(ident) in owned
        }

    def _just_stopped(self, since: datetime) -> set[tuple[str, Any]]:
        """Who was stopped or deleted a moment ago, and when: of very many that wait in memory
        `_look_after` asks for some in turn, and people want a pause at once."""
        found: set[tuple[str, Any]] = set()
        for moment, rows in (
            ("stopped_at", _stopped_since(since)),
            ("deleted_at", deleted_since(since)),
        ):
            some = rows.using(self._alias).order_by(f"-{moment}").values_list("pk", moment)
            found.update(some[: self._knobs.webhooks_asked])
        return found
