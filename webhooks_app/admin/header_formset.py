"""The headers of a webhook, as rows of its form: added, changed, moved, deleted, up to 99."""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin
from django.forms.formsets import DELETION_FIELD_NAME
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest

from .. import conf
from ..models import Header, Webhook
from ..roles import may
from ..rules.forms import header_problem
from ..rules.validators import HEADERS_LIMIT, webhook_errors
from .secret_fields import ENTER_ANEW, KEPT, AsTyped, SecretField, moved

NOT_OURS = (
    "Somebody took this header away meanwhile: tick Delete to go along with it, or enter it anew "
    "in an empty row."
)


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

    def __init__(self, data: Any = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(data, *args, **kwargs)
        if self.is_bound and self.instance.pk:
            self.data = self._found_again(data.copy())

    def _found_again(self, data: Any) -> Any:
        """Every change of the headers stores all of them anew: a row whose header is no more is
        that of the same name, if there is one, and keeps its value."""
        stored = list(self.get_queryset())
        count = self._initial_rows(data)
        ids = [data.get(f"{self.prefix}-{row}-id", "") for row in range(count)]
        there = {str(header.pk) for header in stored}
        free: dict[str, list[str]] = {}
        for header in stored:
            if str(header.pk) not in ids:
                free.setdefault(header.name, []).append(str(header.pk))
        for row, ident in enumerate(ids):
            same = free.get(data.get(f"{self.prefix}-{row}-name", ""))
            if ident and ident not in there and same:
                data[f"{self.prefix}-{row}-id"] = same.pop(0)
        return data

    def _initial_rows(self, data: Any) -> int:
        text = data.get(f"{self.prefix}-INITIAL_FORMS", "")
        fits = text.isascii() and text.isdecimal() and len(text) < 4
        return min(int(text), HEADERS_LIMIT) if fits else 0

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
        if DELETION_FIELD_NAME in form.fields:
            form.fields[DELETION_FIELD_NAME].widget.attrs["aria-label"] = f"Delete {name}"
        # The stock field looks every row up among the headers of all webhooks, one by one.
        form.fields["id"] = forms.IntegerField(
            required=False, widget=forms.HiddenInput, initial=form.instance.pk
        )

    def clean(self) -> None:
        rows = self.kept_rows()
        for row in rows:
            if row.cleaned_data.get("id") is not None and row.instance.pk is None:
                row.add_error("id", NOT_OURS)
        webhook = self.instance
        details = webhook_errors(
            name=webhook.name,
            url=webhook.url,
            token="",
            headers=[(row.cleaned_data.get("name", ""), self._value(row)) for row in rows],
            username=webhook.auth_username,
            password="",
            signature_prefix=webhook.signature_prefix,
            has_oauth=getattr(webhook, "has_oauth", False),
            **conf.settings.url_rules,
        ).get("headers", {})
        if isinstance(details, list):
            raise forms.ValidationError(details)
        for row in rows:
            if problem := header_problem(webhook.form, row.cleaned_data.get("name", "")):
                row.add_error("name", problem)
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

    def get_queryset(self) -> Any:
        rows = super().get_queryset()
        self.instance.header_names = [row.name for row in rows]
        return rows

    def pairs(self) -> list[tuple[str, str]]:
        """Names and values to store. Rows that another writer added meanwhile are kept, last."""
        rows = self.instance.headers.all() if self.instance.pk else ()
        stored = {header.pk: header for header in rows}
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
        formset: Any = super().get_formset(request, obj, **kwargs)
        formset.may_reveal = may(request.user, "reveal")
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
