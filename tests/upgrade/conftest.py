import gzip
import os
from pathlib import Path

import psycopg
import pytest

from tests.commands.conftest import Site
from tests.databases import new_postgres_database

FOLDER = Path(__file__).parent
RELEASED = ["0.1.0"]


@pytest.fixture(params=RELEASED)
def released(request, tmp_path):
    """A site on a database that this release made."""
    kept = f"{FOLDER}/{request.param}"
    if os.environ["TEST_DATABASE_URL"].startswith("sqlite"):
        file = tmp_path / "released.sqlite3"
        file.write_bytes(gzip.decompress(Path(f"{kept}.sqlite3.gz").read_bytes()))
        url = f"sqlite:///{file}"
    else:
        url = new_postgres_database("template0")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(gzip.decompress(Path(f"{kept}.postgres.sql.gz").read_bytes()))
    site = Site(url, tmp_path)
    site.version = request.param
    yield site
    site.end()
