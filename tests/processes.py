"""Starts processes as `subprocess` does; those of the site are forked from one that has all of it
imported (`tests/forkserver.py`), which saves each a second of CPU.

    worker = processes.start([*MANAGE, "webhooks", "deliver"], env=…, stdout=PIPE, text=True)
    ended = processes.run([*MANAGE, "webhooks", "status"], env=…, capture_output=True)
"""

import atexit
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, CompletedProcess, TimeoutExpired

from tests.waiting import PATIENCE

ROOT = Path(__file__).resolve().parent.parent
MANAGE = [sys.executable, str(ROOT / "manage.py")]
PROGRAM = [sys.executable, "-m", "tests.program"]  # a program as text follows


def start(command, **options):
    """As `subprocess.Popen`."""
    kind = Forked if is_of_the_site(command, **options) else subprocess.Popen
    return kind(command, **options)


def run(command, *, capture_output=False, input=None, timeout=None, **options):
    """As `subprocess.run`."""
    if capture_output:
        options |= {"stdout": PIPE, "stderr": PIPE}
    if input is not None:
        options["stdin"] = PIPE
    with start(command, **options) as process:
        try:
            said = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    return CompletedProcess(command, process.returncode, *said)


def is_of_the_site(command, *, env=None, cwd=None, **options):
    """Whether a process that has imported this tree and forks would do the same."""
    python, program, *_ = map(str, command)
    found_in = ROOT if program == MANAGE[1] else Path(cwd or Path.cwd())
    environment = os.environ if env is None else env
    return (
        python == sys.executable
        and program in (MANAGE[1], "-m")  # code of `-c` may change what others then import
        and found_in == ROOT
        and options.keys() <= {"stdin", "stdout", "stderr", "text"}
        and environment.get("DJANGO_SETTINGS_MODULE", "project.settings") == "project.settings"
        and not {"PYTHONPATH", "PYTHONIOENCODING"} & environment.keys()
    )


class ForkServer:
    def __init__(self):
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forkserver", str(theirs.fileno())],
                cwd=ROOT,
                stdin=DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        atexit.register(self._end)

    def fork(self, request, files):
        """A socket that says the id of the new process, and its exit code when it has ended."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, self._lock:
            said = json.dumps(request).encode()
            socket.send_fds(self._control, [said], [theirs.fileno(), *files])
        return ours

    def _end(self):
        self._control.close()
        self._process.wait(PATIENCE)


@cache
def server():
    """One for all tests of this process, from the first that asks on."""
    return ForkServer()


def open_pipe(number, mode):
    buffered = io.BufferedReader if mode == "r" else io.BufferedWriter
    return buffered(io.FileIO(number, mode))


class Forked:
    """What tests use of `subprocess.Popen`."""

    def __init__(self, command, *, env=None, cwd=None, text=False, **streams):
        self.args, self.returncode = command, None
        self._text, self._theirs = text, []
        self.stdin, stdin = self._stream(streams.get("stdin"), 0)
        self.stdout, stdout = self._stream(streams.get("stdout"), 1)
        self.stderr, stderr = None, stdout
        if streams.get("stderr") != STDOUT:
            self.stderr, stderr = self._stream(streams.get("stderr"), 2)
        request = {
            "arguments": list(map(str, command[1:])),
            "environment": dict(os.environ if env is None else env),
            "folder": str(cwd or Path.cwd()),
        }
        self._ending = server().fork(request, [stdin, stdout, stderr])
        for file in self._theirs:
            os.close(file)
        self.pid = int(self._ending.recv(64))

    def _stream(self, given, number):
        """Our end of a pipe, if there is one, and what the process has there."""
        if given is None:
            return None, number
        if given == DEVNULL:
            self._theirs.append(os.open(os.devnull, os.O_RDWR))
            return None, self._theirs[-1]
        if given != PIPE:
            return None, given if isinstance(given, int) else given.fileno()
        read, write = os.pipe()
        ours, theirs = (read, write) if number else (write, read)
        self._theirs.append(theirs)
        file = open_pipe(ours, "r" if number else "w")
        return io.TextIOWrapper(file, "utf-8", write_through=True) if self._text else file, theirs

    def poll(self):
        with suppress(TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout=None):
        if self.returncode is None:
            if not select.select([self._ending], [], [], timeout)[0]:
                raise TimeoutExpired(self.args, timeout)
            with self._ending:
                self.returncode = int(self._ending.recv(64))
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def communicate(self, input=None, timeout=None):
        """What it says until its end, on standard output and error."""
        said = [None, None]

        def read(place, file):
            with file:
                said[place] = file.read()

        readers = [
            threading.Thread(target=read, args=(place, file), daemon=True)
            for place, file in enumerate((self.stdout, self.stderr))
            if file
        ]
        for reader in readers:
            reader.start()
        if self.stdin:
            with suppress(BrokenPipeError), self.stdin:
                self.stdin.write(input)
        self.wait(timeout)
        for reader in readers:
            reader.join(timeout)
        return tuple(said)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for file in (self.stdin, self.stdout, self.stderr):
            if file:
                file.close()
        self.wait()
