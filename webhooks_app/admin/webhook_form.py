"""The form of a webhook and the rows of its headers.

Stored secrets never enter a form: their fields are the form's own (`new_token`, `new_password`,
`new_value`), start empty, and an untouched one keeps what is stored. The rules are those of
`rules.validators`, asked twice: by the form for its fields, by the rows for theirs.
"""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminTextInputWidget
from django.forms.formsets import DELETION_FIELD_NAME
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest

from .. import conf
from ..models import Header, Webhook
from ..rules.validators import (
    HEADERS_LIMIT,
    MASK,
    parse_url,
    webhook_errors,
)
from .console import account_field

SECRETS = {"token": "token", "password": "auth_password"}  # and the columns behind them
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


class AsTyped(forms.CharField):
    """Text kept as it was sent; its rules are in `rules.validators` alone."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("widget", AdminTextInputWidget)
        super().__init__(strip=False, **kwargs)


class SecretField(AsTyped):
    """None keeps what is stored, "" removes it, any other text replaces it."""

    def __init__(self, secret: str = "", *, clearable: bool = False, **kwargs: Any) -> None:
        widget = SecretInput(secret, clearable=clearable)
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


class WebhookForm(forms.ModelForm):
    """`may_reveal` is set by the admin, on a subclass of the request's own."""

    may_reveal = False

    account = account_field()
    name = AsTyped(help_text="1 to 1,024 characters.")
    url = AsTyped(label="URL", help_text="Public http or https address, at most 2,048 characters.")
    new_token = SecretField(
        "token",
        clearable=True,
        label="Token",
        help_text="Sent as ?token=… with each call and with the verification.",
    )
    auth_username = AsTyped(
        required=False,
        label="Basic auth: user name",
        help_text="Empty: no basic auth; a stored password goes too.",
    )
    new_password = SecretField("password", clearable=True, label="Basic auth: password")

    class Meta:
        model = Webhook
        fields = ["account", "name", "url", "auth_username", "timeout", "max_in_flight"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.instance.url_before = self.instance.url
        for secret in SECRETS:
            if field := self.fields.get(f"new_{secret}"):
                field.widget.stored = getattr(self.instance, f"{secret}_set", False)
                field.widget.may_reveal = self.may_reveal

    def validate_constraints(self) -> None:
        """The rules have said it all; the database's own constraints stay its last line."""

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        if not data.get("auth_username") and not data.get("new_password"):
            data["new_password"] = ""
        details = webhook_errors(
            name=data.get("name", ""),
            url=data.get("url", ""),
            token=data.get("new_token") or "",
            headers=(),
            username=data.get("auth_username", ""),
            password=KEPT if self._keeps("password") else data.get("new_password") or "",
            allowed=conf.allowed_networks(),
            require_https=conf.require_https(),
        )
        auth = details.get("auth", {})
        self._report("name", details.get("name"))
        self._report("url", details.get("url"))
        self._report("new_token", details.get("token"))
        self._report("auth_username", auth.get("username"))
        self._report("new_password", auth.get("password"))
        if not self.may_reveal and moved(self.instance, data.get("url", "")):
            for secret in SECRETS:
                if self._keeps(secret):
                    self._report(f"new_{secret}", [ENTER_ANEW])
        return data

    def _keeps(self, secret: str) -> bool:
        """Whether there is a stored secret that stays after this form."""
        field = f"new_{secret}"
        return self.fields[field].widget.stored and self.cleaned_data.get(field) is None

    def _report(self, field: str, sentences: list[str] | None) -> None:
        if sentences and field not in self.errors:
            self.add_error(field, sentences)

    def changes(self) -> dict[str, Any]:
        """What `actions.create_webhook` and `update_webhook` are to write, headers aside."""
        plain = ("name", "url", "auth_username", "timeout", "max_in_flight")
        changes = {field: self.cleaned_data[field] for field in plain if field in self.changed_data}
        for secret, column in SECRETS.items():
            new = self.cleaned_data[f"new_{secret}"]
            if new or (new == "" and self.fields[f"new_{secret}"].widget.stored):
                changes[column] = new
        return changes


def moved(webhook: Webhook, url: str) -> bool:
    """Whether `url` leads to another scheme, host or port than the one that was stored."""
    before = getattr(webhook, "url_before", "")
    return bool(before) and origin_of(before) != origin_of(url)


class HeaderForm(forms.ModelForm):
    position = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=9999,
        widget=forms.NumberInput(attrs={"class": "wh-position", "inputmode": "numeric"}),
    )
    name = AsTyped()
    new_value = SecretField(label="value")

    class Meta:
        model = Header
        fields = ["name"]

    def __init__(self, *args: Any, may_reveal: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        widget = self.fields["new_value"].widget
        widget.stored = self.instance.pk is not None
        widget.secret = f"header-{self.instance.pk}"
        widget.may_reveal = may_reveal

    def has_changed(self) -> bool:
        """A new row with a position alone is an empty row."""
        ignored = {"position"} if self.instance.pk is None else set()
        return bool(set(self.changed_data) - ignored)

    def validate_constraints(self) -> None:
        """See WebhookForm."""


class HeaderFormSet(BaseInlineFormSet):
    """The headers as a whole list; `kept_rows` says what becomes of them."""

    may_reveal = False

    def get_form_kwargs(self, index: int | None) -> dict[str, Any]:
        return {**super().get_form_kwargs(index), "may_reveal": self.may_reveal}

    def add_fields(self, form: Any, index: int | None) -> None:
        super().add_fields(form, index)
        name, stored = form.initial.get("name", ""), form.instance.pk is not None
        if index is not None and stored:
            form.initial["position"] = index + 1
        for field, label in (("position", "Position"), ("name", "Name"), ("new_value", "Value")):
            words = f"{label} of {name}" if stored else f"{label} of a new header"
            form.fields[field].widget.attrs["aria-label"] = words
        form.fields["id"].error_messages["invalid_choice"] = (
            "This row is no header of this webhook any more: somebody changed the headers "
            "meanwhile. Load the page anew."
        )

    def clean(self) -> None:
        rows = self.kept_rows()
        webhook = self.instance
        details = webhook_errors(
            name=webhook.name,
            url=webhook.url,
            token="",
            headers=[(row.cleaned_data.get("name", ""), self._value(row)) for row in rows],
            username=webhook.auth_username,
            password="",
            allowed=conf.allowed_networks(),
            require_https=conf.require_https(),
        ).get("headers", {})
        if isinstance(details, list):
            raise forms.ValidationError(details)
        for place, errors in details.items():
            row = rows[int(place)]
            for field, name in (("name", "name"), ("value", "new_value")):
                if field in errors and name not in row.errors:
                    row.add_error(name, errors[field])
        if moved(webhook, webhook.url) and not self.may_reveal:
            for row in rows:
                if self._keeps(row) and "new_value" not in row.errors:
                    row.add_error("new_value", ENTER_ANEW)

    @staticmethod
    def _keeps(row: Any) -> bool:
        return row.instance.pk is not None and row.cleaned_data.get("new_value") is None

    def _value(self, row: Any) -> str:
        return KEPT if self._keeps(row) else row.cleaned_data.get("new_value") or ""

    def _deleted(self, form: Any) -> bool:
        return bool(self.can_delete and form.cleaned_data.get(DELETION_FIELD_NAME))

    def kept_rows(self) -> list[Any]:
        """The rows that stay, in the order they ask for.

        Positions are counted from 1. A number typed into a row is the place it shall have, so of
        two rows with the same number the moved one wins; rows without one go last.
        """
        rows = []
        for index, form in enumerate(self.forms):
            if self._deleted(form) or not (form.instance.pk or form.has_changed()):
                continue
            before, place = form.initial.get("position"), form.cleaned_data.get("position")
            if place is None:
                rows.append(((10_000, 0, index), form))
            else:
                moved_by = 0 if before is None else (place > before) - (place < before)
                rows.append(((place, moved_by, index), form))
        return [form for _, form in sorted(rows, key=lambda row: row[0])]

    def pairs(self) -> list[tuple[str, str]]:
        """Names and values to store. Rows that another writer added meanwhile are kept, last."""
        stored = {header.pk: header for header in self.instance.headers.all()}
        pairs = []
        for row in self.kept_rows():
            old = stored.get(row.instance.pk)
            value = old.value if old and self._keeps(row) else row.cleaned_data["new_value"]
            pairs.append((row.cleaned_data["name"], value))
        mentioned = {form.instance.pk for form in self.forms}
        return pairs + [(h.name, h.value) for h in stored.values() if h.pk not in mentioned]

    def changed(self) -> bool:
        return any(form.has_changed() for form in self.forms)


class HeaderInline(admin.TabularInline):
    model = Header
    form = HeaderForm
    formset = HeaderFormSet
    template = "admin/webhooks_app/webhook/headers.html"
    fields = ["position", "name", "new_value"]
    max_num = HEADERS_LIMIT
    validate_max = False
    verbose_name = "header"

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer("value")

    def get_extra(self, request: HttpRequest, obj: Webhook | None = None, **kwargs: Any) -> int:
        """Empty rows for whoever has no JavaScript."""
        return 1 if obj else 3

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        formset = super().get_formset(request, obj, **kwargs)
        formset.may_reveal = request.user.has_perm("webhooks_app.reveal_secrets")
        return formset

    # Headers are part of their webhook: who may change it may change them.
    def _follows(self, request: HttpRequest, obj: Any, verbs: Iterable[str]) -> bool:
        return any(request.user.has_perm(f"webhooks_app.{verb}_webhook") for verb in verbs)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._follows(request, obj, ["view", "change"])

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._follows(request, obj, ["change" if obj else "add"])

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._follows(request, obj, ["change" if obj else "add"])

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._follows(request, obj, ["change" if obj else "add"])
