from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from tests.factories import AttemptFactory, DeliveryFactory, UserFactory, WebhookFactory


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


NOW = timezone.now()
REFUSED = {
    "last_error_at": NOW,
    "last_error_kind": "refused",
    "last_error_message": "connect ECONNREFUSED 93.184.216.34:443",
}


@pytest.fixture
def orders(account):
    """A failing webhook with secrets, a delivery and its failed attempt."""
    webhook = WebhookFactory(
        account=account,
        name="Orders",
        token="tok-Ämpel",
        auth_username="acme",
        auth_password="pass-Ämpel",
        headers=[("X-One", "val-Ämpel")],
        health=REFUSED | {"failures_in_row": 7, "failing_since": NOW - timedelta(hours=2)},
    )
    delivery = DeliveryFactory(webhook=webhook, type="order.created", reference="4711", tries=1)
    AttemptFactory(
        webhook=webhook,
        delivery=delivery,
        kind="http_500",
        status=500,
        message="Request failed with status code 500",
        answer="<script>alert('hostile')</script>",
        wait_ms=841,
    )
    return webhook
