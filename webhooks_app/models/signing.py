"""SigningKey: the secrets that the calls of a webhook are signed with."""

from collections.abc import Collection
from typing import Any, Self

from django.db import models
from django.db.models import Q
from django.utils import timezone

from ..fields import EncryptedTextField
from ..rules import signing
from . import sequences
from .primary import PrimaryModel, PrimaryQuerySet, present
from .webhook import Webhook

KEYS_MOST = 10  # of a webhook, old ones included


class SigningKeyQuerySet(PrimaryQuerySet["SigningKey"]):
    def usable(self) -> Self:
        """Those that calls are signed with now, the newest first."""
        holds = Q(expires_at__isnull=True) | Q(expires_at__gt=present(self.db))
        return self.filter(holds).order_by("-pk")

    def expired(self) -> Self:
        return self.filter(expires_at__lte=present(self.db))

    def of(self, webhook_ids: Collection[str]) -> "dict[str, list[SigningKey]]":
        """The usable keys of live webhooks; one is made for whoever has no present one.

        Of two processes that make one at the same moment the second finds the unique index taken,
        and both read what stands there.
        """
        found = self.by_webhook(webhook_ids)
        missing = [
            ident
            for ident in webhook_ids
            if not any(key.expires_at is None for key in found.get(ident, ()))
        ]
        if missing:
            found |= self._begin(missing)
            if left := [ident for ident in missing if ident not in found]:
                sequences.catch_up(self.db)
                found |= self._begin(left)
        return found

    def _begin(self, webhook_ids: list[str]) -> "dict[str, list[SigningKey]]":
        new: Any = [
            SigningKey(webhook_id=ident, secret=signing.new_secret()) for ident in webhook_ids
        ]
        self.bulk_create(new, ignore_conflicts=True)
        return self.by_webhook(webhook_ids)

    def by_webhook(self, webhook_ids: Collection[str]) -> "dict[str, list[SigningKey]]":
        """The usable keys of these webhooks, as far as there are any."""
        found: dict[str, list[SigningKey]] = {}
        for key in self.filter(webhook__in=webhook_ids).usable():
            found.setdefault(key.webhook_id, []).append(key)
        return found


class SigningKey(PrimaryModel):
    """A secret (`whsec_…`) that the calls of a webhook are signed with.

    The present one has no `expires_at`. An old one signs beside it until its own, so that a
    receiver can take the new one in the meantime.
    """

    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="signing_keys")
    secret = EncryptedTextField()
    # It took the place of another: a receiver that refuses calls since may still have that one.
    rotated = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)

    objects = SigningKeyQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        default_permissions = ()
        indexes = [
            models.Index(
                fields=["expires_at"],
                condition=Q(expires_at__isnull=False),
                name="signingkey_expires",
            )
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["webhook"], condition=Q(expires_at__isnull=True), name="signingkey_present"
            )
        ]

    def __str__(self) -> str:
        return f"signing key {self.pk} of {self.webhook_id}"
