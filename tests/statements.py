"""Every statement that a connection sends, COPY and those past Django's cursor included."""

import re
import tempfile
from contextlib import contextmanager


@contextmanager
def told(connection):
    """A list of the statements, filled at the end."""
    connection.ensure_connection()
    session, statements = connection.connection, []
    if connection.vendor == "sqlite":
        session.set_trace_callback(statements.append)
        try:
            yield statements
        finally:
            session.set_trace_callback(None)
        return
    # What libpq sends: a statement without parameters is a Query, another one ends in an Execute.
    with tempfile.TemporaryFile("w+b") as file:
        session.pgconn.trace(file.fileno())
        try:
            yield statements
        finally:
            session.pgconn.untrace()
        file.seek(0)
        sent = re.compile(r"F\t\d+\t(Query|Execute|Parse)\t(.*)")
        parsed = ""
        for line in file.read().decode(errors="replace").splitlines():
            if (found := sent.search(line)) is None:
                continue
            if found[1] == "Parse":
                parsed = found[2]
            else:
                statements.append(found[2] if found[1] == "Query" else f"{found[2]} {parsed}")
