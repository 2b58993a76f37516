"""Rotation of encryption keys: every stored secret under the first key, in bounded steps.

A secret keeps its value, so no webhook changes and no built request grows old. A row that somebody
writes meanwhile is left to them: they encrypt with the first key already. What is under the first
key is passed over, so that a run that was interrupted is simply started again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.apps import apps
from django.db import models, router, transaction
from django.db.models import Value
from django.db.models.functions import Cast

from ... import conf
from ...fields import EncryptedTextField
from .. import store

STEP = 500  # rows a transaction


@dataclass(slots=True)
class Step:
    """What became of the rows of one step; `unreadable` names the rows that no key decrypts."""

    column: str
    looked_at: int = 0
    rotated: int = 0
    unreadable: tuple[str, ...] = ()


def columns() -> list[tuple[type[models.Model], str]]:
    """Every model with an EncryptedTextField, and the field's name."""
    return [
        (model, field.name)
        for model in apps.get_models()
        for field in model._meta.local_concrete_fields
        if isinstance(field, EncryptedTextField)
    ]


def rotate(*, dry_run: bool = False) -> Iterator[Step]:
    """Re-encrypt what is not under the first of WEBHOOKS_ENCRYPTION_KEYS, one step a yield."""
    keys = [Fernet(key) for key in conf.settings.encryption_keys]
    for model, name in columns():
        last = None
        while True:
            rows = _stored(model, name).exclude(stored="").order_by("pk")
            if last is not None:
                rows = rows.filter(pk__gt=last)
            page = list(rows.values_list("pk", "stored")[:STEP])
            if not page:
                break
            last = page[-1][0]
            yield _rotate(model, name, page, keys, dry_run)
            store.open(router.db_for_write(model)).let_others_in()


def _stored(model: type[models.Model], name: str) -> "models.QuerySet[Any]":
    """The rows with the text of a column as it is stored. By Django's own queryset: those of the
    models would take a secret under another key for another secret, and verify its webhook anew."""
    rows: models.QuerySet[Any] = models.QuerySet(model, using=router.db_for_write(model))
    return rows.annotate(stored=Cast(name, models.TextField()))


def _rotate(
    model: type[models.Model],
    name: str,
    page: list[tuple[object, str]],
    keys: list[Fernet],
    dry_run: bool,
) -> Step:
    step = Step(f"{model._meta.model_name}.{name}", len(page))
    unreadable = []
    everything = MultiFernet(keys)
    with transaction.atomic(using=router.db_for_write(model)):
        for pk, text in page:
            if _opens(keys[0], text):
                continue
            try:
                fresh = everything.rotate(text.encode()).decode()
            except (InvalidToken, ValueError):
                unreadable.append(f"{step.column} of {pk}")
                continue
            if not dry_run:
                value = Value(fresh, models.TextField())
                rows = _stored(model, name).filter(pk=pk, stored=text)
                if not rows.update(**{name: value}):
                    continue  # written meanwhile
            step.rotated += 1
    step.unreadable = tuple(unreadable)
    return step


def _opens(key: Fernet, text: str) -> bool:
    try:
        key.decrypt(text.encode())
    except (InvalidToken, ValueError):
        return False
    return True
