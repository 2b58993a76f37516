"""Rows that are read where they are written.

A host may route reads to a replica (Django's own example of a router does). What we read decides:
whether a token is good, a webhook may be called, an idempotency key was seen. A replica tells what
was so a moment ago. So every query of ours that names no database goes to that of the writes; a
host that wants a report from its replica asks there, by `using`.
"""

from typing import Any, TypeVar

from django.db import connections, models, router
from django.db.models.functions import Now
from django.utils import timezone

M = TypeVar("M", bound=models.Model)


class PrimaryQuerySet(models.QuerySet[M]):
    @property
    def db(self) -> str:
        return self._db or router.db_for_write(self.model, **self._hints)  # type: ignore[attr-defined]


class PrimaryModel(models.Model):
    """Whose rows are read where they are written, also through a relation or a refresh."""

    objects = PrimaryQuerySet.as_manager()

    class Meta:
        abstract = True
        base_manager_name = "objects"


def present(alias: str) -> Any:
    """This moment, as it is written down where it is compared with others: on PostgreSQL by the
    database's clock, which all workers go by, however wrong this host's is. SQLite has one host."""
    return Now() if connections[alias].vendor == "postgresql" else timezone.now()
