"""What `manage.py check` says about the settings of a host project."""

import sys

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.core.management.base import CommandError, SystemCheckError

from tests.factories import DeliveryFactory, WebhookFactory
from webhooks_app import checks
from webhooks_app.models import Worker


@pytest.fixture
def database(settings, monkeypatch):
    """Gives the default database other settings."""

    def change(**changes):
        changed = settings.DATABASES["default"] | changes
        monkeypatch.setitem(settings.DATABASES, "default", changed)

    return change


def refused():
    with pytest.raises(SystemCheckError) as caught:
        call_command("check")
    return str(caught.value)


@pytest.mark.django_db
def test_the_settings_of_the_site_are_right():
    call_command("check")


def test_moments_without_a_time_zone_are_an_error(settings):
    settings.USE_TZ = False
    assert "(webhooks_app.E001) USE_TZ is False" in refused()


def test_a_sqlite_database_with_a_time_zone_of_its_own_is_an_error(database):
    database(ENGINE="django.db.backends.sqlite3", TIME_ZONE="Asia/Kolkata")
    said = refused()
    assert "(webhooks_app.E002) DATABASES['default']['TIME_ZONE'] is 'Asia/Kolkata'" in said
    assert "HINT: Leave TIME_ZONE out" in said


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_utc_is_none(database, zone):
    database(ENGINE="django.db.backends.sqlite3", TIME_ZONE=zone)
    call_command("check")


def test_postgresql_keeps_moments_by_itself(database):
    database(ENGINE="django.db.backends.postgresql", TIME_ZONE="Asia/Kolkata")
    call_command("check")


def found(**options):
    return {message.id: message for message in run_checks(**options)}


def test_every_setting_that_cannot_be_read_is_told_at_once(settings):
    settings.WEBHOOKS_TIMEOUT = "ten"
    settings.WEBHOOKS_CONCURRENCY = 0
    settings.WEBHOOKS_ENCRYPTION_KEYS = ["planted-secret"]
    said = refused()
    assert said.count("webhooks_app.E004") == 3
    assert "WEBHOOKS_TIMEOUT (seconds for a whole exchange) cannot be read" in said
    assert "WEBHOOKS_CONCURRENCY" in said
    assert "planted" not in said


def test_a_key_that_is_missing_is_told(settings):
    settings.WEBHOOKS_ENCRYPTION_KEYS = []
    assert "WEBHOOKS_ENCRYPTION_KEYS is not set" in refused()


def test_a_command_that_skips_the_checks_says_it_all_the_same(db, settings):
    webhook = WebhookFactory()
    settings.WEBHOOKS_RETRY_SCHEDULE = "soon"
    with pytest.raises(CommandError, match=r"WEBHOOKS_RETRY_SCHEDULE .* cannot be read") as caught:
        call_command("webhooks", "send", webhook.pk, skip_checks=True)
    assert caught.value.returncode == 2


@pytest.mark.parametrize(
    ("app", "code"),
    [
        ("rest_framework", "webhooks_app.W006"),
        ("django.contrib.admin", "webhooks_app.I001"),
        ("drf_spectacular_sidecar", "webhooks_app.W007"),
    ],
)
def test_an_app_that_is_missing_is_told(monkeypatch, app, code):
    assert code not in found()
    there = checks.apps.is_installed
    monkeypatch.setattr(checks.apps, "is_installed", lambda name: name != app and there(name))
    assert code in found()


def test_metrics_without_their_package_are_told(settings, monkeypatch):
    settings.WEBHOOKS_METRICS_TOKEN = "m" * 40
    assert "webhooks_app.W008" not in found()
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    assert "webhooks_app.W008" in found()


def test_transactions_of_two_databases_are_told(monkeypatch, settings):
    monkeypatch.setitem(settings.DATABASES, "hooks", settings.DATABASES["default"])
    assert "webhooks_app.I002" not in found()
    monkeypatch.setattr(checks, "_ours", lambda: "hooks")
    assert "webhooks_app.I002" in found()


def test_deliveries_that_wait_without_any_worker_are_told(db):
    assert "webhooks_app.W009" not in found(databases=["default"])
    DeliveryFactory()
    assert "webhooks_app.W009" in found(databases=["default"])
    Worker.objects.create(id="w", host="h", pid=1)
    assert "webhooks_app.W009" not in found(databases=["default"])


def test_a_sqlite_database_of_ours_that_does_not_write_ahead_is_shown_the_setting(
    db, database, monkeypatch
):
    database(ENGINE="django.db.backends.sqlite3", OPTIONS={})
    monkeypatch.setattr(checks, "_journal", lambda connection: "delete")
    said = found(databases=["default"])["webhooks_app.W003"]
    assert "does not begin transactions IMMEDIATE and does not write ahead (WAL)" in said.msg
    assert "PRAGMA journal_mode=WAL" in said.hint
    monkeypatch.setattr(checks, "_journal", lambda connection: "wal")
    assert "write ahead" not in found(databases=["default"])["webhooks_app.W003"].msg
