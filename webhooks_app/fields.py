"""EncryptedTextField: text that is ciphertext in the database; IdField: an id of rules/ids.

Migrations name them for ever.
"""

from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.core.exceptions import FieldError
from django.db import models
from django.views.decorators.debug import sensitive_variables

from . import conf


class WrongKey(Exception):
    """A stored secret cannot be decrypted with any of WEBHOOKS_ENCRYPTION_KEYS."""


@lru_cache(maxsize=4)
def _cipher(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


@sensitive_variables()
def encrypt(text: str) -> str:
    """Ciphertext under the newest key; `""` stays `""`, so that "not set" can be asked for."""
    return _cipher(conf.encryption_keys()).encrypt(text.encode()).decode() if text else ""


def decrypt(stored: str) -> str:
    """The text behind `encrypt`. Raises WrongKey rather than handing ciphertext on."""
    if not stored:
        return ""
    try:
        return _cipher(conf.encryption_keys()).decrypt(stored.encode()).decode()
    except (InvalidToken, ValueError):
        raise WrongKey(
            "a stored secret cannot be decrypted: is its key missing in WEBHOOKS_ENCRYPTION_KEYS?"
        ) from None


class IdField(models.CharField):
    """An id, compared byte by byte.

    On PostgreSQL the type is spelled out: for a `varchar` key Django makes a second index, for
    LIKE, that every insert and every change of state would have to write.
    """

    def db_type(self, connection: Any) -> str | None:
        if connection.vendor == "postgresql":
            return f"character varying({self.max_length})"
        return super().db_type(connection)

    def db_parameters(self, connection: Any) -> Any:
        parameters = super().db_parameters(connection)
        if connection.vendor == "postgresql":
            parameters["collation"] = "C"
        return parameters


class EncryptedTextField(models.TextField):
    """A text column encrypted at rest. It cannot be searched, filtered or sorted by value."""

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        return value if value is None else encrypt(value)

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return value if value is None else decrypt(value)

    def get_lookup(self, lookup_name: str) -> Any:
        if lookup_name == "isnull":
            return super().get_lookup(lookup_name)
        raise FieldError(f"{self.name} is encrypted and cannot be filtered by value")
