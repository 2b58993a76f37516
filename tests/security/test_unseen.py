"""What a receiver sends is seen in the console as it came: nothing turns, hides or commands."""

import io
import json
import logging
import re
import unicodedata
from html import unescape
from logging import config

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.html import escape

from tests.factories import AttemptFactory, DeliveryFactory, UserFactory, WebhookFactory
from tests.security.test_roles import admin_paths
from webhooks_app.models import AccessToken, AuditEntry
from webhooks_app.rules.safe_text import JOINERS

EVIL = "evil\u202e\u2066\x1b[2J\x9b\u200b\ufeff\x7f\u2028<evil> می\u200cخواهم end"
SHOWN = "evil\\u202e\\u2066\\u001b[2J\\u009b\\u200b\\ufeff\\u007f\\u2028&lt;evil&gt;"


@pytest.fixture
def rows(account):
    """What the worker stores, with a receiver's text wherever one may come to stand."""
    failing = {"last_error_kind": "http_500", "last_error_at": timezone.now()}
    run = {"failures_in_row": 7, "failing_since": timezone.now(), "last_attempt_at": timezone.now()}
    webhook = WebhookFactory(account=account, health={"last_error_message": EVIL, **failing, **run})
    delivery = DeliveryFactory(
        webhook=webhook, state="failed", tries=8, last_error=EVIL, finished_at=timezone.now()
    )
    attempt = AttemptFactory(
        webhook=webhook,
        delivery=delivery,
        kind="http_500",
        status=500,
        message=EVIL,
        answer=f"{EVIL}\r\n\tsecond line",
        answer_headers=f"server: {EVIL}".replace(
            "\u2028", "\\u2028"
        ),  # no end of a line comes so far,
    )
    found = {"webhook": webhook, "delivery": delivery, "attempt": attempt, "webhookerror": attempt}
    return {model: str(row.pk) for model, row in found.items()}


def acting(text):
    """The characters of a page that act unseen, but for line ends and joiners."""
    kept = "\n\r\t" + JOINERS
    unseen = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    return unseen - set(kept)


# Where a receiver's words stand, and how often at least.
SCREENS = {
    "": 1,
    "webhook/": 1,
    "webhook/{webhook}/change/": 2,
    "webhook/{webhook}/change/?attempt={attempt}": 5,
    "delivery/": 1,
    "delivery/{delivery}/change/": 4,
    "attempt/": 1,
    "attempt/{attempt}/change/": 3,
    "webhookerror/": 1,
    "webhookerror/{attempt}/change/": 3,
}


@pytest.mark.once
@pytest.mark.parametrize("screen", SCREENS)
def test_a_receivers_text_is_shown_with_its_unseen_characters(boss, rows, screen):
    path = f"/admin/webhooks_app/{screen}" if screen else "/admin/"
    text = boss.get(path.format(**rows)).content.decode()
    assert text.count(SHOWN) >= SCREENS[screen]
    assert "می\u200cخواهم" in text
    assert not acting(text)


@pytest.mark.once
def test_lines_of_an_answer_stay_lines(boss, rows):
    text = boss.get(f"/admin/webhooks_app/attempt/{rows['attempt']}/change/").content.decode()
    assert "end\n\tsecond line" in text


@pytest.mark.once
def test_no_page_of_the_admin_holds_them(rows):
    boss = Client()
    boss.force_login(UserFactory(is_superuser=True))
    seen = 0
    for path in admin_paths(rows):
        if "logout" in path:
            continue
        page = boss.get(path)
        if page.status_code == 200:
            assert not acting(page.content.decode()), path
            seen += "evil" in page.content.decode()
    assert seen >= 8


@pytest.mark.once
def test_the_api_tells_exactly_what_came(api, rows):
    [told] = api.get(f"/deliveries/{rows['delivery']}/attempts").json()
    assert told["answer"] == f"{EVIL}\r\n\tsecond line"
    assert told["error"]["message"] == EVIL


