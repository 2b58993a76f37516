"""The browsable API: a staff session, the raw JSON form, JSON for everybody else."""

import html
import json
import re

import pytest
from django.test import Client

from tests.api.conftest import FULL, Api
from tests.factories import DeliveryFactory, WebhookFactory
from webhooks_app.models import Webhook
from webhooks_app.rules.validators import MASK


@pytest.fixture
def webhook(account):
    return WebhookFactory(account=account, token="s3cret", headers=[("X-A", "v4lue")])


@pytest.fixture
def browser(admin_user):
    api = Api()
    api.client = Client(HTTP_ACCEPT="text/html,application/xhtml+xml,*/*;q=0.8")
    api.client.force_login(admin_user)
    return api


def form_content(page):
    areas = re.findall(r"<textarea[^>]*>(.*?)</textarea>", page, re.DOTALL)
    return [json.loads(html.unescape(area)) for area in areas]


def test_the_list_offers_the_documented_example_as_raw_json(browser, webhook):
    response = browser.get("/webhooks")
    assert response["Content-Type"].startswith("text/html")
    page = response.content.decode()
    example = {"name": "Webhook name", "token": "", "headers": [], "auth": {}}
    (content,) = form_content(page)
    assert example.items() <= content.items()
    assert 'name="name"' not in page  # no HTML form of the fields


def test_a_webhooks_form_starts_from_the_object_masked(browser, webhook):
    page = browser.get(f"/webhooks/{webhook.id}").content.decode()
    (content,) = form_content(page)
    assert content["name"] == webhook.name
    assert content["token"] == MASK
    assert content["headers"] == [{"name": "X-A", "value": MASK}]
    assert "s3cret" not in page
    assert "v4lue" not in page


def test_the_untouched_form_changes_nothing(browser, webhook):
    before = Webhook.objects.values().get()
    (content,) = form_content(browser.get(f"/webhooks/{webhook.id}").content.decode())
    assert browser.put(f"/webhooks/{webhook.id}", content).status_code == 200
    assert Webhook.objects.values().get() == before


def test_what_was_refused_stays_in_the_form(browser, webhook):
    response = browser.put(f"/webhooks/{webhook.id}", {**FULL, "name": ""})
    assert response.status_code == 400
    (content,) = form_content(response.content.decode())
    assert content == {**FULL, "name": ""}


def links(page):
    return dict(re.findall(r'<li><a href="([^"]+)"[^>]*>([^<]+)</a></li>', page.content.decode()))


def test_each_resource_leads_to_those_beside_it(browser, webhook):
    delivery = DeliveryFactory(webhook=webhook)
    listed = links(browser.get("/webhooks"))
    assert listed == {f"/webhooks/{webhook.id}": webhook.name}
    beside = links(browser.get(f"/webhooks/{webhook.id}"))
    assert beside[f"/webhooks/{webhook.id}/settings"] == "Settings"
    deliveries = links(browser.get(f"/webhooks/{webhook.id}/deliveries"))
    assert deliveries[f"/deliveries/{delivery.id}"] == delivery.id
    beside_it = links(browser.get(f"/deliveries/{delivery.id}"))
    assert beside_it[f"/webhooks/{webhook.id}"] == "Its webhook"
    for address in {**listed, **beside, **deliveries, **beside_it}:
        assert browser.get(address).status_code in (200, 405), address
    assert links(browser.get("/webhooks/x")) == {}


def test_every_page_leads_to_the_lists_at_the_top(browser, webhook):
    for path in ("/webhooks", f"/webhooks/{webhook.id}/settings", "/events", "/webhooks/x"):
        page = browser.get(path).content.decode()
        header = page[: page.index("</header>")]
        for address in ("/webhooks", "/events", "/event-types"):
            assert f'href="{address}"' in header, path
            assert browser.get(address).status_code == 200


def test_what_is_only_sent_to_is_no_error_to_look_at(browser, webhook):
    response = browser.get(f"/webhooks/{webhook.id}/test")
    assert response.status_code == 405
    page = response.content.decode()
    assert "send it by the form" in page
    assert "does not know the method" not in page
    assert form_content(page) == [{}]


def test_every_page_renders(browser, webhook):
    delivery = DeliveryFactory(webhook=webhook, reference="<script>alert(1)</script>")
    pages = {
        "/webhooks": 200,
        "/webhooks/": 200,
        f"/webhooks/{webhook.id}": 200,
        f"/webhooks/{webhook.id}/settings": 200,
        f"/webhooks/{webhook.id}/deliveries": 200,
        f"/webhooks/{webhook.id}/errors": 200,
        f"/webhooks/{webhook.id}/replay": 405,
        f"/webhooks/{webhook.id}/interactions": 405,
        f"/webhooks/{webhook.id}/verify": 405,
        f"/deliveries/{delivery.id}": 200,
        f"/deliveries/{delivery.id}/attempts": 200,
        f"/deliveries/{delivery.id}/retry": 405,
        "/webhooks/x": 404,
        "/webhooks/a/b/c": 404,
        "/webhooks?limit=x": 400,
    }
    for path, status in pages.items():
        response = browser.get(path)
        assert response.status_code == status, path
        page = response.content.decode()
        assert page.lstrip().startswith("<!DOCTYPE html>"), path
        assert "<script>alert" not in page
        assert "<style" not in page
        assert not re.search(r"<script(?![^>]*(src=|application/json))", page)
        assert not re.search(r'<(link|script|img)[^>]*(src|href)="(https?:)?//', page), path


def test_a_browser_without_a_session_is_shown_where_to_log_in(db):
    response = Client().get("/webhooks", HTTP_ACCEPT="text/html")
    assert response.status_code == 401
    assert "/admin/login/?next=/webhooks" in response.content.decode()


def test_who_may_not_write_is_offered_no_form(account, webhook):
    from django.contrib.auth.models import Permission

    from tests.factories import UserFactory

    user = UserFactory()
    user.user_permissions.add(Permission.objects.get(codename="view_webhook"))
    account.members.add(user)
    client = Client(HTTP_ACCEPT="text/html")
    client.force_login(user)
    for path in ("/webhooks", f"/webhooks/{webhook.id}"):
        page = client.get(path).content.decode()
        assert "<textarea" not in page
        assert "DELETE" not in page.replace("GET, PUT, PATCH, DELETE, HEAD", "")


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html;q=0.5,application/json"])
def test_a_session_that_does_not_ask_for_html_gets_json(browser, webhook, accept):
    response = browser.get("/webhooks", HTTP_ACCEPT=accept)
    assert response["Content-Type"] == "application/json"
    assert browser.get("/webhooks?format=json")["Content-Type"] == "application/json"
