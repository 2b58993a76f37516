import gzip
from functools import partial
from pathlib import Path

import psycopg
import pytest

from tests import databases
from tests.commands.conftest import Site

FOLDER = Path(__file__).parent
RELEASED = ["0.1.0"]


def load(version, url):
    """What this release made, into an empty database."""
    kept = f"{FOLDER}/{version}"
    if databases.is_postgres():
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(gzip.decompress(Path(f"{kept}.postgres.sql.gz").read_bytes()))
    else:
        file = Path(url.removeprefix(databases.SQLITE))
        file.write_bytes(gzip.decompress(Path(f"{kept}.sqlite3.gz").read_bytes()))


def load_and_migrate(version, url):
    load(version, url)
    databases.migrate(url)


def site_on(request, folder, fill):
    version = request.param
    name = f"{fill.__name__}_{version}".replace(".", "_")
    site = Site(databases.copy(name, partial(fill, version), folder / "released.sqlite3"), folder)
    site.version = version
    yield site
    site.end()


@pytest.fixture(params=RELEASED)
def released(request, tmp_path):
    """A site on a database that this release made."""
    yield from site_on(request, tmp_path, load)


@pytest.fixture(params=RELEASED)
def upgraded(request, tmp_path):
    """The same after `migrate`."""
    yield from site_on(request, tmp_path, load_and_migrate)
