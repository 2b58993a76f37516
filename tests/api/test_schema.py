"""The OpenAPI description, its pages, and the site's other answers; without any outside host."""

import re
import subprocess
import sys

import pytest
from django.db import connection
from django.test import Client

from tests.api.conftest import problem
from webhooks_app.api import docs, operations
from webhooks_app.models import Worker


@pytest.fixture
def description(client, db):
    return client.get("/schema").json()


def test_the_description_is_openapi_3_1_as_json_or_yaml(client, db):
    response = client.get("/schema")
    assert response["Content-Type"] == "application/json"
    assert response.json()["openapi"].startswith("3.1")
    yaml = client.get("/schema", HTTP_ACCEPT="application/vnd.oai.openapi")
    assert yaml.content.startswith(b"openapi: 3.1")


@pytest.mark.parametrize("asked", ["text/html", "image/png", "nonsense", ""])
def test_whoever_asks_for_something_else_gets_json(client, asked):
    response = client.get("/schema", HTTP_ACCEPT=asked)
    assert (response.status_code, response["Content-Type"]) == (200, "application/json")
    assert client.get("/schema?format=nonsense").status_code == 200


def test_it_describes_every_path_of_ours_once(description):
    webhook, delivery = "/webhooks/{id}", "/deliveries/{id}"
    assert {path: sorted(operations) for path, operations in description["paths"].items()} == {
        "/webhooks": ["get", "post"],
        webhook: ["delete", "get", "patch", "put"],
        f"{webhook}/settings": ["get", "patch"],
        f"{webhook}/secret": ["get"],
        f"{webhook}/secret/rotate": ["post"],
        f"{webhook}/secret/old": ["delete"],
        f"{webhook}/interactions": ["post"],
        f"{webhook}/deliveries": ["get", "post"],
        f"{webhook}/deliveries/bulk": ["post"],
        f"{webhook}/replay": ["post"],
        f"{webhook}/errors": ["get"],
        f"{webhook}/verify": ["post"],
        f"{webhook}/test": ["post"],
        f"{webhook}/close-breaker": ["post"],
        delivery: ["get"],
        f"{webhook}/subscriptions/test": ["post"],
        f"{delivery}/attempts": ["get"],
        f"{delivery}/retry": ["post"],
        f"{delivery}/cancel": ["post"],
        "/events": ["get", "post"],
        "/events/bulk": ["post"],
        "/events/{id}": ["delete", "get"],
        "/events/{id}/webhooks": ["get"],
        "/event-types": ["get", "post"],
        "/event-types/{id}": ["delete", "get", "patch", "put"],
    }


def test_every_operation_names_its_errors_in_the_envelope(description):
    for path, verbs in description["paths"].items():
        for verb, operation in verbs.items():
            answers = operation["responses"]
            assert {"400", "401", "403", "404", "429", "431", "503"} <= set(answers)
            takes = {"408", "411", "413", "415"}
            assert set(answers) & takes == (takes if "requestBody" in operation else set())
            conflicts = verb in ("put", "patch") or path.endswith(CONFLICTING)
            conflicts = (conflicts and verb != "get") or path.endswith("/secret")
            conflicts |= (verb, path) == ("delete", "/event-types/{id}")
            assert ("409" in answers) == conflicts, (path, verb)
            for code, answer in answers.items():
                if code >= "400":
                    schema = answer["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/ErrorEnvelope"}


CONFLICTING = (
    *("/interactions", "/deliveries", "/bulk", "/verify", "{id}/test", "/retry", "/cancel"),
)
CONFLICTING += ("/events", "/event-types")


def test_a_body_must_be_sent_but_where_nothing_needs_to_be(description):
    required = {
        (verb, path): operation["requestBody"]["required"]
        for path, operations in description["paths"].items()
        for verb, operation in operations.items()
        if "requestBody" in operation
    }
    optional = {where for where, must in required.items() if not must}
    assert optional == {("post", "/webhooks/{id}/verify"), ("post", "/webhooks/{id}/test")}
    assert ("put", "/webhooks/{id}") in required


