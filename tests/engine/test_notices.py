"""Notices by email: once for each change of state, in words, and again while nobody takes them."""

import socketserver
import threading
from datetime import timedelta
from smtplib import SMTPRecipientsRefused

import pytest
import time_machine
from django.core import mail as box
from django.core.mail.backends.locmem import EmailBackend as LocMemBackend
from django.db.models import F
from django.utils import timezone

from tests.factories import AccountFactory, WebhookFactory
from webhooks_app import actions
from webhooks_app.checks import notices_without_mail
from webhooks_app.engine import store, transitions
from webhooks_app.engine.attempt_rows import Entry
from webhooks_app.engine.http.sender import Outcome
from webhooks_app.engine.maintenance import notices
from webhooks_app.models import Attempt, Notice, Webhook, WebhookHealth
from webhooks_app.rules.failures import Failure

pytestmark = pytest.mark.django_db
REFUSED = Failure("refused", "connect ECONNREFUSED 93.184.216.34:443")


@pytest.fixture(autouse=True)
def addresses(settings):
    settings.WEBHOOKS_NOTICE_EMAILS = "ops@example.org, night@example.org"
    settings.WEBHOOKS_CONSOLE_URL = "https://hooks.example.org/admin"


@pytest.fixture
def webhook(db):
    account = AccountFactory(name="acme", contact_email="owner@acme.example")
    return WebhookFactory(
        account=account,
        name="Orders\nto ERP",
        url="https://erp.example.com/hook?key=hush",
        token="hush-token",
        auth_username="acme",
        auth_password="hush-password",
        headers=[("X-Key", "hush-header")],
    )


def call(webhook, failure=None, times=1, at=None):
    """Calls as the engine records them."""
    entries = [
        Entry(
            webhook_id=webhook.pk,
            exchange=Attempt.Exchange.INTERACTION,
            request_id="0" * 24,
            url="https://erp.example.com/hook",
            outcome=Outcome(started_at=at or timezone.now(), status=None if failure else 200),
            failure=failure,
        )
        for _ in range(times)
    ]
    store.open("default").record([entry.row() for entry in entries])


def subjects():
    """What has been sent since the last look, staff's letters only."""
    notices.turn()
    found = [letter.subject for letter in box.outbox if "ops@example.org" in letter.to]
    box.outbox.clear()
    return found


def pass_by(**span):
    """So long has passed for the letters that wait."""
    length = timedelta(**span)
    Notice.objects.update(due_at=F("due_at") - length, created_at=F("created_at") - length)


def test_a_name_that_turns_or_commands_is_shown_in_a_letter(webhook):
    type(webhook).objects.update(name="safe\u202egpj\x1b[2J")
    call(webhook, REFUSED, 5)
    notices.turn()
    for letter in box.outbox:
        assert letter.subject == "Webhook safe\\u202egpj\\u001b[2J is failing"
        assert not {"\u202e", "\x1b"} & set(letter.body)
    assert box.outbox


class TestChanges:
    def test_the_life_of_a_failing_webhook_is_told_once_each(self, webhook):
        now = timezone.now()
        name = "Webhook Orders to ERP"
        call(webhook, REFUSED, 4)
        assert subjects() == []
        call(webhook, REFUSED)
        assert subjects() == [f"{name} is failing"]
        call(webhook, REFUSED, 3)
        assert subjects() == []
        WebhookHealth.objects.update(failing_since=now - timedelta(days=4, hours=1))
        [warned] = subjects()
        end = now - timedelta(days=4, hours=1) + timedelta(days=5)
        assert warned == f"{name} will be stopped on {end.day} {end:%b %Y}"
        assert subjects() == []
        WebhookHealth.objects.update(failing_since=now - timedelta(days=5, hours=1))
        call(webhook, REFUSED)
        assert subjects() == [f"{name} is stopped"]
        assert subjects() == []
        actions.enable(webhook)
        assert subjects() == [f"{name} is resumed"]
        call(webhook, REFUSED, 5)
        assert subjects() == [f"{name} is failing"]
        call(webhook)
        assert subjects() == [f"{name} works again"]
        assert subjects() == []

    def test_a_new_url_is_watched_anew(self, webhook):
        call(webhook, REFUSED, 5)
        assert subjects() == ["Webhook Orders to ERP is failing"]
        actions.update_webhook(webhook, url="https://erp.example.com/other")
        assert subjects() == ["Webhook Orders to ERP is watched anew"]

    def test_a_receiver_that_is_gone_is_told_at_once(self, webhook):
        transitions.stop(webhook.pk, "gone")
        notices.turn()
        staff = next(letter for letter in box.outbox if "ops@example.org" in letter.to)
        assert "the receiver says it is gone (410)" in staff.body

    def test_one_that_is_resumed_and_paused_at_once_is_not_said_to_be_called_again(self, webhook):
        transitions.stop(webhook.pk, "gone")
        assert len(subjects()) == 1
        actions.enable(webhook)
        actions.pause(webhook, by="mira")
        assert subjects() == []
        actions.enable(webhook)
        assert subjects() == ["Webhook Orders to ERP is resumed"]

    def test_pausing_is_no_news(self, webhook):
        actions.pause(webhook, by="mira")
        assert subjects() == []

    def test_old_news_is_not_told(self, webhook):
        transitions.stop(webhook.pk, "gone")
        Webhook.objects.update(stopped_at=timezone.now() - timedelta(days=8))
        assert subjects() == []

    def test_a_certificate_that_ends_soon_is_told_once_for_each_certificate(self, webhook):
        ends = timezone.now() + timedelta(days=20)
        WebhookHealth.objects.update(certificate_ends_at=ends)
        assert subjects() == []
        ends -= timedelta(days=8)
        WebhookHealth.objects.update(certificate_ends_at=ends)
        [told] = subjects()
        assert told == f"Webhook Orders to ERP certificate ends on {ends.day} {ends:%b %Y}"
        assert subjects() == []
        WebhookHealth.objects.update(certificate_ends_at=ends - timedelta(days=1))
        assert len(subjects()) == 1

    def test_two_workers_at_once_tell_it_once(self, webhook):
        call(webhook, REFUSED, 5)
        change = next(change for change in notices.CHANGES if change.told == "failing")
        [row] = notices._loaded(change.rows(timezone.now()))
        for _ in range(2):
            notices._note(change, row, timezone.now())
        assert Notice.objects.count() == 2  # staff's and the owner's


