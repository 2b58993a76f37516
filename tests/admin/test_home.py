"""The home page: what it says, and that every number leads to the rows it counts."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from django.contrib import admin
from django.utils import timezone

from tests.admin.conftest import log_in
from tests.admin.pages import text_of, url
from tests.factories import (
    AccountFactory,
    AttemptFactory,
    DeliveryFactory,
    HourlyCountFactory,
    WebhookFactory,
    WorkerFactory,
)
from webhooks_app.presentation import charts

HOME = "/admin/"


def now():
    return timezone.now()


def called(webhook, *, ago=timedelta(0), delivered=0, failed=0, kind="http_500"):
    """Attempts of a webhook and what the engine counts of them."""
    at = now() - ago
    for number in range(delivered + failed):
        fails = {"kind": kind, "status": 500} if number < failed else {"status": 200}
        AttemptFactory(webhook=webhook, ended_at=at, **fails)
    HourlyCountFactory(webhook=webhook, at=at, delivered=delivered, failed=failed, ms_100=delivered)


def plain(html):
    words = re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html)))
    return re.sub(r" ([.,;])", r"\1", words)


def links(html):
    """Words of each link and where it leads."""
    found = re.findall(r'<a [^>]*href="([^"]+)"[^>]*>(.*?)</a>', html, re.S)
    return {plain(words).strip(): unescape(place) for place, words in found}


def shown(client, place):
    """How many rows a list holds."""
    text = text_of(client.get(place))
    found = re.search(r"(\d+) shown", text)
    assert "more below" not in text
    return int(found[1]) if found else 0


@pytest.fixture
def worker(db):
    return WorkerFactory(in_flight=3)


class TestVerdict:
    def says(self, client):
        text = text_of(client.get(HOME))
        return plain(text[text.index('id="verdict"') :].split("</section>")[0])

    def test_no_webhooks(self, boss, viewer):
        assert "No webhooks yet" in self.says(boss)
        assert "Add webhook" in text_of(boss.get(HOME))
        assert "webhook/add/" not in text_of(viewer.get(HOME))

    def test_all_work(self, viewer, account):
        for _ in range(2):
            WebhookFactory(account=account, health={"last_success_at": now()})
        assert "All 2 webhooks with calls work" in self.says(viewer)
        assert "Our side keeps up." in self.says(viewer)
        assert "Needs attention" not in text_of(viewer.get(HOME))

    def test_the_failing_come_first_and_since_when(self, viewer, orders, account):
        WebhookFactory(account=account, verified_at=None)
        WebhookFactory(account=account, health={"failures_in_row": 1, "last_success_at": now()})
        WebhookFactory(account=account)
        says = self.says(viewer)
        assert "2 of 4 webhooks deliver nothing" in says
        assert (
            "1 webhook is failing, 1 webhook is not verified, 1 webhook is unsteady, "
            "1 webhook has delivered nothing yet." in says
        )
        assert "The first fails since" in says
        attention = text_of(viewer.get(HOME)).split('id="attention"')[1]
        assert attention.index("Failing") < attention.index("Not verified")
        assert "Nothing accepts connections" in attention

    def test_who_is_limited_works(self, viewer, account):
        limited = {"last_success_at": now(), "rests_until": now() + timedelta(minutes=5)}
        webhook = WebhookFactory(account=account, health=limited)
        DeliveryFactory(webhook=webhook, due_at=now() - timedelta(minutes=12))
        says = self.says(viewer)
        assert "The only webhook with calls works" in says
        assert "1 webhook is limited" in says
        assert "late" not in says
        listed = text_of(viewer.get(url("webhook"), {"state": "rate"}))
        assert "limited until" in listed

    def test_a_queue_that_does_not_keep_up(self, viewer, account):
        webhook = WebhookFactory(account=account, health={"last_success_at": now()})
        DeliveryFactory(webhook=webhook, due_at=now() - timedelta(minutes=12))
        says = self.says(viewer)
        assert "1 delivery is late : the oldest should have gone out 12 min ago" in says
        assert "No worker is alive, so nothing is sent." in says


class TestNumbers:
    @pytest.mark.parametrize("span", ["24h", "7d", "30d"])
    def test_every_number_leads_to_the_rows_it_counts(self, boss, account, span):
        webhook = WebhookFactory(account=account, health={"last_success_at": now()})
        called(webhook, delivered=3, failed=2)
        called(webhook, ago=timedelta(hours=22), delivered=1, failed=1, kind="timeout")
        AttemptFactory(webhook=webhook, exchange="test", kind="reset")
        called(webhook, ago=timedelta(days=40), delivered=1)
        DeliveryFactory(webhook=webhook)
        DeliveryFactory(webhook=webhook, tries=1, due_at=now() + timedelta(hours=1))
        DeliveryFactory(webhook=WebhookFactory(account=account, stopped="paused"))
        text = text_of(boss.get(HOME, {"span": span}))

        found = links(text)

        assert "of 7 calls" in plain(text)
        for words, count in {
            "57.1 %": 7,
            "3 failed": 3,
            "Server error (5xx)": 2,
            "Timeout": 1,
            "1": 1,
            "1 to be retried": 1,
        }.items():
            assert shown(boss, found[words]) == count, words

    def test_a_kind_of_error_leads_to_its_webhooks_too(self, boss, account):
        for failed in (1, 3):
            called(WebhookFactory(account=account), failed=failed)
        called(WebhookFactory(account=account), failed=1, kind="timeout")
        called(WebhookFactory(account=account), ago=timedelta(days=3), failed=1)
        module = text_of(boss.get(HOME)).split('id="kinds"')[1].split("</section>")[0]
        first = module.split("<tr>")[2]
        places = [(unescape(place), n) for place, n in re.findall(r'href="([^"]+)">(\d+)<', first)]
        assert [number for _, number in places] == ["4", "2"]
        for place, number in places:
            assert shown(boss, place) == int(number), place

    def test_the_bars_of_the_chart_lead_to_their_hour(self, boss, account):
        webhook = WebhookFactory(account=account)
        called(webhook, delivered=2, failed=1)
        called(webhook, ago=timedelta(hours=5), delivered=4)
        table = text_of(boss.get(HOME)).split("Show as table")[1].split("</table>")[0]
        rows = re.findall(r'href="([^"]+)">(\d+)</a>', table)
        assert [int(count) for _, count in rows] == [3, 1, 4]
        for place, count in rows:
            assert shown(boss, unescape(place)) == int(count)

    def test_latency_workers_and_what_staff_did(self, boss, account, worker):
        webhook = WebhookFactory(account=account, name="Orders")
        HourlyCountFactory(webhook=webhook, at=now(), delivered=20, ms_100=18, ms_1000=2)
        boss.post(url("webhook", webhook.pk, "pause"), {"note": "moving"})
        says = plain(text_of(boss.get(HOME)))
        assert "Latency within 100 ms" in says
        assert "95 % within 1,000 ms" in says
        assert "1 alive : our side last sign" in says
        assert "3 calls in flight" in says
        assert "Paused: moving · mira" in says

    def test_without_a_script_times_are_said_to_be_utc(self, viewer, orders):
        for place in (HOME, url("webhook"), url("webhook", orders.pk, "change")):
            assert "Times are UTC." in text_of(viewer.get(place))

    def test_a_nonsense_span_is_the_day(self, viewer):
        assert "last 24 hours" in text_of(viewer.get(HOME, {"span": "x"}))


@pytest.mark.once
class TestAlarm:
    def test_it_stands_on_every_page_until_a_worker_lives(self, boss, orders):
        pages = [HOME, "/admin/webhooks_app/", "/admin/auth/user/", url("webhook"), url("delivery")]
        pages.append(url("webhook", orders.pk, "change"))
        for place in pages:
            assert text_of(boss.get(place)).count("No worker is alive") == 1, place
        old = WorkerFactory(seen_at=now() - timedelta(minutes=11))
        assert "No worker is alive since <time" in text_of(boss.get(HOME))
        old.seen_at = now()
        old.save()
        for place in pages:
            assert "No worker is alive" not in text_of(boss.get(place)), place

    def test_strangers_are_told_nothing(self, client, db):
        assert "No worker" not in text_of(client.get("/admin/login/"))
        assert "No worker" not in text_of(client.get("/"))


@pytest.mark.once
class TestWhoSees:
    def test_staff_without_permissions_see_no_webhooks(self, orders):
        nobody = log_in()
        text = text_of(nobody.get(HOME))
        assert "Orders" not in text
        assert 'id="verdict"' not in text
        assert nobody.get("/admin/webhooks_app/").status_code == 404

    @pytest.fixture
    def stock_index(self, db):
        """The site as a host has it. `monkeypatch` would not give a lazy object its value back."""
        ours, admin.site.index_template = admin.site.index_template, None
        yield
        admin.site.index_template = ours

    def test_a_host_without_our_index_has_the_page_of_the_app(self, viewer, orders, stock_index):
        assert 'id="verdict"' not in text_of(viewer.get(HOME))
        assert 'id="verdict"' in text_of(viewer.get("/admin/webhooks_app/"))


class TestCharts:
    NOON = datetime(2026, 3, 1, 12, 20, tzinfo=UTC)

    def count(self, hours_ago, delivered, failed=0):
        hour = self.NOON.replace(minute=0) - timedelta(hours=hours_ago)
        return {"hour": hour, "delivered": delivered, "failed": failed}

    def test_a_span_ends_with_the_present_hour_and_leaves_others_out(self):
        counts = [self.count(0, 1), self.count(23, 2), self.count(24, 4)]
        chart = charts.chart(charts.DAY, self.NOON, counts)
        assert (chart.bars[0].delivered, chart.bars[-1].delivered) == (2, 1)
        assert chart.delivered == 3
        assert chart.bars[-1].end == self.NOON.replace(hour=13, minute=0)

    def test_a_week_has_bars_of_six_hours(self):
        chart = charts.chart(charts.SPANS["7d"], self.NOON, [self.count(h, 1) for h in range(12)])
        assert [bar.delivered for bar in chart.bars[-3:]] == [0, 6, 6]

    def test_few_failures_among_many_deliveries_are_seen(self):
        chart = charts.chart(charts.DAY, self.NOON, [self.count(0, 100_000, 1)])
        heights = re.findall(r'wh-bar-bad".*?height="([\d.]+)"', chart.drawing())
        assert [float(height) >= 3 for height in heights] == [True]
        assert 'wh-bar-bad"' not in charts.chart(charts.DAY, self.NOON, [self.count(0, 5)]).spark()

    @pytest.mark.parametrize(
        ("delivered", "failed", "words"),
        [(0, 0, ""), (5, 0, "100 %"), (9_999, 1, "99.9 %"), (0, 3, "0.0 %"), (942, 259, "78.4 %")],
    )
    def test_a_rate_is_never_rounded_up_to_all(self, delivered, failed, words):
        assert charts.rate(delivered, failed) == words


def test_home_needs_at_most_twelve_queries(viewer, boss, django_assert_max_num_queries):
    for _ in range(9):
        account = AccountFactory()
        webhook = WebhookFactory(account=account, health={"failures_in_row": 9})
        called(webhook, delivered=1, failed=1)
        DeliveryFactory(webhook=webhook)
    for client, spans in ((viewer, charts.SPANS), (boss, ["24h"])):
        for span in spans:
            with django_assert_max_num_queries(12):
                assert client.get(HOME, {"span": span}).status_code == 200
