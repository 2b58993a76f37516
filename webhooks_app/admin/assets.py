"""Styles and scripts of the console's pages."""

from typing import Any

from django import forms

STYLES = [f"webhooks_app/{name}.css" for name in ("tokens", "console", "health")]
SCRIPTS: list[Any] = [
    forms.Script(f"webhooks_app/{name}.js", defer=True)
    for name in ("live", "console", "times", "headers")
]
LOOKS = forms.Media(css={"all": STYLES}, js=SCRIPTS)


_SCRIPTS: Any = [forms.Script("webhooks_app/deliveries.js", defer=True)]
FOLLOW_LOOKS = forms.Media(css={"all": ["webhooks_app/deliveries.css"]}, js=_SCRIPTS)
