"""Receivers to play with, good and bad, on loopback. Standard library only.

`DEMO_TOKEN=… python -m project.demo PORT REFUSED_PORT` serves on PORT `/good` (verifies and
answers), `/failing` (answers every call with 500) and `/any` (as `/good`, whatever the
token), and holds REFUSED_PORT without ever accepting a connection.
"""

import json
import os
import signal
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

HOST = "127.0.0.1"


class Receiver(BaseHTTPRequestHandler):
    """What a customer of the webhooks would run."""

    protocol_version = "HTTP/1.1"
    token = ""

    def do_GET(self) -> None:
        if self.allowed():
            self.answer(200, "text/plain", self.parameter("challenge"))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.allowed():
            return
        if urlsplit(self.path).path == "/failing":
            self.answer(500, "text/plain", "demo receiver: this one fails on purpose")
        else:
            self.answer(200, "application/json", json.dumps(greet(body)))

    def allowed(self) -> bool:
        path = urlsplit(self.path).path
        if path == "/any" or self.parameter("token") == self.token:
            return True
        self.answer(401, "text/plain", "")
        return False

    def parameter(self, name: str) -> str:
        return parse_qs(urlsplit(self.path).query).get(name, [""])[0]

    def answer(self, status: int, kind: str, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the console shows what was sent."""


def greet(body: bytes) -> dict[str, Any]:
    """A friendly answer to an interaction of either generation, or to any delivery."""
    try:
        call = json.loads(body)
    except ValueError:
        call = {}
    user = call.get("userAttributes") if isinstance(call, dict) else None
    name = user.get("default_name") if isinstance(user, dict) else None
    return {
        "responses": [{"type": "text", "delay": 0, "message": f"Hello {name or 'there'}!"}],
        "attributes": {"greeted": "yes"},
    }


def main(port: int, refused_port: int, token: str) -> None:
    refused = socket.socket()
    refused.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    refused.bind((HOST, refused_port))  # and never listen(): every connection is refused
    Receiver.token = token
    server = ThreadingHTTPServer((HOST, port), Receiver)
    server.daemon_threads = True
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    with refused, server:
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), os.environ["DEMO_TOKEN"])
