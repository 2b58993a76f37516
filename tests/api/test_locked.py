"""What is only read waits for nobody's lock; what is noted beside it may be lost."""

import sqlite3
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest
import time_machine
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from tests.api.conftest import Api, problem
from tests.factories import AttemptFactory, DeliveryFactory, UserFactory, WebhookFactory
from webhooks_app.models import AccessToken, FailedAuthentication
from webhooks_app.models.statement_timeout import in_passing

pytestmark = pytest.mark.django_db(transaction=True)
WRONG = "whk_" + "x" * 43


@contextmanager
def locked(*models):
    """Another session holds all of SQLite against writing, or these tables' rows of PostgreSQL."""
    if connection.vendor == "sqlite":
        other = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
    else:
        # Whoever waits gives up in the end, so that the test fails and does not hang.
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '10s'")
        other = psycopg.connect(**connection.get_connection_params() | {"context": None})
        for model in models:
            other.execute(f"SELECT 1 FROM {model._meta.db_table} FOR UPDATE")
    try:
        yield
    finally:
        other.rollback()
        other.close()
        connection.close()


@pytest.fixture
def webhook(account):
    webhook = WebhookFactory(account=account)
    delivery = DeliveryFactory(webhook=webhook)
    AttemptFactory(webhook=webhook, delivery=delivery, kind="reset", message="socket hang up")
    return webhook


def test_every_get_of_the_api_is_answered(webhook, secret):
    ident, delivery = webhook.pk, webhook.deliveries.get().pk
    paths = [
        *("/webhooks", f"/webhooks/{ident}", f"/webhooks/{ident}/settings"),
        *(f"/webhooks/{ident}/deliveries", f"/webhooks/{ident}/errors"),
        *(f"/deliveries/{delivery}", f"/deliveries/{delivery}/attempts"),
    ]
    with locked(AccessToken):
        for path in paths:
            assert Api(secret).get(path).status_code == 200, path
    assert AccessToken.objects.get().last_used_at is None
    with time_machine.travel(timezone.now() + timedelta(minutes=2)):
        assert Api(secret).get("/webhooks").status_code == 200
    assert AccessToken.objects.get().last_used_at is not None


def test_what_could_not_be_noted_is_not_tried_again_for_a_minute(secret, django_assert_num_queries):
    with locked(AccessToken):
        Api(secret).get("/webhooks")
        with django_assert_num_queries(2):  # the token; the list
            Api(secret).get("/webhooks")


def test_a_wrong_token_is_refused_and_perhaps_not_counted(db, settings):
    settings.WEBHOOKS_FAILED_AUTHENTICATIONS = 2
    problem(Api(WRONG).get("/webhooks"), 401)
    with locked(FailedAuthentication):
        for _ in range(3):
            problem(Api(WRONG).get("/webhooks"), 401)
    assert FailedAuthentication.objects.get().count == 1
    problem(Api(WRONG).get("/webhooks"), 401)
    problem(Api(WRONG).get("/webhooks"), 429)


def test_the_pages_of_the_console_are_shown(client, webhook):
    client.force_login(UserFactory(is_superuser=True))
    pages = [
        *("admin:index", "admin:webhooks_app_webhook_changelist"),
        *("admin:webhooks_app_delivery_changelist", "admin:webhooks_app_webhook_add"),
    ]
    for known in ("supports_json_field", "has_json_object_function"):
        connection.features.__dict__.pop(known, None)  # as in a process that has just begun
    with locked(AccessToken):
        for name in pages:
            assert client.get(reverse(name)).status_code == 200, name
        page = reverse("admin:webhooks_app_webhook_change", args=[webhook.pk])
        assert client.get(page).status_code == 200


def test_a_session_of_the_browsable_api_is_answered(webhook):
    api = Api()
    api.client.force_login(UserFactory(is_superuser=True))
    with locked(AccessToken):
        assert api.get(f"/webhooks/{webhook.pk}").status_code == 200


def test_whoever_gave_up_waits_as_long_as_before_afterwards(secret):
    def setting():
        names = {"sqlite": "PRAGMA busy_timeout", "postgresql": "SHOW lock_timeout"}
        with connection.cursor() as cursor:
            cursor.execute(names[connection.vendor])
            return cursor.fetchone()

    before = setting()
    token = AccessToken.objects.all()
    assert in_passing(lambda: token.update(last_used_at=timezone.now()))
    assert setting() == before
    with locked(AccessToken):
        before = setting()
        assert not in_passing(lambda: token.update(last_used_at=None))
        assert setting() == before
    assert AccessToken.objects.get().last_used_at is not None


def test_a_database_that_only_reads_is_503(account, secret):
    """As PostgreSQL is while another server takes over."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no such state")
    api, webhook = Api(secret), WebhookFactory(account=account)
    path = f"/webhooks/{webhook.id}"
    api.get(path)  # the first use of a token is noted
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
        try:
            assert api.get(path).status_code == 200
            for response in (api.post(f"{path}/deliveries", {}), api.delete(path)):
                problem(response, 503)
                assert int(response["Retry-After"]) >= 1
        finally:
            cursor.execute("SET default_transaction_read_only = off")