class TestLetters:
    def letters(self, webhook):
        call(webhook, REFUSED, 5)
        notices.turn()
        return box.outbox

    def test_staff_are_led_to_the_console_and_the_owner_is_not(self, webhook):
        staff, owner = sorted(self.letters(webhook), key=lambda letter: -len(letter.to))
        assert staff.to == ["ops@example.org", "night@example.org"]
        assert owner.to == ["owner@acme.example"]
        page = f"https://hooks.example.org/admin/webhooks_app/webhook/{webhook.pk}/change/"
        assert page in staff.body
        assert "hooks.example.org" not in owner.body
        for letter in (staff, owner):
            assert "Host: erp.example.com" in letter.body
            assert "connect ECONNREFUSED 93.184.216.34:443" in letter.body
            assert "What to do: Ask the owner whether the server runs" in letter.body

    def test_tell_the_addresses_that_a_firewall_must_let_in(self, webhook, settings):
        settings.WEBHOOKS_EGRESS_ADDRESSES = "203.0.113.7"
        for letter in self.letters(webhook):
            assert "We call from 203.0.113.7." in letter.body

    def test_no_secret_is_in_a_letter(self, webhook):
        for letter in self.letters(webhook):
            assert "hush" not in letter.subject + letter.body

    def test_without_addresses_nobody_is_told_now_or_later(self, webhook, settings):
        settings.WEBHOOKS_NOTICE_EMAILS = ""
        webhook.account.contact_email = ""
        webhook.account.save()
        assert self.letters(webhook) == []
        settings.WEBHOOKS_NOTICE_EMAILS = "ops@example.org"
        assert subjects() == []


class Mailbox(socketserver.StreamRequestHandler):
    """The least an SMTP server says to take a letter."""

    def handle(self):
        self.wfile.write(b"220 here\r\n")
        for line in self.rfile:
            verb = line[:4].upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                letter = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.letters.append(letter.decode())
            self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 OK\r\n")


@pytest.fixture
def mail_server(settings):
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mailbox) as server:
        server.letters = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = server.server_address
        yield server
        server.shutdown()


class OwnError(Exception):
    """What a backend of somebody else raises."""


class Choosy(LocMemBackend):
    def send_messages(self, messages):
        for message in messages:
            message.message()  # builds the headers
            if message.subject == "unlucky":
                raise OwnError
            if "unlucky@example.org" in message.to:
                raise SMTPRecipientsRefused({"unlucky@example.org": (550, b"no such user")})
        return super().send_messages(messages)


class Slow(LocMemBackend):
    """Takes eight seconds for a letter. At the fortieth another worker has its turn."""

    def send_messages(self, messages):
        sent = super().send_messages(messages)
        Slow.clock.shift(timedelta(seconds=8))
        if len(box.outbox) == 40:
            notices.turn()
        return sent


class Away(LocMemBackend):
    tried = 0

    def send_messages(self, messages):
        Away.tried += 1
        raise TimeoutError


