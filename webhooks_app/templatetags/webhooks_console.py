"""`presentation.formatting` as tags and filters, and where the pages of a list lead."""

from typing import Any

from django import template

from .. import __version__
from ..presentation import counts, formatting

register = template.Library()

for _filter in (
    formatting.visible,
    formatting.moment,
    formatting.hour,
    formatting.ago,
    formatting.certificate_words,
    formatting.identity_words,
    formatting.thousands,
    formatting.lasting,
    formatting.phase_words,
):
    register.filter(_filter)
for _tag in (formatting.icon, formatting.badge, formatting.phase_bar):
    register.simple_tag(_tag)


@register.filter
def bounded(count: int | None) -> str:
    return counts.bounded(count or 0)


@register.simple_tag
def version() -> str:
    return __version__


@register.simple_tag
def older(cl: Any) -> str:
    """The query string of the next page of a list, "" on its last one."""
    place = cl.next_place
    return str(cl.get_query_string({"before": place})) if place is not None else ""


@register.simple_tag
def sort_of(cl: Any, column: int) -> tuple[str, str]:
    """Where the head of a column leads, and its `aria-sort` (see `Page.sort_of`)."""
    found: tuple[str, str] = cl.sort_of(column)
    return found


@register.simple_tag
def newest(cl: Any) -> str:
    """The query string of the first page, "" on it."""
    return str(cl.get_query_string(remove=["before"])) if cl.params.get("before") else ""