@pytest.fixture
def everywhere(account):
    """Such text wherever an owner or a member of the staff may put one."""
    webhook = WebhookFactory(
        account=account, name=EVIL, stopped="paused", stopped_note=EVIL, stopped_by=EVIL[:150]
    )
    delivery = DeliveryFactory(
        webhook=webhook,
        type=EVIL,
        reference=EVIL,
        created_by=EVIL,
        payload=json.dumps({"text": EVIL}, ensure_ascii=False).encode(),
    )
    AttemptFactory(webhook=webhook, delivery=delivery, requested_by=EVIL)
    AccessToken.issue(account, name=EVIL)
    AuditEntry.objects.note(EVIL, "Created.", webhook)
    return {"webhook": webhook.pk, "delivery": delivery.pk}


def without_inputs(page):
    """What an input holds is saved again: it stays as it is."""
    return re.sub(r' value="[^"]*"', "", page)


@pytest.mark.once
@pytest.mark.parametrize(
    ("screen", "often"),
    [
        ("webhook/", 1),
        ("webhook/{webhook}/change/", 2),
        ("webhook/{webhook}/history/", 1),
        ("delivery/", 3),
        ("delivery/{delivery}/change/", 5),
        ("delivery/{delivery}/change/?raw=1", 5),
        ("attempt/", 1),
        ("accesstoken/", 1),
        ("auditentry/?created=any", 1),
    ],
)
def test_an_owners_text_is_shown_with_its_unseen_characters(boss, everywhere, screen, often):
    page = boss.get(f"/admin/webhooks_app/{screen}".format(**everywhere)).content.decode()
    assert page.count("evil\\u202e\\u2066") >= often
    assert not acting(without_inputs(page))


@pytest.mark.once
def test_a_form_keeps_what_was_typed(boss, everywhere):
    page = boss.get(f"/admin/webhooks_app/webhook/{everywhere['webhook']}/change/")
    assert f'value="{escape(EVIL)}"' in page.content.decode()


@pytest.mark.once
def test_the_browsable_api_shows_them_and_its_json_stays_the_same(boss, everywhere):
    address = f"/webhooks/{everywhere['webhook']}"
    page = boss.get(f"{address}?account=acme", headers={"accept": "text/html"}).content.decode()
    assert "evil\\u202e\\u2066" in page
    assert not acting(page)
    typed = unescape(re.search(r"<textarea[^>]*>(.*?)</textarea>", page, re.DOTALL)[1])
    assert json.loads(typed)["name"] == EVIL


def logged(settings):
    """What the log of the site gets from now on."""
    config.dictConfig(settings.LOGGING)
    lines = io.StringIO()
    [handler] = [h for h in logging.getLogger().handlers if type(h.formatter).__name__ == "OneLine"]
    handler.setStream(lines)
    return lines


@pytest.mark.once
def test_what_a_stranger_does_wrong_is_a_line_and_no_error(settings, db):
    lines = logged(settings)
    stranger, form = Client(enforce_csrf_checks=True), "application/x-www-form-urlencoded"
    stranger.cookies["csrftoken"] = "c" * 32
    for body, content_type in (
        ("&".join("a=1" for _ in range(1001)), form),
        ("--b\r\n" * 1000, "multipart/form-data; boundary=b"),
        ("a=1", f"{form}; charset=latin-1"),
    ):
        stranger.post("/admin/login/", body, content_type=content_type)
    said = lines.getvalue()
    assert said.count(" WARNING django.") == len(said.splitlines()) >= 3, said


@pytest.mark.once
def test_a_link_writes_no_line_of_its_own_into_the_log(boss, rows, settings):
    lines = logged(settings)
    for path in ("/admin/webhooks_app/webhook/?{}=1", "/admin/auth/user/?{}=1", "/{}", "/?x={}"):
        Client().get(path.format("%0a2026%20CRITICAL%20hacked%1b[2J__x"))
        boss.get(path.format("%0a2026%20CRITICAL%20hacked%1b[2J__x"))
    logging.getLogger("webhooks").warning("it said %s", "a\nb\x1b[2J\u202e")
    try:
        raise ValueError("one\ntwo\x1b[2J")
    except ValueError:
        logging.getLogger("webhooks").exception("failed")
    said = lines.getvalue()
    assert "it said a\\u000ab\\u001b[2J\\u202e\n" in said
    assert not [line for line in said.splitlines() if line.startswith("2026 CRITICAL")]
    assert not acting(said)
