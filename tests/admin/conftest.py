import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from tests.factories import UserFactory


def log_in(*codenames: str) -> Client:
    """A browser of a staff user who has just these permissions."""
    user = UserFactory()
    permissions = Permission.objects.filter(
        content_type__app_label="webhooks_app", codename__in=codenames
    )
    assert permissions.count() == len(codenames)
    user.user_permissions.set(permissions)
    client = Client()
    client.force_login(user)
    client.user = user
    return client


VIEW = [
    f"view_{model}"
    for model in ("webhook", "delivery", "attempt", "webhookerror", "account", "accesstoken")
]


@pytest.fixture
def viewer(db):
    return log_in(*VIEW)


@pytest.fixture
def operator(db):
    return log_in(*VIEW, "operate_webhook")


@pytest.fixture
def editor(db):
    """May change webhooks, may not reveal secrets."""
    return log_in(*VIEW, "add_webhook", "change_webhook")


@pytest.fixture
def boss(db):
    user = UserFactory(username="mira", is_superuser=True)
    client = Client()
    client.force_login(user)
    client.user = user
    return client
