"""What a database knows of its rows, by which it plans: as of now, or as it was when it was young.

PostgreSQL looks at its tables by itself, but not at once: a table that grew a hundredfold in a
night is planned for as it was before. SQLite never looks unless it is told to.
"""

import os
import subprocess

from django.db import connection

from tests.postgres import PROGRAMS

from . import stage

YOUNG = 0.002  # the size whose statistics a young one has


def know(kind):
    """Plan by what is there (`grown`), or by what was there when it was small (`young`)."""
    with connection.cursor() as cursor:
        if kind == "grown":
            cursor.execute("ANALYZE")
        elif connection.vendor == "postgresql":
            _remember_postgres(cursor)
        else:
            cursor.execute("DELETE FROM sqlite_stat1")


def _remember_postgres(cursor):
    """Load the statistics of a small twin."""
    cursor.execute("SHOW server_version_num")
    tools = PROGRAMS[int(cursor.fetchone()[0]) // 10_000]
    cursor.execute("DROP DATABASE IF EXISTS young")
    cursor.execute("CREATE DATABASE young")
    own = os.environ["DATABASE_URL"]
    address, _, query = own.partition("?")
    young = f"{address.rpartition('/')[0]}/young?{query}"
    stage.migrate(young)
    fill = stage.python("-m", "tests.benchmarks.screens", "fill", YOUNG, database=young)
    fill.communicate()
    assert fill.returncode == 0, "the small one was not filled"
    dump = [tools / "pg_dump", "--statistics-only", "--dbname", young]
    told = subprocess.run(dump, check=True, capture_output=True).stdout
    load = [tools / "psql", "--quiet", "--output=/dev/null", "--set=ON_ERROR_STOP=1"]
    subprocess.run([*load, "--dbname", own], input=told, check=True)
    cursor.execute("DROP DATABASE young")
