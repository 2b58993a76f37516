"""EncryptedTextField: text that is ciphertext in the database; IdField and KeyField: an id and a
key of rules/ids; WordsField: a few words; HostOf and NameStart: what is looked for of a column;
Begins and Hold: how.

Migrations name them for ever.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.core.exceptions import FieldError
from django.db import models
from django.db.models import Func, Lookup
from django.db.models.query_utils import DeferredAttribute
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
    return _cipher(conf.settings.encryption_keys).encrypt(text.encode()).decode() if text else ""


def decrypt(stored: str) -> str:
    """The text behind `encrypt`. Raises WrongKey rather than handing ciphertext on."""
    if not stored:
        return ""
    try:
        return _cipher(conf.settings.encryption_keys).decrypt(stored.encode()).decode()
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


class KeyField(models.BigIntegerField):
    """A number that we make; the database has no sequence for it.

    On SQLite the type is spelled out: only an `integer` key is the table itself, any other one is
    an index beside it.
    """

    def db_type(self, connection: Any) -> str | None:
        return "integer" if connection.vendor == "sqlite" else super().db_type(connection)


class WordsField(models.CharField):
    """A tuple of words without spaces, stored as text with a space around each, so that rows that
    hold one are found: `filter(channels__hold="eu")`."""

    _pyi_private_set_type: Any  # for mypy, as all that begins so in the stubs
    _pyi_private_get_type: Any

    def get_prep_value(self, value: Any) -> Any:
        if isinstance(value, str) or value is None:
            return value
        return f" {' '.join(value)} " if value else ""

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return self.to_python(value)

    def to_python(self, value: Any) -> Any:
        return tuple(value.split()) if isinstance(value, str) else value

    def value_to_string(self, obj: Any) -> str:
        return str(self.get_prep_value(self.value_from_object(obj)))


@WordsField.register_lookup
class Hold(Lookup):
    """Whether a word is among those of a column, letter by letter: LIKE knows no case on SQLite."""

    lookup_name = "hold"

    def get_prep_lookup(self) -> str:
        return f" {self.rhs} "

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        column, values = self.process_lhs(compiler, connection)
        _, word = self.process_rhs(compiler, connection)
        if connection.vendor == "postgresql":
            return f"POSITION(%s IN {column}) > 0", [*word, *values]
        return f"INSTR({column}, %s) > 0", [*values, *word]


HOST_KEPT = 260  # characters; the longest host has 253, and a port


class HostOf(Func):
    """The host that a column of URLs names, as it is written there, with its port, in lower case;
    `""` where there is none. `rules.hosts` says how else a URL may write the same one."""

    arity = 1
    output_field = models.CharField()

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(
            compiler,
            connection,
            template="LEFT(LOWER(SPLIT_PART(TRANSLATE("
            f"SPLIT_PART(%(expressions)s, '://', 2), '?#', '//'), '/', 1)), {HOST_KEPT})",
        )

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        rest = "SUBSTR(%(expressions)s, INSTR(%(expressions)s, '://') + 3)"
        end = f"INSTR(REPLACE(REPLACE({rest} || '/', '?', '/'), '#', '/'), '/') - 1"
        return self.as_sql(
            compiler,
            connection,
            template="CASE WHEN INSTR(%(expressions)s, '://') > 0 "
            f"THEN LOWER(SUBSTR({rest}, 1, MIN({HOST_KEPT}, {end}))) ELSE '' END",
        )


class NameStart(Func):
    """How a name begins, as it is looked for: in lower case (SQLite: of ASCII), in the order of
    its bytes."""

    arity = 1
    output_field = models.CharField()
    LENGTH = 64

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = f'LOWER(LEFT(%(expressions)s, {self.LENGTH})) COLLATE "C"'
        return self.as_sql(compiler, connection, template=template)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = f"LOWER(SUBSTR(%(expressions)s, 1, {self.LENGTH}))"
        return self.as_sql(compiler, connection, template=template)


class Begins(Lookup):
    """Whether what is in lower case begins with a text, whatever that is in; by an index in the
    order of bytes, or one for LIKE."""

    lookup_name = "begins"

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        column, values = self.process_lhs(compiler, connection)
        text = str(self.process_rhs(compiler, connection)[1][0])
        if connection.vendor == "postgresql":
            plain = connection.ops.prep_for_like_query(text.lower())
            return f"{column} LIKE %s", [*values, f"{plain}%"]
        text = "".join(sign.lower() if sign.isascii() else sign for sign in text)
        ends = f"{text}\U0010ffff"
        return f"({column} >= %s AND {column} < %s)", [*values, text, *values, ends]


@dataclass(frozen=True, slots=True)
class Sealed:
    """A secret as it is stored. Opened when somebody asks for it, so that a row whose key is
    missing can be looked at, explained and mended."""

    stored: str

    def open(self) -> str:
        """The text. Raises WrongKey."""
        return decrypt(self.stored)


def is_stored(row: models.Model, name: str) -> bool:
    """Whether a row holds a secret in that column, which is not opened for it."""
    if name not in row.__dict__:
        row.refresh_from_db(fields=[name])
    value = row.__dict__[name]
    return bool(value.stored if isinstance(value, Sealed) else value)


class _Opened(DeferredAttribute):
    def __get__(self, instance: Any, cls: Any = None) -> Any:
        value = super().__get__(instance, cls)
        if isinstance(value, Sealed):
            value = instance.__dict__[self.field.attname] = value.open()
        return value

    def __set__(self, instance: Any, value: Any) -> None:
        # Only with this does Python ask `__get__` for what stands in the instance.
        instance.__dict__[self.field.attname] = value


class EncryptedTextField(models.TextField):
    """A text column encrypted at rest. It cannot be searched, filtered or sorted by value.

    Read as an attribute of its row it is the text, or raises WrongKey; `values` and `values_list`
    give it Sealed. A row is saved with what nobody opened as it is stored. `dumpdata` writes
    ciphertext, as `{"sealed": "…"}`, which `loaddata` stores as it is; a text in a fixture is a
    secret in clear, and encrypted.
    """

    descriptor_class = _Opened

    def get_prep_value(self, value: Any) -> Any:
        if isinstance(value, Sealed):
            return value.stored
        value = super().get_prep_value(value)
        return value if value is None else encrypt(value)

    def pre_save(self, model_instance: Any, add: bool) -> Any:
        stored = model_instance.__dict__.get(self.attname)
        return stored if isinstance(stored, Sealed) else super().pre_save(model_instance, add)

    def value_to_string(self, obj: Any) -> Any:
        # No text: a form or a request, which hold texts, must never pass for ciphertext.
        stored = obj.__dict__.get(self.attname)
        sealed = stored.stored if isinstance(stored, Sealed) else encrypt(stored or "")
        return {"sealed": sealed} if sealed else ""

    def to_python(self, value: Any) -> Any:
        match value:
            case Sealed():
                return value
            case {"sealed": str(stored), **more} if not more:
                return Sealed(stored)
        return super().to_python(value)

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return value if value is None else Sealed(value)

    def get_lookup(self, lookup_name: str) -> Any:
        if lookup_name == "isnull":
            return super().get_lookup(lookup_name)
        raise FieldError(f"{self.name} is encrypted and cannot be filtered by value")
