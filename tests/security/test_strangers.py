"""What a stranger without a token sends to the site costs it 10 ms at most, whatever it is."""

import json

import pytest
from django.middleware.csrf import CSRF_SECRET_LENGTH

from tests.factories import AccountFactory
from tests.security.asking import Ask, dear, filled
from tests.security.outside import UNITS
from webhooks_app.limits import BODY_LIMIT, BULK_LIMIT, HEAD_LIMIT
from webhooks_app.models import AccessToken

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


OPEN = ("/", "/healthz", "/readyz", "/metrics", "/docs", "/schema", "/schema?format=yaml")


def test_whatever_page_is_open_to_anybody(ask):
    requests = []
    for page in OPEN:
        path, _, query = page.partition("?")
        ask(path=path, query=query.encode())  # what is made once
        requests.append((page, {"path": path, "query": query.encode()}))
    assert dear(ask, requests, ALLOWED / 2) == []


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


JSON = ("content-type", b"application/json")
NAMES = {
    "no token": [],
    "an unknown token": [("authorization", b"Bearer whk_" + b"x" * 43)],
    "an empty token": [("authorization", b"Bearer ")],
    "a session that is none": [COOKIE],
}
LARGE = b"[" + b" " * (BULK_LIMIT - 2) + b"]"
PATHS = ("/events/bulk", f"/webhooks/{'a' * 24}/deliveries/bulk")


def of_strangers(body, part):
    for name, headers in NAMES.items():
        for path in PATHS:
            given = {"headers": [*headers, JSON], "body": body, "part": part}
            yield f"{name} at {path}", {"method": "POST", "path": path, **given}


def test_of_a_large_body_only_the_beginning_is_taken(ask):
    for name, request in of_strangers(LARGE, 32 * 1024):
        ask(**request)
        assert (ask.status, ask.taken, ask.headers[b"Connection"]) == (401, 96 * 1024, b"close"), (
            name
        )


def test_a_body_in_many_small_parts_costs_no_more(ask):
    tried = list(of_strangers(LARGE[: 64 * 1024], 1))
    assert dear(ask, tried, ALLOWED) == []
    assert ask.taken < 100


def test_a_token_that_was_revoked_is_a_strangers(ask):
    token, secret = AccessToken.issue(AccountFactory())
    token.revoke()
    headers = [("authorization", f"Bearer {secret}".encode()), JSON]
    ask("POST", "/events/bulk", headers=headers, body=LARGE, part=32 * 1024)
    assert (ask.status, ask.taken) == (401, 96 * 1024)


def test_of_a_form_too(ask):
    form = f"csrfmiddlewaretoken={TOKEN}&username=".encode() + b"x" * 512 * 1024
    ask("POST", "/admin/login/", headers=[COOKIE, FORM], body=form, part=32 * 1024)
    assert (ask.status, ask.taken) == (413, 96 * 1024)


def test_who_is_known_is_heard_to_the_end(ask, client, admin_user):
    _, secret = AccessToken.issue(AccountFactory())
    client.force_login(admin_user)
    session = f"sessionid={client.cookies['sessionid'].value}".encode()
    for name, status in (("authorization", 400), ("cookie", 403)):
        value = f"Bearer {secret}".encode() if name == "authorization" else session
        headers = [(name, value), JSON]
        ask("POST", "/events/bulk", headers=headers, body=LARGE, part=32 * 1024)
        assert (ask.status, ask.taken) == (status, len(LARGE)), (name, ask.body)
        assert b"Connection" not in ask.headers
