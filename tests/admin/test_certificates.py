"""A receiver's certificate that ends soon is seen before it has ended."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.admin.pages import page, text_of, url
from tests.admin.test_home import links, plain, shown
from tests.factories import WebhookFactory
from webhooks_app import actions
from webhooks_app.models import WebhookHealth


@pytest.mark.parametrize(
    ("days", "words"),
    [(9.5, "certificate ends in 9 days"), (-1, "certificate has ended"), (15, ""), (None, "")],
)
def test_in_the_list_and_on_the_page(viewer, orders, days, words):
    ends = None if days is None else timezone.now() + timedelta(days=days)
    WebhookHealth.objects.update(certificate_ends_at=ends)
    for place in (url("webhook"), page(orders)):
        text = text_of(viewer.get(place))
        assert words in text
        assert ("certificate ends" in text or "certificate has" in text) is bool(words)


def ending(days, name):
    ends = timezone.now() + timedelta(days=days)
    return WebhookFactory(name=name, health={"certificate_ends_at": ends})


def test_on_the_home_page_the_first_to_end_first_with_the_list_of_all(viewer, account):
    for days in (40, 13, 2, 5, 6, 7, -3):
        ending(days, f"Ends in {days}")
    gone = ending(1, "Deleted")
    actions.delete_webhook(gone)
    module = text_of(viewer.get("/admin/")).split('id="certificates"')[1].split("</section>")[0]
    says = plain(module)
    assert [says.index(f"Ends in {days}") for days in (-3, 2, 5, 6, 7)] == sorted(
        says.index(f"Ends in {days}") for days in (-3, 2, 5, 6, 7)
    )
    assert "certificate has ended" in says
    assert "Ends in 13" not in says, "five are shown"
    place = links(module)["All of them"]
    assert shown(viewer, place) == 6
    text = text_of(viewer.get(place))
    assert "Ends in 40" not in text
    assert "Deleted" not in plain(text.split('id="result_list"')[1])


def test_home_says_nothing_while_none_ends(viewer, account):
    ending(15, "Fine")
    assert "Certificates that end" not in text_of(viewer.get("/admin/"))


def test_it_is_forgotten_when_the_url_changes(viewer, account):
    webhook = ending(3, "Moved")
    actions.update_webhook(webhook, url="https://elsewhere.example.com/hook")
    assert "certificate ends" not in text_of(viewer.get(page(webhook)))
