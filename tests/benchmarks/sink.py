"""What receives. `Nginx` where it is installed, the little server below elsewhere.

Receipts are counted here, never in our own rows. Every path is answered with 200 at once;
`/timed` also notes when each `webhook-id` came. Only the little server knows `/slow/SECONDS`,
which answers that much later, `/hang`, which never answers, and `/but/KEY`, which refuses what has
that key and does not count it: `PythonSink` is for those.
"""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.ports import free_port

NGINX = shutil.which("nginx") or ("/usr/sbin/nginx" if Path("/usr/sbin/nginx").exists() else None)

CONFIGURATION = """
worker_processes 1;
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 8192; }}
http {{
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  client_header_timeout 1h;
  access_log off;
  log_format arrival '$msec $http_webhook_id';
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ return 200 '{{}}'; }}
    location /timed {{
      access_log {folder}/arrivals arrival buffer=256k flush=1s;
      return 200 '{{}}';
    }}
    location = /count {{ stub_status; }}
  }}
}}
"""


class Counter:
    """Asks the sink how many requests came, over one line, at a few ten µs each."""

    def __init__(self, port):
        self._line = socket.create_connection(("127.0.0.1", port), timeout=5)
        self._own = 0

    def close(self):
        self._line.close()

    def read(self):
        self._line.sendall(b"GET /count HTTP/1.1\r\nHost: sink\r\n\r\n")
        answer = b""
        while not answer.endswith(b"\n"):
            received = self._line.recv(4096)
            assert received, "the sink has closed the line"
            answer += received
        self._own += 1
        return int(answer.split(b"requests\n")[1].split()[2]) - self._own


class _Sink:
    """A sink in a process and a folder of its own, until `with` ends."""

    _counter = None

    def __enter__(self):
        self._folder = Path(tempfile.mkdtemp(prefix="webhooks-sink-", dir=_in_memory()))
        self.port = free_port()
        self.process = self._start()
        deadline = time.monotonic() + 60
        while True:
            try:
                self._counter = Counter(self.port)
                break
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    self.__exit__()
                    raise
                time.sleep(0.02)
        return self

    def __exit__(self, *_):
        if self._counter:
            self._counter.close()
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def count(self):
        return self._counter.read()

    def url(self, path=""):
        return f"http://127.0.0.1:{self.port}/{path}"

    def arrivals(self):
        """webhook-id -> when it came to `/timed` at the latest, in epoch seconds."""
        time.sleep(1.2)  # the log is flushed every second
        lines = (self._folder / "arrivals").read_text().splitlines()
        return {ident: float(at) + 0.001 for at, ident in map(str.split, lines)}


class Nginx(_Sink):
    name = "nginx, one process"

    def _start(self):
        file = self._folder / "nginx.conf"
        file.write_text(CONFIGURATION.format(folder=self._folder, port=self.port))
        self._folder.chmod(0o755)  # its worker is another user when we are root
        command = [
            NGINX,
            "-p",
            str(self._folder),
            "-c",
            str(file),
            "-e",
            f"{self._folder}/error.log",
        ]
        return subprocess.Popen(command)


class PythonSink(_Sink):
    name = "a Python server, one process"

    def _start(self):
        command = [sys.executable, "-m", "tests.benchmarks.sink", str(self.port)]
        return subprocess.Popen([*command, str(self._folder / "arrivals")])


def sink():
    return Nginx() if NGINX else PythonSink()


def _in_memory():
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


# --- the little server --------------------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
REFUSED = b"HTTP/1.1 500 Out Of Order\r\nContent-Length: 0\r\n\r\n"


def protocol(arrivals):
    import httptools

    class Receiver(asyncio.Protocol):
        requests = 0

        def connection_made(self, transport):
            self.transport = transport
            self.parser = httptools.HttpRequestParser(self)

        def data_received(self, data):
            self.parser.feed_data(data)

        def on_message_begin(self):
            self.ident = self.body = b""

        def on_url(self, url):
            self.path = url.decode().split("?")[0]

        def on_header(self, name, value):
            if name.lower() == b"webhook-id":
                self.ident = value

        def on_body(self, body):
            self.body = self.body or body

        def on_message_complete(self):
            _, mark, key = self.path.partition("/but/")
            if mark and self.body.startswith(b'{"key": "%b",' % key.encode()):
                self.transport.write(REFUSED)
                return
            Receiver.requests += 1
            if self.path.startswith("/slow/"):
                wait = float(self.path.removeprefix("/slow/"))
                asyncio.get_running_loop().call_later(wait, self.transport.write, OK)
            elif self.path == "/count":
                body = b"server accepts handled requests\n 0 0 %d\n" % Receiver.requests
                self.transport.write(
                    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
                )
            elif self.path != "/hang":
                if self.path == "/timed":
                    arrivals.write(b"%.4f %b\n" % (time.time(), self.ident))
                self.transport.write(OK)

    return Receiver


async def serve(port, file):
    loop = asyncio.get_running_loop()
    with open(file, "wb") as arrivals:
        server = await loop.create_server(protocol(arrivals), "127.0.0.1", port, backlog=4096)

        async def flush():
            while True:
                await asyncio.sleep(0.5)
                arrivals.flush()

        flushing = asyncio.create_task(flush())
        await server.serve_forever()
        await flushing


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(int(sys.argv[1]), sys.argv[2]))
