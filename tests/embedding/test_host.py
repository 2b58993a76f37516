"""What a host project includes, and what it is told when something is missing or wrong."""

import pytest

from tests import databases
from tests.embedding.host import Host

pytestmark = pytest.mark.once

URLS = """
from django.urls import include, path

urlpatterns = [
    path("hooks/", include("webhooks_app.urls")),
    path("hooks/", include("webhooks_app.urls_docs")),
    path("internal/", include("webhooks_app.urls_operations")),
]
"""
# A host with an API and a schema of its own; without the console.
SETTINGS = """
INSTALLED_APPS = ["webhooks_app", "django.contrib.auth", "django.contrib.contenttypes",
                  "django.contrib.sessions", "rest_framework", "drf_spectacular_sidecar"]
WEBHOOKS_METRICS_TOKEN = "m" * 40
LANGUAGE_CODE = "de"
REST_FRAMEWORK = {
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAdminUser"],
    "DEFAULT_VERSIONING_CLASS": "rest_framework.versioning.AcceptHeaderVersioning",
    "DEFAULT_THROTTLE_CLASSES": ["rest_framework.throttling.AnonRateThrottle"],
    "DEFAULT_THROTTLE_RATES": {"anon": "1/day"},
}
SPECTACULAR_SETTINGS = {"TITLE": "The shop", "SCHEMA_PATH_PREFIX": "/api", "VERSION": "7"}
"""
ASKED = """
secret = actions.issue_token(Account.objects.create(name="acme"))[1]
client = Client()
print(client.get("/internal/healthz").json(), client.get("/internal/readyz").status_code)
print(client.get("/internal/metrics").status_code)
told = client.get("/internal/metrics", headers={"authorization": "Bearer " + "m" * 40})
print(told.status_code, b"webhooks_oldest_due_seconds" in told.content)
for _ in range(2):
    described = client.get("/hooks/schema").json()
print(described["info"]["title"], sorted(described["paths"])[0], described["servers"])
page = client.get("/hooks/docs").content.decode()
print('data-schema="/hooks/schema"' in page)
seen = client.get("/hooks/webhooks", headers={"accept": "text/html"})
print(seen.status_code, "Documentation" in seen.content.decode())
print(client.get("/hooks/webhooks", headers={"authorization": f"Bearer {secret}"}).json())
from drf_spectacular.settings import spectacular_settings
print(spectacular_settings.TITLE)
"""


def test_a_host_includes_operations_and_docs_where_it_likes(tmp_path):
    host = Host(tmp_path, SETTINGS, {"host_urls.py": URLS})
    databases.new_file(tmp_path / "default.sqlite3")  # of the site, which has these tables too
    assert host.python(ASKED).splitlines() == [
        "{'status': 'ok'} 200",
        "401",
        "200 True",
        "Webhooks API /deliveries/{id} [{'url': '/hooks'}]",
        "True",
        "401 True",
        "[]",
        "The shop",
    ]


def test_a_setting_that_cannot_be_read_is_a_sentence_and_no_traceback(tmp_path):
    host = Host(tmp_path, 'WEBHOOKS_TIMEOUT = "ten"\nWEBHOOKS_REQUIRE_HTTPS = "perhaps"\n')
    said = host.refused("webhooks", "status")
    assert said.count("(webhooks_app.E004)") == 2
    assert "WEBHOOKS_TIMEOUT (seconds for a whole exchange) cannot be read" in said
    assert "Traceback" not in said
