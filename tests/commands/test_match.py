"""`manage.py webhooks match`: who would get an event, and why others would not."""

import json

import pytest

from tests.commands.test_webhooks import both, run
from tests.factories import AccountFactory
from tests.test_events import subscribed
from webhooks_app.models import Event

pytestmark = pytest.mark.django_db


@pytest.fixture
def account():
    return AccountFactory(name="shop")


def test_each_webhook_is_told_with_its_verdict(account):
    gets = subscribed(account, "order.*", name="ERP")
    filtered = subscribed(account, "*", filter={"total": {"$gte": 100}}, name="Large ones")
    out, err = both("match", "shop", "order.paid", "--data", '{"total": 5}')
    assert f"matches         {gets.pk}  ERP: Subscription 1 covers it, by order.*." in out
    assert f"filtered        {filtered.pk}  Large ones: Its filter does not hold at" in out
    assert "1 webhook of 2 would get it." in err
    assert not Event.objects.exists()


def test_channels_count(account):
    subscribed(account, "*", channels=["eu"])
    assert json.loads(run("match", "shop", "a", "--json"))[0]["verdict"] == "not-subscribed"
    found = json.loads(run("match", "shop", "a", "--channel", "us", "--channel", "eu", "--json"))
    assert found[0]["verdict"] == "matches"


def test_more_webhooks_than_one_page_holds(account, monkeypatch):
    monkeypatch.setattr("webhooks_app.management.match.AT_ONCE", 2)
    for _ in range(5):
        subscribed(account, "*")
    assert len(json.loads(run("match", "shop", "a", "--json"))) == 5


@pytest.mark.parametrize(
    "arguments",
    [
        ("nobody", "a"),
        ("shop", "a..b"),
        ("shop", "a", "--data", "{"),
        ("shop", "a", "--channel", " "),
    ],
)
def test_what_cannot_be_asked_is_wrong_usage(account, arguments):
    both("match", *arguments, code=2)
