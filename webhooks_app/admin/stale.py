"""A form that was opened before somebody else changed the row: nothing is reverted unseen.

The form carries what it was opened with. Where that is not what stands there now, it comes back
with both texts, who changed it and when; saved once more it is taken as it stands.
"""

import hashlib
from typing import Any

from django import forms
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ..models import AuditEntry
from ..presentation.formatting import moment

NAMED = 3  # of those who changed it


class StaleForm(forms.ModelForm):
    """`mark` says what the row was like when it was read; a subclass may know a shorter word."""

    def mark(self) -> str:
        parts = [f"{name}={_flat(self.initial.get(name))}" for name in sorted(self.fields)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def is_stale(self) -> bool:
        seen = self.data.get("version", "")
        return bool(self.instance.pk and seen and seen != self.mark())

    def clean(self) -> Any:
        data = super().clean()
        self.report_stale()
        return data

    def report_stale(self) -> None:
        """Both texts beside each field that differs, and above all who and when."""
        if not self.is_stale():
            return
        self.add_error(None, format_html("{} {}", who_changed(self.instance), BOTH))
        for name in self.changed_data:
            if name in self.initial:
                self.add_error(name, _stored(self[name].id_for_label, self.initial[name]))


BOTH = (
    "Your text stands in the fields, what is stored now beside those that differ. Nothing was "
    "saved: take what you want, then save once more."
)


def who_changed(row: Any) -> SafeString | str:
    """Who changed it last, when and what, by the audit log."""
    done = AuditEntry.objects.filter(kind=row._meta.model_name, target=str(row.pk))
    entries = list(done.filter(action__startswith="Changed")[:NAMED]) or list(done[:1])
    if not entries:
        return "Somebody changed it after you had opened this page."
    said = "; ".join(
        format_html("{}, {}: {}", entry.by, moment(entry.at), entry.did) for entry in entries
    )
    return format_html("It was changed after you had opened this page ({}).", SafeString(said))


def _stored(field: str, value: Any) -> SafeString:
    text = _flat(value)
    if not text:
        return format_html("{}", "Stored now: nothing.")
    words = (
        'Stored now: “<bdi>{}</bdi>” <button type="button" class="wh-mini-link" data-take="{}" '
        'data-text="{}" hidden>Take it</button>'
    )
    return format_html(words, text, field, text)


def _flat(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(sorted(str(getattr(part, "pk", part)) for part in value))
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
