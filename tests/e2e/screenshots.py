"""`python -m tests.e2e.screenshots`: the pictures of docs/images, taken anew, of the same made-up
morning each time. `python -m tests.e2e.screenshots FOLDER [NAME…]` takes every screen in every mode
(or those of these names) into a folder, for somebody to look at.
"""

import io
import os
import sys
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from tests.plugin import test_environment

FOLDER = Path(__file__).parents[2] / "docs" / "images" / "console"
# Of docs/console.md. Those of every mode are the three that people look at most.
PICTURES = (
    *("home-light", "home-dark", "home-phone", "webhook-light", "webhook-dark", "webhook-phone"),
    *("host-light", "host-phone", "our-side-light", "account-light", "search-light"),
    *("webhooks-narrow", "order-light", "limits-light", "deliveries-light", "delivery-dark"),
    *("record-print", "event-light", "job-light", "audit-light"),
)
NAMES = (
    *("home", "webhooks", "webhook", "webhook-paused", "webhook-add", "webhook-delete", "restore"),
    *("events", "event", "event-types", "event-type"),
    *("deliveries", "delivery", "record", "attempts", "errors", "error", "replay", "jobs", "job"),
    *("tokens", "token", "token-add", "accounts", "account", "audit", "history"),
    *("host", "our-side", "search", "order", "limits"),
)
# By a form alone: on which page, and its button.
PRESSED = {"record": ("delivered", "#do-record")}
# A part of a page: of which, what is opened, and what is shown.
PARTS = {"limits": ("order", "fieldset summary", "#webhook_form")}  # none of it is on paper
MODES = {  # colours, width, the most of a page's height that is shown
    "light": ("light", 1280, 1900),
    "dark": ("dark", 1280, 1900),
    "narrow": ("light", 1024, 1500),
    "phone": ("light", 390, 2200),
    "print": ("light", 794, 1900),
}
LIMIT = 140_000  # bytes a picture
COLOURS = 256
ROWS = 15  # of a list: a row is like the next


@contextmanager
def site():
    """The standalone site on a free port, with a database of its own."""
    test_environment("sqlite")
    os.environ["WEBHOOKS_EGRESS_ADDRESSES"] = "203.0.113.7,203.0.113.8"
    import django

    django.setup()
    from django.contrib.staticfiles.handlers import StaticFilesHandler
    from django.core.management import call_command
    from django.test.testcases import LiveServerThread

    call_command("migrate", verbosity=0)
    from tests.e2e.world import World
    from webhooks_app.admin.base import ConsoleAdmin

    ConsoleAdmin.list_per_page = ROWS
    world = World()
    server = LiveServerThread("127.0.0.1", StaticFilesHandler)
    server.start()
    server.is_ready.wait()
    try:
        yield f"http://127.0.0.1:{server.port}", world
    finally:
        server.terminate()


def small(picture: bytes) -> bytes:
    """The same picture with few colours."""
    out = io.BytesIO()
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    # By coverage, so that the colour of a single word is not taken for its neighbour.
    few = image.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(out, "PNG", optimize=True)
    return out.getvalue()


def taken(page, screens, name: str, mode: str) -> bytes:
    """A screen from its top, or the part of one that has this name; `screens` are addresses."""
    _, width, height = MODES[mode]
    page.emulate_media(media="screen")
    page.set_viewport_size({"width": width, "height": 900})
    button = opened = part = ""
    screen = name
    if name in PRESSED:
        screen, button = PRESSED[name]
    elif name in PARTS:
        screen, opened, part = PARTS[name]
    page.goto(screens[screen])
    if button:
        with page.expect_navigation():
            page.click(button)
    if part:
        for summary in page.locator(opened).all():
            summary.click()
        return page.locator(part).screenshot()
    page.emulate_media(media="print" if mode == "print" else "screen")  # there no button is
    tall = min(page.evaluate("document.documentElement.scrollHeight"), height)
    page.set_viewport_size({"width": width, "height": tall})
    return page.screenshot()


def main() -> None:
    folder = Path(sys.argv[1]) if sys.argv[1:] else FOLDER
    names = sys.argv[2:] or NAMES
    wanted = {f"{name}-{mode}" for name in names for mode in MODES} if sys.argv[1:] else {*PICTURES}
    wanted -= {f"{name}-print" for name in PARTS}
    from tests.browser import chromium_of_the_system

    folder.mkdir(parents=True, exist_ok=True)
    with site() as (address, world), chromium_of_the_system() as browser:
        if browser is None:
            sys.exit("no Chromium found")
        from tests.e2e.world import PASSWORD

        world.outage()
        screens = {name: address + place for name, place in world.screens().items()}
        for mode, (colours, width, _) in MODES.items():
            context = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=colours, timezone_id="UTC"
            )
            context.set_default_timeout(120_000)  # also where the machine is busy
            page = context.new_page()
            page.goto(f"{address}/admin/")
            page.fill("#id_username", "mira")
            page.fill("#id_password", PASSWORD)
            page.click("input[type=submit]")
            page.wait_for_selector("#user-tools")
            for name in names:
                if f"{name}-{mode}" not in wanted:
                    continue
                picture = small(taken(page, screens, name, mode))
                if folder == FOLDER and len(picture) > LIMIT:
                    sys.exit(f"{name}-{mode} is too large: {len(picture):,} bytes")
                (folder / f"{name}-{mode}.png").write_bytes(picture)
                if folder == FOLDER and (name, mode) == ("webhook", "light"):
                    top = page.screenshot(clip={"x": 0, "y": 0, "width": width, "height": 970})
                    (FOLDER.parent / "webhook.png").write_bytes(small(top))  # of README.md
            context.close()
    print(f"{len(wanted)} pictures in {folder}")


if __name__ == "__main__":
    main()
