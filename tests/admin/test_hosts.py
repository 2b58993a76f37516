"""An outage of a receiver: told once, however many customers it hits, and handled for all."""

import csv
import io
import re
from datetime import timedelta
from html import unescape

import pytest
from django.utils import timezone

from tests.admin.conftest import VIEW, log_in
from tests.admin.pages import page, text_of, url
from tests.admin.test_home import links, plain, shown
from tests.factories import (
    AccountFactory,
    AttemptFactory,
    DeliveryFactory,
    WebhookFactory,
    WorkerFactory,
)
from webhooks_app.models import AuditEntry, Job, Webhook

HOME, HOST = "/admin/", "helpdesk.example"
PAGE = url("webhook", "host", HOST)


@pytest.fixture
def outage(db):
    """Four customers of a host that answers 503, two of them with deliveries that gave up; and
    a webhook of a customer of theirs elsewhere, which fails otherwise."""
    now = timezone.now()
    WorkerFactory(seen_at=now)
    found = []
    for place, name in enumerate(("acme", "northwind", "shop", "flowers")):
        since = now - timedelta(minutes=18, seconds=place)
        health = failing("http_502", "Request failed with status code 503", since)
        account = AccountFactory(name=name, contact_email=f"ops@{name}.example" if place else "")
        webhook = WebhookFactory(
            account=account, name=f"Tickets of {name}", url=f"https://{HOST}/{name}", health=health
        )
        for _ in range(3):
            DeliveryFactory(webhook=webhook)
        if place < 2:
            DeliveryFactory.create_batch(2, webhook=webhook, state="failed", finished_at=now)
        found.append(webhook)
    health = failing("tls_expired", "certificate has expired", now - timedelta(hours=3))
    url = "https://crm.example/in"
    crm = WebhookFactory(account=found[0].account, name="CRM", url=url, health=health)
    DeliveryFactory(webhook=crm)
    return found


def failing(kind, message, since):
    return {
        "failures_in_row": 12,
        "failing_since": since,
        "last_error_at": since,
        "last_error_kind": kind,
        "last_error_message": message,
        "breaker_until": timezone.now() + timedelta(minutes=5),
    }


def attention(client, query=""):
    return text_of(client.get(HOME + query)).split('id="attention"')[1].split("</section>")[0]


class TestHome:
    def test_one_line_tells_what_four_customers_meet(self, operator, outage):
        module = attention(operator)
        rows = module.split("<tr>")[2:]
        assert len(rows) == 2
        says = plain(rows[0])
        assert f"Failing new {HOST} 4 webhooks" in says
        assert "A proxy before the receiver gets no answer from it" in says
        assert "all within 3 s" in says
        assert "Try one" in says
        found = links(rows[0])
        assert found[HOST] == PAGE
        assert found["waiting: 12"] == found["gave up: 4"] == f"{PAGE}#hit"
        replay = found[f"Replay… what gave up at {HOST}"]
        assert "4 deliveries" in text_of(operator.get(replay))
        assert "CRM crm.example · acme" in plain(rows[1])
        assert shown(operator, links(rows[1])["waiting: 1"]) == 1

    def test_the_most_stuck_come_first_or_the_oldest(self, viewer, outage):
        def order(query):
            return [HOST in row for row in attention(viewer, query).split("<tr>")[2:]]

        assert order("") == [True, False]
        assert order("?sort=since") == [False, True]

    def test_a_viewer_is_shown_no_button(self, viewer, outage):
        assert "<form" not in attention(viewer)
        assert "Replay" not in attention(viewer)


class TestPage:
    def test_says_what_is_the_matter_since_when_and_whom_it_hits(self, operator, outage):
        text = text_of(operator.get(PAGE))
        says = plain(text)
        assert re.search(
            r"Failing: all 4 webhooks, since .* \(18 min\): .* for all 4 customers", says
        )
        assert "the host, not one customer's settings" in unescape(says)
        for name in ("acme", "northwind", "shop", "flowers"):
            assert f"Tickets of {name}" in says
        assert "ops@shop.example" in says
        found = links(text)
        numbers = plain(text.split('<dl class="wh-tiles')[1].split("</dl>")[0])
        words = " ".join(numbers.split()[-10:])
        assert words == "Webhooks 4 Deliver nothing 4 Waiting 12 Gave up 4"
        assert shown(operator, found["12"]) == 12
        assert "CRM" not in says

    @pytest.mark.once
    def test_a_note_for_the_customers_names_none_of_them(self, viewer, outage):
        note = text_of(viewer.get(PAGE)).split('id="customers-note"')[1].split("</pre>")[0]
        assert HOST in note
        assert "Ask the owner" not in note  # that is advice for us
        assert not re.search("acme|northwind|shop|flowers", note)

    def test_of_a_host_that_works_is_quiet(self, viewer, db):
        WebhookFactory(url="https://fine.example/", health={"last_success_at": timezone.now()})
        text = plain(text_of(viewer.get(url("webhook", "host", "fine.example"))))
        assert "Its only webhook is neither failing nor held" in text

    def test_how_a_host_is_written_matters_not(self, viewer, outage):
        for host in ("HELPDESK.example", f"{HOST}:443"):
            assert HOST in text_of(viewer.get(url("webhook", "host", host)))
        for host in ("nobody.example", "a b", "%00", "[", "x" * 300):
            assert viewer.get(url("webhook", "host", host)).status_code == 404

    @pytest.mark.once
    def test_without_the_permission_it_is_refused(self, outage):
        assert log_in("view_delivery").get(PAGE).status_code == 403
        someone = log_in("view_webhook")
        text = text_of(someone.get(PAGE))
        assert "ops@shop.example" not in text
        assert "Waiting</dt>" not in text

    def test_takes_at_most_twelve_queries(self, operator, outage, django_assert_max_num_queries):
        with django_assert_max_num_queries(12):
            operator.get(PAGE)
        with django_assert_max_num_queries(12):
            operator.get(HOME)


