"""The lists: search, filters, pages, and what they cost."""

import re
from datetime import UTC, datetime, timedelta
from itertools import cycle

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.admin.conftest import REFUSED
from tests.admin.pages import page, text_of, url
from tests.admin.test_home import links
from tests.factories import (
    AccountFactory,
    AttemptFactory,
    DeliveryFactory,
    HourlyCountFactory,
    WebhookFactory,
)
from tests.statements import told
from webhooks_app import actions, models
from webhooks_app.admin import webhook_list
from webhooks_app.admin.attempts import AttemptAdmin


@pytest.fixture
def webhook(orders):
    return orders


class TestLists:
    def test_search_by_name_host_and_id_but_never_by_path_or_query(self, viewer, account):
        url_ = "https://erp.example.com/hush?key=hush"
        found = WebhookFactory(account=account, name="Orders to ERP", url=url_)
        WebhookFactory(account=account, name="Other", url="https://else.example.com/")
        for term in ("orders TO", "erp.exam", found.pk):
            text = text_of(viewer.get(url("webhook"), {"q": term}))
            assert "1 shown" in text
            assert found.pk in text
        assert "Nothing here matches" in text_of(viewer.get(url("webhook"), {"q": "hush"}))

    def test_of_very_many_a_search_reads_the_newest_and_says_so(self, viewer, account, monkeypatch):
        monkeypatch.setattr(webhook_list, "SIEVED", 3)
        url_ = "https://erp.example.com/in"
        old = WebhookFactory(account=account, name="Orders to ERP", url=url_)
        for number in range(3):
            WebhookFactory(account=account, name=f"Shop {number}", url="https://else.example.com/")

        def found(term, **words):
            answer = viewer.get(url("webhook"), {"q": term, **words})
            names = [row.name for row in answer.context_data["cl"].result_list]
            return names, text_of(answer)

        for term in ("orders", "ERP.exam", old.pk):
            assert found(term)[0] == [old.name], "an index knows it, however old"
        assert found("hop 1")[0] == ["Shop 1"]
        for part in ("to ERP", "rp.example"):
            names, text = found(part)
            assert names == []
            assert "Only the newest 3 of this list were looked at" in text
            further = links(text)["Look further back"]
            assert old.pk in text_of(viewer.get(url("webhook") + further))
        old.delete()
        assert "Only the newest" not in found("to ERP")[1], "there are no more"

    def test_filters_by_account_and_last_error(self, viewer, webhook):
        WebhookFactory(account=AccountFactory(name="other"))
        assert "1 shown" in text_of(viewer.get(url("webhook") + "?account=acme"))
        assert "1 shown" in text_of(viewer.get(url("webhook") + "?kind=refused"))
        assert "2 shown" in text_of(viewer.get(url("webhook")))

    def test_what_a_sieve_looks_through_is_the_first_limit_of_the_walk(
        self, viewer, webhook, monkeypatch
    ):
        monkeypatch.setattr(AttemptAdmin, "sieved", 3)
        tried = AttemptFactory.create_batch(9, webhook=webhook)
        with told(connection) as statements:
            viewer.get(url("attempt"), {"exchange": "token", "created": "24h"})
        (walk,) = (each for each in statements if "ended_at" in each and "token" in each)
        edge = tried[-3].pk
        assert re.search(rf"""WHERE \(\S+"id" >= \W*({edge}|1)\b""", walk), walk

    def test_filters_by_an_error_that_a_call_met_since_a_moment(self, viewer, account):
        now = timezone.now()
        hooks = WebhookFactory.create_batch(4, account=account)
        slow, late, down, tried = hooks
        AttemptFactory(webhook=slow, kind="timeout")
        AttemptFactory(webhook=slow, kind="refused")
        AttemptFactory(webhook=late, kind="timeout", ended_at=now - timedelta(days=2))
        AttemptFactory(webhook=down, kind="refused")
        AttemptFactory(webhook=tried, kind="timeout", exchange="test")
        words = {"met": "timeout", "since": (now - timedelta(days=1)).isoformat()}
        with CaptureQueriesContext(connection) as asked:
            text = text_of(viewer.get(url("webhook"), words))
        assert [hook for hook in hooks if hook.pk in text] == [slow]
        selects = [query["sql"] for query in asked if models.Attempt._meta.db_table in query["sql"]]
        assert all(models.Webhook._meta.db_table in sql for sql in selects), "no failures are read"

    def test_says_how_each_does_and_what_waits(self, viewer, webhook):
        HourlyCountFactory(webhook=webhook, delivered=942, failed=259)
        WebhookFactory(account=webhook.account, name="Quiet")
        text = text_of(viewer.get(url("webhook")))
        assert "78.4 %" in text
        assert "of 1,201" in text
        assert "no calls" in text
        assert "1 waiting" in text
        assert "Connection refused" in text
        assert "Failing 1<" in text, "the chip says how many there are"
        assert "1 shown" in text_of(viewer.get(url("webhook") + "?state=failing"))

    def test_says_since_when_it_is_unsteady(self, viewer, account):
        ago = timezone.now() - timedelta(minutes=37, seconds=9)
        for health in ({"unsteady_since": ago}, {"failures_in_row": 2, "failing_since": ago}):
            WebhookFactory(account=account, health=health)
        text = text_of(viewer.get(url("webhook"), {"state": "unsteady"}))
        assert text.count("for 37 min") == 2

    def test_goes_on_by_the_place_not_by_number(self, viewer, account):
        made = [WebhookFactory(account=account).pk for _ in range(60)]
        first = text_of(viewer.get(url("webhook")))
        assert "50 shown, more below" in first
        place = sorted(made)[10]
        assert f"?before={place}" in first
        second = text_of(viewer.get(url("webhook") + f"?before={place}"))
        assert "10 shown" in second
        assert "more below" not in second

    @pytest.mark.once
    def test_secrets_are_no_filter_and_no_order(self, boss, webhook):
        for query in ("token__startswith=tok", "headers__value__startswith=v", "auth_password=x"):
            assert boss.get(url("webhook") + "?" + query).status_code == 400
        assert boss.get(url("webhook") + "?o=1.2.3.4").status_code == 200

    @pytest.mark.once
    def test_nonsense_in_the_query_is_never_an_error(self, boss, webhook):
        """Each name of each list meets one of these; all of them do in the sweep of all pages."""
        values = cycle(["%00", "x", "-1", "9" * 30, "%F0%9F%98%80"])
        for model in ("webhook", "delivery", "attempt", "webhookerror", "account", "accesstoken"):
            names = ("before", "state", "kind", "account", "webhook", "created", "q", "p")
            for name in (*names, "since", "until", "exchange"):
                value = next(values)
                answer = boss.get(url(model) + f"?{name}={value}", follow=True)
                assert answer.status_code in (200, 400), (model, name, value)

    def test_a_span_of_time_lists_just_what_began_in_it(self, viewer, webhook):
        models.Attempt.objects.all().delete()
        for minute, exchange in ((0, "delivery"), (59, "interaction"), (30, "test"), (60, "test")):
            began = datetime(2026, 3, 1, 12, tzinfo=UTC) + timedelta(minutes=minute)
            AttemptFactory(webhook=webhook, ended_at=began, exchange=exchange)
        hour = "since=2026-03-01T12:00:00Z&until=2026-03-01T13:00:00Z"
        assert "3 shown" in text_of(viewer.get(url("attempt") + "?" + hour))
        assert "2 shown" in text_of(viewer.get(url("attempt") + "?exchange=calls&" + hour))
        assert "Nothing here" in text_of(viewer.get(url("webhookerror") + "?" + hour))

    def test_due_deliveries_are_those_that_may_go_now(self, viewer, webhook):
        later = timezone.now() + timedelta(hours=1)
        DeliveryFactory(webhook=webhook, due_at=later)
        DeliveryFactory(webhook=WebhookFactory(account=webhook.account, stopped="paused"))
        assert "1 shown" in text_of(viewer.get(url("delivery") + "?state=due"))
        assert "3 shown" in text_of(viewer.get(url("delivery") + "?state=pending"))

    @pytest.mark.parametrize(
        "words",
        [
            {"type": "order.created"},
            {"webhook": "Orders"},
            {"status": "500"},
            {"status": "5xx"},
            {"kind": "http_500"},
            {"account": "acme"},
            {"q": "4711"},
        ],
    )
    def test_errors_are_filtered_by_each_word(self, viewer, webhook, words):
        other = WebhookFactory(name="Other")
        delivery = DeliveryFactory(webhook=other, type="order.paid")
        AttemptFactory(webhook=other, delivery=delivery, kind="timeout", message="late")
        AttemptFactory(webhook=other, kind="http_404", status=404, message="nothing there")
        place = url("webhookerror")
        assert "3 shown" in text_of(viewer.get(place))
        text = text_of(viewer.get(place, words))
        assert "1 shown" in text
        assert "Request failed with status code 500" in text
        for name in words.keys() & {"status", "type", "webhook"}:
            for nonsense in ("x", "6xx"):
                assert "Nothing here matches" in text_of(viewer.get(place, {name: nonsense}))

    def test_a_kind_of_errors_leads_to_its_deliveries_where_they_are_sent_again(
        self, operator, webhook
    ):
        AttemptFactory(webhook=webhook, kind="timeout", message="late")
        assert "Send their deliveries" not in text_of(operator.get(url("webhookerror")))
        words = {"kind": "http_500", "webhook": webhook.pk, "created": "7d", "status": "500"}
        text = text_of(operator.get(url("webhookerror"), words))
        place = links(text)["Send their deliveries again…"]
        text = text_of(operator.get(place))
        assert "1 shown" in text
        assert "/job/add/?verb=retry&amp;webhook=" in text
        assert "kind=http_500" in text

    def test_errors_are_followed_like_deliveries(self, viewer, webhook):
        first = webhook.attempts.get()
        text = text_of(viewer.get(url("webhookerror"), {"kind": "timeout"}))
        assert "wh-follow" not in text, "there is no row to follow from"
        text = text_of(viewer.get(url("webhookerror")))
        assert f'data-after="{first.pk}"' in text
        AttemptFactory(webhook=webhook, kind="timeout")
        AttemptFactory(webhook=webhook, kind="reset")
        AttemptFactory(webhook=webhook, status=200)
        for model, count in (("webhookerror", "2"), ("attempt", "3")):
            answer = viewer.get(url(model, "newer"), {"after": first.pk})
            assert answer.json() == {"count": count}
        answer = viewer.get(url("webhookerror", "newer"), {"after": first.pk, "kind": "reset"})
        assert answer.json() == {"count": "1"}
        assert viewer.get(url("webhookerror", "newer"), {"after": "x"}).status_code == 400

    def test_errors_lists_what_failed_and_attempts_all(self, viewer, webhook):
        AttemptFactory(webhook=webhook, exchange="test", status=200)
        assert "1 shown" in text_of(viewer.get(url("webhookerror")))
        assert "2 shown" in text_of(viewer.get(url("attempt")))

    def test_an_old_delivery_is_found_by_its_id_and_from_its_webhook(self, viewer, webhook):
        old = DeliveryFactory(id="5a" + "0" * 22, webhook=webhook)
        assert old.pk not in text_of(viewer.get(url("delivery")))
        assert old.pk in text_of(viewer.get(url("delivery"), {"q": old.pk}))
        assert old.pk in text_of(viewer.get(url("delivery"), {"webhook": webhook.pk}))


