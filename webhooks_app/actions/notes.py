"""Notes: what staff write down for each other about a webhook, an account or a host."""

from django.db import transaction

from ..models import Account, AuditEntry, Note, Webhook
from ..models.note import NOTES_MOST, TEXT_MOST, About, place_of
from ..models.primary import clock
from .base import db_alias
from .errors import Conflict, Invalid


def notes_about(about: About) -> list[Note]:
    """The notes about a thing (a str is a host), the newest first; there are NOTES_MOST at most."""
    return list(Note.objects.about(about)[:NOTES_MOST])


def add_note(about: About, text: str, *, by: str) -> Note:
    """Write a note of 1 to 2,000 characters. `by` signs it. Raises Invalid (`text`); Conflict where
    there are NOTES_MOST already."""
    text = text.strip()
    if not text or len(text) > TEXT_MOST or "\0" in text:
        raise Invalid({"text": [f"Must have 1 to {TEXT_MOST:,} characters."]})
    kind, target = place_of(about)
    with transaction.atomic(using=db_alias()):
        if Note.objects.about(about).count() >= NOTES_MOST:
            raise Conflict(f"There are {NOTES_MOST} notes already: strike one out first.")
        at = clock(db_alias())
        made = Note.objects.create(kind=kind, target=target, text=text, by=by[:150], at=at)
        _note(about, "Noted something.", by)
    return made


def strike_note(about: About, note_id: int, *, by: str) -> bool:
    """Strike a note out; False where there is none of that number about the thing. Raises nothing
    of its own."""
    with transaction.atomic(using=db_alias()):
        struck, _ = Note.objects.about(about).filter(pk=note_id).delete()
        if struck:
            _note(about, "Struck a note out.", by)
    return bool(struck)


def _note(about: About, words: str, by: str) -> None:
    """In the audit log; of a host, which is no row, with its name."""
    if isinstance(about, Webhook | Account):
        AuditEntry.objects.note(by, words, about)
    else:
        AuditEntry.objects.note(
            by, f"{words.removesuffix('.')} about the host {about[:200]}.", None
        )
