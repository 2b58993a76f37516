"""What the console remembers: notes, hosts that changed, what was done, troubles that came back."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.admin.pages import page, text_of, url
from tests.factories import AccountFactory, AttemptFactory, WebhookFactory
from webhooks_app import actions
from webhooks_app.engine.maintenance.pruner import purge
from webhooks_app.models import AuditEntry, Note

NOW = timezone.now()


def note(client, row, text, model="webhook", **more):
    return client.post(url(model, row.pk, "note"), {"text": text, **more}, follow=True)


@pytest.mark.once
class TestNotes:
    def test_one_is_written_read_and_struck_out_with_who_and_when(self, operator, viewer, orders):
        text = text_of(note(operator, orders, " Owner moves on <b>Friday</b>.\nAsk Ada. "))
        assert "Owner moves on &lt;b&gt;Friday&lt;/b&gt;.<br>Ask Ada." in text
        written = Note.objects.get()
        assert written.by == operator.user.get_username()
        assert f"<bdi>{written.by}</bdi>" in text
        seen = text_of(viewer.get(page(orders)))
        assert "Ask Ada." in seen
        assert "note-form" not in seen
        assert AuditEntry.objects.latest("pk").action == "Noted something."
        text = text_of(note(operator, orders, "", strike=str(written.pk)))
        assert "The note is struck out." in text
        assert "Ask Ada." not in text
        assert not Note.objects.exists()

    def test_accounts_have_them_too(self, boss, account):
        assert "Pays late." in text_of(note(boss, account, "Pays late.", "account"))
        assert "Pays late." not in text_of(boss.get(page(AccountFactory(name="x"), "account")))

    def test_who_may_not_operate_writes_none(self, viewer, orders):
        assert note(viewer, orders, "x").status_code == 403
        assert not Note.objects.exists()

    def test_a_note_of_another_thing_is_not_struck_out(self, operator, orders):
        theirs = actions.add_note(WebhookFactory(), "Mine.", by="somebody")
        for number in (str(theirs.pk), "x", "9" * 30):
            assert "is gone already" in text_of(note(operator, orders, "", strike=number))
        assert Note.objects.get() == theirs

    @pytest.mark.parametrize("text", ["", "  ", "x" * 2001])
    def test_nothing_and_too_much_are_refused(self, operator, orders, text):
        assert "Must have 1 to 2,000 characters." in text_of(note(operator, orders, text))

    def test_there_are_fifty_at_most(self, orders):
        for number in range(50):
            actions.add_note(orders, f"{number}", by="ada")
        with pytest.raises(actions.Conflict):
            actions.add_note(orders, "one more", by="ada")
        assert [one.text for one in actions.notes_about(orders)][:2] == ["49", "48"]

    def test_a_host_is_a_text_whatever_its_case(self, db):
        actions.add_note("ERP.example.com", "Down on Sundays.", by="ada")
        assert [one.text for one in actions.notes_about("erp.example.com")] == ["Down on Sundays."]
        action = AuditEntry.objects.get().action
        assert action == "Noted something about the host ERP.example.com."

    def test_of_a_host_they_stand_on_its_page(self, operator, viewer, orders):
        WebhookFactory(url="https://ERP.example.com/in")
        place = url("webhook", "host", "erp.example.com")
        says = text_of(
            operator.post(place + "write-note/", {"text": "Down on Sundays."}, follow=True)
        )
        assert "Noted." in says
        written = Note.objects.get()
        assert (written.kind, written.target) == ("host", "erp.example.com")
        seen = text_of(viewer.get(place))
        assert "Down on Sundays." in seen
        assert "note-form" not in seen
        assert viewer.post(place + "write-note/", {"text": "x"}).status_code == 403
        WebhookFactory(url="https://elsewhere.example/")
        elsewhere = url("webhook", "host", "elsewhere.example")
        assert "Down on Sundays." not in text_of(viewer.get(elsewhere))
        struck = operator.post(elsewhere + "write-note/", {"strike": written.pk}, follow=True)
        assert "is gone already" in text_of(struck)
        operator.post(place + "write-note/", {"strike": written.pk})
        assert not Note.objects.exists()

    def test_of_a_host_they_go_with_its_last_webhook(self, orders):
        old = NOW - timedelta(days=99)
        for path in ("a", "b"):
            WebhookFactory(url=f"https://Erp.example.com:443/{path}", deleted_at=old)
        WebhookFactory(url="https://crm.example.com/", deleted_at=old)
        WebhookFactory(url="https://crm.example.com/new")
        for host in ("erp.example.com", "crm.example.com"):
            actions.add_note(host, f"Of {host}.", by="ada")
        purge(timedelta(days=30))
        assert [one.text for one in Note.objects.all()] == ["Of crm.example.com."]

    def test_they_go_with_a_webhook_that_is_kept_no_longer(self, orders):
        bare = WebhookFactory(deleted_at=NOW - timedelta(days=99))
        actions.add_note(bare, "Old.", by="ada")
        actions.add_note(orders, "New.", by="ada")
        purge(timedelta(days=30))
        assert [one.text for one in Note.objects.all()] == ["New."]


class TestAuditLog:
    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            (
                "https://erp.example.com/a?key=hush",
                "https://orders.example.com:8443/hush",
                "Changed URL (erp.example.com → orders.example.com:8443).",
            ),
            (
                "http://erp.example.com/",
                "https://erp.example.com/",
                "Changed URL (http://erp.example.com → erp.example.com).",
            ),
            (
                "https://erp.example.com/a",
                "https://erp.example.com/b?key=hush",
                "Changed URL (same host, erp.example.com).",
            ),
        ],
    )
    def test_a_new_url_is_told_by_its_host(self, account, old, new, words):
        webhook = WebhookFactory(account=account, url=old)
        actions.update_webhook(webhook, url=new, by="ada")
        assert AuditEntry.objects.latest("pk").action == words

    def test_very_long_hosts_leave_room_for_each_other(self, account):
        label = "a" * 60
        old, new = (f"https://{label}.{label}.{label}.{end}.example.com/" for end in "xy")
        webhook = WebhookFactory(account=account, url=old)
        actions.update_webhook(webhook, url=new, by="ada")
        action = AuditEntry.objects.latest("pk").action
        assert "x.example.com → " in action
        assert action.endswith("y.example.com).")

    def test_it_is_filtered_by_what_was_done(self, boss, orders):
        actions.pause(orders, note="broken", by="ada")
        actions.enable(orders, note="mended", by="ada")
        actions.update_webhook(orders, url="https://new.example.com/", by="ada")
        actions.update_webhook(orders, name="New", by="ada")
        for did, words in (
            ("paused", "Paused: broken"),
            ("resumed", "Resumed: mended"),
            ("url", "→ new.example.com)"),
        ):
            text = text_of(boss.get(url("auditentry"), {"did": did}))
            assert "1 shown" in text
            assert words in text
        assert "2 shown" in text_of(boss.get(url("auditentry") + "?did=changed"))
        assert "4 shown" in text_of(boss.get(url("auditentry") + "?did=nonsense"))


class TestTroubles:
    @pytest.fixture
    def failing(self, account):
        def failing(minutes, **more):
            since = NOW - timedelta(minutes=minutes)
            health = {
                "failures_in_row": 9,
                "failing_since": since,
                "last_error_at": NOW,
                "last_error_kind": "timeout",
            }
            return WebhookFactory(account=account, health=health, **more)

        return failing

    def test_new_is_what_began_within_the_hour(self, boss, failing):
        fresh, old = failing(20, name="Fresh"), failing(90, name="Old")
        text = text_of(boss.get(url("webhook")))
        assert text.count(">new</span>") == 1
        text = text_of(boss.get(url("webhook") + "?trouble=new"))
        assert "1 shown" in text
        assert fresh.pk in text
        assert old.pk not in text

    def test_back_again_is_what_failed_so_before_this_run(self, boss, failing):
        back = failing(20)
        AttemptFactory(webhook=back, kind="timeout", ended_at=NOW - timedelta(days=2))
        for other, kind, when in (
            (failing(20), "http_500", timedelta(days=2)),  # another trouble
            (failing(20), "timeout", timedelta(minutes=10)),  # of this run
            (failing(20), "timeout", timedelta(days=40)),  # too long ago
        ):
            AttemptFactory(webhook=other, kind=kind, ended_at=NOW - when)
        text = text_of(boss.get(url("webhook")))
        assert text.count("back again") == 1
        assert text.count(">new</span>") == 3

    def test_outages_on_the_home_page_are_new_or_back_too(self, boss, failing):
        failing(20, url="https://new.example/")
        failing(90, url="https://old.example/")
        back = failing(150, url="https://back.example/")
        AttemptFactory(webhook=back, kind="timeout", ended_at=NOW - timedelta(days=2))
        text = text_of(boss.get("/admin/"))
        rows = {
            host: row
            for row in text.split('id="attention"')[1].split("</section>")[0].split("<tr>")
            for host in ("new.example", "old.example", "back.example")
            if host in row
        }
        marks = {
            host: [mark for mark in ("new", "back again") if f">{mark}<" in row]
            for host, row in rows.items()
        }
        assert marks == {
            "new.example": ["new"],
            "old.example": [],
            "back.example": ["back again"],
        }
        assert "New in the last hour (1)" in text
        text = text_of(boss.get("/admin/?trouble=new"))
        assert "new.example" in text
        assert "old.example" not in text
        assert "All of them" in text

    def test_what_does_not_fail_is_neither(self, boss, account):
        webhook = WebhookFactory(account=account, health={"last_error_kind": "timeout"})
        AttemptFactory(webhook=webhook, kind="timeout", ended_at=NOW - timedelta(days=2))
        text = text_of(boss.get(url("webhook")))
        assert "back again" not in text
        assert ">new</span>" not in text


class TestLatency:
    def test_the_page_tells_the_median_and_95_percent_of_the_last_answers(self, boss, account):
        webhook = WebhookFactory(account=account)
        for number in range(1, 101):
            AttemptFactory(webhook=webhook, status=200, duration_ms=number * 10)
        AttemptFactory(webhook=webhook, kind="timeout", duration_ms=9000)  # no answer
        AttemptFactory(webhook=webhook, status=200, exchange="test", duration_ms=9000)
        text = text_of(boss.get(page(webhook)))
        assert "500 ms" in text
        assert "half of the last 100 answers · 95 % within 950 ms" in text

    def test_it_reads_no_more_than_the_last_two_hundred(self, boss, account):
        webhook = WebhookFactory(account=account)
        for number in range(300):
            AttemptFactory(webhook=webhook, status=200, duration_ms=5 if number < 100 else 70)
        assert "half of the last 200 answers · 95 % within 70 ms" in text_of(
            boss.get(page(webhook))
        )
