"""What a stranger without a token sends to the site costs it 10 ms at most, whatever it is."""

import asyncio
import json

import pytest
from django.middleware.csrf import CSRF_SECRET_LENGTH

from project.serving import Site
from tests.security.outside import MARGIN, UNITS, machine
from tests.security.outside import cost as cost_of
from webhooks_app.limits import BODY_LIMIT, HEAD_LIMIT

pytestmark = [pytest.mark.once, pytest.mark.django_db(transaction=True)]

ALLOWED = 0.010  # seconds of CPU for one request
HEADERS = (
    *("authorization", "cookie", "content-type", "accept", "accept-language", "accept-encoding"),
    *("host", "x-forwarded-for", "x-forwarded-proto", "origin", "referer", "range", "if-range"),
    *("if-none-match", "if-modified-since", "content-encoding", "transfer-encoding", "x-csrftoken"),
    *("content-length", "user-agent", "x-http-method-override", "idempotency-key", "forwarded"),
)
FRAMES = {
    "authorization": ("{}", "Bearer x{}y", "Basic {}"),
    "cookie": ('a="{}"', "{}", "sessionid={}", 'sessionid="{}"; csrftoken={}'),
    "content-type": ("application/json; {}", 'multipart/form-data; boundary="{}', "a/b; {}x=y"),
    "range": ("bytes={}",),
    "if-modified-since": ("Sun, 29 Nov {}", "{}"),
}
TOKEN = "c" * CSRF_SECRET_LENGTH


class Ask:
    """Sends one request to the site, in this process; remembers the answer."""

    def __init__(self) -> None:
        self.site = Site()
        self.loop = asyncio.new_event_loop()
        self.status, self.headers, self.body = 0, {}, b""

    def __call__(self, method="GET", path="/webhooks", query=b"", headers=(), body=b""):
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

        async def receive():
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message):
            if message["type"] == "http.response.start":
                self.status, self.headers = message["status"], dict(message["headers"])
                self.body = b""
            else:
                self.body += message.get("body", b"")

        self.loop.run_until_complete(self.site(scope, receive, send))

    def close(self):
        self.site.turns.close()
        self.site._threads.shutdown()
        self.loop.close()


@pytest.fixture
def ask(transactional_db):
    ask = Ask()
    for path in ("/webhooks", "/admin/login/", "/"):
        ask(path=path)  # what is read and built once
    yield ask
    ask.close()


def dear(ask, requests):
    """Those of `requests` that cost more than they may, at their best of three."""
    allowed = ALLOWED * MARGIN * machine()
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


def heads(size):
    for header in HEADERS:
        for frame in FRAMES.get(header, ("{}",)):
            for unit in UNITS:
                if "\n" in unit or "\r" in unit:
                    continue  # no server hands them on
                value = filled(frame, unit, size)
                yield f"{header}: {value[:30]!r}…", {"headers": [(header, value)]}


@pytest.mark.parametrize("path", ["/webhooks", "/admin/login/", "/static/project/site.css"])
def test_whatever_the_head(ask, path):
    tried = [(name, {"path": path, **head}) for name, head in heads(HEAD_LIMIT - 1024)]
    worst = [one for one in tried if one[0].startswith(("cookie", "content-type"))]
    assert dear(ask, worst + tried[::7]) == []


def test_whatever_the_query_and_the_path(ask):
    size = HEAD_LIMIT - 1024
    requests = []
    for unit in UNITS:
        text = filled("{}", unit, size)
        for path in ("/webhooks", "/admin/", "/", "/admin/login/"):
            requests.append((f"?{text[:30]!r} of {path}", {"path": path, "query": text}))
        plain = text.decode("utf-8", "replace")
        for path in ("/webhooks/", "/admin/", "/admin/webhooks_app/webhook/", "/"):
            requests.append((f"{path}{plain[:30]!r}", {"path": path + plain}))
    requests.append(("many parameters", {"query": b"&".join([b"a=1"] * 999)}))
    assert dear(ask, requests) == []


COOKIE = ("cookie", f"csrftoken={TOKEN}; sessionid={'s' * 32}".encode())
FORM = ("content-type", b"application/x-www-form-urlencoded")
PARTS = ("content-type", b"multipart/form-data; boundary=b")


def bodies(size):
    for unit in UNITS:
        text = filled("{}", unit, size)
        yield "form", [COOKIE, FORM], f"csrfmiddlewaretoken={TOKEN}&username=".encode() + text
        yield "form", [COOKIE, FORM], text
        part = b'--b\r\ncontent-disposition: form-data; name="username"\r\n\r\n'
        yield "parts", [COOKIE, PARTS], part + text + b"\r\n--b--\r\n"
        yield "parts", [COOKIE, PARTS], b"--b\r\ncontent-disposition: form-data; " + text
        yield "json", [COOKIE, ("content-type", b"application/json")], text
    many = b"--b\r\ncontent-disposition: form-data; name=a\r\n\r\n\r\n" * (size // 50)
    yield "many parts", [COOKIE, PARTS], many
    yield "many fields", [COOKIE, FORM], b"a&" * 999


@pytest.mark.parametrize("size", [15 * 1024, BODY_LIMIT - 1024])
def test_whatever_the_body(ask, size):
    requests = []
    for name, headers, body in bodies(size):
        for path in ("/admin/login/", "/webhooks", "/admin/webhooks_app/webhook/add/"):
            request = {"method": "POST", "path": path, "headers": headers, "body": body}
            requests.append((f"{name} {body[:40]!r} to {path}", request))
    assert dear(ask, requests if size < BODY_LIMIT / 2 else requests[::7]) == []


def test_a_form_of_a_stranger_is_as_large_as_a_log_in(ask):
    form = f"csrfmiddlewaretoken={TOKEN}&username=".encode() + b"x" * 17 * 1024
    ask("POST", "/admin/login/", headers=[COOKIE, FORM], body=form)
    assert ask.status == 413
    assert json.loads(ask.body)["status"]["code"] == 413
    ask("POST", "/webhooks", headers=[COOKIE, FORM], body=form)
    assert ask.status == 401  # the API judges its callers first