MANY = 9  # more than twelve queries where a page asks for each of them


def test_no_page_needs_more_than_twelve_queries(
    viewer, boss, account, django_assert_max_num_queries
):
    for _ in range(MANY):
        webhook = WebhookFactory(account=account, health=REFUSED)
        models.AccessToken.issue(account)
        AccountFactory()
    for position in range(MANY):
        models.Header.objects.create(webhook=webhook, position=position, name="X-A", value="a")
    for _ in range(MANY):
        delivery = DeliveryFactory(webhook=webhook)
        attempt = AttemptFactory(webhook=webhook, delivery=delivery, kind="reset")
    token = models.AccessToken.objects.first()
    lists = ("webhook", "delivery", "attempt", "webhookerror", "account", "accesstoken")
    places = [
        *(url(model) for model in lists),
        *(page(webhook), page(webhook) + f"?attempt={attempt.pk}", page(delivery, "delivery")),
        *(page(attempt, "attempt"), page(attempt, "webhookerror"), page(account, "account")),
        page(token, "accesstoken"),
    ]
    boss.get(page(webhook))  # Django asks a database once whether it knows JSON
    for client in (viewer, boss):  # who is no superuser has two more, for the permissions
        for place in places if client is viewer else places[6:]:
            with django_assert_max_num_queries(12):
                assert client.get(place).status_code == 200


