"""`python -m tests.e2e.tasks`: what the tasks of staff take in the console, into docs/console.md;
with `--stock` it prints what five of them take there and in a stock Django admin.

A script does each task in a real browser as a person would who knows what to look for: from the
home page, logged in, with the mouse and the sight of what the pages say. What a person needs has a
fixed pace, and a page its limit: the figures are the same on every machine.
"""

import copy
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.docs.tables import DOCS
from tests.e2e.screenshots import site
from tests.plugin import test_environment

# Seconds: find and press; a character; understand a new page; and until that is there, at the most.
CLICK, KEY, READ, LOAD = 1.5, 0.3, 4.0, 0.3
CAUSE = 10  # seconds: why something fails is told within
X, HOST = "Orders to ERP", "helpdesk.example"
REPLAY = re.compile(r"Replay \d+ all the same")  # warned that it still fails
PAGE = DOCS / "console.md"
TABLE = re.compile(r"(<!-- tasks -->\n).*?(<!-- /tasks -->)", re.DOTALL)


@dataclass
class Person:
    """Somebody at a browser, with what it costs them so far."""

    page: Any
    clicks: int = 0
    fields: int = 0
    keys: int = 0
    pages: int = 0

    def opens(self, address: str) -> None:
        """Where the task starts."""
        self.page.goto(address)
        self.pages += 1

    def clicks_on(self, target: Any, leads_on: bool = True) -> None:
        self.clicks += 1
        if leads_on:
            self._goes_on(target.click)
        else:
            target.click()

    def types(self, target: Any, text: str, enter: bool = False) -> None:
        """Into a field that a click chooses first."""
        self.clicks += 1
        self.fields += 1
        self.keys += len(text) + enter
        target.fill(text)
        if enter:
            self._goes_on(lambda: target.press("Enter"))

    def link(self, words: str, within: str = "#content", **more: Any) -> Any:
        return self.page.locator(within).get_by_role("link", name=words, **more).first

    def button(self, words: str) -> Any:
        return self.page.get_by_role("button", name=words, exact=True).first

    def sees(self, words: str) -> bool:
        return words in self.page.locator("body").inner_text()

    def _goes_on(self, act: Callable[[], Any]) -> None:
        """To another page; a click is over before that is loaded."""
        with self.page.expect_navigation():
            act()
        self.pages += 1

    @property
    def seconds(self) -> float:
        return self.clicks * CLICK + self.keys * KEY + self.pages * (READ + LOAD)

    def __str__(self) -> str:
        fields = f" + {self.fields} field{'s' if self.fields > 1 else ''}" if self.fields else ""
        clicks = self.clicks - self.fields
        return f"{clicks} click{'' if clicks == 1 else 's'}{fields}, {self.seconds:.0f} s"


def must(held: bool, what: str) -> None:
    if not held:
        sys.exit(f"the task did not come to its end: {what}")


# --- in the console ---------------------------------------------------------------------------


def why(person: Person) -> None:
    """All of it stands on the home page."""
    row = person.page.locator(".wh-attention tr", has_text=X).inner_text()
    must("Nothing accepts connections" in row and "Ask the owner" in row, "reason and cure")
    must("1 h 3" in row, "since when")


def hit(person: Person) -> None:
    person.clicks_on(person.link(HOST))
    must(person.sees("Whom it hits") and person.sees("ops@northwind.example"), "the customers")


def replay(person: Person) -> None:
    person.clicks_on(person.link(X))
    person.clicks_on(person.page.locator("#do-replay"))
    person.clicks_on(person.link("in 24 hours"))
    person.clicks_on(person.page.get_by_role("button", name=REPLAY))
    must(person.sees("Started: Replay"), "the job")


def replay_for_all(person: Person) -> None:
    person.clicks_on(person.link("Replay…"))
    person.clicks_on(person.page.get_by_role("button", name=REPLAY))
    must(person.sees("Started: Replay"), "the job")


def order(person: Person) -> None:
    person.types(person.page.locator("#find-all"), "4711", enter=True)
    person.clicks_on(person.link("order 4711"))
    must(person.sees('"order": 4711'), "the payload")


