"""The order of lists: in the address, over all pages, of no more rows than are said."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.admin.pages import text_of, url
from tests.factories import AttemptFactory, DeliveryFactory, HourlyCountFactory, WebhookFactory
from webhooks_app.admin import changelist
from webhooks_app.models import Webhook

NOW = timezone.now()


def names(response):
    """The names of the webhooks in the order they are shown."""
    return [row.name for row in response.context_data["cl"].result_list]


@pytest.fixture
def four(account):
    """Webhooks whose names tell nothing of how they do."""
    made = {
        name: WebhookFactory(account=account, name=name, health=health)
        for name, health in (
            ("delta", {"failures_in_row": 9, "failing_since": NOW - timedelta(hours=1)}),
            ("alpha", {"failures_in_row": 9, "failing_since": NOW - timedelta(hours=5)}),
            ("Bravo", {"last_error_at": NOW, "last_error_kind": "timeout"}),
            ("charlie", {}),
        )
    }
    HourlyCountFactory(webhook=made["delta"], delivered=99, failed=1, ms_50=100)
    HourlyCountFactory(webhook=made["alpha"], delivered=1, failed=1, ms_5000=2)
    HourlyCountFactory(webhook=made["Bravo"], delivered=5, failed=0, slower=5)
    DeliveryFactory.create_batch(3, webhook=made["charlie"])
    DeliveryFactory(webhook=made["delta"])
    return made


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        ("", ["charlie", "Bravo", "alpha", "delta"]),
        ("oldest", ["delta", "alpha", "Bravo", "charlie"]),
        ("name", ["alpha", "Bravo", "charlie", "delta"]),
        ("failing", ["alpha", "delta"]),
        ("success", ["alpha", "delta", "Bravo", "charlie"]),
        ("slowest", ["Bravo", "alpha", "delta", "charlie"]),
        ("error", ["Bravo"]),
        ("waiting", ["charlie", "delta"]),
        ("nonsense", ["charlie"]),
    ],
)
def test_webhooks_stand_in_the_order_that_the_address_names(boss, four, sort, first):
    response = boss.get(url("webhook"), {"sort": sort} if sort else {})
    assert names(response)[: len(first)] == first


def test_a_head_asks_for_its_order_and_gives_it_back(boss, four):
    text = text_of(boss.get(url("webhook")))
    assert 'href="?sort=waiting"' in text
    assert "aria-sort" not in text
    text = text_of(boss.get(url("webhook") + "?sort=waiting&state=idle"))
    assert 'aria-sort="descending"' in text
    assert 'href="?state=idle"' in text


def test_a_sorted_list_goes_on_where_its_page_ended(boss, account):
    for number in range(60):
        WebhookFactory(account=account, name=f"number {number % 7} {number:02}")
    first = boss.get(url("webhook") + "?sort=name")
    assert "50 shown, more below" in text_of(first)
    second = boss.get(url("webhook") + "?sort=name&before=n50")
    assert "10 shown" in text_of(second)
    assert "before=n50" in text_of(first)
    assert names(first) + names(second) == sorted(names(first) + names(second))
    assert "Nothing" in text_of(boss.get(url("webhook") + "?sort=name&before=n99999"))


def test_of_very_many_the_newest_are_sorted_and_the_list_says_so(boss, account, monkeypatch):
    monkeypatch.setattr(changelist, "SORTED", 5)
    for letter in "abcdefg":
        WebhookFactory(account=account, name=f"shop {letter}")
    response = boss.get(url("webhook") + "?sort=name")
    assert [name[-1] for name in names(response)] == list("cdefg")
    assert "Only the newest" in text_of(response)
    filtered = boss.get(url("webhook") + "?sort=name&q=shop+a")
    assert "Only the newest" not in text_of(filtered)


def test_by_their_calls_fewer_are_sorted_since_each_has_hours_of_its_own(boss, account):
    made = [
        Webhook(account=account, name=f"shop {n}", url="https://a.example/") for n in range(301)
    ]
    Webhook.objects.bulk_create(made)
    oldest, *_, newest = sorted(made, key=lambda webhook: webhook.pk)
    HourlyCountFactory(webhook=oldest, delivered=0, failed=1)
    HourlyCountFactory(webhook=newest, delivered=1, failed=1)
    response = boss.get(url("webhook") + "?sort=success")
    assert names(response)[0] == newest.name
    assert oldest.name not in names(response)
    text = text_of(response)
    assert "Only the newest 300 of this list are sorted" in text
    assert "Only the newest" not in text_of(boss.get(url("webhook") + "?sort=name"))


@pytest.mark.parametrize("sort", ["oldest", "webhook", "type", "tries", "next"])
def test_deliveries_and_their_filters_go_with_every_order(boss, account, sort):
    webhook = WebhookFactory(account=account)
    for tries in (1, 3, 2):
        DeliveryFactory(webhook=webhook, tries=tries, type=f"t{tries}")
    for words in ({}, {"state": "retrying"}, {"webhook": webhook.pk}, {"kind": "timeout"}):
        response = boss.get(url("delivery"), {"sort": sort, **words})
        found = [row.tries for row in response.context_data["cl"].result_list]
        assert sorted(found) == ([] if "kind" in words else [1, 2, 3])
        if found and sort == "tries":
            assert found == [3, 2, 1]


def test_the_slowest_attempts_come_first(boss, account):
    webhook = WebhookFactory(account=account)
    for duration in (5, 900, 40):
        AttemptFactory(webhook=webhook, duration_ms=duration)
    rows = boss.get(url("attempt") + "?sort=slowest").context_data["cl"].result_list
    assert [row.duration_ms for row in rows] == [900, 40, 5]


def test_a_sorted_page_costs_no_more_than_twelve_queries(boss, four, django_assert_max_num_queries):
    for sort in ("name", "success", "slowest", "waiting", "failing"):
        with django_assert_max_num_queries(12):
            boss.get(url("webhook") + f"?sort={sort}")
