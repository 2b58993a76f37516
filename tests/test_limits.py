"""Heads that no application of ours is given: under ASGI and WSGI, in the site and in a host."""

import asyncio
import encodings
import json
from wsgiref.util import setup_testing_defaults

import pytest
from django.core.checks import run_checks

from project import bodies, serving
from webhooks_app import checks
from webhooks_app.limits import HEAD_LIMIT, ASGIHeadLimit, WSGIHeadLimit

pytestmark = pytest.mark.once

SERVED = (200, {})


def by_asgi(path="/", query="", **headers):
    """What an ASGI server gets from a wrapped application: status, and the JSON of the answer."""
    sent = []

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def send(message):
        sent.append(message)

    pairs = [(name.encode().replace(b"_", b"-"), text.encode()) for name, text in headers.items()]
    scope = {"type": "http", "path": path, "query_string": query.encode(), "headers": pairs}
    asyncio.run(ASGIHeadLimit(application)(scope, None, send))
    return sent[0]["status"], json.loads(sent[1]["body"])


def by_wsgi(path="/", query="", **headers):
    said = []

    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"{}"]

    environ = {"PATH_INFO": path, "QUERY_STRING": query}
    for name, text in headers.items():
        key = name.upper()
        environ[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = text
    setup_testing_defaults(environ)
    parts = WSGIHeadLimit(application)(environ, lambda status, _: said.append(status))
    return int(said[0][:3]), json.loads(b"".join(parts))


SERVERS = pytest.mark.parametrize("serve", [by_asgi, by_wsgi])

TOO_LARGE = {
    "one header": {"x_long": "x" * HEAD_LIMIT},
    "many headers": {f"x_{number}": "x" * 100 for number in range(160)},
    "a path": {"path": "/" + "x" * HEAD_LIMIT},
    "a query": {"query": "x" * HEAD_LIMIT},
    "a content type": {"content_type": "application/json; " + ";" * 400},
}
UNREADABLE = {
    "parameters": {"query": "a&" * 1001},
    "quoting in cookies": {"cookie": 'a="' + "\\" * 100 + '"'},
    "a hidden NUL in a cookie": {"cookie": 'sessionid="\\000aaaaaaaaa"'},
}


@SERVERS
@pytest.mark.parametrize("shape", TOO_LARGE)
def test_a_head_that_is_too_large_is_431_in_the_envelope(serve, shape):
    status, body = serve(**TOO_LARGE[shape])
    assert status == body["status"]["code"] == 431
    assert body["status"]["type"] == "error"


@SERVERS
@pytest.mark.parametrize("shape", UNREADABLE)
def test_a_head_that_django_reads_in_quadratic_time_or_not_at_all_is_400(serve, shape):
    status, body = serve(**UNREADABLE[shape])
    assert status == body["status"]["code"] == 400


UNREADABLE_TYPES = [
    "x*=undefined''%41",
    "x*=%00''y",
    "x*=\xff''y",
    "charset*=utf-8''%00",
    "charset=undefined",
    "charset=zlib",
    "charset=rot13",
    "charset=idna",
    "charset=\0",
    "charset=é",
    "charset=utf-8,text/html;charset=hex",
    f"charset={'x' * 100}",
]


@SERVERS
@pytest.mark.parametrize("media", ["application/json", "multipart/form-data; boundary=b"])
@pytest.mark.parametrize("parameter", UNREADABLE_TYPES)
def test_a_content_type_that_django_fails_on_is_415_before_it(serve, media, parameter):
    status, body = serve(content_type=f"{media}; {parameter}")
    assert status == body["status"]["code"] == 415


@SERVERS
@pytest.mark.parametrize(
    "charset", ["utf-8", '"UTF-8"', "utf8", "latin-1", "iso-8859-15", "utf-16"]
)
def test_a_charset_that_reads_text_passes(serve, charset):
    assert serve(content_type=f"application/json;charset={charset}") == SERVED


def test_the_names_of_codecs_that_strangers_make_up_are_not_kept():
    before = len(encodings._cache)
    for number in range(100):
        assert by_asgi(content_type=f"text/plain; charset=made-up-{number}")[0] == 415
    assert len(encodings._cache) <= before + 1


@SERVERS
def test_an_ordinary_head_passes(serve):
    headers = {f"x_{number}": "x" * 100 for number in range(100)}
    cookie = 'a="b\\"c"; sessionid=0123456789'
    assert serve("/webhooks", "a=1&b=2", cookie=cookie, **headers) == SERVED
    boundary = "-" * 70
    assert serve(content_type=f"multipart/form-data; boundary={boundary}") == SERVED


def test_what_is_no_request_is_handed_on():
    seen = []

    async def application(scope, receive, send):
        seen.append(scope["type"])

    asyncio.run(ASGIHeadLimit(application)({"type": "lifespan"}, None, None))
    assert seen == ["lifespan"]


# --- a body that does not come ------------------------------------------------------------------


def test_a_body_that_does_not_end_is_408_however_often_a_part_of_it_comes(monkeypatch):
    monkeypatch.setattr(bodies, "TIMEOUT", 0.2)
    sent, parts = [], []

    async def receive():
        await asyncio.sleep(0.01)
        parts.append(b"x")
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/webhooks", "headers": []}
    scope |= {"query_string": b""}
    asyncio.run(serving.Site()(scope, receive, send))
    assert parts
    assert sent[0]["status"] == json.loads(sent[1]["body"])["status"]["code"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]


def test_a_websocket_is_refused_and_any_other_scope_let_be():
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    site = serving.Site()
    asyncio.run(site({"type": "websocket", "path": "/", "headers": []}, receive, send))
    asyncio.run(site({"type": "lifespan"}, receive, send))
    asyncio.run(site({"type": "of the future"}, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1000}]


# --- what a host is told ------------------------------------------------------------------------


class Unwrapped:
    """An application as Django makes it."""


unwrapped = Unwrapped()
wrapped = WSGIHeadLimit(unwrapped)


def warnings(settings, **applications):
    for name in ("ASGI_APPLICATION", "WSGI_APPLICATION"):
        setattr(settings, name, applications.get(name))
    return [m for m in run_checks(include_deployment_checks=True) if m.id == checks.HEADS]


def test_a_host_that_does_not_limit_heads_is_told_what_must_stand_in_front(settings):
    (warning,) = warnings(settings, WSGI_APPLICATION="tests.test_limits.unwrapped")
    assert "WSGI_APPLICATION" in warning.msg
    assert "16 KiB" in warning.hint
    (warning,) = warnings(settings)
    assert "WSGIHeadLimit" in warning.hint
    settings.SILENCED_SYSTEM_CHECKS = [checks.HEADS]
    assert warning.is_silenced()


def test_one_that_cannot_be_loaded_is_none_that_is_seen(settings):
    assert warnings(settings, ASGI_APPLICATION="tests.test_limits.nothing")


def test_a_host_that_limits_them_is_told_nothing(settings):
    assert warnings(settings, WSGI_APPLICATION="tests.test_limits.wrapped") == []


def test_the_site_limits_them(settings):
    asgi, wsgi = "project.asgi.application", "project.wsgi.application"
    assert warnings(settings, ASGI_APPLICATION=asgi, WSGI_APPLICATION=wsgi) == []
