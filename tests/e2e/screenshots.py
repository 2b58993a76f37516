"""`python -m tests.e2e.screenshots`: the pictures of docs/images/console, taken anew.

Every screen in light, dark and on a phone, of the same made-up morning each time.
"""

import io
import sys
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from tests.plugin import test_environment

FOLDER = Path(__file__).parents[2] / "docs" / "images" / "console"
NAMES = (
    *("home", "webhooks", "webhook", "webhook-paused", "webhook-add", "webhook-delete", "restore"),
    *("events", "event", "event-types", "event-type"),
    *("deliveries", "delivery", "record", "attempts", "errors", "error", "replay", "jobs", "job"),
    *("tokens", "token", "token-add", "accounts", "account", "audit", "history"),
    *("host", "our-side", "search"),
)
PRESSED = {"record": ("delivery", "#do-record")}  # by a form alone: on which page, and its button
MODES = {  # colours, width, the most of a page's height that is shown
    "light": ("light", 1280, 1900),
    "dark": ("dark", 1280, 1900),
    "phone": ("light", 390, 2200),
}
LIMIT = 140_000  # bytes a picture
COLOURS = 200
ROWS = 15  # of a list: a row is like the next


@contextmanager
def site():
    """The standalone site on a free port, with a database of its own."""
    test_environment("sqlite")
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
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def main() -> None:
    names = sys.argv[1:] or NAMES  # some by their names, or all
    from tests.browser import chromium_of_the_system

    FOLDER.mkdir(parents=True, exist_ok=True)
    with site() as (address, world), chromium_of_the_system() as browser:
        if browser is None:
            sys.exit("no Chromium found")
        from tests.e2e.world import PASSWORD

        world.outage()
        for mode, (colours, width, height) in MODES.items():
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
                page.set_viewport_size({"width": width, "height": 900})
                place, button = PRESSED.get(name, (name, ""))
                page.goto(address + world.screens()[place])
                if button:
                    with page.expect_navigation():
                        page.click(button)
                tall = min(page.evaluate("document.documentElement.scrollHeight"), height)
                page.set_viewport_size({"width": width, "height": tall})
                picture = small(page.screenshot())
                if len(picture) > LIMIT:
                    sys.exit(f"{name}-{mode} is too large: {len(picture):,} bytes")
                (FOLDER / f"{name}-{mode}.png").write_bytes(picture)
                if (name, mode) == ("webhook", "light"):
                    top = page.screenshot(clip={"x": 0, "y": 0, "width": width, "height": 970})
                    (FOLDER.parent / "webhook.png").write_bytes(small(top))  # of README.md
            context.close()
    print(f"{len(MODES) * len(names)} pictures in {FOLDER}")


if __name__ == "__main__":
    main()