def test_objects_have_the_named_fields_and_no_other_but_interactions(description):
    schemas = description["components"]["schemas"]
    shapes = {name for name, shape in schemas.items() if shape.get("type") == "object"}
    closed = {name for name in shapes if schemas[name].get("additionalProperties") is False}
    assert shapes - closed == {"InteractionWrite"}
    assert {"WebhookWrite", "WebhookPut", "AuthWrite", "HeaderWrite", "SettingsWrite"} <= closed
    assert {"id", "error"} <= set(schemas["WebhookPut"]["properties"])
    assert "id" not in schemas["WebhookWrite"]["properties"]


def test_parameters_say_what_they_may_be(description):
    def shape(path, verb, name):
        [found] = [
            each["schema"]
            for each in description["paths"][path][verb]["parameters"]
            if each["name"] == name and each["in"] in ("query", "header")
        ]
        return found

    by_id, by_number = {"type": "string", "pattern": "^[0-9a-f]{24}$"}, "^[0-9]{1,19}$"
    assert shape("/webhooks", "get", "after") == by_id
    assert shape("/webhooks/{id}/deliveries", "get", "after") == by_id
    for path in ("/webhooks/{id}/errors", "/deliveries/{id}/attempts"):
        assert shape(path, "get", "after")["pattern"] == by_number
    key = shape("/webhooks/{id}/deliveries", "post", "Idempotency-Key")
    assert key == {"type": "string", "minLength": 1, "maxLength": 255}


def test_generating_it_warns_of_nothing(db):
    from drf_spectacular.drainage import GENERATOR_STATS

    docs.description.cache_clear()
    GENERATOR_STATS.reset()
    docs.description()
    assert not GENERATOR_STATS, GENERATOR_STATS._warn_cache


def test_the_pages_need_no_outside_host_and_nothing_inline(client, db):
    page = client.get("/docs").content.decode()
    assert "<style" not in page
    assert "style=" not in page
    assert not re.search(r"<script(?![^>]*src=)", page)
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(addresses) == 6
    for address in addresses:
        assert address.startswith("/"), address
        response = client.get(address)
        assert response.status_code == 200, address
        b"".join(response.streaming_content) if response.streaming else response.content


def test_the_app_works_without_drf_spectacular():
    code = """
import sys
for name in ("drf_spectacular", "drf_spectacular.utils", "drf_spectacular_sidecar"):
    sys.modules[name] = None
import django
from django.conf import settings
settings.configure(
    SECRET_KEY="x" * 50,
    DEBUG=True,
    ROOT_URLCONF="webhooks_app.urls",
    ALLOWED_HOSTS=["*"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=["webhooks_app", "django.contrib.auth", "django.contrib.contenttypes"],
    USE_TZ=True,
)
django.setup()
from webhooks_app.api import schema
assert not schema.AVAILABLE
from django.test import Client
response = Client().get("/webhooks")
assert response.status_code == 401, response.content
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_healthz_asks_nothing(client):
    assert client.get("/healthz").json() == {"status": "ok"}


def test_readyz_tells_of_database_migrations_and_workers(client, db):
    assert client.get("/readyz").json() == {"status": "ok", "workers": 0, "workerAgeSeconds": None}
    Worker.objects.create(id="w", host="h", pid=1)
    body = client.get("/readyz").json()
    assert body["workers"] == 1
    assert body["workerAgeSeconds"] < 30


def test_readyz_is_503_before_migrations_and_without_a_database(client, db, monkeypatch):
    monkeypatch.setattr(operations, "_migrated", False)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'webhooks_app'")
    response = client.get("/readyz")
    assert (response.status_code, response.json()["status"]) == (
        503,
        "migrations are not applied",
    )


def test_what_the_site_does_not_know_is_json_for_clients_and_a_page_for_browsers(db):
    problem(Client().get("/nothing"), 404)
    page = Client().get("/nothing", HTTP_ACCEPT="text/html")
    assert page.status_code == 404
    assert page["Content-Type"].startswith("text/html")
    problem(Client().get("/webhooks", HTTP_HOST="evil.example.com"), 400)


def test_what_is_met_first_stands_first():
    tags = [tag["name"] for tag in docs.description()["tags"]]
    assert tags == ["webhooks", "deliveries", "events", "event-types"]
    assert tags[:2] == [tag["name"] for tag in docs.description(events=False)["tags"]]
