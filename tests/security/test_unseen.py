"""What a receiver sends is seen in the console as it came: nothing turns, hides or commands."""

import unicodedata

import pytest
from django.test import Client
from django.utils import timezone

from tests.factories import AttemptFactory, DeliveryFactory, UserFactory, WebhookFactory
from tests.security.test_roles import admin_paths
from webhooks_app.rules.unseen import JOINERS

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
