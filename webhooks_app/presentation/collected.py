"""A few rows of another table along with one row: a statement less for a page of many parts."""

from typing import Any

from django.db.models import Func, JSONField, QuerySet, Subquery
from django.db.models.functions import JSONObject

from ..models.json_rows import on_postgresql


class _Row(JSONObject):
    """Without Django's question whether this SQLite knows JSON: it begins a transaction that
    writes, and takes the refusal, while another process does, for a no until its end."""

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return Func.as_sql(self, compiler, connection, **context)


class Collected(Subquery):
    """The rows of a subquery as a list of dicts, in any order; None or empty without any. Moments
    in it are texts as the database writes them, in UTC."""

    template = '(SELECT json_group_array(json("one")) FROM (%(subquery)s) AS "collected")'
    output_field = JSONField()

    @classmethod
    def of(cls, rows: "QuerySet[Any]", *names: str) -> "Collected":
        """These fields of some rows, which are bounded."""
        return cls(rows.values(one=_Row(**{name: name for name in names})))

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = on_postgresql(self.template)
        return self.as_sql(compiler, connection, template=template, **context)
