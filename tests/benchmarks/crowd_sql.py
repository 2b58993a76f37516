"""Rows made by SQL, many at once, and what the two databases spell differently of it."""

from django.db import connection


class Sql:
    """What the two databases spell differently."""

    def __init__(self):
        self.postgres = connection.vendor == "postgresql"
        if not self.postgres:
            connection.ensure_connection()
            connection.connection.create_function(
                "number_of", 1, lambda ident: int(ident[12:], 16), deterministic=True
            )

    def series(self, count):
        if self.postgres:
            return f"s AS (SELECT generate_series(0::bigint, {count - 1}) AS n)"
        return f"s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < {count - 1})"

    def hex(self, number):
        if self.postgres:
            return f"lpad(to_hex(({number})::bigint), 12, '0')"
        return f"printf('%012x', CAST({number} AS INTEGER))"

    def moment(self, seconds):
        if self.postgres:
            return f"to_timestamp({seconds})"
        return f"strftime('%Y-%m-%d %H:%M:%f', {seconds}, 'unixepoch')"

    def seconds(self, moment):
        return f"extract(epoch FROM {moment})" if self.postgres else f"strftime('%s', {moment})"

    def number(self, ident):
        """Of the id of a delivery, which ends with it."""
        if self.postgres:
            return f"('x' || right({ident}, 12))::bit(48)::bigint"
        return f"number_of({ident})"

    def hour(self, column):
        if self.postgres:
            return f"date_trunc('hour', {column} AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'"
        return f"substr({column}, 1, 13) || ':00:00'"

    def bytes(self, text):
        return f"convert_to({text}, 'UTF8')" if self.postgres else f"CAST({text} AS BLOB)"

    def insert(self, model, series, columns, *, steps=()):
        """Rows of a model, a column each by its expression; `steps` name what they build on."""
        recursive = "" if self.postgres else "RECURSIVE "
        parts = [self.series(series), *steps]
        last = steps[-1].partition(" ")[0] if steps else "s"
        self.run(
            f"INSERT INTO {model._meta.db_table} ({', '.join(map(quoted, columns))}) "
            f"WITH {recursive}{', '.join(parts)} SELECT {', '.join(columns.values())} FROM {last}"
        )

    def run(self, statement):
        with connection.cursor() as cursor:
            cursor.execute(statement)


def quoted(name):
    return connection.ops.quote_name(name)


def cases(number, values, otherwise):
    """One of some values by the rest of a division."""
    whens = " ".join(f"WHEN {at} THEN {literal(value)}" for at, value in enumerate(values))
    return f"CASE ({number}) % {len(values)} {whens} ELSE {otherwise} END"


def literal(value):
    return "NULL" if value is None else f"'{value}'" if isinstance(value, str) else str(value)
