"""Every screen, in light, dark and on a phone: for everybody, within the policy, never sideways."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.e2e.world import PASSWORD, World

pytestmark = [pytest.mark.browser, pytest.mark.slow]

WIDTHS = (320, 768, 1023, 1024, 1920)


@pytest.fixture
def world(transactional_db):
    return World()


@pytest.fixture
def console(live_server, page, world):
    """The page, logged in."""
    page.goto(f"{live_server.url}/admin/")
    page.fill("#id_username", "mira")
    page.fill("#id_password", PASSWORD)
    page.click("input[type=submit]")
    page.wait_for_selector("#user-tools")
    return page


def problems(page, *rules):
    """What axe-core calls serious or worse, with the elements."""
    options = {"resultTypes": ["violations"], "preload": False}
    if rules:
        options["runOnly"] = {"type": "rule", "values": list(rules)}
    found = Axe().run(page, options=options).response["violations"]
    return [
        (found["id"], node["html"][:160])
        for found in found
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
    ]


def sideways(page):
    """The widths at which something scrolls sideways, with what sticks out."""
    bad = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        if page.evaluate("document.documentElement.scrollWidth") > width:
            bad.append(width)
    return bad


MAIN = ("home", "webhooks", "webhook", "deliveries", "delivery", "errors", "replay", "token-add")


@pytest.mark.parametrize(
    "names", [MAIN, pytest.param((), marks=pytest.mark.prove)], ids=["main", "all"]
)
def test_every_screen_is_for_everybody_within_the_policy_and_never_sideways(
    console, live_server, world, names
):
    found = {}
    for name, place in world.screens().items():
        if names and name not in names:
            continue
        response = console.goto(live_server.url + place)
        assert response.status == 200, name
        for opened in console.locator("details.wh-details > summary").all():
            opened.click()
        found[name, "light"] = problems(console)
        console.emulate_media(color_scheme="dark")
        found[name, "dark"] = problems(console, "color-contrast")
        console.emulate_media(color_scheme="light")
        console.set_viewport_size({"width": 390, "height": 844})
        found[name, "phone"] = problems(console)
        found[name, "sideways"] = sideways(console)
    bad = [f"{screen}, {mode}: {what}" for (screen, mode), what in found.items() if what]
    assert not bad, "\n".join(bad)
    assert console.troubles == []


def test_small_targets_are_big_enough_for_a_finger(console, live_server, world):
    console.set_viewport_size({"width": 390, "height": 844})
    small = {}
    for name in ("home", "webhooks", "webhook"):
        console.goto(live_server.url + world.screens()[name])
        buttons = console.locator(".wh button:visible, .wh .wh-btn:visible, .wh-chips a:visible")
        boxes = [(button.inner_text(), button.bounding_box()) for button in buttons.all()]
        small[name] = [words for words, box in boxes if box["height"] < 43]
    assert small == {"home": [], "webhooks": [], "webhook": []}
