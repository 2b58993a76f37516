"""What `manage.py check` says about the settings of a host project."""

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError


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
