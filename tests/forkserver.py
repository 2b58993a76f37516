"""A process that has Django and the whole site imported, and forks: what it starts is there at
once, where a new Python takes a second of CPU to get as far.

What is forked is a process as any other: its environment, its settings (read anew), its signals,
files and end are its own. `tests/processes.py` asks for it.
"""

import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import sys
import time
from contextlib import suppress

# What workers, commands and web servers would import, and what may be imported before settings
# are known. None of it starts a thread.
IMPORTED = (
    "django.db.backends.postgresql.base",
    "django.db.backends.sqlite3.base",
    "django.core.management.commands.migrate",
    "granian.cli",
    "granian.server.mp",
    "granian._loops",
    "project.serving",
    "project.urls",
    "psycopg_pool",
    "rich.table",
    "time_machine",
    "uvloop",
    "webhooks_app.engine.worker",
    "webhooks_app.management.commands.webhooks",
)


def prepare():
    """All that comes before a process knows what it is to do."""
    import django

    sys.argv[0] = "manage.py"  # judges no settings yet
    django.setup()
    for name in IMPORTED:
        importlib.import_module(name)
    # No collection of what is here by a child, which would have to copy it.
    gc.collect()
    gc.freeze()


def serve(control):
    """Fork as often as `control` asks; returns in the children, each time with the request."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    woken, waker = socket.socketpair()
    for end in (woken, waker):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    watched = {}  # by process: the socket that is told how it ended
    while True:
        readable, _, _ = select.select([control, woken], [], [])
        if woken in readable:
            woken.recv(4096)
            reap(watched)
        if control not in readable:
            continue
        said, files, _, _ = socket.recv_fds(control, 1 << 20, 64)
        if not said:
            os._exit(0)
        told, *given = files
        pid = os.fork()
        if not pid:
            signal.set_wakeup_fd(-1)
            for file in (control, woken, waker, *watched.values()):
                file.close()
            os.close(told)
            return json.loads(said), given
        for file in given:
            os.close(file)
        watched[pid] = socket.socket(fileno=told)
        tell(watched[pid], pid)


def reap(watched):
    while watched:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with watched.pop(pid) as connection:
            tell(connection, os.waitstatus_to_exitcode(status))


def tell(connection, number):
    with suppress(OSError):  # whoever asked is gone
        connection.send(b"%d" % number)


def become(request, files):
    """Whatever a new process would have of its own."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(
        io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8"
    )
    sys.stdout = sys.__stdout__ = written(1, "strict")
    sys.stderr = sys.__stderr__ = written(2, "backslashreplace")
    forget_settings()


def written(number, errors):
    """A stream, buffered as Python does it."""
    return io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(number, "w", closefd=False)),
        "utf-8",
        errors,
        line_buffering=number == 2 or os.isatty(number) or "PYTHONUNBUFFERED" in os.environ,
    )


def forget_settings():
    """The next who asks Django for a setting reads them all, from the environment."""
    from django.apps import apps
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured
    from django.core.signals import setting_changed
    from django.db import connections
    from django.utils.functional import empty

    from webhooks_app import conf

    for connection in connections.all(initialized_only=True):
        del connections[connection.alias]
    sys.modules.pop("project.settings", None)
    settings._wrapped = empty
    connections._settings = None
    vars(connections).pop("settings", None)
    for name in conf.SETTINGS:
        setting_changed.send(None, setting=name, value=None, enter=False)
    # As `apps.set_installed_apps` does, at the time when the program sets Django up.
    apps.app_configs = {}
    apps.apps_ready = apps.models_ready = apps.loading = apps.ready = False
    apps.clear_cache()
    try:
        importlib.reload(sys.modules["axes.conf"])  # it adds its defaults to the settings
    except ImproperlyConfigured:
        settings._wrapped = empty  # for the program to find out
        sys.modules.pop("project.settings", None)


def run(arguments):
    """As `python …` does."""
    first, *rest = arguments
    if first == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    control = socket.socket(fileno=int(sys.argv[1]))
    prepare()
    request, files = serve(control)
    become(request, files)
    run(request["arguments"])
