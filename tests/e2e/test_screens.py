"""Every screen, in light, dark and at any width: for everybody, within the policy, never sideways.

The screens are those of the URLconf: one that is added is looked at by itself, and an address that
shows no page has to be named here.
"""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.template.loader import render_to_string
from django.urls import get_resolver

from tests.e2e.conftest import press
from tests.e2e.world import World
from tests.factories import UserFactory
from tests.security.test_roles import patterns
from webhooks_app.admin.base import ConsoleAdmin

pytestmark = pytest.mark.slow
# All screens in every mode take 17 minutes on two free cores.
long = pytest.mark.timeout(3 * 3600)

WIDTHS = (320, 390, 768, 1023, 1024, 1100, 1180, 1280, 1920)
FEW_WIDTHS = (320, 768, 1024, 1280)
NO_PAGE = {
    "files": r"favicon.ico|schema|.*/jsi18n/",
    "JSON for a script": r".*/autocomplete/|.*/newer/",
    "for machines": r"healthz|readyz|metrics",
    "a part of a page": r".*/progress/",
    "forms only": (
        r"admin/logout/|admin/.*/(verify|test|pause|enable|close-breaker|clear-error|reveal|resume|try|"
        r"stop|pace|retry|cancel|revoke|rotate-secret|end-overlap|subscriptions|archive|unarchive|"
        r"close-breakers|pause-all|csv|note|write-note|record|export)/"
    ),
    "made or deleted by nobody": (
        r"admin/.*/(attempt|webhookerror|auditentry|delivery|event)/add/|"
        r"admin/.*/(attempt|webhookerror|auditentry|delivery|event|job|accesstoken|account)/[^/]+/delete/"
    ),
    "leads on": (
        r"admin/login/|admin/r/.*|admin/\w+/\w+/[^/]+/|"
        r"(webhooks|deliveries|events|event-types)/(.*/)?"
    ),
    "nothing there": r".*\(.*",
}
OPENED = """
for (const one of document.querySelectorAll("details.wh-details, fieldset details")) one.open = true
"""
# One of each kind in every run; all of them in `make prove`.
MAIN = ("home", "webhook", "delivery")


@pytest.fixture
def world(transactional_db, monkeypatch):
    monkeypatch.setattr(ConsoleAdmin, "list_per_page", 6)  # a row is like the next
    world = World()
    world.outage()
    return world


def addresses(world):
    """Every address of the site, with the ids of the world in it."""
    idents = world.idents()
    for path in sorted(set(patterns(get_resolver()))):
        before = re.search(r"([\w-]+)/<[^>]+>", path)
        name = "restore" if path.endswith("/restore/") else before and before[1]
        ident = idents.get(name or "", "1")
        yield re.sub(r"<[^>]+>", ident, path.replace("^", "").replace("$", ""))


def pages(world, client):
    """The addresses that show a page, and those that do not."""
    found, others = [], []
    for path in addresses(world):
        if re.match("(webhooks|deliveries|events|event-types).*/$", path):  # the same with a slash
            continue
        path = path.replace("(?P<app_label>webhooks_app|auth)", "webhooks_app")
        answer = client.get(f"/{path}", HTTP_ACCEPT="text/html") if "(" not in path else None
        page = answer and answer.status_code in (200, 405) and b"</html>" in answer.content
        (found if page else others).append(path)
    return found, others


def problems(page, *rules):
    """What axe-core finds, with the elements."""
    options = {"resultTypes": ["violations"], "preload": False}
    # Django's and Swagger's own
    others = {"exclude": [[".help-tooltip"], ["#swagger-ui"], [".app-auth p.datetime"]]}
    if rules:
        options["runOnly"] = {"type": "rule", "values": list(rules)}
    found = Axe().run(page, context=others, options=options).response["violations"]
    return [(found["id"], node["html"][:160]) for found in found for node in found["nodes"]]


def flaws(page, thorough=False):
    """What is wrong with the page as it stands, in every mode."""
    page.evaluate(OPENED)
    found = {"light": problems(page)}
    page.emulate_media(color_scheme="dark")
    found["dark"] = problems(page, *(() if thorough else ("color-contrast",)))
    if thorough:
        page.set_viewport_size({"width": 390, "height": 844})
        found["dark, phone"] = problems(page)
    page.emulate_media(color_scheme="light")
    for width in WIDTHS if thorough else FEW_WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        if page.evaluate("document.documentElement.scrollWidth") > width:
            found[f"{width} px wide"] = "scrolls sideways"
    page.set_viewport_size({"width": 1280, "height": 900})
    found["policy and scripts"] = [words for words in page.troubles if "status of 4" not in words]
    page.troubles.clear()
    return {mode: what for mode, what in found.items() if what}


def listed(found):
    return "\n".join(
        f"{screen}, {mode}: {what}"
        for screen, modes in found.items()
        for mode, what in modes.items()
    )


@pytest.mark.once
def test_every_address_shows_a_page_that_is_looked_at_or_is_known_to_show_none(world, client):
    client.force_login(world.mira)
    found, others = pages(world, client)
    known = "|".join(NO_PAGE.values())
    assert [path for path in others if not re.fullmatch(known, path)] == []
    assert len(found) > 40


