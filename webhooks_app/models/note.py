"""Note: what a colleague should know of a webhook, an account or a host."""

from typing import Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Length
from django.db.models.lookups import GreaterThan
from django.utils import timezone

from .account import Account
from .primary import PrimaryModel, PrimaryQuerySet
from .webhook import Webhook

TEXT_MOST = 2000  # characters
NOTES_MOST = 50  # of one thing

About = Webhook | Account | str  # a str is a host


class NoteQuerySet(PrimaryQuerySet["Note"]):
    def about(self, thing: About) -> Self:
        kind, target = place_of(thing)
        return self.filter(kind=kind, target=target)


class Note(PrimaryModel):
    """Written by a person for people; nothing reads it but the console.

    `target` is a webhook's id, an account's key or a host: no foreign key, so that whoever removes
    a webhook without knowing notes is not stopped by them. Who removes it here takes them along.
    """

    class Kind(models.TextChoices):
        WEBHOOK = "webhook", "webhook"
        ACCOUNT = "account", "account"
        HOST = "host", "host"

    kind = models.CharField(max_length=7, choices=Kind)
    target = models.CharField(max_length=255)
    text = models.CharField(max_length=TEXT_MOST)
    by = models.CharField(max_length=150)
    at = models.DateTimeField(default=timezone.now)

    objects = NoteQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        default_permissions = ()  # seen with what they are about, written by who may operate
        indexes = [models.Index(fields=["kind", "target", "id"], name="note_about")]
        constraints = [
            models.CheckConstraint(
                condition=Q(GreaterThan(Length("text"), 0)) & ~Q(GreaterThan(Length("text"), 2000)),
                name="note_text_length",
            )
        ]

    def __str__(self) -> str:
        return f"{self.by}: {self.text[:60]}"


def place_of(thing: About) -> tuple[str, str]:
    """The kind and the target of notes about a thing."""
    match thing:
        case Webhook():
            return Note.Kind.WEBHOOK, thing.pk
        case Account():
            return Note.Kind.ACCOUNT, str(thing.pk)
    return Note.Kind.HOST, thing.lower()[:255]