@pytest.mark.once
class TestVerbs:
    def test_pause_all_asks_first_for_a_reason_and_is_noted_for_each(self, operator, outage):
        place = PAGE + "pause-all/"
        asked = text_of(operator.post(place))
        assert "Pause 4 webhooks" in asked
        assert "Of 4 customers" in asked
        assert not Webhook.objects.exclude(stopped="").exists()
        done = operator.post(place, {"confirmed": "1", "note": "their 503"}, follow=True)
        assert f"Paused: 4 webhooks at {HOST}" in text_of(done)
        assert Webhook.objects.filter(stopped="paused", stopped_note="their 503").count() == 4
        assert AuditEntry.objects.filter(action="Paused: their 503").count() == 4
        again = operator.post(place, {"confirmed": "1"}, follow=True)
        assert "Nothing was changed" in text_of(again)

    def test_close_breakers_asks_first(self, operator, outage):
        place = PAGE + "close-breakers/"
        assert "Close 4 breakers" in text_of(operator.post(place))
        assert Webhook.objects.filter(health__breaker_until__isnull=True).count() == 0
        done = text_of(operator.post(place, {"confirmed": "1"}, follow=True))
        assert "Breakers closed: 4 webhooks" in done
        assert Webhook.objects.filter(health__breaker_until__isnull=True).count() == 4

    def test_replay_is_a_job_for_all_its_customers(self, operator, outage):
        place = links(text_of(operator.get(PAGE)))["Replay 4 that gave up…"]
        assert f"to {HOST}" in plain(text_of(operator.get(place)))
        words = {"confirm": "1", "verb": "retry", "host": HOST, "state": "failed"}
        operator.post(url("job", "add"), words)
        job = Job.objects.get()
        assert (job.selection, job.expected) == ({"host": HOST, "state": "failed"}, 4)

    @pytest.mark.parametrize("verb", ["try", "close-breakers", "pause-all"])
    def test_a_viewer_may_do_none_of_it_and_a_get_does_nothing(
        self, viewer, operator, outage, verb
    ):
        place = f"{PAGE}{verb}/"
        assert viewer.post(place, {"confirmed": "1"}).status_code == 403
        assert operator.get(place).status_code == 302
        assert not AuditEntry.objects.exists()


class TestSheet:
    def rows(self, client):
        answer = client.post(PAGE + "csv/")
        assert answer["Content-Type"].startswith("text/csv; charset=utf-8")
        assert "attachment" in answer["Content-Disposition"]
        text = b"".join(answer.streaming_content).decode("utf-8-sig")
        return list(csv.DictReader(io.StringIO(text)))

    def test_holds_what_the_page_shows_and_is_noted(self, viewer, outage):
        rows = self.rows(viewer)
        assert [row["Customer"] for row in rows] == ["flowers", "shop", "northwind", "acme"]
        assert (rows[0]["State"], rows[0]["Waiting"], rows[0]["Gave up"]) == ("Failing", "3", "0")
        assert rows[0]["Contact"] == "ops@flowers.example"
        assert AuditEntry.objects.get().did == f"Took the webhooks of {HOST} as CSV"

    @pytest.mark.once
    def test_no_cell_is_a_formula(self, viewer, outage):
        for place, start in enumerate(("=", "+", "-", "@", "\t=", " =")):
            WebhookFactory(name=f"{start}cmd|' /C calc'!A{place}", url=f"https://{HOST}/")
        for row in self.rows(viewer):
            for cell in row.values():
                assert not re.match(r"[\s\ufeff]*[=+\-@|]", cell), cell

    @pytest.mark.once
    def test_contacts_are_for_who_may_see_accounts(self, outage):
        assert {row["Contact"] for row in self.rows(log_in("view_webhook"))} == {""}


def test_every_list_is_filtered_by_the_host(viewer, outage):
    assert VIEW
    assert shown(viewer, f"{url('webhook')}?host={HOST}") == 4
    assert shown(viewer, f"{url('delivery')}?host={HOST}&created=any") == 16
    assert shown(viewer, f"{url('delivery')}?host=crm.example&created=any") == 1
    for model in ("webhook", "delivery", "attempt", "webhookerror"):
        text = text_of(viewer.get(f"{url(model)}?host=a/b"))
        assert "This cannot be read as host" in text


def test_an_answer_is_shown_to_who_may_see_attempts(outage):
    attempt = AttemptFactory(webhook=outage[0], status=503, kind="http_502", answer="their words")
    for place in (PAGE, page(outage[0])):
        shown_to = {
            names: "their words" in text_of(log_in(*names).get(f"{place}?attempt={attempt.pk}"))
            for names in (("view_webhook",), ("view_webhook", "view_attempt"))
        }
        assert list(shown_to.values()) == [False, True], place
