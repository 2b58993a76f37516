"""Tables emptied between tests, at a tenth of the price of Django's flush."""

from django.db import connection, transaction

# Made by migrations and after them, and the same for every test.
KEPT = (
    "auth_group",
    "auth_group_permissions",
    "auth_permission",
    "django_content_type",
    "django_migrations",
)
MANY = 2000  # rows; PostgreSQL truncates more of them rather than delete each


class Emptied:
    """Of the default database, just migrated; by the connection of whoever asks."""

    def __init__(self):
        names = connection.introspection.django_table_names(only_existing=True)
        self._tables = [name for name in names if name not in KEPT]
        self._found = " UNION ALL ".join(
            f"SELECT '{name}', (SELECT count(*) FROM (SELECT 1 FROM {name} LIMIT {MANY}) AS few)"
            for name in self._tables
        )
        self._kept = " UNION ALL ".join(
            f"SELECT '{name}', count(*), max(id) FROM {name}" for name in KEPT
        )
        self._as_migrated = self._asked(self._kept)

    @staticmethod
    def _asked(sql):
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return sorted(cursor.fetchall())

    def now(self):
        """False when that would not do: what is kept was changed."""
        if connection.vendor == "sqlite":
            self._forget_statistics()
        found = dict(self._asked(self._found))
        if self._asked(self._kept) != self._as_migrated:
            return False
        if connection.vendor == "postgresql" and max(found.values()) >= MANY:
            with connection.cursor() as cursor:
                # All at once: it takes no table without those that refer to it.
                cursor.execute(f"TRUNCATE {', '.join(found)}")
            return True
        # Foreign keys are judged at the end of a transaction, so that no order is needed.
        with transaction.atomic(), connection.cursor() as cursor:
            for name, rows in found.items():
                if rows:
                    cursor.execute(f"DELETE FROM {name}")
        return True

    @staticmethod
    def _forget_statistics():
        """What one test's ANALYZE has found must not plan the queries of the next one."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_stat1'")
            if cursor.fetchone():
                cursor.execute("DELETE FROM sqlite_stat1")
                cursor.execute("ANALYZE sqlite_schema")  # this session had read them
