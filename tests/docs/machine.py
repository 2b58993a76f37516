"""A machine to follow docs/deploy.md on: a prefix in place of `/`, and in place of what only root
may do, programs of the same names that do it there. PostgreSQL, nginx, web processes and workers
are real.
"""

import fcntl
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from tests.docs.tables import ROOT
from tests.ports import free_port
from tests.postgres import TOOLS, Server

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
SYSTEMCTL = Path(__file__).with_name("systemctl.py")
HOST = "hooks.example.com"

SUDO = 'while [[ $1 == -* ]]; do [[ $1 == -u ]] && shift; shift; done; exec "$@"'
# The packages are installed already.
PYTHON = f'[[ "$1 $2" == "-m venv" ]] && exec ln -s {sys.prefix} "$3"; exec {sys.executable} "$@"'
# Its processes are of whoever runs the tests, who alone may look into the prefix.
SERVER = """
{user}
events {{ worker_connections 1024; }}
pid {prefix}/run/nginx.pid;
error_log {prefix}/run/nginx.log;
http {{
  access_log off;
  client_body_temp_path {prefix}/run/body;
  proxy_temp_path {prefix}/run/proxy;
  fastcgi_temp_path {prefix}/run/fastcgi;
  uwsgi_temp_path {prefix}/run/uwsgi;
  scgi_temp_path {prefix}/run/scgi;
  include {prefix}/etc/nginx/conf.d/*.conf;
}}
"""


class Machine:
    """`run` types shell blocks of the page; `password` is typed where one is asked for."""

    password = "correct-horse-battery"

    def __init__(self, folder: Path) -> None:
        self.prefix = folder / "machine"
        for name in ("bin", "run", "srv", "etc/ssl", "etc/nginx/conf.d", "etc/systemd/system"):
            (self.prefix / name).mkdir(parents=True)
        self.server = Server(durable=False)
        self.port, self.first, self.second = free_port(), free_port(), free_port()
        self.web = [f"webhooks-web@{port}" for port in (self.first, self.second)]
        self._sockets = re.search(r"host=([^&]+)", self.server.url)[1]
        self._make_certificate()
        self._make_programs()
        self._make_repository(folder / "repository")

    def moved(self, text: str) -> str:
        """What stands on the page or in its files, for this machine."""
        for before, after in (
            ("<this repository>", str(self.prefix.parent / "repository")),
            ("/srv/webhooks", f"{self.prefix}/srv/webhooks"),
            ("/etc/", f"{self.prefix}/etc/"),
            ("/var/run/postgresql", self._sockets),
            (f"https://{HOST}", f"https://{HOST}:{self.port}"),
            ("listen 443", f"listen 127.0.0.1:{self.port}"),
            ("8001", str(self.first)),
            ("8002", str(self.second)),
        ):
            text = text.replace(before, after)
        return text

    def _make_repository(self, folder: Path) -> None:
        listed = ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"]
        names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout
        for name in filter(None, names.split("\0")):
            source, target = ROOT / name, folder / name
            if not source.is_file() or name.startswith(("tests/", "docs/images/")):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if name.startswith("docs/deploy/"):
                target.write_text(self.moved(source.read_text()))
            else:
                shutil.copy(source, target)
        git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@example.com"]
        for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "All of it"]):
            subprocess.run([*git, *words], check=True)

    def _make_certificate(self) -> None:
        folder = self.prefix / "etc/ssl"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                *("-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"),
                *("-keyout", folder / f"{HOST}.key", "-out", folder / f"{HOST}.pem"),
            ],
            check=True,
            capture_output=True,
        )
        self.certificate = folder / f"{HOST}.pem"

    def _make_programs(self) -> None:
        user = "user root root;" if os.geteuid() == 0 else ""
        (self.prefix / "nginx.conf").write_text(SERVER.format(prefix=self.prefix, user=user))
        resolve = f"--cacert {self.certificate} --resolve {HOST}:{self.port}:127.0.0.1"
        here = f"PGHOST={self._sockets} PGUSER=postgres PGDATABASE=postgres"
        nginx = (
            f"{NGINX} -p {self.prefix} -e {self.prefix}/run/nginx.log -c {self.prefix}/nginx.conf"
        )
        programs = {
            "sudo": SUDO,
            "useradd": "exit 0",
            "chown": "exit 0",
            "python3": PYTHON,
            "psql": f'{here} exec {TOOLS / "psql"} "$@"',
            "curl": f'exec {shutil.which("curl")} --no-progress-meter {resolve} "$@"',
            "nginx": f'exec {nginx} "$@"',
            "systemctl": f'exec {sys.executable} {SYSTEMCTL} {self.prefix} "$@"',
        }
        for name, text in programs.items():
            file = self.prefix / "bin" / name
            file.write_text(f"#!/bin/bash\n{text}\n")
            file.chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
        return kept | {
            "PATH": f"{self.prefix}/bin:{os.environ['PATH']}",
            # Everything is installed already, and nothing is fetched.
            "PIP_NO_INDEX": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    def run(self, *blocks: str) -> str:
        """What the terminal shows when somebody types these."""
        script = "set -eu\n" + "\n".join(self.moved(block) for block in blocks)
        leader, follower = pty.openpty()

        def take_the_terminal() -> None:
            os.setsid()
            fcntl.ioctl(follower, termios.TIOCSCTTY, 0)

        process = subprocess.Popen(
            ["bash", "-c", script],
            env=self.environment,
            cwd=self.prefix,
            stdin=follower,
            stdout=follower,
            stderr=follower,
            preexec_fn=take_the_terminal,
        )
        os.close(follower)
        shown, asked = "", 0
        with suppress(OSError):  # how a terminal ends
            while part := os.read(leader, 65_536):
                shown += part.decode(errors="replace")
                if shown.count("Password") > asked and shown.endswith(": "):
                    asked = shown.count("Password")
                    os.write(leader, f"{self.password}\n".encode())
        os.close(leader)
        code = process.wait(60)
        assert code == 0, shown
        return shown

    def ask(self, sql: str) -> list[Any]:
        """Of the database that the page made."""
        url = f"postgresql://postgres@/webhooks?host={self._sockets}"
        with psycopg.connect(url) as connection:
            return connection.execute(sql).fetchall()

    def systemctl(self, *words: str) -> None:
        command = [self.prefix / "bin/systemctl", *words]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def end(self) -> None:
        for file in (self.prefix / "run").glob("*.pid"):
            with suppress(ProcessLookupError, ValueError):
                os.kill(int(file.read_text()), signal.SIGTERM)
        time.sleep(0.1)
        for file in (self.prefix / "run").glob("*.pid"):
            with suppress(ProcessLookupError, ValueError):
                pid = int(file.read_text())
                for _ in range(300):
                    os.kill(pid, 0)
                    time.sleep(0.1)
                os.kill(pid, signal.SIGKILL)
        self.server.stop()
