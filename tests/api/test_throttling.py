"""Limits: requests by token and address in the cache, wrong tokens by address in the database."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.core.cache import cache
from django.db import connections
from django.db.models import F

from tests.api.conftest import Api, problem
from tests.factories import UserFactory
from tests.processes import MANAGE
from tests.test_deployment import start
from webhooks_app.models import AccessToken, FailedAuthentication

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
WRONG = "whk_" + "x" * 43


@pytest.fixture(autouse=True)
def counts_of_our_own():
    cache.clear()
    yield
    cache.clear()


def test_requests_past_the_limit_of_a_token_are_429_until_the_minute_is_over(
    account, api, settings
):
    settings.WEBHOOKS_RATE_PER_TOKEN = 3
    other = Api(AccessToken.issue(account)[1])
    with time_machine.travel(NOON + timedelta(seconds=20), tick=False) as clock:
        assert [api.get("/webhooks").status_code for _ in range(4)] == [200, 200, 200, 429]
        refused = api.get("/webhooks")
        assert "3 requests a minute" in problem(refused, 429)["message"]
        assert refused["Retry-After"] == "40"
        assert other.get("/webhooks").status_code == 200
        clock.shift(40)
        assert api.get("/webhooks").status_code == 200


def test_requests_past_the_limit_of_an_address_are_429_with_any_token_or_none(
    account, api, anonymous, settings
):
    settings.WEBHOOKS_RATE_PER_ADDRESS = 2
    with time_machine.travel(NOON, tick=False):
        api.get("/webhooks")
        anonymous.get("/webhooks")
        for client in (api, anonymous, Api(AccessToken.issue(account)[1])):
            assert client.get("/webhooks")["Retry-After"] == "60"
        assert api.get("/webhooks", REMOTE_ADDR="198.51.100.7").status_code == 200


def test_a_session_counts_by_its_user(account, settings):
    settings.WEBHOOKS_RATE_PER_TOKEN = 1
    users = [UserFactory(is_superuser=True) for _ in range(2)]
    with time_machine.travel(NOON, tick=False):
        for user in users:
            api = Api()
            api.client.force_login(user)
            assert api.get("/webhooks").status_code == 200
            problem(api.get("/webhooks"), 429)


def test_zero_turns_every_limit_off(api, anonymous, settings):
    settings.WEBHOOKS_RATE_PER_TOKEN = settings.WEBHOOKS_RATE_PER_ADDRESS = 0
    settings.WEBHOOKS_FAILED_AUTHENTICATIONS = 0
    api.get("/webhooks")
    problem(Api(WRONG).get("/webhooks"), 401)
    assert not [name for name in cache._cache if "webhooks:rate" in name]
    assert not FailedAuthentication.objects.exists()


def test_a_request_writes_no_count_into_the_database(api, django_assert_num_queries):
    api.get("/webhooks")  # notes the use of the token, which is done once a minute
    with django_assert_num_queries(2):  # the token; the list
        api.get("/webhooks")


def test_an_ipv6_64_is_one_address(api, settings):
    settings.WEBHOOKS_RATE_PER_ADDRESS = 2
    with time_machine.travel(NOON, tick=False):
        statuses = [
            api.get("/webhooks", REMOTE_ADDR=f"2001:db8:1:2::{host}").status_code
            for host in range(3)
        ]
        assert statuses == [200, 200, 429]
        assert api.get("/webhooks", REMOTE_ADDR="2001:db8:1:3::1").status_code == 200


def test_forwarded_addresses_are_believed_as_far_as_configured(api, settings):
    settings.WEBHOOKS_RATE_PER_ADDRESS = 1
    with time_machine.travel(NOON, tick=False):
        statuses = [
            api.get("/webhooks", HTTP_X_FORWARDED_FOR=f"198.51.100.{n}").status_code
            for n in range(3)
        ]
        assert statuses == [200, 429, 429]
        settings.WEBHOOKS_TRUSTED_PROXIES = 1
        statuses = [
            api.get("/webhooks", HTTP_X_FORWARDED_FOR=f"{forged}, 198.51.100.9").status_code
            for forged in ("203.0.113.1", "203.0.113.2")
        ]
        assert statuses == [200, 429]


COUNT = """
from webhooks_app.api import throttling
try:
    throttling.count_caller("token:1")
    print("counted")
except throttling.Problem as problem:
    print(problem.status_code)
"""


@pytest.mark.once
def test_processes_that_share_a_cache_share_the_counts(tmp_path):
    shared = {"CACHE_URL": f"filecache://{tmp_path}", "WEBHOOKS_RATE_PER_TOKEN": "2"}
    said = []
    while "429\n" not in said and len(said) < 5:  # of which two may fall into another minute
        said.append(start(MANAGE[1], "shell", "-v", "0", "-c", COUNT, **shared).stdout)
    assert said[:2] == ["counted\n", "counted\n"]
    assert "429\n" in said


def test_a_cache_that_does_not_answer_limits_nobody(api, settings, monkeypatch, caplog):
    settings.WEBHOOKS_RATE_PER_TOKEN = 1

    def broken(*args, **kwargs):
        raise ConnectionError("redis://:password@cache is away")

    monkeypatch.setattr(type(cache._connections["default"]), "incr", broken)
    assert [api.get("/webhooks").status_code for _ in range(3)] == [200] * 3
    assert "ConnectionError" in caplog.text
    assert "password" not in caplog.text


# --- wrong tokens -----------------------------------------------------------------------------


def test_wrong_tokens_are_counted_in_the_database_and_refused_past_the_limit(api, settings):
    settings.WEBHOOKS_FAILED_AUTHENTICATIONS = 3
    wrong = Api(WRONG)
    for _ in range(3):
        problem(wrong.get("/webhooks"), 401)
    refused = wrong.get("/webhooks")
    assert "wrong access tokens" in problem(refused, 429)["message"]
    assert 800 < int(refused["Retry-After"]) <= 900
    row = FailedAuthentication.objects.get()
    assert (row.address, row.count) == ("127.0.0.1", 3)
    problem(wrong.get("/webhooks", REMOTE_ADDR="198.51.100.7"), 401)
    assert api.get("/webhooks").status_code == 200  # a neighbour with a good token
    FailedAuthentication.objects.update(since=row.since - timedelta(minutes=15))
    problem(wrong.get("/webhooks"), 401)


def test_old_failures_leave_the_table(db, settings):
    for host in range(5):
        problem(Api(WRONG).get("/webhooks", REMOTE_ADDR=f"198.51.100.{host}"), 401)
    FailedAuthentication.objects.update(since=F("since") - timedelta(minutes=16))
    problem(Api(WRONG).get("/webhooks"), 401)
    assert [row.address for row in FailedAuthentication.objects.all()] == ["127.0.0.1"]


def test_a_request_without_a_token_is_no_failed_authentication(anonymous):
    problem(anonymous.get("/webhooks"), 401)
    assert not FailedAuthentication.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_wrong_tokens_at_once_are_all_counted(settings):
    problem(Api(WRONG).get("/webhooks"), 401)

    def ask(_):
        try:
            return Api(WRONG).get("/webhooks").status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(ask, range(20))) == {401}
    assert FailedAuthentication.objects.get().count == 21
