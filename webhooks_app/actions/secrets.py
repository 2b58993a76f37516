"""The signing secret of a webhook: shown, rotated with an overlap, the overlap ended."""

from datetime import timedelta
from typing import Any

from django.db import transaction

from ..engine import transitions
from ..fields import Sealed, WrongKey
from ..models import AuditEntry, SigningKey, Webhook
from ..models.primary import clock
from ..models.signing import KEYS_MOST, SigningKeyQuerySet
from ..rules import signing, validators
from .base import STORED, db_alias, readable
from .errors import Invalid, NotCallable

GRACE = timedelta(days=1)  # for which an old signing secret holds beside the new one
GRACE_MOST = timedelta(days=7)


def reveal_secret(webhook: Webhook, *, by: str = "") -> str:
    """The secret (`whsec_…`) that calls are signed with; one is made where there is none.

    Raises NotCallable when it cannot be read (`unreadable`) or the webhook is deleted (`deleted`).
    """
    row = STORED.first(webhook.pk)
    if row is None or row.deleted_at is not None:
        raise NotCallable("deleted")
    with transaction.atomic(using=db_alias()), readable():
        secret = _keys().of([row.pk])[row.pk][0].secret
        AuditEntry.objects.note(by, "Revealed the signing secret.", row)
    return secret


def rotate_secret(
    webhook: Webhook, key: str | None = None, grace: timedelta = GRACE, *, by: str = ""
) -> str:
    """Sign calls with a new secret, and for `grace` (0 to 7 days) with the old one as well.

    `key` is `whsec_` and the base64 of 24 to 64 bytes; without one a new one is made. A secret that
    signs already becomes the present one again. At most 10 sign at a time, the newest. Returns the
    new secret. Raises Invalid; Webhook.DoesNotExist when the webhook is deleted.
    """
    secret = _given_secret(key)
    if not timedelta(0) <= grace <= GRACE_MOST:
        raise Invalid({"gracePeriodSeconds": ["Must be 0 to 604800 seconds (7 days)."]})
    with transaction.atomic(using=db_alias()):
        row = Webhook.objects.live().select_for_update(no_key=True).get(pk=webhook.pk)
        keys = _keys()
        keys.of([row.pk])
        stored = keys.filter(webhook=row)
        ending = []  # without an overlap: what is over, no key opens or is the new one itself
        usable: Any = stored.usable().values_list("pk", "secret", "expires_at")
        for number, (pk, sealed, expires_at) in enumerate(usable):
            stored_secret = _opened(sealed)
            known = stored_secret == secret
            if known and expires_at is None:
                raise Invalid({"key": ["This is the present secret already."]})
            at_once = expires_at is None and not grace
            if known or at_once or stored_secret is None or number >= KEYS_MOST - 1:
                ending.append(pk)
        stored.filter(pk__in=ending).delete()
        stored.expired().delete()
        stored.filter(expires_at__isnull=True).update(expires_at=clock(db_alias()) + grace)
        keys.create(webhook=row, secret=secret, rotated=True)
        held = f" The old one holds for {spelled(grace)}." if grace else ""
        _keys_changed(row, f"Rotated the signing secret.{held}", by)
    return secret


def end_overlap(webhook: Webhook, *, by: str = "") -> int:
    """Sign with the present secret alone from now on; returns how many old ones ended.

    Raises Webhook.DoesNotExist when the webhook is deleted.
    """
    with transaction.atomic(using=db_alias()):
        row = Webhook.objects.live().select_for_update(no_key=True).get(pk=webhook.pk)
        old = _keys().filter(webhook=row, expires_at__isnull=False)
        ended = old.usable().count()
        old.delete()
        if ended:
            _keys_changed(row, "Ended the overlap of signing secrets.", by)
    return ended


def _keys() -> SigningKeyQuerySet:
    return SigningKey.objects.using(db_alias())


def _opened(sealed: Sealed) -> str | None:
    """What is stored; None where no key opens it."""
    try:
        return sealed.open()
    except WrongKey:
        return None


def _given_secret(key: str | None) -> str:
    if key is None:
        return signing.new_secret()
    if key == validators.MASK:
        raise Invalid({"key": ["This is the mask of a secret; enter the secret, or leave it out."]})
    try:
        return signing.secret_of(signing.key_of(key))
    except ValueError as problem:
        raise Invalid({"key": [str(problem)]}) from None


def spelled(span: timedelta) -> str:
    """`24 h`, `90 s`."""
    hours = span / timedelta(hours=1)
    return f"{hours:g} h" if hours >= 1 else f"{span.total_seconds():g} s"


def _keys_changed(webhook: Webhook, words: str, by: str) -> None:
    # Whoever keeps a request that was built sees by the version that it is old.
    Webhook.objects.filter(pk=webhook.pk).touch()
    AuditEntry.objects.note(by, words, webhook)
    transitions.announce(db_alias())
