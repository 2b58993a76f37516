"""Notes on the page of a webhook, an account or a host: read there, written there."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern

from .. import actions
from ..models import Note
from ..models.note import NOTES_MOST, TEXT_MOST, About
from ..presentation.collected import Collected
from ..roles import may
from ..rules.ids import read_moment
from .base import ConsoleAdmin, named
from .filters import is_place


def notes_of(kind: str, target: Any) -> Collected:
    """For `notes_in`, with the row that they are about (`target`: an OuterRef to its key)."""
    found = Note.objects.filter(kind=kind, target=target).order_by("-pk")
    return Collected.of(found[:NOTES_MOST], "id", "by", "text", "at")


def notes_in(rows: list[dict[str, Any]] | None) -> list[Note]:
    """The newest first."""
    found = [Note(**{**row, "at": read_moment(row["at"])}) for row in rows or ()]
    return sorted(found, key=lambda note: -note.pk)


def panel(request: HttpRequest, notes: list[Note], place: str) -> dict[str, Any]:
    """What notes.html shows; `place` is the address that its forms post to."""
    return {
        "notes": notes,
        "notes_place": place,
        "notes_limit": TEXT_MOST,
        "may_note": may(request.user, "add_note"),
    }


def written(request: HttpRequest, about: About) -> tuple[int, str]:
    """Does what was posted, and says what came of it: the level of a message, and its words. Raises
    PermissionDenied."""
    if not may(request.user, "add_note"):
        raise PermissionDenied
    number = request.POST.get("strike", "")
    if number:
        known = is_place(Note, number)
        if known and actions.strike_note(about, int(number), by=named(request)):
            return messages.SUCCESS, "The note is struck out."
        return messages.WARNING, "That note is gone already."
    try:
        actions.add_note(about, request.POST.get("text", ""), by=named(request))
    except actions.Invalid as error:
        return messages.ERROR, f"Note: {' '.join(error.details['text'])}"
    except actions.Conflict as error:
        return messages.ERROR, error.message
    return messages.SUCCESS, "Noted."


class Noting(ConsoleAdmin):
    """Of a page whose row notes may be about."""

    def note_urls(self) -> list[URLPattern]:
        return [self.post_view("note", "note", self.note)]

    def note(self, request: HttpRequest, row: Any) -> HttpResponse:
        level, words = written(request, row)
        self.message_user(request, words, level)
        return self.to_page(row, "#notes")

    def notes_context(
        self, request: HttpRequest, row: Any, notes: list[Note] | None = None
    ) -> dict[str, Any]:
        """`notes`: where they have been read already."""
        found = actions.notes_about(row) if notes is None else notes
        return panel(request, found, "../note/")
