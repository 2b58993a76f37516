"""Fields for secrets: what is stored never enters a form, an untouched field keeps it.

What a form or a row knows of a stored secret is that there is one (`widget.stored`).
"""

from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextInputWidget

from ..models import Webhook
from ..rules.validators import MASK, parse_url

KEPT = "kept"  # stands in the rules' place for a stored secret that nobody needs to read here
ENTER_ANEW = (
    "You may not reveal secrets, so they cannot go along to another scheme, host or port: "
    "enter them anew."
)
CLEAR = object()  # the box "remove" is ticked


class SecretInput(forms.TextInput):
    """A field for a new secret. What was typed comes back with an error, what is stored never.

    `secret` is what the reveal view calls it; `stored` says that there is one to keep.
    """

    template_name = "admin/webhooks_app/widgets/secret.html"

    def __init__(self, secret: str = "", *, clearable: bool = False) -> None:
        attrs = {"autocomplete": "off", "spellcheck": "false", "class": "vTextField wh-mono"}
        super().__init__(attrs)
        self.secret, self.clearable = secret, clearable
        self.stored = self.may_reveal = False

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Any:
        value = super().value_from_datadict(data, files, name)
        if self.stored and (not value or value == MASK):
            return CLEAR if self.clearable and data.get(f"{name}-clear") else ""
        return value

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        cleared = value is CLEAR
        context: dict[str, Any] = super().get_context(name, "" if cleared else value, attrs)
        return {
            **context,
            "stored": self.stored,
            "mask": MASK,
            "reveal": self.secret if self.stored and self.may_reveal else "",
            "clear_name": f"{name}-clear" if self.stored and self.clearable else "",
            "cleared": cleared,
        }


class SecretText(SecretInput):
    """The same for a secret of many lines."""

    template_name = "admin/webhooks_app/widgets/secret_text.html"

    def __init__(self, secret: str = "", *, clearable: bool = False) -> None:
        super().__init__(secret, clearable=clearable)
        self.attrs |= {"class": "vLargeTextField wh-mono", "rows": 4}


class AsTyped(forms.CharField):
    """Text kept as it was sent; its rules are in `rules.validators` alone."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("widget", AdminTextInputWidget)
        super().__init__(strip=False, **kwargs)


class SecretField(AsTyped):
    """None keeps what is stored, "" removes it, any other text replaces it."""

    def __init__(
        self, secret: str = "", *, clearable: bool = False, many_lines: bool = False, **kwargs: Any
    ) -> None:
        widget = (SecretText if many_lines else SecretInput)(secret, clearable=clearable)
        super().__init__(required=False, widget=widget, **kwargs)

    def clean(self, value: Any) -> str | None:
        return "" if value is CLEAR else super().clean(value) or None

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(data)


def origin_of(url: str) -> tuple[str, str, int] | None:
    try:
        return parse_url(url).origin
    except ValueError:
        return None


def moved(webhook: Webhook, url: str) -> bool:
    """Whether `url` leads to another scheme, host or port than the one that was stored."""
    before = getattr(webhook, "url_before", "")
    return bool(before) and origin_of(before) != origin_of(url)
