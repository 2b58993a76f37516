"""The page of a webhook: the reason in words, what to do, and numbers that lead to their rows."""

import re
from datetime import timedelta
from html import unescape

import pytest
from django.utils import timezone

from tests.admin.conftest import REFUSED
from tests.admin.pages import forms, page, text_of, url
from tests.admin.test_home import links, plain, shown
from tests.factories import (
    AttemptFactory,
    DeliveryFactory,
    HourlyCountFactory,
    WebhookFactory,
)
from webhooks_app import actions
from webhooks_app.models import Webhook, WebhookHealth

NOW = timezone.now()
MASK = "••••••••"


def banner(client, webhook, **query):
    text = text_of(client.get(page(webhook), query))
    return plain(text[text.index('id="verdict"') :].split("</section>")[0])


class TestBanner:
    def health(self, account, **health):
        return WebhookFactory(account=account, health=health)

    def test_working_says_how_many_of_how_many(self, viewer, account):
        webhook = self.health(account, last_success_at=NOW)
        HourlyCountFactory(webhook=webhook, delivered=3169)
        assert "Working: 3,169 of 3,169 delivered in the last 24 hours" in banner(viewer, webhook)
        assert "in the last 7 days" in banner(viewer, webhook, span="7d")

    def test_unsteady_says_how_many_failed(self, viewer, account):
        webhook = self.health(account, **REFUSED, failures_in_row=1, last_success_at=NOW)
        HourlyCountFactory(webhook=webhook, delivered=378, failed=14)
        says = banner(viewer, webhook)
        assert "Unsteady: 14 of 392 calls failed in the last 24 hours, the last call failed" in says

    def test_an_error_that_was_met_at_another_url_is_no_reason_of_the_present_one(
        self, viewer, orders
    ):
        actions.update_webhook(orders, url="https://new.example.com/")
        Webhook.objects.filter(pk=orders.pk).update(verification_due_at=None)
        says = banner(viewer, orders)
        assert "Not verified" in says
        assert "was met at another URL than the present one" in says
        assert "ECONNREFUSED" not in says
        assert "connection refused" not in says.lower()
        AttemptFactory(webhook=Webhook.objects.get(pk=orders.pk), kind="refused", message="once")
        assert "another URL" not in banner(viewer, orders)

    def test_a_message_for_the_owner_says_since_when_what_and_from_where(
        self, operator, viewer, orders, settings
    ):
        settings.WEBHOOKS_EGRESS_ADDRESSES = ["203.0.113.7"]
        text = text_of(operator.get(page(orders)))
        message = plain(text.split('id="for-owner"')[1].split("</pre>")[0])
        since = orders.health.failing_since
        assert f"Since {since:%Y-%m-%d %H:%M} UTC our calls to receiver.example.com" in message
        assert "connect ECONNREFUSED 93.184.216.34:443" in message
        assert "We call from 203.0.113.7." in message
        assert "goes out by itself" in message
        assert "Ämpel" not in message
        assert "for-owner" not in text_of(viewer.get(page(orders)))
        works = WebhookFactory(account=orders.account, health={"last_success_at": NOW})
        assert "for-owner" not in text_of(operator.get(page(works)))

    def test_what_waits_is_not_lost(self, viewer, orders):
        assert "Nothing is lost: 1 delivery waits and goes out by itself, the next at" in banner(
            viewer, orders
        )

    def test_the_paused_is_resumed_and_what_waits_is_held(self, operator, orders):
        operator.post(url("webhook", orders.pk, "pause"), {"note": "shop closed for the move"})
        says = banner(operator, orders)
        assert f"Paused by {operator.user.username} since" in says
        assert "“shop closed for the move”" in says
        assert "Resume" in says
        assert "1 delivery waits." in says

    def test_the_limited_says_until_when_and_who_asked_for_it(self, operator, account):
        until = NOW + timedelta(minutes=30)
        own = self.health(account, last_success_at=NOW, rests_until=until)
        type(own).objects.update(rate_count=100, rate_seconds=60)
        says = banner(operator, own)
        assert "more is due than its rate limit of 100/minute lets go" in says
        assert "Call again now" not in says
        asked = self.health(account, last_success_at=NOW, rests_until=until, rests=1)
        delivery = DeliveryFactory(webhook=asked)
        says = banner(operator, asked)
        assert "Limited until" in says
        assert "the receiver asked for a pause" in says
        text = plain(text_of(operator.get(page(delivery, "delivery"))))
        assert "Held until" in text
        assert "the receiver asked for a pause" in text
        listed = plain(text_of(operator.get(url("delivery"))))
        assert "limited until" in listed
        operator.post(url("webhook", asked.pk, "close-breaker"))
        assert "Working" in banner(operator, asked)

    def test_a_failing_one_that_is_limited_says_both(self, operator, account):
        until = NOW + timedelta(minutes=30)
        health = REFUSED | {"failures_in_row": 6, "failing_since": NOW, "rests": 2}
        webhook = self.health(account, **health, rests_until=until)
        says = banner(operator, webhook)
        assert "Failing since" in says
        assert "Limited until" in says
        assert "Call again now" in says

    def test_a_failed_test_is_no_quiet_beginning(self, viewer, account):
        webhook = self.health(account, **REFUSED)
        says = banner(viewer, webhook)
        assert "Nothing delivered yet: the last try failed, connection refused" in says
        assert "Nothing has been sent" not in says

    def test_a_connect_failure_tells_the_addresses_we_call_from(self, viewer, orders, settings):
        assert "We call from" not in banner(viewer, orders)
        settings.WEBHOOKS_EGRESS_ADDRESSES = "203.0.113.7,203.0.113.64/28"
        assert "We call from 203.0.113.7, 203.0.113.64/28." in banner(viewer, orders)
        WebhookHealth.objects.update(last_error_kind="http_500")
        assert "We call from" not in banner(viewer, orders)

    def test_and_so_does_every_page_of_a_call_that_found_nobody(self, viewer, orders, settings):
        settings.WEBHOOKS_EGRESS_ADDRESSES = "203.0.113.7"
        delivery = orders.deliveries.get()
        attempt = orders.attempts.get()
        pages = [page(attempt, name) for name in ("attempt", "webhookerror")]
        pages.append(page(delivery, "delivery"))
        for place in pages:
            assert "We call from" not in text_of(viewer.get(place)), place
        orders.attempts.update(kind="connect_timeout", status=None)
        for place in pages:
            assert "We call from 203.0.113.7." in text_of(viewer.get(place)), place


