"""The words of a partial index stand in a statement as they stand in the index.

Of a value that is bound SQLite does not know that the index implies it, and compares it with the
row of each entry that it walks past: a page of the disk for each. What is written into the
statement it takes from the index.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from django.db.models import Model, Q


class _Written:
    """Of a lookup: some values are written into the statement. They are the words of our indexes,
    whoever else may have typed one of them."""

    words: dict[Any, str]

    def process_rhs(self, compiler: Any, connection: Any) -> Any:
        stock: Any = super()
        sql, params = stock.process_rhs(compiler, connection)
        word = self.words.get(params[0]) if sql == "%s" else None
        return (sql, params) if word is None else (word, ())


def write_words(models: Iterable[type[Model]]) -> None:
    """Of the conditions of all indexes of some models."""
    for model in models:
        words: dict[tuple[str, str], dict[Any, str]] = defaultdict(dict)
        for index in model._meta.indexes:
            for name, lookup, value in _compared(index.condition or Q()):
                words[name, lookup][value] = f"'{value}'" if isinstance(value, str) else f"{value}"
        for (name, lookup), literals in words.items():
            field: Any = model._meta.get_field(name)
            stock = field.get_lookup(lookup)
            if not issubclass(stock, _Written):  # of a process that is set up once more
                written = type(stock.__name__, (_Written, stock), {"words": literals})
                field.register_lookup(written, lookup)


def _compared(condition: Q) -> Iterator[tuple[str, str, str | int]]:
    """Column, lookup and value, of what is compared with one value."""
    for child in condition.children:
        if isinstance(child, Q):
            yield from _compared(child)
        elif isinstance(child, tuple):
            name, _, lookup = child[0].partition("__")
            if isinstance(child[1], str | int) and not isinstance(child[1], bool):
                yield name, lookup or "exact", child[1]
