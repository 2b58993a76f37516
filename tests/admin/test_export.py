"""A list as CSV: what it shows, all pages, by whoever may see it, and noted."""

import csv
import io
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection
from django.test import AsyncClient
from django.utils import timezone

from project import serving
from tests.admin.conftest import log_in
from tests.admin.pages import text_of, url
from tests.factories import AccountFactory, AttemptFactory, DeliveryFactory, WebhookFactory
from webhooks_app import actions
from webhooks_app.admin import export
from webhooks_app.models import AuditEntry, Delivery, Webhook

ANY_TIME = ("delivery", "attempt", "webhookerror", "event")  # else a list begins with one day
LISTS = ("webhook", "delivery", "attempt", "webhookerror", "event", "account", "accesstoken")


def table(response):
    """The file as rows, each a dict by the heads."""
    assert response.status_code == 200, response.content[:200]
    assert response["Content-Type"].startswith("text/csv")
    text = b"".join(response.streaming_content).decode("utf-8")
    assert text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


@pytest.fixture
def everything(orders):
    actions.publish(orders.account, "order.paid", {"order": 4711})
    actions.issue_token(orders.account, name="chat bot")
    return orders


@pytest.mark.parametrize("model", LISTS)
def test_each_list_is_taken_by_who_may_see_it_and_noted(everything, model):
    client = log_in(f"view_{model}")
    query = "?created=any" if model in ANY_TIME else ""
    assert 'form="wh-export"' in text_of(client.get(url(model) + query))
    rows = table(client.post(url(model, "export") + query))
    assert rows
    entry = AuditEntry.objects.latest("pk")
    assert entry.by == client.user.get_username()
    chosen = ", chosen by created." if query else "."
    assert entry.action.endswith(f"as CSV: {len(rows)} rows{chosen}")
    other = log_in("view_attempt" if model == "webhook" else "view_webhook")
    assert other.post(url(model, "export")).status_code == 403


def test_the_audit_log_is_taken_too(boss, everything):
    actions.pause(everything, note="=cmd", by="mira")
    rows = table(boss.post(url("auditentry", "export") + "?did=paused"))
    assert [row["Did"] for row in rows] == ["Paused: =cmd"]


def test_what_waits_says_why_in_the_words_of_the_list(boss, account):
    held = WebhookFactory(account=account, name="Paused", stopped="paused")
    ordered = WebhookFactory(account=account, name="In order", order="webhook")
    free = WebhookFactory(account=account, name="Free")
    head, behind = actions.deliver_many([(ordered, {}), (ordered, {})])
    Delivery.objects.filter(pk=head.pk).update(tries=1, due_at=timezone.now() + timedelta(hours=1))
    known = {
        DeliveryFactory(webhook=held): "paused",
        DeliveryFactory(webhook=free, reason="unrecorded"): "unrecorded",
        behind: "order",
        head: "",
        DeliveryFactory(webhook=free): "",
        DeliveryFactory(webhook=held, state="delivered", finished_at=timezone.now()): "",
    }
    rows = {row["Id"]: row for row in table(boss.post(url("delivery", "export")))}
    assert {pk: row["Held"] for pk, row in rows.items()} == {
        delivery.pk: reason for delivery, reason in known.items()
    }
    goes_out = {pk for pk, row in rows.items() if row["Next try, UTC"]}
    ends = [pk for pk, row in rows.items() if row["State"] == "Delivered"]
    assert goes_out == {pk for pk, row in rows.items() if not row["Held"]} - set(ends)
    shown = text_of(boss.get(url("delivery")))
    for words in ("paused", "not recorded", "behind another"):
        assert words in shown


@pytest.mark.once
def test_looking_takes_nothing(boss, everything):
    before = AuditEntry.objects.count()
    answer = boss.get(url("webhook", "export") + "?state=failing")
    assert (answer.status_code, answer["Location"]) == (302, url("webhook"))
    assert AuditEntry.objects.count() == before


@pytest.mark.once
def test_what_strangers_wrote_is_no_formula(boss, everything):
    WebhookFactory(account=everything.account, name='=HYPERLINK("https://evil.example")')
    DeliveryFactory(webhook=everything, reference="-1+1", type="@now")
    AttemptFactory(webhook=everything, kind="http_500", message="+1\r\n=2")
    for model in ("webhook", "delivery", "webhookerror"):
        query = "" if model == "webhook" else "?created=any"
        for row in table(boss.post(url(model, "export") + query)):
            for text in row.values():
                assert text[:1] not in tuple("=+-@\t\r"), (model, text)


def test_it_holds_what_the_filters_leave_on_all_pages_in_the_order_of_the_list(boss, account):
    for number in range(60):
        WebhookFactory(account=account, name=f"number {number:02}")
    WebhookFactory(account=AccountFactory(name="other"))
    rows = table(boss.post(url("webhook", "export") + "?account=acme&before=n50&sort=name"))
    assert [row["Name"] for row in rows] == [f"number {number:02}" for number in range(60)]
    place = rows[30]["Id"]
    assert len(table(boss.post(url("webhook", "export") + f"?account=acme&before={place}"))) == 60


