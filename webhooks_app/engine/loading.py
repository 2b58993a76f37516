"""What a lane needs to know of its webhook, and webhooks whose secrets no key opens.

To be unreadable is noted in the health of the webhook for everybody, and is no reason for another
worker, which may have the key. So each remembers for itself what it could not open, and tries again
after a while, or at once when the webhook has changed.
"""

import logging
import time
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

from ..fields import WrongKey
from ..models import SigningKey, Webhook, WebhookHealth
from ..models.webhook import SECRETS, OnDead
from ..rules import certificates
from .handover import Loaded, Loads
from .http import message
from .knobs import Knobs

log = logging.getLogger("webhooks")


class Loading:
    """Belongs to the thread that reads."""

    def __init__(self, alias: str, knobs: Knobs, now: Callable[[], datetime]) -> None:
        self._alias = alias
        self._knobs = knobs
        self._now = now  # by the database's clock
        # Webhooks whose secrets no key opens: in which version, and when they are tried again.
        self._unreadable: dict[str, tuple[int, float]] = {}
        self._reopened: str | None = None  # up to this webhook, while such are tried again
        self._reopen_at = 0.0  # monotonic seconds

    def load(self, webhook_ids: Collection[str]) -> Loads:
        loads = Loads()
        webhooks = Webhook.objects.using(self._alias).filter(pk__in=webhook_ids)
        webhooks = webhooks.select_related("health").prefetch_related("headers")
        keys = SigningKey.objects.using(self._alias).of([row.pk for row in webhooks])
        changed = message.changed({r.pk: r.version for r in webhooks if r.headers.all()})
        opened = []
        for row in webhooks:
            if row.pk in changed:
                continue  # it is loaded once more
            head, failure = None, None
            try:
                headers = [(h.name, h.value) for h in row.headers.all()]
                head = message.head(row, headers, keys[row.pk])
            except message.Unsendable as error:
                failure = error.failure
            except WrongKey as error:
                self.cannot_read(row, error)
                loads.unreadable.add(row.pk)
                continue
            if row.health.unreadable_since is not None:
                opened.append(row.pk)
            self._unreadable.pop(row.pk, None)
            self._note_identity(row)
            health = row.health
            cleared, success = health.run_cleared_at, health.last_success_at
            loads.loaded[row.pk] = Loaded(
                version=row.version,
                top=row.max_in_flight,
                timeout=row.exchange_timeout,
                url=message.without_token(row.url),
                head=head,
                failure=failure,
                breaker_left=self._left(health.breaker_until),
                breaker_trips=health.breaker_trips,
                breaker_after=0 if row.breaker_off else row.breaker_after,
                rate=row.rate,
                rest_left=self._left(health.rests_until),
                rests=health.rests,
                is_back=cleared is not None and (success is None or success < cleared),
                is_failing=health.failures_in_row > 0,
                order=row.order,
                stops_at_dead=row.on_dead == OnDead.STOP,
            )
        self._can_read(opened)
        return loads

    def _note_identity(self, webhook: Webhook) -> None:
        """Note when the client certificate ends, if the health says otherwise: whoever wrote the
        webhook's row past the models noted nothing."""
        ends_at = certificates.ends_at(webhook.identity)
        if ends_at != webhook.health.identity_ends_at:
            WebhookHealth.objects.using(self._alias).begin([webhook.pk])
            self._health([webhook.pk]).update(identity_ends_at=ends_at)

    def _left(self, until: datetime | None) -> float:
        """Seconds until that moment by the database's clock; 0 without one, or when it is past."""
        return max(0.0, (until - self._now()).total_seconds()) if until else 0.0

    def cannot_read(self, webhook: Webhook, error: WrongKey) -> None:
        """No key opens the secrets of this webhook: note that, for this worker and for everybody,
        once, however often it is found."""
        if webhook.pk not in self._unreadable:
            log.error("webhook %s is held: %s", webhook.pk, error)
            WebhookHealth.objects.using(self._alias).begin([webhook.pk])
            self._health([webhook.pk]).filter(unreadable_since=None).update(
                unreadable_since=self._now()
            )
        again_at = time.monotonic() + self._knobs.unreadable_again
        self._unreadable[webhook.pk] = webhook.version, again_at

    def was_read(self, webhook_id: str) -> None:
        """The secrets of this webhook were opened elsewhere."""
        if self._unreadable.pop(webhook_id, None):
            self._can_read([webhook_id])

    def is_unreadable(self, webhook_id: str, version: int) -> bool:
        """Whether no key opens the secrets of this version of the webhook, as far as is known: a
        changed webhook is read again at once."""
        known, until = self._unreadable.get(webhook_id, (0, 0.0))
        return known == version and time.monotonic() < until

    def begin_anew(self) -> None:
        """This worker owns other webhooks than before: try all unreadable ones again."""
        self._reopen_at, self._reopened = 0.0, None

    def reopen(self, ours: Callable[[list[str]], list[str]]) -> None:
        """Webhooks that could not be read are tried again, some at each look: also a webhook with
        nothing to send may have got its key back."""
        if self._reopened is None:
            if time.monotonic() < self._reopen_at:
                return
            self._reopen_at = time.monotonic() + self._knobs.unreadable_again
        most = self._knobs.reopened_at_once
        noted = WebhookHealth.objects.using(self._alias).filter(unreadable_since__isnull=False)
        after = noted.filter(pk__gt=self._reopened or "").order_by("pk")
        ids = list(after.values_list("pk", flat=True)[:most])
        self._reopened = ids[-1] if len(ids) == most else None
        mine = ours(ids)
        if not mine:
            return
        keys = SigningKey.objects.using(self._alias).by_webhook(mine)
        webhooks = Webhook.objects.using(self._alias).filter(pk__in=mine)
        for row in webhooks.prefetch_related("headers"):
            try:
                for secret in (
                    *(getattr(row, name) for name in SECRETS),
                    *(header.value for header in row.headers.all()),
                    *(key.secret for key in keys.get(row.pk, ())),
                ):
                    del secret  # to read it is to open it
            except WrongKey as error:
                self.cannot_read(row, error)
            else:
                self._unreadable.pop(row.pk, None)
                self._can_read([row.pk])

    def _can_read(self, webhook_ids: list[str]) -> None:
        if webhook_ids:
            self._health(webhook_ids).update(unreadable_since=None)

    def _health(self, webhook_ids: list[str]) -> Any:
        return WebhookHealth.objects.using(self._alias).filter(pk__in=webhook_ids)
