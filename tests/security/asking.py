"""Whole requests, given to the site in this process and measured."""

import asyncio

from project.serving import Site
from tests.security.outside import MARGIN, machine
from tests.security.outside import cost as cost_of


class Ask:
    """Sends one request to the site, in this process; remembers the answer, and how many bytes of
    the body were taken."""

    def __init__(self) -> None:
        self.site = Site()
        self.loop = asyncio.new_event_loop()
        self.status, self.headers, self.body, self.taken = 0, {}, b"", 0

    def __call__(self, method="GET", path="/webhooks", query=b"", headers=(), body=b"", part=None):
        """`part`: how many bytes of the body come at a time; all of them otherwise."""
        names = {name for name, _ in headers}
        given = [(name.encode(), value) for name, value in headers]
        if "host" not in names:
            given.append((b"host", b"localhost"))
        if body and "content-length" not in names:
            given.append((b"content-length", str(len(body)).encode()))
        scope = {
            **{"type": "http", "method": method, "path": path, "raw_path": path.encode()},
            **{"query_string": query, "headers": given, "http_version": "1.1", "scheme": "http"},
            **{"client": ("198.51.100.7", 4711), "server": ("127.0.0.1", 8000), "root_path": ""},
        }

        self.taken = 0

        async def receive():
            sent = body[self.taken : self.taken + (part or len(body))]
            self.taken += len(sent)
            return {"type": "http.request", "body": sent, "more_body": self.taken < len(body)}

        async def send(message):
            if message["type"] == "http.response.start":
                self.status, self.headers = message["status"], dict(message["headers"])
                self.body = b""
            else:
                self.body += message.get("body", b"")

        self.loop.run_until_complete(self.site(scope, receive, send))

    def close(self):
        self.site.close()
        self.site._threads.shutdown()
        self.loop.close()


def dear(ask, requests, seconds):
    """Those of `requests` that cost more than so many seconds of CPU, at their best of three, or
    are answered as if the fault were ours."""
    allowed = seconds * MARGIN * machine()
    found = []
    for name, request in requests:
        best = min(cost_of(lambda _, r=request: ask(**r), "") for _ in range(1))
        for _ in range(2):
            if best > allowed:
                best = min(best, cost_of(lambda _, r=request: ask(**r), ""))
        if best > allowed:
            found.append(f"{name}: {best:.3f} s")
        if ask.status >= 500:
            found.append(f"{name}: {ask.status}")
    return found


def filled(frame, unit, size):
    return frame.replace("{}", unit * (size // len(unit))).encode("utf-8", "surrogatepass")