def test_lists_never_read_the_encrypted_columns(boss, webhook, django_assert_num_queries):
    models.Webhook.objects.update(token="x")
    with django_assert_num_queries(8) as seen:
        boss.get(url("webhook"))
    assert not any('"token"' in query["sql"] for query in seen.captured_queries)
    assert not any("auth_password" in query["sql"] for query in seen.captured_queries)


class TestDeleted:
    def test_are_listed_apart_while_they_are_kept_with_undo(self, boss, account, settings):
        settings.WEBHOOKS_RETENTION_DAYS = 10
        gone, there = WebhookFactory(account=account, name="Gone"), WebhookFactory(account=account)
        actions.delete_webhook(gone)
        chips = text_of(boss.get(url("webhook")))
        assert "Deleted 1" in chips
        assert "Gone" not in chips.split('id="result_list"')[1]

        text = text_of(boss.get(url("webhook"), {"state": "deleted"}))

        rows = text.split('id="result_list"')[1]
        assert "Gone" in rows
        assert there.name not in rows
        assert "kept until" in rows
        assert 'name="action"' not in text, "no verb is for what is gone"
        place = url("webhook", gone.pk, "restore")
        assert f'href="{place}"' in rows
        boss.post(place)
        assert "Deleted 1" not in text_of(boss.get(url("webhook")))
        assert "Gone" in text_of(boss.get(url("webhook")))

    @pytest.mark.once
    def test_a_viewer_may_look_and_nobody_reaches_their_page(self, viewer, boss, account):
        gone = WebhookFactory(account=account, name="Gone")
        actions.delete_webhook(gone)
        text = text_of(viewer.get(url("webhook"), {"state": "deleted"}))
        assert "Gone" in text
        assert "Undo" not in text
        place = url("webhook", gone.pk, "change") + "?state=deleted"
        assert boss.get(place).status_code == 302
        for verb in ("test", "verify", "enable"):
            answer = boss.post(url("webhook", gone.pk, verb) + "?state=deleted")
            assert answer.status_code == 404
        data = {"action": "enable_", "_selected_action": [gone.pk]}
        boss.post(url("webhook") + "?state=deleted", data)
        gone.refresh_from_db()
        assert gone.deleted_at


@pytest.mark.once
def test_a_paused_webhook_says_why_in_the_list(viewer, account):
    note = "moves <b>until Friday</b> " + "x" * 200
    WebhookFactory(account=account, stopped="paused", stopped_note=note, stopped_at=timezone.now())
    text = text_of(viewer.get(url("webhook")))
    assert "“moves &lt;b&gt;until Friday&lt;/b&gt; x" in text
    assert "x" * 100 not in text