class TestNumbers:
    @pytest.fixture
    def webhook(self, account):
        """Failing since two kinds of failure, with deliveries in several states."""
        webhook = WebhookFactory(account=account, health=REFUSED | {"failures_in_row": 9})
        for minutes in range(3):
            at = NOW - timedelta(minutes=minutes)
            AttemptFactory(webhook=webhook, kind="refused", ended_at=at, message=f"refused {at}")
        for status in (500, 500, 501):
            at = NOW - timedelta(days=2)
            AttemptFactory(webhook=webhook, kind="http_500", status=status, ended_at=at)
        AttemptFactory(webhook=webhook, kind="reset", ended_at=NOW - timedelta(days=31))
        AttemptFactory(webhook=webhook, status=200)
        AttemptFactory(webhook=WebhookFactory(account=account), kind="refused")
        hours = {}
        for attempt in webhook.attempts.all():
            hour = attempt.ended_at.replace(minute=0, second=0, microsecond=0)
            counts = hours.setdefault(hour, [0, 0])
            counts[not attempt.ok] += 1
        for hour, (delivered, failed) in hours.items():
            HourlyCountFactory(webhook=webhook, hour=hour, delivered=delivered, failed=failed)
        DeliveryFactory(webhook=webhook)
        for _ in range(2):
            DeliveryFactory(webhook=webhook, state="failed", finished_at=NOW)
        return webhook

    def test_they_lead_to_the_rows_they_count(self, operator, webhook):
        found = links(text_of(operator.get(page(webhook))))
        counts = {"25.0 %": 4, "3 failed": 3, "1 delivery waits": 1, "1": 1, "2": 2}
        for words, count in counts.items():
            if words not in ("1", "2"):
                assert shown(operator, found[words]) == count, words
        tiles = text_of(operator.get(page(webhook))).split('<dl class="wh-tiles')[1]
        for model_state, count in (("pending", 1), ("failed", 2)):
            place = re.search(rf'href="([^"]+state={model_state})">(\d+)<', tiles)
            assert (shown(operator, unescape(place[1])), int(place[2])) == (count, count)

    def test_errors_are_grouped_with_first_last_and_count(self, operator, webhook):
        module = text_of(operator.get(page(webhook))).split('id="last-errors"')[1]
        module = module.split("</section>")[0]
        rows = [plain(row) for row in module.split("<tr>")[2:]]
        assert rows[0].strip().startswith("Connection refused")
        assert "still happening" in rows[0]
        assert "still happening" not in rows[1]
        counted = {
            unescape(place): int(number)
            for place, number in re.findall(r'href="([^"]+)">(\d+)<span', module)
        }
        assert sorted(counted.values()) == [1, 2, 3]
        for place, count in counted.items():
            assert shown(operator, place) == count, place

    def test_messages_that_differ_in_numbers_and_addresses_are_one_group(self, operator, account):
        webhook = WebhookFactory(account=account)
        refused = ["10.1.2.3:8443", "10.1.2.4:8443", "10.1.2.4:443"]
        messages = [f"connect ECONNREFUSED {address}" for address in refused]
        for message in [*messages, "connect ECONNREFUSED through the proxy"]:
            AttemptFactory(webhook=webhook, kind="refused", message=message)
        AttemptFactory(webhook=webhook, kind="reset", message="socket hang up after 12 bytes")
        module = text_of(operator.get(page(webhook))).split('id="last-errors"')[1]
        counted = {
            re.search(r"wh-clip\">([^<]*)<", row)[1]: unescape(
                re.search(r'href="([^"]+)">\d+<span', row)[1]
            )
            for row in module.split("</section>")[0].split("<tr>")[2:]
        }
        assert {words: shown(operator, place) for words, place in counted.items()} == {
            "connect ECONNREFUSED …": 3,
            "connect ECONNREFUSED through the proxy": 1,
            "socket hang up after 12 bytes": 1,
        }
        assert shown(operator, f"{url('webhookerror')}?message=…a…a") == 0

    def test_all_of_it_needs_no_more_than_twelve_queries(
        self, operator, webhook, django_assert_max_num_queries
    ):
        attempt = AttemptFactory(webhook=webhook, kind="refused", message="connect ECONNREFUSED")
        operator.get(page(webhook))
        with django_assert_max_num_queries(12):
            response = operator.get(page(webhook), {"attempt": attempt.pk})
        assert "The test call as curl" in text_of(response)

    def test_replay_leads_to_an_estimate_of_just_those(self, operator, viewer, webhook):
        text = text_of(operator.get(page(webhook)))
        assert "Replay 2 that gave up…" in text
        place = unescape(re.search(r'href="([^"]+)" id="do-replay"', text)[1])
        assert "2 deliveries" in plain(text_of(operator.get(place)))
        assert "Replay" not in plain(text_of(viewer.get(page(webhook))))


