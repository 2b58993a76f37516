"""Log-ins of the console: ten that fail from an address, and it waits."""

import re

import pytest
from axes.models import AccessAttempt

from tests.factories import UserFactory

PASSWORD = "secret-of-the-tests"
PAGE = "/admin/login/?next=/admin/"


@pytest.fixture
def mira(db):
    return UserFactory(username="mira")


def log_in(client, password, username="mira", **extra):
    form = {"username": username, "password": password}
    extra.setdefault("HTTP_ACCEPT", "text/html")
    return client.post(PAGE, form, **extra)


def test_after_ten_failures_even_the_right_password_waits(client, mira):
    for n in range(9):
        assert log_in(client, f"wrong-{n}").status_code == 200
    locked = log_in(client, "wrong-9", username="somebody else")
    assert locked.status_code == 429
    assert locked["Retry-After"] == "900"
    text = re.sub(r"\s+", " ", locked.content.decode())
    assert "Too many log-ins failed from your address. Wait 15 minutes" in text
    assert log_in(client, PASSWORD).status_code == 429
    assert "_auth_user_id" not in client.session


def test_nobody_is_locked_out_by_a_stranger_elsewhere(client, mira):
    for n in range(12):
        log_in(client, f"wrong-{n}", REMOTE_ADDR="198.51.100.7")
    assert log_in(client, PASSWORD).status_code == 302


def test_a_forged_forwarded_address_does_not_help(client, mira):
    for n in range(10):
        last = log_in(client, "wrong", HTTP_X_FORWARDED_FOR=f"198.51.100.{n}")
    assert last.status_code == 429


def test_a_client_that_wants_no_page_gets_the_envelope(client, mira):
    for _ in range(10):
        last = log_in(client, "wrong", HTTP_ACCEPT="application/json")
    assert last.json()["status"]["code"] == 429


@pytest.mark.parametrize(
    "foreign",
    ["//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "///x"],
)
def test_a_log_in_leads_to_no_foreign_address(client, mira, foreign):
    form = {"username": "mira", "password": PASSWORD, "next": foreign}
    answer = client.post("/admin/login/", form, query_params={"next": foreign})
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")


def test_no_password_is_kept_of_a_failure(client, mira):
    log_in(client, "a-password-mistyped")
    assert AccessAttempt.objects.count() == 1
    assert "a-password-mistyped" not in str(AccessAttempt.objects.values())


@pytest.mark.parametrize("odd", ["\0", "é" * 300, "'; --", "x" * 5000])
def test_odd_user_names_are_no_server_error(client, db, odd):
    assert log_in(client, "x", username=odd).status_code == 200
