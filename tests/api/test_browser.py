"""The browsable API in a real browser: the form sends JSON, and nothing inline is needed."""

import json

import pytest

from tests.browser import WAIT
from tests.factories import UserFactory, WebhookFactory
from webhooks_app.models import Webhook

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def page(chromium):
    page = chromium.new_page()
    page.set_default_timeout(WAIT)
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    yield page
    page.close()


def strict(route):
    """The answer, under a Content-Security-Policy that forbids everything inline."""
    response = route.fetch()
    headers = {**response.headers, "content-security-policy": "default-src 'self'"}
    route.fulfill(response=response, headers=headers)


def test_a_person_changes_and_deletes_a_webhook(page, live_server, account):
    webhook = WebhookFactory(account=account, name="before", token="t")
    UserFactory(username="staff", is_superuser=True)
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    address = f"{live_server.url}/webhooks/{webhook.id}"
    page.route(address, strict)
    page.goto(address)
    page.get_by_role("link", name="Log in").click()
    page.get_by_label("Username").fill("staff")
    page.get_by_label("Password").fill("secret-of-the-tests")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(address)
    complaints.clear()
    content = json.loads(page.get_by_label("JSON").input_value())
    page.get_by_label("JSON").fill(json.dumps({**content, "name": "after"}))
    page.get_by_role("button", name="PUT").click()
    page.get_by_text('"success"').wait_for()
    webhook.refresh_from_db()
    assert (webhook.name, webhook.token) == ("after", "t")
    page.goto(address)
    page.get_by_text("Delete", exact=True).click()
    page.get_by_role("button", name="DELETE").click()
    page.get_by_text('"success"').wait_for()
    assert Webhook.objects.live().count() == 0
    assert complaints == []


def test_the_documentation_runs_under_a_strict_policy(page, live_server):
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.route("**/docs", strict)
    page.goto(f"{live_server.url}/docs")
    page.get_by_text("Create a webhook").first.wait_for()
    assert complaints == []