def request(person: Person) -> None:
    """Of the last delivery: address, headers, body."""
    person.clicks_on(person.link(X))
    person.clicks_on(person.page.locator("#last-deliveries a.wh-row").first)
    must(person.sees("POST https://erp.acme-logistics.example/hooks/v2"), "the address")
    must(person.sees("webhook-id") and person.sees("Body, "), "headers and body")


def url(person: Person) -> None:
    person.clicks_on(person.link("Audit log", within="#nav-sidebar"))
    person.clicks_on(person.page.locator(".wh-filter summary", has_text="did"), leads_on=False)
    person.clicks_on(person.link("changed the URL"))
    must(person.sees("Changed URL (risk.shop.example → ok2.example.com)"), "from what to what")
    must(person.sees("mira"), "who")


def our_side(person: Person) -> None:
    person.clicks_on(person.page.locator("#our-side"))
    must(person.sees("Healthy: 2 workers alive"), "the verdict")


def stuck(person: Person) -> None:
    person.clicks_on(person.page.locator("#our-side"))
    must(person.sees("paused") and person.sees("not verified"), "the reasons")
    person.clicks_on(person.link("paused", exact=True))
    must(person.sees("Old POS bridge") and person.sees("shop closed for the move"), "why")


def proof(person: Person) -> None:
    order(person)
    person.clicks_on(person.button("Record"))
    must(person.sees("SHA-256") and person.sees("Accepted by us"), "the record")


def token(person: Person) -> None:
    person.clicks_on(person.link(X))
    person.clicks_on(person.link("Settings", exact=True), leads_on=False)
    person.types(person.page.locator("#id_new_token"), "Hk2-rT9_wq5z")
    person.clicks_on(person.button("Save"))
    must(person.sees("Saved: token. The worker verifies it now"), "the message")


def stop(person: Person) -> None:
    person.clicks_on(person.link(X))
    person.clicks_on(person.page.locator("#ask-pause summary"), leads_on=False)
    person.types(person.page.locator("#note"), "owner told")
    person.clicks_on(person.button("Pause now"))
    must(person.sees("Paused by mira"), "the state")


# In the order in which they are done: the last two change X.
TASKS = (
    ("why X fails, since when, and what to do", why),
    ("who is hit by an outage of a host, and since when", hit),
    ("replay last night's failures of X", replay),
    ("replay what gave up, for all customers of an outage", replay_for_all),
    ("find order 4711", order),
    ("what X's receiver gets: address, headers, body", request),
    ("who changed a URL last week, from what to what", url),
    ("is our side healthy", our_side),
    ("what is stuck, and why", stuck),
    ("proof of a delivery for a customer", proof),
    ("replace the token of X", token),
    ("stop calling a broken receiver", stop),
)


# --- in the stock admin -----------------------------------------------------------------------


def stock_why(person: Person) -> None:
    """The state of a webhook is a row of another list, under the id that its page's address has."""
    person.clicks_on(person.page.locator("#content .model-webhook th a"))
    person.clicks_on(person.link(X))
    ident = person.page.url.split("/")[-3]
    person.clicks_on(person.page.locator("#nav-sidebar .model-webhookhealth th a"))
    person.clicks_on(person.link(ident))
    must("ECONNREFUSED" in person.page.locator("#content").inner_html(), "the message")


def stock_rows(person: Person) -> list[str]:
    person.clicks_on(person.page.locator("#content .model-delivery th a"))
    return [
        link.get_attribute("href") for link in person.page.locator("#result_list tbody th a").all()
    ]


def stock_open(person: Person, address: str) -> None:
    person.clicks_on(person.page.locator(f'a[href="{address}"]'))


