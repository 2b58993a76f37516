"""/healthz, /readyz and /metrics: asked by load balancers, by address, and by whoever else."""

import logging

import pytest
from django.test import Client

from tests.api.conftest import Api, problem
from tests.factories import WebhookFactory
from webhooks_app import actions
from webhooks_app.rules import failures
from webhooks_app.testing import FakeReceiver

THREE = ("/healthz", "/readyz", "/metrics")


@pytest.fixture
def api(secret):
    return Api(secret)


@pytest.fixture
def open_metrics(settings):
    settings.WEBHOOKS_METRICS_TOKEN = "m" * 40


@pytest.mark.parametrize("method", ["get", "head"])
@pytest.mark.parametrize("path", THREE)
@pytest.mark.parametrize("host", ["10.1.2.3:8000", "evil.example", "[::1]", "no_host!", None])
def test_they_answer_whatever_the_host(db, open_metrics, path, host, method):
    client = Client(HTTP_AUTHORIZATION="Bearer " + "m" * 40)
    named = {} if host is None else {"HTTP_HOST": host}
    response = getattr(client, method)(path, SERVER_NAME="10.9.9.9", **named)
    assert response.status_code == 200
    assert bool(response.content) is (method == "get")


def test_other_addresses_answer_their_own_hosts_alone(client):
    assert client.get("/", HTTP_HOST="evil.example").status_code == 400
    assert client.get("/healthz/", HTTP_HOST="evil.example").status_code == 400


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete", "options"])
@pytest.mark.parametrize("path", [*THREE, "/", "/schema", "/docs"])
def test_no_other_method_is_a_page(db, path, method):
    client = Client(enforce_csrf_checks=True)
    response = getattr(client, method)(path, b"{}", content_type="application/json")
    assert problem(response, 405)
    assert response["Allow"] == "GET, HEAD"


def test_a_post_to_a_form_without_its_cookie_is_a_page_for_browsers_alone():
    client = Client(enforce_csrf_checks=True)
    assert problem(client.post("/admin/login/", {"username": "a"}), 403)
    page = client.post("/admin/login/", {"username": "a"}, HTTP_ACCEPT="text/html")
    assert page.status_code == 403
    assert page["Content-Type"].startswith("text/html")


@pytest.mark.parametrize(
    "answer", [503, b"no json", failures.Failure("timeout", "timeout of 10000ms exceeded")]
)
def test_the_failure_of_a_receiver_is_no_error_in_our_log(api, account, caplog, answer):
    webhook = WebhookFactory(account=account, verified_at="2026-01-01T00:00Z")
    caplog.set_level(logging.WARNING)
    with FakeReceiver(answer):
        response = api.post(f"/webhooks/{webhook.pk}/interactions", {})
    assert response.status_code in (502, 504)
    assert [record.getMessage() for record in caplog.records] == []


def test_an_error_of_ours_is_one(api, caplog, monkeypatch):
    def breaks(*args, **kwargs):
        raise RuntimeError("broke")

    monkeypatch.setattr(actions, "create_webhook", breaks)
    api.client.raise_request_exception = False
    sent = {"name": "n", "url": "https://receiver.example.com/"}
    assert api.post("/webhooks", sent).status_code == 500
    assert "ERROR" in {record.levelname for record in caplog.records}
