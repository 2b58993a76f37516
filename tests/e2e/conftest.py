"""The console in a real Chromium, the system's own."""

from contextlib import suppress

import pytest
from django.conf import settings
from django.test import Client

from tests.browser import WAIT, as_long_as_possible
from tests.factories import UserFactory

READER = {"timezone_id": "Asia/Kolkata", "locale": "en-GB"}  # five and a half hours before UTC

# Reports of the policy as errors of the console; colours without the time they take to change; what
# a page does every three seconds, to look whether something came, it does three times in one.
PREPARED = """
for (const name of ["setTimeout", "setInterval"]) {
  const usual = window[name];
  window[name] = (then, wait, ...more) => usual(then, wait > 1000 ? wait / 10 : wait, ...more);
}
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`));
document.addEventListener("DOMContentLoaded", () => {
  window.said = document.querySelector(".messagelist")?.textContent ?? "";
});
const still = new CSSStyleSheet();
still.replaceSync("* { transition: none !important }");
document.adoptedStyleSheets.push(still);
"""


@pytest.fixture(scope=as_long_as_possible)
def browser(chromium):
    """Of one reader. The files that it has fetched stay; who is logged in, and what pages keep in
    it, is each test's own."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, **READER)
    context.set_default_timeout(WAIT)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    context.add_init_script(PREPARED)
    yield context
    context.close()


@pytest.fixture
def page(browser):
    """A page that collects what went wrong in it: `page.troubles`."""
    page = browser.new_page()
    page.troubles = []
    page.on("pageerror", lambda error: page.troubles.append(str(error)))
    page.on("console", lambda message: note_trouble(page, message))
    yield page
    for each in browser.pages:
        with suppress(Exception):  # it has come to no page that could keep something
            each.evaluate("localStorage.clear()")
        each.close()
    browser.clear_cookies()


def note_trouble(page, message):
    if message.type == "error" and not message.location["url"].endswith("/favicon.ico"):
        page.troubles.append(message.text)


def follow(target):
    """Click what leads to another page, and wait until that is loaded: a click alone does not."""
    with target.page.expect_navigation():
        target.click()


def press(page, name):
    """Press a button that leads to another page."""
    follow(page.get_by_role("button", name=name, exact=True).first)


def said(page):
    """The messages with which a page came. One that looks again by itself shows them until then."""
    return page.evaluate("window.said")


def page_of(live_server, row):
    """The address of the page of a webhook, a delivery, a job."""
    return f"{live_server.url}/admin/webhooks_app/{row._meta.model_name}/{row.pk}/change/"


@pytest.fixture
def sign_in(page, live_server):
    """Be somebody from the next page on, without the form."""

    def sign_in(user):
        client = Client()
        client.force_login(user, "django.contrib.auth.backends.ModelBackend")
        value = client.cookies[settings.SESSION_COOKIE_NAME].value
        cookie = {"name": settings.SESSION_COOKIE_NAME, "value": value, "url": live_server.url}
        page.context.add_cookies([cookie])
        return client

    return sign_in


@pytest.fixture
def mira(page, sign_in, transactional_db):
    """The browser of a superuser who is logged in."""
    sign_in(UserFactory(username="mira", is_superuser=True))
    return page
