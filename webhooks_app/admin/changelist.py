"""A page of a list, of whatever size the table behind it is.

Filters that an index answers choose the rows; those that none answers sieve them, and a sieve goes
through so many of the newest rows and no more. What was looked at is said on the page, with a link
that looks further back.
"""

from functools import cached_property
from typing import Any

from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest

from ..rules.ids import id_time, is_id
from .filters import SORTED_PLACE
from .sorting import SORTED, Sort, SortFilter, skipped

SIEVED = 10_000  # rows that a filter without an index looks through
SCATTERED_SIEVED = 1_000  # the same where they are one in many, and each lies elsewhere
PAYLOADS_READ = 5_000  # the same where it reads payloads


class Page(ChangeList):
    """The ids of one page first, then its rows: nothing else is joined, sorted or computed.

    A filter says of itself that it `sieves`, or that it `scatters`: leaves, by an index, one row in
    many; by an index in the order of the list (`by_id`) or not.

    `edge` is the id of the oldest row that was looked at, `looked_back` its moment, where sieves
    stopped before they had filled the page; `looked_at` is how many rows that were. `unsorted` says
    that there are more rows than were sorted.
    """

    model_admin: Any
    filter_specs: Any
    edge: Any = None
    looked_back: Any = None
    looked_at = 0
    unsorted = False

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> Any:
        rows = super().get_queryset(request, exclude_parameters)
        most = self._sieved(request)
        if not most:
            return rows
        found = self.root_queryset
        for spec in self.filter_specs:
            if not getattr(spec, "sieves", False):
                found = self._chosen(spec, request, found)
        edge = edge_of_newest(found, most)
        if edge is None:
            return rows
        self.looked_at, self.edge = most, edge
        self.looked_back = self._moment(edge)
        # A walk by id would read many rows of others: PostgreSQL takes it all the same, where it
        # expects to be done soon.
        if any(not getattr(spec, "by_id", False) for spec in self._scattering):
            return rows.filter(pk__in=found.order_by("-pk").values("pk")[:most])
        return _from(edge, rows)

    @property
    def _scattering(self) -> list[Any]:
        return [
            spec
            for spec in self.filter_specs
            if spec.value()
            and getattr(spec, "scatters", False)
            and not getattr(spec, "sieves", False)
        ]

    def _moment(self, key: Any) -> Any:
        """When a row was made: ids begin with it, numbers do not tell it."""
        if is_id(str(key)):
            return id_time(key)
        moments = self.model._default_manager.values_list(self.model_admin.moment_field, flat=True)
        return moments.filter(pk=key).first()

    @property
    def problems(self) -> list[str]:
        """What of the filters cannot be read."""
        return [spec.problem for spec in self.filter_specs if getattr(spec, "problem", "")]

    @cached_property
    def sort(self) -> Sort | None:
        """The order that was asked for."""
        for spec in self.filter_specs:
            if isinstance(spec, SortFilter):
                return next((s for s in self.model_admin.sorts if s.key == spec.value()), None)
        return None

    def sort_of(self, column: int) -> tuple[str, str]:
        """Of the head of a column: where it leads, and `aria-sort`; `""` where it sorts nothing,
        or is not what the list is sorted by."""
        name = self.list_display[column]
        for sort in self.model_admin.sorts:
            if sort.column != name:
                continue
            if self.sort is not None and sort.key == self.sort.key:
                back = self.get_query_string(remove=["sort", "before"])
                return back, "descending" if sort.down else "ascending"
            return self.get_query_string({"sort": sort.key}, remove=["before"]), ""
        return "", ""

    @staticmethod
    def _chosen(spec: Any, request: HttpRequest, rows: Any) -> Any:
        chosen = spec.queryset(request, rows)
        return rows if chosen is None else chosen

    def _sieved(self, request: HttpRequest) -> int:
        """How many rows may be looked through; 0 where an index answers all filters."""
        on = [spec for spec in self.filter_specs if getattr(spec, "sieves", False) and spec.value()]
        reads = self.model_admin.reads_payloads(request)
        if not on and not reads:
            return 0
        most: int = PAYLOADS_READ if reads else self.model_admin.sieved
        return min(most, SCATTERED_SIEVED) if self._scattering else most

    def get_results(self, request: HttpRequest) -> None:
        if self.sort is None:
            super().get_results(request)
            keys = self.paginator.keys[: self.list_per_page]
        else:
            # What it would ask, how many there are, nobody is told.
            keys = self.keys(self.sorted_at_most)[self.skipped :]
            self.paginator = self.model_admin.get_paginator(request, (), self.list_per_page)
            self.result_count = self.full_result_count = len(keys)
            self.show_full_result_count = self.can_show_all = False
            self.show_admin_actions = True
            self.multi_page = len(keys) > self.list_per_page
        self.result_list = self.rows_of(keys[: self.list_per_page])
        if self.multi_page:
            self.edge = None  # the page is full

    @property
    def sorted_at_most(self) -> int:
        return min(self.sort.most, SORTED) if self.sort else SORTED

    @property
    def skipped(self) -> int:
        return skipped(str(self.params.get("before", "")))

    @property
    def next_place(self) -> Any:
        """`?before=` of the next page; None on the last."""
        rows: Any = self.result_list
        if not rows or self.result_count <= len(rows):
            return None
        return rows[-1].pk if self.sort is None else f"{SORTED_PLACE}{self.skipped + len(rows)}"

    def keys(self, most: int) -> list[Any]:
        """Of all pages, at most so many, in the order of the list."""
        newest = self.queryset.order_by("-pk").values_list("pk", flat=True)
        if self.sort is None:
            return list(newest[:most])
        found = list(newest[: most + 1])
        self.unsorted = len(found) > most
        return self.sort.order(self.root_queryset.filter(pk__in=found[:most]).order_by())

    def rows_of(self, keys: list[Any]) -> list[Any]:
        rows = self.root_queryset.filter(pk__in=keys).order_by()
        if not rows.query.select_related:
            rows = self.apply_select_related(rows)
        by_key = {row.pk: row for row in rows} if keys else {}
        return [by_key[key] for key in keys if key in by_key]


def edge_of_newest(rows: Any, most: int) -> Any:
    """The key of the last of so many rows, the newest first; None where there are no more."""
    # The key alone is in the index: of the rows before it none is read.
    keys = list(rows.order_by("-pk").values_list("pk", flat=True)[most - 1 : most + 1])
    return keys[0] if len(keys) == 2 else None


def _from(edge: Any, rows: Any) -> Any:
    """Rows from a key on. It is said first: of several limits SQLite walks to the first one,
    however far back that is."""
    rows = rows.filter(pk__gte=edge)
    said = rows.query.where.children
    said.insert(0, said.pop())
    return rows
