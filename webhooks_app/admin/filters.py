"""What lists are filtered by. Other pages link to most of them; a few are chosen or typed."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest, QueryDict

from ..models.delivery import db_now
from ..models.delivery_filters import CONDITIONS, MOMENTS, Condition, condition, unfit
from ..presentation.counts import COUNT_LIMIT
from ..rules.ids import first_id, is_account_name, is_id, read_moment
from .autocomplete import accounts_url
from .moments import said, unread

SORTED_PLACE = "n"  # begins a place in a sorted list; no id does


class LinkFilter(admin.SimpleListFilter):
    """A filter that other pages link to; it shows itself only while it is on."""

    template = "admin/webhooks_app/filter_link.html"
    problem = ""  # what cannot be read of it; said above the list, which is empty then

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        value = self.used_parameters.get(str(self.parameter_name))
        return [(str(value), str(value))] if value else []

    def has_output(self) -> bool:
        return bool(self.value())


class OneLink(LinkFilter):
    """A filter that is on or off: its one value, and the words for it."""

    choice: tuple[str, str]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [self.choice]

    def has_output(self) -> bool:
        return bool(self.value() == self.choice[0])

    def choices(self, changelist: Any) -> Any:
        if self.has_output():
            yield from super().choices(changelist)

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return self.chosen(queryset) if self.has_output() else queryset

    def chosen(self, queryset: Any) -> Any:
        raise NotImplementedError


class TextFilter(LinkFilter):
    """A filter for what people type as a whole."""

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        value = (self.value() or "").strip()
        if not value:
            return queryset
        if unfit(value):
            self.problem = f"The {self.title} cannot be read."
            return queryset.none()
        return self.chosen(queryset, value)

    def chosen(self, queryset: Any, value: str) -> Any:
        raise NotImplementedError


class MomentFilter(LinkFilter):
    """A limit in time that other pages link to, as the API takes it: `2026-11-24T10:00:00Z`."""

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        value = self.value()
        if not value:
            return queryset
        try:
            moment = read_moment(value.strip())
        except ValueError:
            self.problem = unread(value)
            return queryset.none()
        return self.chosen(queryset, moment)

    def chosen(self, queryset: Any, moment: datetime) -> Any:
        raise NotImplementedError

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[Any]:
        return as_moments(super().lookups(request, model_admin))


def as_moments(lookups: list[tuple[str, str]]) -> list[Any]:
    return [(value, said(value)) for value, _ in lookups]


class SelectionFilter(TextFilter):
    """One word of a vocabulary of `models.delivery_filters`, shown while it is on."""

    words: Mapping[str, Condition] = CONDITIONS

    def chosen(self, queryset: Any, value: str) -> Any:
        name = str(self.parameter_name)
        try:
            return queryset.filter(condition(name, value, db_now(), self.words))
        except ValueError:
            plain = f"This cannot be read as {self.title}: “{value[:60]}”."
            self.problem = unread(value) if name in MOMENTS else plain
            return queryset.none()

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[Any]:
        lookups = super().lookups(request, model_admin)
        return as_moments(lookups) if self.parameter_name in MOMENTS else lookups


def word(name: str, title: str = "", **more: Any) -> type[SelectionFilter]:
    """The filter for one word; `more` are attributes of it."""
    more |= {"parameter_name": name, "title": title or name}
    return type(f"{name.title()}Filter", (SelectionFilter,), more)


def is_place(model: Any, text: str) -> bool:
    """Whether a text can be the id of a row."""
    if isinstance(model._meta.pk, models.IntegerField):
        digits = text.isascii() and text.isdecimal() and len(text) < 20
        return digits and int(text) <= models.BigIntegerField.MAX_BIGINT
    return is_id(text)


class IdsFilter(LinkFilter):
    """Some rows by their ids: a message leads to what it speaks of."""

    title, parameter_name = "chosen", "id"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        ids = self.used_parameters.get("id", "").split(",")
        return [("", f"{len(ids):,} of them")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        value = self.value()
        if not value:
            return queryset
        ids = [ident for ident in value.split(",") if is_place(queryset.model, ident)]
        return queryset.filter(pk__in=ids[:COUNT_LIMIT])


class BeforeFilter(admin.SimpleListFilter):
    """The place in a list: rows older than this id. A page costs the same wherever it stands. In a
    sorted list it is a number of rows, which the page itself leaves out."""

    title = parameter_name = "before"
    template = "admin/webhooks_app/filter_none.html"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("", "")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        place = self.value()
        if not place or place.startswith(SORTED_PLACE):
            return queryset
        fits = is_place(queryset.model, place)
        return queryset.filter(pk__lt=place) if fits else queryset.none()


class ChoiceFilter(admin.SimpleListFilter):
    """One of a few words; an unknown one filters nothing. Another choice starts at the newest."""

    template = "admin/webhooks_app/filter.html"

    def value(self) -> str | None:
        value = super().value()
        return value if value in dict(self.lookup_choices) else None

    def choices(self, changelist: Any) -> Any:
        for choice in super().choices(changelist):
            query = QueryDict(choice["query_string"].removeprefix("?"), mutable=True)
            query.pop("before", None)
            yield {**choice, "query_string": "?" + query.urlencode()}


class ChipsFilter(ChoiceFilter):
    template = "admin/webhooks_app/filter_chips.html"


class AccountFilter(admin.SimpleListFilter):
    """By the account's name; with JavaScript the names are completed as they are typed."""

    title = parameter_name = "account"
    template = "admin/webhooks_app/filter_account.html"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("", "")]

    def choices(self, changelist: Any) -> Any:
        shown = (self.parameter_name, "p", "before", "e")
        kept = [(name, value) for name, value in changelist.params.items() if name not in shown]
        yield {"value": self.value() or "", "kept": kept, "lists": accounts_url()}

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        name = self.value()
        if not name:
            return queryset
        if not is_account_name(name):
            return queryset.none()
        return queryset.filter(account__name=name)


WITHOUT_TIME = {
    "webhook",
    "event",
    "since",
    "id",
}  # with these a list does not start with the last 24 hours
SPANS = {
    "1h": timedelta(hours=1),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}


def first_span(query: QueryDict) -> str:
    """What a list starts with where nobody chose a span."""
    given = {name for name, value in query.items() if value}
    return "any" if WITHOUT_TIME & given else "24h"


class CreatedFilter(ChoiceFilter):
    """Since when. A list starts with the last 24 hours, that of one webhook with all it has; a
    search for an id looks everywhere."""

    title = parameter_name = "created"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("1h", "last hour"),
            ("24h", "last 24 hours"),
            ("7d", "last 7 days"),
            ("30d", "last 30 days"),
            ("any", "any"),
        ]

    def value(self) -> str:
        return super().value() or first_span(self.request.GET)

    def choices(self, changelist: Any) -> Any:
        _, *choices = super().choices(changelist)
        yield from choices

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        span = SPANS.get(self.value())
        if span is None or is_id(request.GET.get("q", "").strip()):
            return queryset
        return self.since(queryset, db_now() - span)

    def since(self, queryset: Any, moment: datetime) -> Any:
        """Ids begin with the time they were made, so the primary key serves as the index."""
        return queryset.filter(pk__gte=first_id(moment))