class TestTheMailServer:
    def test_gets_each_letter_once_over_smtp(self, webhook, mail_server):
        call(webhook, REFUSED, 5)
        notices.turn()
        notices.turn()
        assert len(mail_server.letters) == 2
        assert "Subject: Webhook Orders to ERP is failing" in mail_server.letters[0]
        assert "hush" not in "".join(mail_server.letters)
        assert not Notice.objects.exists()

    def test_while_it_is_away_letters_wait_and_are_tried_again(self, webhook, settings):
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1  # refuses
        call(webhook, REFUSED, 5)
        notices.turn()
        assert Notice.objects.count() == 2
        waiting = Notice.objects.earliest("pk")
        assert waiting.tries == 1
        assert waiting.due_at > timezone.now() + timedelta(seconds=50)
        settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
        notices.turn()
        pass_by(hours=1)
        notices.turn()
        assert len(box.outbox) == 2
        assert not Notice.objects.exists()

    def test_whoever_is_told_to_stop_sends_no_more(self, webhook, mail_server):
        call(webhook, REFUSED, 5)
        answers = iter([False, True])
        notices.turn(lambda: next(answers))
        assert len(mail_server.letters) == 1
        notices.turn()
        assert len(mail_server.letters) == 2

    def test_while_it_hangs_one_letter_finds_out_for_all_and_none_is_kept_for_ever(
        self, webhook, settings, monkeypatch
    ):
        settings.EMAIL_BACKEND = f"{__name__}.Away"
        monkeypatch.setattr(Away, "tried", 0)
        call(webhook, REFUSED, 5)
        for _ in range(3):
            notices.turn()
        assert (Away.tried, Notice.objects.count()) == (1, 2)
        pass_by(days=3)
        notices.turn()
        assert (Away.tried, Notice.objects.count()) == (2, 0)

    @pytest.mark.once
    def test_that_takes_its_time_holds_up_nothing_else_and_gets_each_letter_once(
        self, webhook, settings
    ):
        settings.EMAIL_BACKEND = f"{__name__}.Slow"
        letter = {"webhook": webhook, "recipients": ["a@example.org"], "text": "t"}
        for number in range(45):
            Notice.objects.create(subject=f"{number}", **letter)
        with time_machine.travel(timezone.now(), tick=False) as Slow.clock:
            notices.turn(seconds=0)
            assert len(box.outbox) == 1
            notices.turn()
        assert sorted(int(one.subject) for one in box.outbox) == list(range(45))
        assert not Notice.objects.exists()

    def test_a_letter_nobody_takes_is_given_up_in_the_end(self, webhook, settings):
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
        call(webhook, REFUSED, 5)
        notices.turn()
        pass_by(days=3)
        notices.turn()
        assert Notice.objects.count() == 0

    @pytest.mark.parametrize("reason", ["own", "refused", "unspeakable"])
    def test_a_letter_that_cannot_be_sent_holds_up_no_other(self, webhook, settings, reason):
        settings.EMAIL_BACKEND = f"{__name__}.Choosy"
        poison = {
            "own": {"subject": "unlucky"},
            "refused": {"recipients": ["unlucky@example.org"]},
            "unspeakable": {"subject": "two\nlines"},  # no header may be so: ValueError
        }[reason]
        letter = {"recipients": ["a@example.org"], "subject": "s", "text": "t"}
        first = timezone.now() - timedelta(hours=1)
        bad = Notice.objects.create(webhook=webhook, due_at=first, **letter | poison)
        Notice.objects.create(webhook=webhook, **letter)
        notices.turn()
        assert [letter.subject for letter in box.outbox] == ["s"]
        assert [notice.pk for notice in Notice.objects.all()] == [bad.pk]
        for _ in range(3):
            pass_by(days=1)
            notices.turn()
        assert not Notice.objects.exists()

    def test_no_letter_is_tried_without_end(self, webhook, settings):
        settings.EMAIL_BACKEND = f"{__name__}.Choosy"
        Notice.objects.create(
            webhook=webhook,
            recipients=["a@b.c"],
            subject="unlucky",
            text="t",
            tries=notices.TRIES_MOST,
        )
        notices.turn()
        assert not Notice.objects.exists()

    def test_a_letter_that_somebody_sends_already_is_left_to_them(self, webhook):
        call(webhook, REFUSED, 5)
        stale = timezone.now() - timedelta(seconds=1)
        Notice.objects.create(
            webhook=webhook, recipients=["a@b.c"], subject="s", text="t", due_at=stale
        )
        Notice.objects.filter(subject="s").update(due_at=stale + notices.SENDING_FOR)
        notices.turn()
        assert "s" not in [letter.subject for letter in box.outbox]

    @pytest.mark.once
    @pytest.mark.parametrize("raw", ["ops", "a@", "@b", "a b@c.d"])
    def test_an_unreadable_address_stops_the_start(self, settings, raw):
        from django.core.exceptions import ImproperlyConfigured

        from webhooks_app import conf

        settings.WEBHOOKS_NOTICE_EMAILS = raw
        with pytest.raises(ImproperlyConfigured, match="WEBHOOKS_NOTICE_EMAILS"):
            conf.validate()


@pytest.mark.once
def test_addresses_without_a_mail_server_are_warned_of(settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
    assert [found.id for found in notices_without_mail(None)] == ["webhooks_app.W004"]
    settings.WEBHOOKS_NOTICE_EMAILS = ""
    assert notices_without_mail(None) == []


@pytest.mark.once
def test_so_are_those_of_a_project_that_has_mailers(settings):
    """From Django 6.1 on, which then knows no EMAIL_BACKEND."""
    del settings.EMAIL_BACKEND
    settings.MAILERS = {"default": {"BACKEND": "django.core.mail.backends.dummy.EmailBackend"}}
    assert [found.id for found in notices_without_mail(None)] == ["webhooks_app.W004"]
    settings.MAILERS = {"default": {}}
    assert notices_without_mail(None) == []
