"""Moments that people type: one reader for all lists and forms, and a field in the zone that the
page shows (`times.js` turns it to the reader's own, named beside it; without a script it is UTC).
"""

from datetime import UTC, datetime
from typing import Any

from django import forms
from django.utils.safestring import SafeString

from ..presentation.formatting import moment
from ..rules.ids import read_moment

UNREAD = "“{}” is no time that can be read. Write it as 2026-11-29T21:00; it is UTC then."


def unread(text: str) -> str:
    """What is said of a text that is no moment."""
    return UNREAD.format(text[:60])


def for_field(text: str) -> str:
    """A moment as a field of the type `datetime-local` takes it, in UTC; `""` for what is none."""
    try:
        return read_moment(text).strftime("%Y-%m-%dT%H:%M:%S").removesuffix(":00")
    except ValueError:
        return ""


def said(text: str) -> SafeString | str:
    """A moment of an address for reading; what is none as it was typed."""
    try:
        return moment(read_moment(text))
    except ValueError:
        return text[:60]


class MomentInput(forms.DateTimeInput):
    """With the name of the zone beside it."""

    input_type = "datetime-local"
    template_name = "admin/webhooks_app/widgets/moment.html"

    def format_value(self, value: Any) -> str:
        if isinstance(value, datetime):
            value = value.astimezone(UTC).isoformat()
        return for_field(value or "")


class MomentField(forms.Field):
    """Raises ValidationError for what `read_moment` cannot read."""

    widget = MomentInput

    def to_python(self, value: Any) -> datetime | None:
        if value in self.empty_values or isinstance(value, datetime):
            return value or None
        try:
            return read_moment(str(value).strip())
        except ValueError:
            raise forms.ValidationError(unread(str(value))) from None
