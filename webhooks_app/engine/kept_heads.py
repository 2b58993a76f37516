"""What requests begin with, kept for whoever calls the same webhooks again and again.

To make it takes several queries, and secrets must be opened. Nothing else of a webhook is kept:
whether it may be called, and which version it has, is read for each call.
"""

import time
from collections.abc import Collection, Sequence

from ..fields import WrongKey
from ..models import SigningKey, Webhook
from . import store
from .http import message
from .knobs import DEFAULT

MOST = 1000  # webhooks

Head = message.Head | message.Unsendable | WrongKey | message.Changed


class KeptHeads:
    """Belongs to one thread. What was kept in a transaction that is undone must be forgotten: keys
    may have been made in it. `locked_most`: seconds to wait for rows of somebody else."""

    def __init__(self, locked_most: float) -> None:
        self._locked_most = locked_most
        self._kept: dict[str, tuple[int, float, message.Head]] = {}  # version, until when

    def of(self, webhooks: Sequence[Webhook], alias: str) -> dict[str, Head]:
        """By their ids; or why there is none."""
        now = time.monotonic()
        found: dict[str, Head] = {}
        for webhook in webhooks:
            version, until, head = self._kept.get(webhook.pk, (None, 0.0, None))
            if head is not None and version == webhook.version and now < until:
                found[webhook.pk] = head
        missing = {webhook.pk for webhook in webhooks} - found.keys()
        return found | self._load(missing, alias) if missing else found

    def _load(self, webhook_ids: Collection[str], alias: str) -> dict[str, Head]:
        rows = Webhook.objects.using(alias).filter(pk__in=webhook_ids).prefetch_related("headers")
        with store.transaction(alias, self._locked_most):  # whoever has no key gets one
            keys = SigningKey.objects.using(alias).of(sorted(webhook_ids))
        changed = message.changed({row.pk: row.version for row in rows if row.headers.all()})
        found: dict[str, Head] = {ident: message.Changed() for ident in changed}
        for row in rows:
            if row.pk in found:
                continue
            try:
                headers = [(header.name, header.value) for header in row.headers.all()]
                head = found[row.pk] = message.head(row, headers, keys[row.pk])
            except (message.Unsendable, WrongKey) as error:
                found[row.pk] = error
                continue
            while len(self._kept) >= MOST:
                del self._kept[next(iter(self._kept))]
            # A webhook may have been written past the models, its version the same.
            self._kept[row.pk] = row.version, time.monotonic() + DEFAULT.loaded_most, head
        return found
