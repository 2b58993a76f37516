"""What a stranger without a token sends to the site costs it 10 ms at most, whatever it is."""

import json

import pytest
from django.middleware.csrf import CSRF_SECRET_LENGTH

from tests.security.asking import Ask, dear, filled
from tests.security.outside import UNITS
from webhooks_app.limits import BODY_LIMIT, HEAD_LIMIT

pytestmark = [pytest.mark.once, pytest.mark.slow, pytest.mark.django_db(transaction=True)]

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


@pytest.fixture
def ask(transactional_db):
    ask = Ask()
    for path in ("/webhooks", "/admin/login/", "/"):
        ask(path=path)  # what is read and built once
    yield ask
    ask.close()


def heads(size):
    for header in HEADERS:
        for frame in FRAMES.get(header, ("{}",)):
            for unit in UNITS:
                if "\n" in unit or "\r" in unit:
                    continue  # no server hands them on
                value = filled(frame, unit, size)
                yield f"{header}: {value[:30]!r}…", {"headers": [(header, value)]}


@pytest.mark.parametrize("path", ["/webhooks", "/admin/login/", "/static/webhooks_app/face.css"])
def test_whatever_the_head(ask, path):
    tried = [(name, {"path": path, **head}) for name, head in heads(HEAD_LIMIT - 1024)]
    worst = [one for one in tried if one[0].startswith(("cookie", "content-type"))]
    assert dear(ask, worst[::2] + tried[::15], ALLOWED) == []


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
    assert dear(ask, requests, ALLOWED) == []


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
    assert dear(ask, requests[::3] if size < BODY_LIMIT / 2 else requests[::14], ALLOWED) == []


def test_a_form_of_a_stranger_is_as_large_as_a_log_in(ask):
    form = f"csrfmiddlewaretoken={TOKEN}&username=".encode() + b"x" * 17 * 1024
    ask("POST", "/admin/login/", headers=[COOKIE, FORM], body=form)
    assert ask.status == 413
    assert json.loads(ask.body)["status"]["code"] == 413
    ask("POST", "/webhooks", headers=[COOKIE, FORM], body=form)
    assert ask.status == 401  # the API judges its callers first
