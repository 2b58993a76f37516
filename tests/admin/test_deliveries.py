"""The list of the deliveries: filters, search, verbs; and the page of one."""

import re
from datetime import timedelta
from html import unescape

import pytest
from django.utils import timezone

from tests.admin.conftest import NOW, log_in
from tests.admin.pages import forms, page, text_of, url
from tests.factories import AccountFactory, AttemptFactory, DeliveryFactory, WebhookFactory
from webhooks_app.admin import base, changelist, delivery_list
from webhooks_app.models import Delivery, Job
from webhooks_app.presentation.sent_request import sent
from webhooks_app.rules.ids import first_id, id_time, new_id


@pytest.fixture
def webhook(orders):
    return orders


@pytest.fixture
def delivery(orders):
    return orders.deliveries.get()


def shown(client, **query):
    """The ids in the list, newest first, as far as they are shown by their own pages."""
    text = text_of(client.get(url("delivery"), query))
    ids = Delivery.objects.order_by("-pk").values_list("pk", flat=True)
    return [pk for pk in ids if f"/delivery/{pk}/change/" in text]


class TestFilters:
    def test_each_word_of_the_vocabulary_filters_the_list(self, viewer, webhook, delivery):
        Delivery.objects.filter(pk=delivery.pk).update(last_status=500, last_error="x")
        other = DeliveryFactory(
            webhook=WebhookFactory(account=AccountFactory(name="other")),
            type="ticket.closed",
            state="failed",
            finished_at=NOW,
        )
        for name, value in {
            "webhook": webhook.pk,
            "account": "acme",
            "type": "order.created",
            "reference": "4711",
            "status": "5xx",
            "kind": "http_500",
            "state": "retrying",
        }.items():
            assert shown(viewer, **{name: value}) == [delivery.pk], name
        hour = (NOW - timedelta(hours=1)).isoformat()
        assert shown(viewer, failed_since=hour) == [other.pk]
        assert shown(viewer, since=hour, until=hour) == []
        assert shown(viewer, state="due") == [delivery.pk]
        assert len(shown(viewer)) == 2

    def test_the_webhook_may_be_given_by_its_name(self, viewer, webhook, delivery):
        DeliveryFactory()
        assert shown(viewer, webhook="Orders") == [delivery.pk]
        assert shown(viewer, webhook="Nobody") == []

    def test_a_filter_shows_itself_and_can_be_removed(self, viewer, webhook):
        text = text_of(viewer.get(url("delivery"), {"webhook": webhook.pk, "status": "5xx"}))
        assert '<span class="wh-mono">Orders</span>' in text
        assert "remove this filter" in text

    def test_a_form_sent_empty_does_not_open_the_window(self, operator, webhook):
        old = DeliveryFactory(id="5a" + "0" * 22, webhook=webhook)
        empty = {"webhook": "", "since": "", "until": "", "status": "", "type": "", "account": ""}
        text = text_of(operator.get(url("delivery"), empty))
        assert old.pk not in text
        assert "/job/add/?verb=retry&amp;since=" in text

    @pytest.mark.parametrize("name", ["status", "since", "kind", "failed_since", "job", "type"])
    @pytest.mark.parametrize("value", ["%00", "x" * 300, "9999-12-31T23:59:59-23:00", "1e9"])
    def test_nonsense_finds_nothing_and_is_no_error_of_ours(self, viewer, delivery, name, value):
        answer = viewer.get(url("delivery") + f"?{name}={value}")
        assert answer.status_code == 200