class TestCurl:
    def test_the_test_call_for_a_shell_holds_no_secret(self, operator, boss, orders):
        for client in (operator, boss):
            text = text_of(client.get(page(orders)))
            curl = unescape(text.split('<pre class="wh-pre" id="curl"')[1].split("</pre>")[0])
            assert f"token={MASK}" in curl
            assert f"X-One: {MASK}" in curl
            assert f"Authorization: Basic {MASK}" in curl
            assert '"chatId"' in curl
            assert "Ämpel" not in text

    def test_who_may_not_send_a_test_sees_none(self, viewer, orders):
        assert "as curl" not in text_of(viewer.get(page(orders)))
        assert set(forms(viewer.get(page(orders))).actions) <= {"/admin/logout/", ""}


class TestUndoOfADelete:
    @pytest.fixture
    def deleted(self, boss, orders):
        answer = boss.post(url("webhook", orders.pk, "delete"), {"post": "yes"}, follow=True)
        assert links(text_of(answer))["Undo…"] == url("webhook", orders.pk, "restore")
        return orders

    def test_it_comes_back_paused_without_secrets(self, boss, deleted):
        place = url("webhook", deleted.pk, "restore")
        assert "were wiped when it was deleted" in text_of(boss.get(place))
        deleted.refresh_from_db()
        assert deleted.deleted_at, "looking brings nothing back"

        text = text_of(boss.post(place, follow=True))

        assert "It is back, paused." in text
        assert "Paused by mira" in text
        deleted.refresh_from_db()
        assert (deleted.token, deleted.auth_password, deleted.verified_at) == ("", "", None)
        assert deleted.deliveries.get().state == "cancelled"
        assert "Brought back · mira" in plain(text_of(boss.get("/admin/")))

    def test_only_what_is_deleted_and_by_who_may_delete(self, boss, operator, orders):
        place = url("webhook", orders.pk, "restore")
        assert boss.post(place).status_code == 404
        boss.post(url("webhook", orders.pk, "delete"), {"post": "yes"})
        assert operator.get(place).status_code == 403
        assert operator.post(place).status_code == 403
        assert boss.post(place).status_code == 302
        assert boss.post(place).status_code == 404
        assert boss.get(url("webhook", "x" * 24, "restore")).status_code == 404
