"""The verbs about the installation as a whole: `hold-all`, `release-all`."""

import time
from typing import Any

from webhooks_app import actions
from webhooks_app.models import Worker, states
from webhooks_app.models.delivery import db_now
from webhooks_app.rules.ids import timestamp

from .terminal import BY, MANY, Console, count

LOOK_EVERY = 0.1  # seconds between looks at what the workers say
NOTICED = 0.2  # seconds after which every web process knows


def add_verbs(verbs: Any) -> None:
    parser = verbs.add_parser(
        "hold-all",
        help="call nobody, until release-all",
        description="Deliveries are stored and held, verifications wait, interactions and tests "
        "are refused with 503. Returns when no worker has a call under way any more; exit code 1 "
        "where one does not say so in time.",
    )
    parser.add_argument("--note", default="", help="why, for your colleagues; at most 255")
    parser.add_argument(
        "--timeout",
        type=float,
        default=75,
        metavar="SECONDS",
        help="to wait for the calls under way (default 75)",
    )
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.set_defaults(run=hold_all)

    parser = verbs.add_parser(
        "release-all",
        help="end hold-all: send what waits",
        description="What hold-all alone held goes out now; webhooks that were paused or stopped "
        "for a reason of their own stay so. `status` says before what would go.",
    )
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.set_defaults(run=release_all)


def hold_all(console: Console, options: dict[str, Any]) -> int:
    new = actions.hold_all(note=options["note"], by=BY)
    if not new:
        console.note(f"It was held already: {words()}")
    left = _wait(console, options["timeout"])
    if options["json"]:
        console.json(as_json() | {"new": new, "notHeld": [worker.id for worker in left]})
    elif not left:
        console.line("The site is held; no worker has a call under way.")
    for worker in left:
        why = (
            f"has {count(worker.in_flight, 'call')} under way"
            if worker.holds
            else "has not noticed: it hangs, or is of a version that knows no hold. Stop it"
        )
        console.note(f"worker {worker.host}:{worker.pid} {why}.")
    return int(bool(left))


def _wait(console: Console, seconds: float) -> list[Worker]:
    """The workers that may still call somebody, when none does or the time is over."""
    deadline = time.monotonic() + seconds
    time.sleep(NOTICED)
    told = None
    while left := _calling():
        says = len(left), sum(worker.in_flight for worker in left)
        if time.monotonic() >= deadline:
            break
        if says != told:
            told = says
            under_way = count(says[1], "call")
            console.note(f"waiting for {count(says[0], 'worker')} with {under_way} under way …")
        time.sleep(LOOK_EVERY)
    return left


def _calling() -> list[Worker]:
    alive = Worker.objects.alive()
    return [worker for worker in alive if not worker.holds or worker.in_flight]


def release_all(console: Console, options: dict[str, Any]) -> int:
    released = actions.release_all(by=BY)
    now = db_now()
    due, _ = states.count_due(now, MANY)
    if options["json"]:
        console.json({"released": released, "due": due})
    elif released:
        are = "is" if due == 1 else "are"
        console.line(f"The site is released; {count(due, 'delivery', MANY)} {are} due.")
    else:
        console.line("The site was not held.")
    return 0


def words() -> str:
    """Since when, by whom and why the site is held; `""` while it is not."""
    hold = actions.site_hold()
    if hold is None:
        return ""
    by = f" by {hold.by}" if hold.by else ""
    note = f": {hold.note}" if hold.note else ""
    return f"since {timestamp(hold.since)}{by}{note}"


def as_json() -> dict[str, Any]:
    hold = actions.site_hold()
    if hold is None:
        return {"held": False}
    return {"held": True, "since": timestamp(hold.since), "by": hold.by, "note": hold.note}
