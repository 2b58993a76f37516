"""Bodies: strict UTF-8 JSON of at most 1 MiB, chunked or not."""

import asyncio
import http.client
import json
import socket

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient

from tests.api.conftest import DOCUMENTED, problem
from tests.factories import WebhookFactory
from tests.waiting import PATIENCE
from webhooks_app.models import Webhook

LIMIT = 1024 * 1024

NOT_STRICT = {
    "empty": b"",
    "not JSON": b"{",
    "two values": b"{} {}",
    "latin-1": '{"name": "é"}'.encode("latin-1"),
    "UTF-16": '{"name": "n"}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "NaN": b'{"name": NaN}',
    "Infinity": b'{"name": -Infinity}',
    "1e999": b'{"name": 1e999}',
    "duplicate keys": b'{"name": "a", "name": "b"}',
    "nested duplicate keys": b'{"auth": {"username": "a", "username": "b"}}',
    "NUL": b'{"name": "a\\u0000b"}',
    "raw NUL": b'{"name": "a\x00b"}',
    "NUL in a key": b'{"a\\u0000": 1}',
    "lone surrogate": b'{"name": "\\ud800"}',
    "65 levels": b"[" * 65 + b"]" * 65,
    "100,000 levels": b"[" * 100_000,
    "4,301 digits": b'{"name": ' + b"1" * 4301 + b"}",
}


@pytest.fixture
def webhook(account):
    return WebhookFactory(account=account)


@pytest.mark.parametrize("body", NOT_STRICT.values(), ids=NOT_STRICT)
def test_anything_but_strict_json_is_400(api, webhook, body):
    one = f"/webhooks/{webhook.id}"
    for method, path in (
        ("POST", "/webhooks"),
        ("PUT", one),
        ("PATCH", one),
        ("PATCH", f"{one}/settings"),
        ("POST", f"{one}/deliveries"),
        ("POST", f"{one}/deliveries/bulk"),
        ("POST", f"{one}/interactions"),
        ("POST", f"{one}/replay"),
    ):
        response = api.send(method, path, body, content_type="application/json")
        assert "JSON" in problem(response, 400)["message"]


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"5", b"null", b"true"])
def test_a_body_that_is_no_object_is_400(api, webhook, body):
    problem(api.post("/webhooks", body, content_type="application/json"), 400)
    path = f"/webhooks/{webhook.id}"
    problem(api.put(path, body, content_type="application/json"), 400)
    problem(api.post(f"{path}/interactions", body, content_type="application/json"), 400)


def test_64_levels_and_every_plane_of_unicode_are_fine(api, webhook):
    deep = b"[" * 64 + b"]" * 64
    path = f"/webhooks/{webhook.id}/deliveries"
    assert api.post(path, deep, content_type="application/json").status_code == 202
    pair = b'["\\ud83e\\udd80"]'
    assert api.post(path, pair, content_type="application/json").status_code == 202


@pytest.mark.parametrize(
    "content_type",
    [
        *("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"),
        *("application/jsonx", "application/json; charset=utf-16", ";", "\xff", "a" * 5000),
    ],
)
def test_another_content_type_is_415(api, webhook, content_type):
    for method, path in (("POST", "/webhooks"), ("PUT", f"/webhooks/{webhook.id}")):
        problem(api.send(method, path, DOCUMENTED, content_type=content_type), 415)


@pytest.mark.parametrize("content_type", ["Application/JSON", 'application/json; charset="UTF-8"'])
def test_json_may_say_its_charset(api, content_type):
    assert api.post("/webhooks", DOCUMENTED, content_type=content_type).status_code == 200


def test_an_encoded_body_is_415(api):
    problem(api.post("/webhooks", DOCUMENTED, HTTP_CONTENT_ENCODING="gzip"), 415)


def sized(size):
    return b'"' + b"x" * (size - 2) + b'"'


def test_1_mib_passes_and_one_byte_more_is_413(api, webhook):
    path = f"/webhooks/{webhook.id}/deliveries"
    body = sized(LIMIT)
    assert api.post(path, body, content_type="application/json").status_code == 202
    problem(api.post(path, body + b" ", content_type="application/json"), 413)
    problem(api.post("/webhooks", sized(LIMIT + 1), content_type="application/json"), 413)


def test_the_hosts_own_limits_do_not_shrink_ours(api, webhook, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    path = f"/webhooks/{webhook.id}/deliveries"
    assert api.post(path, sized(5000), content_type="application/json").status_code == 202


# --- chunked ----------------------------------------------------------------------------------


def chunked(live_server, path, secret, chunks):
    connection = http.client.HTTPConnection(
        live_server.thread.host, live_server.thread.port, timeout=PATIENCE
    )
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    connection.request("POST", path, iter(chunks), headers, encode_chunked=True)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, json.loads(body)


@pytest.mark.django_db(transaction=True)
def test_runserver_loses_chunked_bodies_so_it_is_411(live_server, secret):
    chunks = [json.dumps(DOCUMENTED).encode()]
    response, body = chunked(live_server, "/webhooks", secret, chunks)
    assert response.status == 411
    assert body["status"]["code"] == 411
    assert Webhook.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_a_server_that_ends_chunked_bodies_is_read(api, webhook):
    """As gunicorn does: no length, and `wsgi.input_terminated`."""
    import io

    path = f"/webhooks/{webhook.id}/deliveries"
    for body, status in ((sized(LIMIT), 202), (sized(LIMIT + 1), 413)):
        response = api.post(
            path,
            **{
                "content_type": "application/json",
                "HTTP_TRANSFER_ENCODING": "chunked",
                "CONTENT_LENGTH": "",
                "wsgi.input": io.BytesIO(body),
                "wsgi.input_terminated": True,
            },
        )
        assert response.status_code == status


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("size", "status"), [(LIMIT, 202), (LIMIT + 1, 413)])
def test_under_asgi_a_body_without_length_is_read(secret, webhook, size, status):
    async def post():
        return await AsyncClient().generic(
            "POST",
            f"/webhooks/{webhook.id}/deliveries",
            sized(size),
            content_type="application/json",
            headers={"Authorization": f"Bearer {secret}", "Transfer-Encoding": "chunked"},
            CONTENT_LENGTH="",
        )

    response = async_to_sync(post)()
    assert response.status_code == status, response.content


def play(application, chunks, headers=(), path="/schema"):
    """Send chunks to an ASGI application; returns (status, body, how many chunks it took)."""
    taken, sent = 0, []

    async def receive():
        nonlocal taken
        if taken == len(chunks):
            await asyncio.Event().wait()  # nothing more comes, the line stays open
        taken += 1
        more = taken < len(chunks)
        return {"type": "http.request", "body": chunks[taken - 1], "more_body": more}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"testserver"), *headers],
        "server": ("testserver", 80),
        "client": ("127.0.0.1", 1),
    }
    async_to_sync(application)(scope, receive, send)
    application.close()
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], body, taken


@pytest.mark.django_db(transaction=True)
def test_the_site_answers_413_before_reading_on(secret):
    from project.asgi import application

    declared = [(b"content-length", str(LIMIT + 1).encode())]
    status, body, taken = play(application, [b"x"] * 9, declared)
    assert (status, taken) == (413, 0)
    assert json.loads(body)["status"]["code"] == 413
    known = [(b"authorization", f"Bearer {secret}".encode())]
    status, body, taken = play(application, [b"x" * 300_000] * 9, known, "/webhooks")
    assert (status, taken) == (413, 4)
    assert json.loads(body)["status"]["code"] == 413


@pytest.mark.django_db(transaction=True)
def test_the_site_lets_1_mib_through():
    from project.asgi import application

    half = b"x" * (LIMIT // 2)
    assert play(application, [half, half])[0] == 405


@pytest.mark.django_db(transaction=True)
def test_the_site_waits_for_no_more_than_was_declared_but_for_the_end_of_chunks():
    from project.asgi import application

    declared = [(b"content-length", b"2")]
    assert play(application, [b"{", b"}", b""], declared)[::2] == (405, 2)
    chunked = [*declared, (b"transfer-encoding", b"chunked")]
    assert play(application, [b"{", b"}", b""], chunked)[::2] == (405, 3)
    assert play(application, [b"{", b"}", b""])[::2] == (405, 3)


@pytest.mark.django_db(transaction=True)
def test_a_client_that_leaves_amid_its_body_harms_nobody(live_server, api, secret):
    with socket.create_connection((live_server.thread.host, live_server.thread.port)) as line:
        line.sendall(
            b"POST /webhooks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer " + secret.encode() + b"\r\nContent-Length: 500\r\n\r\n{"
        )
    assert api.get("/webhooks").json() == []
