"""As much of systemctl as docs/deploy.md uses, for the units of a prefix:
`python systemctl.py PREFIX enable --now NAME…`. What it starts stands in the unit files.
"""

import configparser
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path


class Unit:
    def __init__(self, prefix: Path, name: str) -> None:
        stem, _, instance = name.removesuffix(".service").partition("@")
        self.instance = instance
        file = prefix / "etc/systemd/system" / f"{stem}{'@' if instance else ''}.service"
        parser = configparser.ConfigParser(interpolation=None, strict=False, comment_prefixes="#")
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string(file.read_text().replace("\\\n", " "))
        self.service = parser["Service"]
        self.command = shlex.split(self.service["ExecStart"].replace("%i", instance))
        self._pid = prefix / "run" / f"{name}.pid"
        self._log = prefix / "run" / f"{name}.log"

    def start(self, *, waits: bool) -> None:
        """Like systemd, without waiting for more than the start of the process; `waits` where a
        person who types the next command comes later anyhow."""
        # What a unit is given by systemd: nothing of whoever asked for it.
        kept = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                self.command,
                cwd=self.service["WorkingDirectory"],
                env=kept,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._pid.write_text(str(process.pid))
        deadline = time.monotonic() + 180
        while waits and not self._is_up():
            assert process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)

    def _is_up(self) -> bool:
        if not self.instance:
            return "ready" in self._log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(self.instance))) == 0

    def stop(self) -> None:
        """To the main process alone, as KillMode=mixed says; too late is a failure."""
        assert self.service["KillMode"] == "mixed"
        if not self._pid.exists():
            return
        pid = int(self._pid.read_text())
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + float(self.service["TimeoutStopSec"])
        while Path(f"/proc/{pid}").exists() and "Z" not in state(pid):
            assert time.monotonic() < deadline, "it did not end in time"
            time.sleep(0.05)
        self._pid.unlink()
        self._log.rename(self._log.with_suffix(".before"))


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def main(prefix: Path, verb: str, *names: str) -> None:
    names = tuple(name for name in names if not name.startswith("-"))
    if verb == "daemon-reload":
        return
    if names == ("nginx",):
        file = prefix / "run/nginx.pid"  # an empty one is left by `nginx -t`
        running = file.exists() and file.read_text()
        subprocess.run(["nginx", *(("-s", "reload") if running else ())], check=True)
        return
    for name in names:
        unit = Unit(prefix, name)
        if verb in ("restart", "stop"):
            unit.stop()
        if verb in ("restart", "enable", "start"):
            unit.start(waits=verb != "restart")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