@pytest.mark.browser
def test_the_main_screens_are_for_everybody_within_the_policy_and_never_sideways(
    page, sign_in, live_server, world
):
    sign_in(world.mira)
    found = {}
    for name in MAIN:
        assert page.goto(live_server.url + world.screens()[name]).status == 200, name
        found[name] = flaws(page)
    assert not listed(found), listed(found)


@pytest.mark.browser
def test_pages_of_the_stock_admin_show_the_alarm_as_a_banner(page, sign_in, live_server, db):
    sign_in(UserFactory())
    for place in ("", "password_change/"):
        page.goto(f"{live_server.url}/admin/{place}")
        assert "No worker is alive" in page.inner_text(".wh-alarm")
        assert page.locator(".wh-alarm").bounding_box()["height"] < 100
        assert problems(page) == []


@pytest.mark.browser
@pytest.mark.prove
@long
def test_all_screens_are_for_everybody_within_the_policy_and_never_sideways(
    page, sign_in, live_server, world
):
    client = sign_in(world.mira)
    places = {path: f"/{path}" for path in pages(world, client)[0]} | world.screens()
    found = {}
    for name, place in places.items():
        page.goto(live_server.url + place)
        found[name] = flaws(page, thorough=True)
    assert not listed(found), listed(found)


@pytest.mark.browser
@pytest.mark.prove
@long
def test_so_are_the_pages_that_only_a_form_leads_to(page, sign_in, live_server, world, settings):
    """A page by name, and how one comes there; the address by itself would not show it."""
    settings.AXES_FAILURE_LIMIT = 2
    site, admin, found = live_server.url, f"{live_server.url}/admin", {}
    screens = {name: site + place for name, place in world.screens().items()}

    def fill(**fields):
        for name, value in fields.items():
            page.fill(f"#id_{name}", value)

    def judge(name):
        found[name] = flaws(page, thorough=True)

    page.goto(f"{admin}/")
    judge("log-in")
    for name in ("log-in refused", "locked out"):
        fill(username="mira", password="wrong")
        press(page, "Log in")
        judge(name)
    sign_in(world.mira)

    page.goto(screens["webhook"])
    press(page, "Reveal")
    judge("secret revealed")
    page.goto(screens["webhook"])
    page.click("#subscriptions summary")
    page.fill("#subscriptions [name=type]", "order.paid")
    page.fill("#subscriptions [name=payload]", '{"total": 5}')
    page.check("#subscriptions [name=history]")
    press(page, "Try")
    judge("subscriptions tried")
    page.fill("#subscriptions [name$=filter]", "{")
    press(page, "Save subscriptions")
    judge("subscriptions refused")
    page.goto(screens["webhook"])
    fill(url="nonsense")
    press(page, "Save")
    judge("webhook refused")
    page.goto(screens["delivery"])
    press(page, "Record")
    judge("record of a delivery")
    page.goto(screens["webhook"])
    page.click("#notes summary")
    page.fill("#note-text", "Ask Ada first.")
    press(page, "Note it")
    judge("a note")
    page.goto(screens["host"])
    page.click("#notes summary")
    page.fill("#note-text", "Ask Ada first.")
    press(page, "Note it")
    judge("a note on a host")
    page.click("#do-close-breakers")
    judge("breakers to be closed")
    page.goto(f"{admin}/?trouble=new")
    judge("new outages")
    page.goto(screens["webhooks"])
    page.check("#action-toggle")
    page.select_option("select[name=action]", label="Pause…")
    press(page, "Go")
    judge("several paused")
    page.goto(screens["replay"])
    press(page, "Replay 7 all the same")
    judge("job started")
    page.goto(screens["webhook-delete"])
    press(page, "Delete it")
    judge("deleted, with undo")
    page.goto(screens["token-add"])
    fill(account="northwind", name="shop")
    press(page, "Save")
    judge("token created")
    page.goto(f"{admin}/webhooks_app/delivery/?state=retrying")
    page.check("#action-toggle")
    page.select_option("select[name=action]", index=2)
    press(page, "Go")
    judge("several cancelled")
    page.context.clear_cookies()
    page.goto(f"{admin}/")
    sign_in(UserFactory())
    page.goto(f"{admin}/")
    judge("nothing to see")
    sign_in(world.mira)
    page.goto(f"{admin}/password_change/done/")
    with page.expect_navigation():
        page.evaluate("document.querySelector('#logout-form').submit()")
    judge("logged out")
    assert not listed(found), listed(found)


@pytest.mark.browser
@pytest.mark.prove
@long
def test_so_are_pages_of_errors_and_pages_without_anything(
    page, sign_in, live_server, transactional_db, client
):
    boss = UserFactory(is_superuser=True)
    sign_in(boss)
    lists = (
        *("webhook", "event", "eventtype", "delivery", "webhookerror", "attempt", "job"),
        *("account", "accesstoken"),
    )
    found = {}
    for place in ("", *(f"webhooks_app/{name}/" for name in (*lists, "auditentry"))):
        page.goto(f"{live_server.url}/admin/{place}")
        found[place] = flaws(page, thorough=True)
    for template in ("400", "403", "403_csrf", "404", "500"):
        page.goto(f"{live_server.url}/admin/")
        page.set_content(render_to_string(f"{template}.html"))
        found[template] = flaws(page, thorough=True)
    page.goto(f"{live_server.url}/admin/nothing/is/here")
    assert "To the console" in page.inner_text("main")
    assert not listed(found), listed(found)