class TestSearch:
    def test_a_reference_is_found_at_any_time(self, viewer, webhook):
        old = DeliveryFactory(id="5a" + "0" * 22, webhook=webhook, reference="old-1")
        text = text_of(viewer.get(url("delivery"), {"q": "old-1"}))
        assert old.pk in text
        assert "of any time" in text

    def test_what_is_no_reference_is_looked_for_in_the_payloads(self, viewer, webhook):
        found = DeliveryFactory(webhook=webhook, payload='{"name": "Jörg"}'.encode())
        assert shown(viewer, q="Jörg") == [found.pk]
        assert "payloads were searched, all of this list" in text_of(
            viewer.get(url("delivery"), {"q": "Jörg"})
        )

    def test_only_so_many_payloads_are_read_and_the_list_says_so(
        self, viewer, webhook, monkeypatch
    ):
        monkeypatch.setattr(changelist, "PAYLOADS_READ", 5)
        start = timezone.now() - timedelta(minutes=10)
        ids = [new_id(start.timestamp() + n) for n in range(8)]
        for number, pk in enumerate(ids):
            DeliveryFactory(id=pk, webhook=webhook, payload=f'{{"n": "n-{number}"}}'.encode())
        Delivery.objects.exclude(pk__in=ids).delete()
        text = text_of(viewer.get(url("delivery"), {"q": "n-1"}))
        assert "Only the newest 5 of this list were looked at" in text
        assert f"before={ids[3]}" in text
        assert shown(viewer, q="n-1") == []
        assert shown(viewer, q="n-1", before=ids[3]) == [ids[1]]

    def test_filters_without_an_index_say_how_far_they_looked(self, viewer, webhook, monkeypatch):
        monkeypatch.setattr(base.ConsoleAdmin, "sieved", 5)
        start = timezone.now() - timedelta(minutes=10)
        ids = [new_id(start.timestamp() + n) for n in range(8)]
        for number, pk in enumerate(ids):
            DeliveryFactory(id=pk, webhook=webhook, last_status=503 if number == 1 else 200)
        Delivery.objects.exclude(pk__in=ids).delete()
        text = text_of(viewer.get(url("delivery"), {"status": "503"}))
        assert "Only the newest 5 of this list were looked at" in text
        assert shown(viewer, status="503", before=ids[3]) == [ids[1]]
        # A page that is full needs no such words, and of eight rows all are looked at.
        assert "were looked at" not in text_of(viewer.get(url("delivery"), {"state": "pending"}))
        monkeypatch.setattr(base.ConsoleAdmin, "sieved", 9)
        assert shown(viewer, status="503") == [ids[1]]

    def test_an_error_is_found_however_long_ago_it_was_met(self, viewer, webhook, monkeypatch):
        monkeypatch.setattr(base.ConsoleAdmin, "sieved", 2)
        ids = [new_id(timezone.now().timestamp() - 86400 * 9 + n * 3600) for n in range(9)]
        for number, pk in enumerate(ids):
            made = DeliveryFactory(id=pk, webhook=webhook, type="a" if number else "b")
            for at in range(2):  # twice, and in another order than they were made
                ended = timezone.now() - timedelta(hours=number - at)
                kind = "http_502" if number < 4 else "refused"
                AttemptFactory(webhook=webhook, delivery=made, kind=kind, ended_at=ended)
        any_time = {"kind": "http_502", "created": "any"}
        assert shown(viewer, **any_time) == ids[3::-1]
        assert "were looked at" not in text_of(viewer.get(url("delivery"), any_time))
        assert shown(viewer, **any_time, before=ids[2]) == [ids[1], ids[0]]
        assert shown(viewer, kind="http_502", since=id_time(ids[2]).isoformat()) == [ids[3], ids[2]]
        assert shown(viewer, **any_time, until=id_time(ids[1]).isoformat()) == [ids[0]]
        assert shown(viewer, kind="http_502") == shown(viewer, kind="gone", created="any") == []
        newer = viewer.get(url("delivery", "newer"), {**any_time, "after": ids[1]})
        assert newer.json() == {"count": "2"}
        # Beside a filter without an order of its own the newest rows are looked at, as ever.
        text = text_of(viewer.get(url("delivery"), {**any_time, "status": "200"}))
        assert "Only the newest 2 of this list were looked at" in text
        assert shown(viewer, **any_time, type="b", webhook=webhook.pk) == [ids[0]]

    @pytest.mark.parametrize("of_one", [False, True])
    def test_where_the_newest_wait_those_delivered_are_looked_for_so_far_and_no_further(
        self, viewer, webhook, monkeypatch, of_one
    ):
        hour_ago = timezone.now() - timedelta(hours=1)
        old = DeliveryFactory(webhook=webhook, state="delivered", finished_at=hour_ago)
        Delivery.objects.exclude(pk=old.pk).delete()
        DeliveryFactory.create_batch(5, webhook=webhook)
        words = {"state": "delivered"} | ({"webhook": webhook.pk} if of_one else {})
        monkeypatch.setattr(base.ConsoleAdmin, "sieved", 5)
        assert shown(viewer, **words) == []
        text = text_of(viewer.get(url("delivery"), words))
        assert "Only the newest 5 of this list were looked at" in text
        monkeypatch.setattr(base.ConsoleAdmin, "sieved", 6)
        assert shown(viewer, **words) == [old.pk]

    @pytest.mark.parametrize("of_one", [False, True])
    def test_where_very_many_wait_the_newest_rows_are_looked_at(
        self, viewer, webhook, monkeypatch, of_one
    ):
        start = timezone.now() - timedelta(minutes=10)
        ids = [new_id(start.timestamp() + n) for n in range(8)]
        for number, pk in enumerate(ids):
            DeliveryFactory(id=pk, webhook=webhook, tries=int(number in (1, 6)))
        Delivery.objects.exclude(pk__in=ids).delete()
        words = {"state": "retrying"} | ({"webhook": webhook.pk} if of_one else {})
        monkeypatch.setattr(base.ConsoleAdmin, "sieved", 5)
        monkeypatch.setattr(delivery_list, "SIEVED", 8)
        assert "were looked at" not in text_of(viewer.get(url("delivery"), words))
        assert shown(viewer, **words) == [ids[6], ids[1]]
        monkeypatch.setattr(delivery_list, "SIEVED", 7)
        assert "newest 5 of this list were looked at" in text_of(viewer.get(url("delivery"), words))
        assert shown(viewer, **words) == [ids[6]]
        assert shown(viewer, **words, before=ids[3]) == [ids[1]]

    @pytest.mark.parametrize("state", ["delivered", "cancelled"])
    @pytest.mark.parametrize("of_one", [False, True])
    def test_what_ended_may_lie_behind_very_many_others(
        self, viewer, webhook, monkeypatch, state, of_one
    ):
        start = timezone.now() - timedelta(minutes=10)
        ids = [new_id(start.timestamp() + n) for n in range(8)]
        ended = {"state": state, "finished_at": timezone.now()}
        for number, pk in enumerate(ids):
            DeliveryFactory(id=pk, webhook=webhook, **(ended if number == 1 else {}))
        Delivery.objects.exclude(pk__in=ids).delete()
        words = {"state": state} | ({"webhook": webhook.pk} if of_one else {})
        assert shown(viewer, **words) == [ids[1]]
        assert "were looked at" not in text_of(viewer.get(url("delivery"), words))
        monkeypatch.setattr(base.ConsoleAdmin, "sieved", 5)
        monkeypatch.setattr(delivery_list, "SIEVED", 0)
        if of_one and state == "cancelled":  # which an index holds in the order of the list
            assert shown(viewer, **words) == [ids[1]]
            return
        text = text_of(viewer.get(url("delivery"), words))
        assert "newest 5 of this list were looked at" in text
        assert shown(viewer, **words) == []
        assert shown(viewer, **words, before=ids[3]) == [ids[1]]


