"""What every management command of ours has in common: however it ends, it ends with a sentence
and an exit code, never with a traceback."""

import os
import signal
import sys
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import DataError, IntegrityError, connections
from django.db.utils import Error

from ..models import sequences
from ..rules.safe_text import shown

INTERRUPTED = 128 + signal.SIGINT  # the exit code that shells give it
# PostgreSQL's codes for a table and a column that are not there.
_MISSING = ("42P01", "42703")


class PlainCommand(BaseCommand):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # One that was closed (`… >&-`) is None in Python, and its number the next file's.
        for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
            if getattr(sys, name) is None:
                setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  (until the process ends)
        super().__init__(*args, **kwargs)

    def run_from_argv(self, argv: list[str]) -> None:
        for stream in (sys.stdout, sys.stderr):
            # What the terminal's encoding does not have is printed as an escape.
            if reconfigure := getattr(stream, "reconfigure", None):
                reconfigure(errors="backslashreplace")
        try:
            super().run_from_argv(argv)
            sys.stdout.flush()
        except KeyboardInterrupt:
            self.stderr.write("Interrupted.")
            sys.exit(INTERRUPTED)
        except BrokenPipeError:  # `… | head`: nobody reads on
            _write_no_more()
            sys.exit(1)
        except OSError as error:  # a disk that is full, for one
            _write_no_more()
            self.stderr.write(f"It cannot go on: {shown(error.strerror or str(error))}.")
            sys.exit(1)

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except ImproperlyConfigured as error:  # past the checks, with --skip-checks
            raise CommandError(str(error), returncode=2) from error
        except Error as error:
            trouble = database_trouble(error)
            if trouble is None:
                raise
            raise trouble from error


def _write_no_more() -> None:
    """Nor does Python at its end, what it still has for standard output."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def database_trouble(error: Error) -> CommandError | None:
    """Why the database cannot be used, for the operator; None where the fault is our own."""
    if sequences.is_behind(error):
        sequences.catch_up()
        return CommandError(sequences.WORDS)
    if isinstance(error, DataError | IntegrityError):
        return None
    words = " ".join(str(error).split())
    if getattr(error.__cause__, "sqlstate", None) in _MISSING or "no such " in words:
        names = " and ".join(shown(str(connections[a].settings_dict["NAME"])) for a in connections)
        return CommandError(
            f"The database {names} has no tables of this version. Is it the right one? Then run "
            "`manage.py migrate` first.",
            returncode=2,
        )
    # The driver's own words say what to mend; some take several lines.
    return CommandError(f"The database cannot be used ({type(error).__name__}: {shown(words)}).")
