"""Child processes that are kept running and stopped together."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType

from webhooks_app.engine import output
from webhooks_app.engine.signals import ends

WRONG_USAGE = 2  # an exit code that no restart can mend
FIRST_PAUSE = 0.5  # seconds before a child that died is started again, doubled each time …
LONGEST_PAUSE = 30.0  # … up to this
OUTLIVES_MOST = 5.0  # what a child that died left behind has so long to finish
LOOKS_EVERY = 0.1  # seconds; a signal is seen then, too
HEALTHY_AFTER = 20.0  # a child that lived so long begins again with the first pause

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _end_with_parent() -> None:
    """In the child, before exec: be told to end when the parent is killed (Linux only)."""
    if _libc is not None:
        _libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


@dataclass
class Child:
    """A command that should run. `finishes`: ending with exit code 0 is how it is meant to end."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    finishes: bool = False
    process: "subprocess.Popen[bytes] | None" = None
    code: int | None = None  # how it ended for good
    deaths: int = 0
    died: float = 0.0
    started: float = 0.0
    due: float = 0.0  # by time.monotonic()

    def start(self, now: float) -> None:
        self.started, self.died = now, 0.0
        # A process group of its own: Ctrl-C reaches the supervisor only, which stops all in order.
        self.process = subprocess.Popen(  # noqa: S603  (our own commands, no shell)
            list(self.command),
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=output.real(1),
            stderr=output.real(2),
            process_group=0,
            preexec_fn=_end_with_parent,
        )

    def signal(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def is_outlived(self) -> bool:
        """Whether something of its process group is still there."""
        if self.process is not None:
            with suppress(ChildProcessError):
                # As the first process of a container we inherit it, and must see it off.
                os.waitpid(-self.process.pid, os.WNOHANG)
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, 0)
                return True
        return False

    def sweep(self) -> None:
        """Kill what is left of its process group."""
        if self.process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)


class Supervisor:
    """Runs children until a signal comes, all have finished, or one cannot be helped.

    `report` gets a line for each death. `grace`: seconds the children have to stop in.
    `give_up`: after so many deaths of one child in quick succession all is stopped; None: never.
    A second signal kills at once.
    """

    def __init__(
        self,
        children: Sequence[Child],
        report: Callable[[str], None],
        *,
        grace: float = 30.0,
        give_up: int | None = None,
    ) -> None:
        self.children = children
        self.report = report
        self.grace = grace
        self.give_up = give_up
        self._signals = 0

    def run(self, *, ready: Callable[[], bool] = lambda: True) -> int:
        """Blocks. Returns 0, or the exit code of a child that did not end well.

        `ready` is asked again and again while the children run, until it says yes.
        """
        before = {number: signal.signal(number, self._on_signal) for number in ends()}
        try:
            is_ready = False
            while not self._signals and any(child.code is None for child in self.children):
                for child in self.children:
                    self._look(child, time.monotonic())
                is_ready = is_ready or ready()
                time.sleep(LOOKS_EVERY)
        finally:
            self._stop()
            for number, handler in before.items():
                signal.signal(number, handler)
        return max((child.code or 0 for child in self.children), default=0)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # No lock: this runs within whatever the loop was about, which may hold it.
        self._signals += 1

    def _look(self, child: Child, now: float) -> None:
        if child.code is not None or now < child.due:
            return
        if child.process is None:
            child.start(now)
            return
        code = child.process.poll()
        if code is None:
            return
        child.died = child.died or now
        if child.is_outlived() and now - child.died < OUTLIVES_MOST:
            return  # a worker's child writes what the worker was still told
        child.sweep()
        child.process = None
        if code == 0 and child.finishes:
            child.code = 0
            return
        child.deaths = 1 if child.died - child.started > HEALTHY_AFTER else child.deaths + 1
        if code == WRONG_USAGE or child.deaths == self.give_up:
            self.report(f"{child.name} {ending(code)}; stopping")
            for other in self.children:
                other.code = other.code or 0
            child.code = code if code > 0 else 1
            return
        pause = min(FIRST_PAUSE * 2 ** (child.deaths - 1), LONGEST_PAUSE)
        child.due = now + pause
        self.report(f"{child.name} {ending(code)}; starting it again in {pause:g} s")

    def _stop(self) -> None:
        for child in self.children:
            child.signal(signal.SIGTERM)
        deadline = time.monotonic() + self.grace
        for child in self.children:
            while child.process is not None and child.process.poll() is None:
                if time.monotonic() > deadline or self._signals > 1:
                    break
                time.sleep(0.02)
        for child in self.children:
            child.sweep()
            if child.process is not None:
                child.process.wait()


def ending(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was ended by {signal.Signals(-code).name}"


def manage(*arguments: str, pythonpath: str | None = None) -> list[str]:
    """The command line of a management command, run the way this process was started."""
    script = os.path.abspath(sys.argv[0])
    start = ["-m", "django"] if os.path.basename(script) == "__main__.py" else [script]
    if pythonpath:
        arguments = (*arguments, f"--pythonpath={pythonpath}")
    return [sys.executable, *start, *arguments]