class TestFollowing:
    def test_says_how_many_are_newer_under_the_same_filters(self, viewer, webhook, delivery):
        DeliveryFactory(webhook=webhook, type="order.created")
        DeliveryFactory(webhook=webhook, type="other")
        answer = viewer.get(
            url("delivery", "newer"), {"after": delivery.pk, "type": "order.created"}
        )
        assert answer.json() == {"count": "1"}
        assert viewer.get(url("delivery", "newer"), {"after": "x"}).status_code == 400

    def test_is_for_those_who_may_see_the_list(self, delivery):
        answer = log_in("view_webhook").get(url("delivery", "newer"), {"after": delivery.pk})
        assert answer.status_code == 403


class TestVerbs:
    def test_everything_that_matches_becomes_a_job(self, operator, webhook, delivery):
        data = {"action": "retry_", "_selected_action": delivery.pk, "select_across": "1"}
        answer = operator.post(url("delivery") + f"?webhook={webhook.pk}&state=retrying", data)
        assert answer.status_code == 302
        assert "/job/add/?verb=retry" in answer["Location"]
        assert f"webhook={webhook.pk}" in answer["Location"]
        assert "state=retrying" in answer["Location"]
        delivery.refresh_from_db()
        assert delivery.requested_by == ""

    def test_what_was_chosen_is_changed_and_the_message_leads_to_it(self, operator, webhook):
        first, second, _ = (DeliveryFactory(webhook=webhook) for _ in range(3))
        data = {"action": "retry_", "_selected_action": [first.pk, second.pk], "confirmed": "1"}
        text = text_of(operator.post(url("delivery"), data, follow=True))
        place = unescape(re.search(r'Due now: <a href="([^"]+)">2 deliveries</a>', text)[1])
        found = text_of(operator.get(place))
        assert "2 shown" in found
        assert second.pk in found
        assert "All that match" not in found, "a job knows no ids"
        data |= {"select_across": "1", "_selected_action": first.pk}
        text = text_of(operator.post(place, data, follow=True))
        assert "2 deliveries</a>" in text, "all that match are those two"

    def test_the_window_of_the_list_is_the_window_of_the_job(self, operator, delivery):
        text = text_of(operator.get(url("delivery")))
        assert "/job/add/?verb=retry&amp;since=" in text
        text = text_of(operator.get(url("delivery"), {"created": "any", "q": "4711"}))
        assert "/job/add/?verb=cancel&amp;reference=4711" in text

    def test_a_viewer_sees_no_verbs(self, viewer, delivery):
        text = text_of(viewer.get(url("delivery")))
        assert "job/add" not in text
        assert 'name="action"' not in text