@pytest.mark.once
def test_no_secret_and_no_path_of_a_url_is_in_it(boss, everything):
    WebhookFactory(account=everything.account, url="https://erp.example.com/hush?key=hush")
    text = str(table(boss.post(url("webhook", "export"))))
    assert "erp.example.com" in text
    for secret in ("hush", "Ämpel"):
        assert secret not in text


def test_of_very_many_the_first_are_taken_and_it_says_so(boss, account, monkeypatch):
    monkeypatch.setattr(export, "ROWS_MOST", 7)
    monkeypatch.setattr(export, "ROWS_AT_ONCE", 3)
    made = [WebhookFactory(account=account).pk for _ in range(9)]
    rows = table(boss.post(url("webhook", "export")))
    assert [row["Id"] for row in rows] == sorted(made, reverse=True)[:7]
    assert "the first 7 rows" in AuditEntry.objects.latest("pk").action


def test_rows_cost_no_queries_of_their_own(boss, account, django_assert_max_num_queries):
    for _ in range(40):
        DeliveryFactory(webhook=WebhookFactory(account=account))
    for model in ("webhook", "delivery"):
        with django_assert_max_num_queries(20):
            assert len(table(boss.post(url(model, "export")))) == 40


@pytest.mark.once
def test_what_was_typed_is_not_in_the_audit_log(boss, everything):
    table(boss.post(url("delivery", "export") + "?q=hush&payload=hush&created=any"))
    action = AuditEntry.objects.latest("pk").action
    assert "hush" not in action
    assert "chosen by created, payload, search" in action


class TestSentWhileItIsRead:
    """Three rows at a time: what happens to the others meanwhile, they say."""

    @pytest.fixture(autouse=True)
    def in_threes(self, monkeypatch):
        monkeypatch.setattr(export, "ROWS_AT_ONCE", 3)

    @pytest.fixture
    def seven(self, account):
        return [WebhookFactory(account=account, name="before").pk for _ in range(7)]

    @staticmethod
    def rename():
        Webhook.objects.update(name="after")

    @staticmethod
    def names(parts):
        return [row["Name"] for row in csv.DictReader(io.StringIO(b"".join(parts).decode()[1:]))]

    @pytest.mark.parametrize(
        "place", [url("webhook", "export"), f"{url('webhook')}host/h.example/csv/"]
    )
    def test_it_is_noted_first(self, boss, account, place):
        WebhookFactory(account=account, url="https://h.example/")
        answer = boss.post(place)
        assert "as CSV" in AuditEntry.objects.latest("pk").action
        assert len(list(answer.streaming_content)) == 2

    def test_by_wsgi(self, boss, seven):
        parts = boss.post(url("webhook", "export")).streaming_content
        sent = [next(parts), next(parts)]
        self.rename()
        assert self.names([*sent, *parts]) == ["before"] * 3 + ["after"] * 4

    def test_by_the_asgi_of_django(self, boss, seven):
        browser = AsyncClient()
        browser.cookies = boss.cookies

        async def taken():
            sent = []
            async for part in await browser.post(url("webhook", "export")):
                sent.append(part)
                if len(sent) == 2:
                    await sync_to_async(self.rename)()
            return sent

        assert self.names(async_to_sync(taken)()) == ["before"] * 3 + ["after"] * 4

    @pytest.mark.django_db(transaction=True)
    def test_by_the_site_which_answers_others_meanwhile(self, boss, seven, monkeypatch):
        monkeypatch.setattr(serving, "TURNS", 1)
        site, place = serving.Site(), url("webhook", "export")
        boss.get(url("webhook"))
        form = urlencode({"csrfmiddlewaretoken": boss.cookies["csrftoken"].value}).encode()
        cookies = "; ".join(f"{name}={each.value}" for name, each in boss.cookies.items())

        async def asked(method, path, body, send):
            async def receive():
                return {"type": "http.request", "body": body, "more_body": False}

            given = {"host": "testserver", "cookie": cookies, "content-length": str(len(body))}
            given["content-type"] = "application/x-www-form-urlencoded"
            scope = {
                **{"type": "http", "http_version": "1.1", "method": method, "scheme": "http"},
                **{"path": path, "raw_path": path.encode(), "query_string": b"", "root_path": ""},
                "headers": [(name.encode(), text.encode()) for name, text in given.items()],
                **{"client": ("127.0.0.1", 4711), "server": ("testserver", 80)},
            }
            await site(scope, receive, send)

        async def taken():
            sent, others = [], []

            async def note(message):
                others.append(message.get("status"))

            async def send(message):
                sent.append(message.get("body", b""))
                if len(sent) == 3:  # the start, the head, three rows
                    await sync_to_async(self.rename)()
                    await asked("GET", place, b"", note)  # in the only turn that there is

            await asked("POST", place, form, send)
            assert others[0] == 302
            return sent

        try:
            assert self.names(async_to_sync(taken)()) == ["before"] * 3 + ["after"] * 4
        finally:
            site.close()

    def test_a_list_that_is_cut_off_says_so(self, boss, seven):
        parts = boss.post(url("webhook", "export")).streaming_content
        assert self.names([next(parts), next(parts)]) == ["before"] * 3
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE webhooks_app_webhook RENAME TO elsewhere")
        assert next(parts).decode() == f'"{export.CUT}"\r\n'
        assert list(parts) == []