def stock_replay(person: Person) -> None:
    """Lists say ids only: each delivery is opened to see whether it failed, and for whom."""
    form = person.page.locator
    for address in stock_rows(person):
        stock_open(person, address)
        chosen = form("#id_webhook option:checked").inner_text()
        if chosen == X and form("#id_state").input_value() == "failed":
            form("#id_state").select_option("pending")
            person.clicks += 2
            for field in ("#id_finished_at_0", "#id_finished_at_1"):
                person.types(form(field), "")
                person.keys += 2  # all of it, gone
            person.types(form("#id_tries"), "0")
            for field in (".field-due_at .datetimeshortcuts a",):
                for shortcut in form(field).get_by_text("Today").all():
                    person.clicks_on(shortcut, leads_on=False)
                for shortcut in form(field).get_by_text("Now").all():
                    person.clicks_on(shortcut, leads_on=False)
            person.clicks_on(person.button("Save"))
        else:
            person.clicks_on(person.link("Deliveries", within=".breadcrumbs"))


def stock_token(person: Person) -> None:
    person.clicks_on(person.page.locator("#content .model-webhook th a"))
    person.clicks_on(person.link(X))
    person.types(person.page.locator("#id_token"), "Hk2-rT9_wq5z")
    person.clicks_on(person.button("Save"))
    must(person.sees("was changed successfully"), "the message")


def stock_order(person: Person) -> None:
    for address in stock_rows(person):
        stock_open(person, address)
        if person.page.locator("#id_reference").input_value() == "order 4711":
            return
        person.clicks_on(person.link("Deliveries", within=".breadcrumbs"))
    must(False, "no delivery has it")


STOCK: tuple[tuple[str, Any, Any, str], ...] = (
    (
        "find why X fails",
        why,
        stock_why,
        "the recorded message, of whichever call; neither reason nor cure",
    ),
    (
        "replay last night's failures of X",
        replay,
        stock_replay,
        "all 101 deliveries are opened one by one, 12 edited by hand; with thousands not possible",
    ),
    (
        "replace its token",
        token,
        stock_token,
        "the old token stands there in clear; the new one is never verified",
    ),
    (
        "find the delivery that contained order 4711",
        order,
        stock_order,
        "opened one by one until it comes, here as the 29th; the payload itself is not shown",
    ),
    (
        "stop calling a broken receiver",
        stop,
        None,
        "no field for it; deleting the webhook takes its history along",
    ),
)


def measured(page: Any, address: str, task: Any) -> Person:
    person = Person(page)
    person.opens(f"{address}/admin/")
    task(person)
    return person


def main() -> None:
    test_environment("sqlite")
    from tests.browser import chromium_of_the_system

    with site() as (address, world), chromium_of_the_system() as browser:
        if browser is None:
            sys.exit("no Chromium found")
        from tests.e2e.world import PASSWORD

        world.newer(20)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(20_000)
        page.goto(f"{address}/admin/")
        page.fill("#id_username", "mira")
        page.fill("#id_password", PASSWORD)
        page.press("#id_password", "Enter")
        page.wait_for_selector("#user-tools")
        if "--stock" in sys.argv:
            beside_the_stock(page, address)
        else:
            world.outage()
            twelve(page, address)


def twelve(page: Any, address: str) -> None:
    rows = ""
    for name, task in TASKS:
        person = measured(page, address, task)
        rows += f"| {name} | {person} |\n"
        if task is why:
            must(person.seconds <= CAUSE, f"the cause took {person.seconds:.1f} s")
    table = f"| task | takes |\n| --- | --- |\n{rows}"
    print(table)
    text = PAGE.read_text()
    PAGE.write_text(TABLE.sub(lambda found: f"{found[1]}\n{table}\n{found[2]}", text))


def beside_the_stock(page: Any, address: str) -> None:
    from django.conf import settings
    from django.test import override_settings

    from tests.e2e.stock import FOLDER

    ours = {name: measured(page, address, task) for name, task, _, _ in STOCK}
    stock = copy.deepcopy(settings.TEMPLATES)
    stock[0] |= {"DIRS": [FOLDER], "APP_DIRS": False}
    print("| task | console | stock admin | what the stock admin lacks |")
    print("| --- | --- | --- | --- |")
    with override_settings(TEMPLATES=stock, ROOT_URLCONF="tests.e2e.stock"):
        for name, _, task, lacks in STOCK:
            theirs = measured(page, address, task) if task else "not possible"
            print(f"| {name} | {ours[name]} | {theirs} | {lacks} |")


if __name__ == "__main__":
    main()