@pytest.mark.once
class TestPage:
    def test_the_request_is_shown_with_every_secret_masked(self, viewer, webhook, delivery):
        text = text_of(viewer.get(page(delivery, "delivery")))
        assert "https://receiver.example.com/hook?token=••••••••" in text
        assert "X-One" in text
        assert "Basic ••••••••" in text
        for secret in ("tok-Ämpel", "tok-", "pass-Ämpel", "val-Ämpel", "YWNtZT"):
            assert secret not in text
        assert "curl --request POST" in text
        assert f"webhook-id: {delivery.pk}" in text

    def test_raw_shows_the_bytes_and_pretty_the_sense(self, viewer, webhook):
        delivery = DeliveryFactory(webhook=webhook, payload=b'{"a":1.50}')
        place = page(delivery, "delivery")
        assert "{&quot;a&quot;:1.50}" in text_of(viewer.get(place + "?raw=1"))
        assert "  &quot;a&quot;: 1.5" in text_of(viewer.get(place))

    def test_attempts_say_why_they_were_made(self, viewer, webhook):
        delivery = DeliveryFactory(webhook=webhook, tries=3)
        job = Job.objects.create(verb="retry", first="0" * 24, last="f" * 24, created_by="mira")
        start = timezone.now() - timedelta(hours=1)
        for number, minutes, by in (
            (1, 0, ""),
            (2, 5, ""),
            (3, 9, "jo"),
            (1, 20, job.signature),
            (1, 30, "kim"),
        ):
            AttemptFactory(
                webhook=webhook,
                delivery=delivery,
                number=number,
                ended_at=start + timedelta(minutes=minutes),
                requested_by=by,
                kind="reset",
                message="socket hang up",
            )
        text = text_of(viewer.get(page(delivery, "delivery")))
        for words in (
            "first try",
            "retry after 4 min",
            "retried by <bdi>jo</bdi>",
            f'replayed by <bdi>mira</bdi> in a <a href="{page(job, "job")}">',
            "retried by <bdi>kim</bdi>",
            "tries of an earlier round",
        ):
            assert words in text, words

    def test_any_attempt_can_be_looked_at(self, viewer, webhook, delivery):
        first = delivery.attempts.get()
        AttemptFactory(webhook=webhook, delivery=delivery, number=2, kind="timeout", message="slow")
        text = text_of(viewer.get(page(delivery, "delivery")))
        assert "Answer to try 2" in text
        assert "alert(" not in text
        text = text_of(viewer.get(page(delivery, "delivery") + f"?attempt={first.pk}"))
        assert "Answer to try 1" in text
        assert "&lt;script&gt;alert(&#x27;hostile&#x27;)" in text

    def test_leads_to_the_failures_before_and_after(self, viewer, webhook, delivery):
        Delivery.objects.filter(pk=delivery.pk).update(last_error="x")
        before = DeliveryFactory(
            id=first_id(NOW - timedelta(hours=1)), webhook=webhook, last_error="x"
        )
        DeliveryFactory(webhook=webhook, state="delivered", finished_at=NOW)
        after = DeliveryFactory(webhook=webhook, last_error="x")
        DeliveryFactory(last_error="x")
        text = text_of(viewer.get(page(delivery, "delivery")))
        assert f'{page(before, "delivery")}" rel="prev"' in text
        assert f'{page(after, "delivery")}" rel="next"' in text
        assert 'rel="prev"' not in text_of(viewer.get(page(before, "delivery")))

    def test_a_viewer_gets_no_button_and_a_deleted_webhook_none_either(
        self, viewer, operator, webhook, delivery
    ):
        seen = forms(viewer.get(page(delivery, "delivery"))).actions
        assert seen == ["/admin/logout/", "../record/"], "what is seen may be taken"
        assert "../retry/" in forms(operator.get(page(delivery, "delivery"))).actions
        webhook.deleted_at = NOW
        webhook.save()
        assert "../retry/" not in forms(operator.get(page(delivery, "delivery"))).actions

    def test_a_url_that_cannot_be_sent_is_said(self, webhook, delivery):
        webhook.url = "http://10.0.0.1/"
        made = sent(delivery, url=webhook.url, at=NOW, size=2, token_set=False, header_names=[])
        assert made.headers == []
        assert "blocked" in made.problem

    def test_curl_is_quoted_for_the_shell(self, webhook, delivery):
        made = sent(
            delivery,
            url="https://receiver.example.com/it's",
            at=NOW,
            size=2,
            token_set=True,
            header_names=["X-One"],
        )
        assert """'https://receiver.example.com/it'"'"'s?token=••••••••'""" in made.curl("{}")
        assert "--header 'X-One: ••••••••'" in made.curl("{}")


def test_errors_are_found_by_the_reference_of_their_delivery(viewer, webhook, delivery):
    AttemptFactory(webhook=webhook, exchange="test", kind="reset")
    for model in ("webhookerror", "attempt"):
        assert "1 shown" in text_of(viewer.get(url(model), {"q": "4711"}))
        assert "Nothing here matches" in text_of(viewer.get(url(model), {"q": "4712"}))
