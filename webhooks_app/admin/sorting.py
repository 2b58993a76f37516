"""The order of a list by something else than its age.

No index holds a list in every order, so the newest rows of it are sorted and no more; where there
are more, the list says so. The place in it is how many rows come before, as `before=n50`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest

from .filters import SORTED_PLACE, ChoiceFilter

SORTED = 500  # rows
Order = Callable[["QuerySet[Any]"], "list[Any]"]  # the keys of some rows, in order


@dataclass(frozen=True, slots=True)
class Sort:
    """`key` stands in the address; `column` is the one whose head asks for it, and `down` whether
    the greatest of it comes first. `most` rows are sorted: what is asked of each lies far apart, of
    some orders."""

    key: str
    words: str
    order: Order
    column: str = ""
    down: bool = False
    most: int = SORTED


def by(*fields: Any) -> Order:
    """By columns or expressions; among what is alike in them the newest first."""

    def order(rows: "QuerySet[Any]") -> list[Any]:
        return list(rows.order_by(*fields, "-pk").values_list("pk", flat=True))

    return order


def skipped(place: str) -> int:
    """How many rows come before a place of a sorted list; 0 for what is no such place."""
    number = place.removeprefix(SORTED_PLACE)
    fits = (
        place.startswith(SORTED_PLACE)
        and number.isascii()
        and number.isdecimal()
        and len(number) < 6
    )
    return min(int(number), SORTED) if fits else 0


class SortFilter(ChoiceFilter):
    """Which of the list's `sorts` it stands in; without one the newest rows come first."""

    title, parameter_name = "order", "sort"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(sort.key, sort.words) for sort in model_admin.sorts]

    def choices(self, changelist: Any) -> Any:
        for choice in super().choices(changelist):
            newest = choice["display"] == "All"
            yield {**choice, "display": "newest first"} if newest else choice

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset
