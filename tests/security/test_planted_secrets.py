"""Ten secrets are planted and go through a whole life in real processes; then everything that the
site wrote, showed, logged and sent is searched for them."""

import base64
import json
import re
import secrets
import time
from urllib.parse import quote

import pytest
import requests
from cryptography.fernet import Fernet

from tests.certificates import authority_pem, identity
from tests.commands.conftest import site  # noqa: F401
from tests.ports import free_port
from tests.receivers import Answer, Receiver
from tests.waiting import PATIENCE

# What is stored, shown and logged is the same on both databases.
pytestmark = [pytest.mark.once, pytest.mark.slow]

METRICS = "metrics-of-the-test"
USER = """
from django.contrib.auth import get_user_model
get_user_model().objects.create_superuser("mira", "", {password!r})
"""
DUMP = """
from django.db import connection
with connection.cursor() as cursor:
    for table in connection.introspection.table_names():
        cursor.execute(f'SELECT * FROM "{table}"')
        for row in cursor.fetchall():
            print(table, [bytes(v) if isinstance(v, memoryview) else v for v in row])
"""


def echo(request, known=""):
    """A receiver that hands everything back that it was given, what it knows besides, and fails."""
    lines = [known, request.target, *(f"{name}: {value}" for name, value in request.headers)]
    return Answer(
        500, "\n".join(lines), (("X-Echo", request.target), ("Content-Type", "text/html"))
    )


def spellings(secret):
    raw = secret.encode()
    for text in (secret, f"mira:{secret}", f"user:{secret}", f"shop:{secret}"):
        yield base64.b64encode(text.encode()).decode().rstrip("=")
    yield from (secret, quote(secret, safe=""), json.dumps(secret)[1:-1], raw.hex())


def hits(planted, text):
    return [name for name, secret in planted.items() if any(s in text for s in spellings(secret))]


class Console:
    """A browser of a person: logs in by the form, as a browser does."""

    def __init__(self, origin, password):
        self.origin, self.session, self.seen = origin, requests.Session(), []
        self.get("/admin/login/")
        self.post("/admin/login/", username="mira", password=password, next="/admin/")

    def get(self, path):
        return self._saw(self.session.get(self.origin + path, timeout=30))

    def post(self, path, **data):
        data["csrfmiddlewaretoken"] = self.session.cookies.get("csrftoken", "")
        headers = {"Referer": self.origin + path}
        sent = self.session.post(self.origin + path, data=data, headers=headers, timeout=30)
        return self._saw(sent)

    def _saw(self, response):
        self.seen.append(response.text + str(response.headers) + str(self.session.cookies))
        assert response.status_code < 500
        return response


def test_ten_planted_secrets_are_nowhere_but_in_their_place(site):  # noqa: F811
    odd = "!?=&é"
    planted = {
        "token": f"tok{odd}{secrets.token_hex(12)}",
        "password": f"pass{odd}{secrets.token_hex(12)}",
        "value": f"val-{secrets.token_hex(12)}",
        "signing secret": base64.b64encode(secrets.token_bytes(33)).decode(),
        "encryption key": Fernet.generate_key().decode(),
        "user password": f"user{odd}{secrets.token_hex(12)}",
        "client secret": f"cs-{secrets.token_hex(12)}",
        "issued token": f"at-{secrets.token_hex(12)}",
        "private key": (pem := identity()).splitlines()[2],
    }
    site.environment |= {
        "WEBHOOKS_ENCRYPTION_KEYS": planted["encryption key"],
        "WEBHOOKS_METRICS_TOKEN": METRICS,
        "WEBHOOKS_METRICS_PORT": str(ports := free_port(2)),
        "LOG_FORMAT": "json",
        "ACCESS_LOG": "true",
        "WEBHOOKS_VERIFICATION": "required",
    }
    site.shell(USER.format(password=planted["user password"]))
    planted["access token"] = site.manage("webhooks", "create-token", "acme", "--create").strip()
    reader = site.manage("webhooks", "create-token", "acme", "--scope", "read").strip()

    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    served = ["--interface", "asginl", "--port", str(port), "project.asgi:application"]
    web = site.start_program("-m", "granian", *served, "--access-log")
    worker = site.start("webhooks", "deliver")
    said = []
    knows = f"SECRET=whsec_{planted['signing secret']}"
    issued = {"access_token": planted["issued token"], "expires_in": 3600}
    with (
        Receiver(answer=lambda request: echo(request, knows), challenge=True) as receiver,
        Receiver(answer=echo, challenge=True, tls="demanding") as locked,
        Receiver(issued) as server,
    ):
        api = requests.Session()
        api.headers["Authorization"] = f"Bearer {planted['access token']}"
        wait_for(lambda: requests.get(f"{origin}/healthz", timeout=5).ok)
        webhook = {
            "name": "Orders",
            "url": receiver.url,
            "token": planted["token"],
            "headers": [{"name": "X-Api-Key", "value": planted["value"]}],
            "auth": {"username": "user", "password": planted["password"]},
        }
        ident = api.post(f"{origin}/webhooks", json=webhook, timeout=30).json()["id"]
        address = f"{origin}/webhooks/{ident}"
        wait_for(lambda: api.get(f"{address}/settings", timeout=30).json()["verified"])
        doors = {
            "oauth": {
                "tokenUrl": server.url,
                "clientId": "shop",
                "clientSecret": planted["client secret"],
            },
            "identity": pem,
            "caCertificates": authority_pem(),
        }
        other = {"name": "Locked", "url": locked.url, "token": "", "headers": [], "auth": {}}
        behind = api.post(f"{origin}/webhooks", json=other, timeout=30).json()["id"]
        behind = f"{origin}/webhooks/{behind}"
        shown = api.patch(f"{behind}/settings", json=doors, timeout=30).text
        assert hits(planted, shown) == ["client secret"]  # its one place
        # The first challenge may have gone before the certificate was there.
        wait_for(lambda: api.post(f"{behind}/verify", timeout=30).json().get("ok"))
        for path in ("interactions", "deliveries", "verify", "test"):
            said.append(api.post(f"{behind}/{path}", json={"n": 1}, timeout=30).text)
        wait_for(lambda: len(api.get(f"{behind}/errors", timeout=30).json()) > 2)
        said.append(api.get(f"{behind}/errors", timeout=30).text)
        rotation = {"key": f"whsec_{planted['signing secret']}", "gracePeriodSeconds": 3600}
        api.post(f"{address}/secret/rotate", json=rotation, timeout=30)
        shown = api.get(f"{address}/secret", timeout=30).text
        assert hits(planted, shown) == ["signing secret"]  # its one place
        for path in ("interactions", "deliveries", "verify", "test", "close-breaker"):
            said.append(api.post(f"{address}/{path}", json={"n": 1}, timeout=30).text)
        bulk = {"deliveries": [{"payload": {"n": n}} for n in range(3)]}
        said.append(api.post(f"{address}/deliveries/bulk", json=bulk, timeout=30).text)
        subscription = {"subscriptions": [{"types": ["*"]}], "form": "cloudevents"}
        said.append(api.patch(f"{address}/settings", json=subscription, timeout=30).text)
        event = {"type": "order.created", "payload": {"n": 1}}
        published = api.post(f"{origin}/events", json=event, timeout=30)
        catalogue = {"name": "order.created", "example": {"n": 1}}
        said += [
            published.text,
            api.post(f"{origin}/events/bulk", json={"events": [event]}, timeout=30).text,
            api.post(f"{origin}/event-types", json=catalogue, timeout=30).text,
        ]
        published = published.json()["id"]
        tried = {"eventId": published}
        said.append(api.post(f"{address}/subscriptions/test", json=tried, timeout=30).text)
        of_events = ("events", f"events/{published}", f"events/{published}/webhooks")
        of_events += ("event-types", "event-types/order.created")
        said += [api.get(f"{origin}/{path}", timeout=30).text for path in of_events]
        failed = {"state": "failed"}
        wait_for(lambda: api.get(f"{address}/deliveries", params=failed, timeout=30).json())
        for path in ("settings", "deliveries", "errors"):
            said.append(api.get(f"{address}/{path}", timeout=30).text)
        delivery = api.get(f"{address}/deliveries", timeout=30).json()[0]["id"]
        said.append(api.get(f"{origin}/deliveries/{delivery}/attempts", timeout=30).text)
        shown = api.get(address, timeout=30).text
        assert set(hits(planted, shown)) == {"token", "password", "value"}  # their one place

        api.headers["Authorization"] = f"Bearer {reader}"
        for path in ("", "/settings", "/secret", "/deliveries", "/errors"):
            said.append(api.get(address + path, timeout=30).text)
            said.append(api.get(behind + path, timeout=30).text)
        said.append(api.put(address, json=webhook, timeout=30).text)
        said.append(api.post(f"{address}/secret/rotate", json=rotation, timeout=30).text)
        api.headers["Authorization"] = f"Bearer {METRICS}"
        metrics = api.get(f"{origin}/metrics", timeout=30)
        assert "webhooks_attempts_total" in metrics.text
        said.append(metrics.text)
        for own in (ports, ports + 1):  # of the web process and of the worker
            metrics = api.get(f"http://127.0.0.1:{own}/metrics", timeout=30)
            assert "webhooks_attempt_seconds_bucket" in metrics.text
            said.append(metrics.text + str(metrics.headers))

        console = Console(origin, planted["user password"])
        assert "Webhooks" in console.get("/admin/").text
        models = re.findall(r"/admin/webhooks_app/(\w+)/\"", console.seen[-1])
        assert "auditentry" in models
        rows = {"webhook": ident, "delivery": delivery}
        for model in sorted(set(models)):
            place = f"/admin/webhooks_app/{model}"
            page = console.get(f"{place}/?created=any").text
            console.post(f"{place}/export/?created=any")
            found = re.findall(rf"{place}/([0-9a-f]+)/change", page)
            for row in {rows.get(model, ""), *found[:3]} - {""}:
                console.get(f"{place}/{row}/change/")
                console.get(f"{place}/{row}/history/")
        for form in ("page", "json", "text"):
            console.post(f"/admin/webhooks_app/delivery/{delivery}/record/", **{"as": form})
        page = f"/admin/webhooks_app/webhook/{ident}"
        for verb in ("verify", "pause", "enable", "clear-error"):
            console.post(f"{page}/{verb}/", note="x")
        console.post(f"{page}/change/", name="", url="http://localhost/")
        assert console.get(f"/admin/webhooks_app/webhook/?q={quote(planted['token'])}").ok
        del console.seen[-1]  # what was typed into the search comes back to whoever typed it
        own = f"whsec_{planted['signing secret']}"
        console.post(f"{page}/rotate-secret/", grace="3600", key=own)  # it is the present one
        browsed = [f"/webhooks/{ident}{p}" for p in ("", "/secret", "/errors", "/settings")]
        for browse in ("/webhooks", *browsed, *(f"/{path}" for path in of_events)):
            console.session.headers["Accept"] = "text/html"
            assert "<html" in console.get(browse).text

    site.manage("webhooks", "explain", delivery)
    said += [site.manage("webhooks", *verb) for verb in (("explain", ident), ("status",))]
    database = "\n".join(site.shell(DUMP))
    assert ident in database
    files = b"".join(file.read_bytes() for file in site.folder.glob("*.sqlite3*"))
    for process in (web, worker):
        process.terminate()
    logs = web.communicate(timeout=PATIENCE)[0] + worker.communicate(timeout=PATIENCE)[0]
    assert '"path": "/webhooks"' in logs

    assert hits(planted, database) == []
    assert hits(planted, files.decode("latin-1")) == []
    assert hits(planted, logs) == []
    assert hits(planted, "\n".join(said)) == []
    assert hits(planted, "\n".join(console.seen)) == []
    assert len(console.seen) > 25

    # And what went out: each where it belongs, once.
    assert len(receiver.requests) >= 5
    for request in receiver.requests:
        query = request.target.partition("?")[2]
        assert request.query["token"] == [planted["token"]]
        headers = {name: value for name, value in request.headers if name != "X-Api-Key"}
        authorization = headers.pop("Authorization")
        pair = f"user:{planted['password']}".encode()
        assert base64.b64decode(authorization.removeprefix("Basic ")) == pair
        assert request.header("X-Api-Key") == planted["value"]
        assert hits(planted, str(headers) + request.body.decode()) == []
        assert hits(planted, request.target) == hits(planted, query) == ["token"]
        assert request.target.count(quote(planted["token"], safe="")) == 1
    assert len(locked.requests) >= 4
    for request in locked.requests:
        headers = dict(request.headers)
        assert headers.pop("Authorization") == f"Bearer {planted['issued token']}"
        assert hits(planted, request.target + str(headers) + request.body.decode()) == []
    for request in server.requests:
        headers = dict(request.headers)
        pair = base64.b64decode(headers.pop("Authorization").removeprefix("Basic "))
        assert pair.decode() == f"shop:{planted['client secret']}"
        assert hits(planted, request.target + str(headers) + request.body.decode()) == []


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if condition():
                return
        except requests.RequestException:
            pass
        time.sleep(0.2)
    raise AssertionError("it did not come")
