"""Databases of the tests: one is migrated, once a run, and the others are its copies."""

import fcntl
import os
import shutil
import uuid
from contextlib import contextmanager
from pathlib import Path

from tests import processes
from tests.processes import MANAGE

SQLITE = "sqlite:///"


def is_postgres():
    return not os.environ["TEST_DATABASE_URL"].startswith(SQLITE)


def new(file):
    """The URL of a new database with all tables: on SQLite this file, on PostgreSQL one of the
    server of the tests, which goes when the server goes."""
    return copy("migrated", migrate, file)


def new_file(file):
    """One of SQLite with all tables, whatever the tests run on."""
    if is_postgres():
        migrate(f"{SQLITE}{file}")
    else:
        new(file)


def prepare():
    """Make what `new` copies, and start the server that forks the processes of the site."""
    template("migrated", migrate)


def copy(name, fill, file, of="template0"):
    """The URL of a copy of the database that `fill` fills, in this file or on the server; on
    PostgreSQL it begins as a copy of another one."""
    url = template(name, fill, of)
    if is_postgres():
        return new_postgres_database(name)
    shutil.copy(url.removeprefix(SQLITE), file)
    return f"{SQLITE}{file}"


def template(name, fill, of="template0"):
    """The URL of a database that is only ever copied. The first process of a run that asks makes
    it and fills it, the others wait for that."""
    folder = Path(os.environ["TEST_FOLDER"])
    done = folder / name
    with locked(folder / f"{name}.lock"):
        url = postgres_url(name) if is_postgres() else f"{SQLITE}{folder}/{name}.sqlite3"
        if not done.exists():
            if is_postgres():
                create_postgres_database(name, of)
            fill(url)
            done.touch()
    return url


def migrate(url):
    environment = os.environ | {"DATABASE_URL": url}
    command = [*MANAGE, "migrate", "-v", "0"]
    ended = processes.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@contextmanager
def locked(file):
    with file.open("w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def new_postgres_database(template):
    name = f"site_{uuid.uuid4().hex}"
    create_postgres_database(name, template)
    return postgres_url(name)


def create_postgres_database(name, template):
    import psycopg

    with psycopg.connect(os.environ["TEST_DATABASE_URL"], autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")


def postgres_url(name):
    address, _, query = os.environ["TEST_DATABASE_URL"].partition("?")
    return f"{address.rpartition('/')[0]}/{name}?{query}"
