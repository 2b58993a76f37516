"""One search: whatever a customer reads out on the phone leads to its page."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.admin.conftest import log_in
from tests.admin.pages import text_of, url
from tests.admin.test_home import links, plain, shown
from tests.factories import AccountFactory, AttemptFactory, DeliveryFactory, WebhookFactory
from webhooks_app import actions
from webhooks_app.models import Delivery, Webhook

PLACE = url("webhook", "search")


def search(client, term):
    return text_of(client.get(PLACE, {"q": term}))


def section(text, title):
    return text.split(f">{title}</h2>")[1].split("</section>")[0]


@pytest.fixture
def shop(db):
    account = AccountFactory(name="shop-prod")
    webhook = WebhookFactory(account=account, name="Orders to ERP", url="https://erp.example/in")
    for number in (4710, 4711, 4711):
        DeliveryFactory(webhook=webhook, reference=f"order-{number}", type="order.created")
    return webhook


class TestFinds:
    @pytest.mark.parametrize("term", ["4711", "order-4711", "order 4711"])
    def test_an_order_however_it_is_called(self, boss, shop, term):
        found = section(search(boss, term), "Deliveries")
        assert found.count("<li>") == found.count("order-4711</bdi>") == 2
        assert "order-4710" not in found
        assert "order.created → Orders to ERP, shop-prod" in plain(found)

    def test_an_id_leads_to_its_page(self, boss, shop):
        delivery = Delivery.objects.first()
        event = actions.publish(shop.account, "order.paid", {})
        attempt = AttemptFactory(webhook=shop)
        for row, model in (
            *((shop, "webhook"), (delivery, "delivery"), (event, "event")),
            (attempt, "attempt"),
        ):
            answer = boss.get(PLACE, {"q": f" {row.pk} "})
            assert (answer.status_code, answer["Location"]) == (302, url(model, row.pk, "change"))

    def test_an_event_by_what_its_publisher_calls_it(self, boss, shop):
        words = {"reference": "order-9", "subject": "customer 88", "event_id": "paid-9"}
        actions.publish(shop.account, "order.paid", {}, **words)
        for term in words.values():
            assert "order.paid" in section(search(boss, term), "Events")

    @pytest.mark.parametrize("term", ["orders", "ORDERS TO", "Orders to ERP"])
    def test_a_webhook_by_how_its_name_begins(self, boss, shop, term):
        found = links(section(search(boss, term), "Webhooks"))
        assert found["Orders to ERP"] == url("webhook", shop.pk, "change")
        assert shown(boss, found["In all names"]) == 1

    @pytest.mark.parametrize("term", ["erp.ex", "ERP.example", "https://erp.example/in"])
    def test_a_host_by_how_it_begins(self, boss, shop, term):
        found = section(search(boss, term), "Hosts")
        assert links(found)["erp.example"] == url("webhook", "host", "erp.example")
        assert "1 webhook" in plain(found)

    def test_a_customer_by_how_its_name_begins(self, boss, shop):
        found = links(section(search(boss, "shop"), "Customers"))
        assert found["shop-prod"] == url("account", shop.account_id, "change")

    def test_nothing_and_says_where_else_to_look(self, boss, shop):
        text = search(boss, "nothing at all")
        assert "Nothing has “" in text
        assert "payload=nothing+at+all" in links(text)["In payloads of the newest deliveries"]

    def test_nothing_that_was_deleted(self, boss, shop):
        actions.delete_webhook(shop)
        assert boss.get(PLACE, {"q": shop.pk}).status_code == 200
        text = search(boss, "erp.example")
        assert url("webhook", "host", "erp.example") not in text
        assert "nothing" in section(text, "Webhooks") or Webhook.objects.live().exists()


class TestBounds:
    @pytest.mark.parametrize("term", ["x" * 2049, "%00", "%", "_", "\\", "'", "💥", "a " * 900])
    def test_any_term_is_answered(self, boss, shop, term):
        assert boss.get(PLACE, {"q": term}).status_code == 200

    def test_signs_of_a_pattern_are_none(self, boss, shop):
        for term in ("%", "_rp.example", "erp%"):
            assert "erp.example" not in links(section(search(boss, term), "Hosts"))

    def test_at_most_twelve_queries_and_no_scan(self, boss, shop):
        WebhookFactory.create_batch(3)
        for term in ("4711", "shop"):
            with CaptureQueriesContext(
                connection,
            ) as asked:
                search(boss, term)
            assert len(asked) <= 12
            if connection.vendor == "sqlite":
                assert scans(asked) == []


def scans(asked):
    """Statements of ours that read through a table, by SQLite's plan."""
    found = []
    for query in asked:
        if not query["sql"].startswith("SELECT") or "webhooks_app" not in query["sql"]:
            continue
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
            for row in cursor.fetchall():
                is_scan = row[3].startswith("SCAN") and "USING" not in row[3]
                if is_scan and "worker" not in row[3] and "LIMIT" not in query["sql"]:
                    found.append((row[3], query["sql"][:200]))
    return found


@pytest.mark.once
class TestWhoSees:
    def test_only_what_the_lists_would_show(self, shop):
        staff = log_in("view_account")
        text = search(staff, "shop")
        assert "Customers" in text
        for title in ("Deliveries", "Events", "Webhooks", "Hosts"):
            assert f">{title}</h2>" not in text
        assert staff.get(PLACE, {"q": shop.pk}).status_code == 200
        assert log_in("view_auditentry").get(PLACE).status_code == 403

    def test_the_box_is_on_every_page_of_who_may_search(self, boss, shop):
        for place in ("/admin/", url("webhook"), "/admin/auth/user/", url("account", "add")):
            text = text_of(boss.get(place))
            assert text.count('id="find-all"') == 1, place
            assert f'action="{PLACE}"' in text
        assert 'id="find-all"' not in text_of(log_in("view_auditentry").get("/admin/"))

    def test_no_filter_empties_the_navigation(self, boss):
        text = text_of(boss.get("/admin/"))
        assert "Start typing to filter" not in text
        assert 'type="hidden" id="nav-filter"' in text
