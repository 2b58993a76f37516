"""The verb that says who would get an event: `match`."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from webhooks_app import actions
from webhooks_app.models import Account

from .publish import publisher
from .send_verify_replay import body
from .terminal import Console, count, wrong_usage

AT_ONCE = 1000  # webhooks
GETS_IT = ("matches", "held")


def add_verbs(verbs: Any) -> None:
    parser = verbs.add_parser("match", help="who would get an event, and why others would not")
    parser.add_argument("account", metavar="ACCOUNT")
    parser.add_argument("type", metavar="TYPE", help="like order.created")
    parser.add_argument(
        "--data", default="{}", metavar="JSON|@FILE|-", help="the payload (default {}); - is stdin"
    )
    parser.add_argument(
        "--channel", action="append", default=[], help="a channel of the event; repeatable"
    )
    parser.add_argument("--json", action="store_true", help="print the verdicts as JSON")
    parser.set_defaults(run=match)


def match(console: Console, options: dict[str, Any]) -> int:
    account = publisher(options)
    try:
        payload = actions.encode(body(options["data"]))
    except ValueError as error:
        raise wrong_usage(f"The payload cannot be published: {error}.") from error
    found: list[dict[str, Any]] = []
    verdicts: Counter[str] = Counter()
    for line in _lines(account, options["type"], payload, options["channel"]):
        verdicts[line.verdict] += 1
        if options["json"]:
            found.append(as_json(line))
        else:
            console.line(f"{line.verdict:14}  {line.webhook.pk}  {line.webhook}: {line.because}")
    if options["json"]:
        console.json(found)
    gets = sum(verdicts[verdict] for verdict in GETS_IT)
    console.note(f"{count(gets, 'webhook')} of {verdicts.total():,} would get it.")
    return 0


def _lines(
    account: Account, type: str, payload: bytes, channels: list[str]
) -> Iterator[actions.Line]:
    """Page by page, whatever their number."""
    place = ""
    while True:
        lines, place = actions.match(
            account, type, payload, channels=channels, after=place, limit=AT_ONCE
        )
        yield from lines
        if not place:
            return


def as_json(line: actions.Line) -> dict[str, Any]:
    return {"webhookId": line.webhook.pk, "verdict": line.verdict, "because": line.because}
