"""The verb that publishes events: `publish`."""

from typing import Any

from webhooks_app import actions
from webhooks_app.models import Account
from webhooks_app.presentation.event_object import shown

from .send_verify_replay import body
from .terminal import BY, Console, account_of, count, moment_ahead


def add_verbs(verbs: Any) -> None:
    parser = verbs.add_parser("publish", help="publish an event of an account")
    parser.add_argument("account", metavar="ACCOUNT")
    parser.add_argument("type", metavar="TYPE", help="like order.created")
    parser.add_argument(
        "--data", default="{}", metavar="JSON|@FILE|-", help="the payload (default {}); - is stdin"
    )
    parser.add_argument("--event-id", help="your own id: published once in 24 h")
    parser.add_argument(
        "--channel", action="append", default=[], help="for subscriptions that name it; repeatable"
    )
    parser.add_argument("--subject", default="", help="whom it is about, at most 255 characters")
    parser.add_argument("--reference", default="", help="your own word for it, at most 255")
    parser.add_argument("--ordering-key", default="", help="what it is sent in order with")
    parser.add_argument(
        "--deliver-at", type=moment_ahead, metavar="2h|ISO", help="not before then, 30 days ahead"
    )
    parser.add_argument("--json", action="store_true", help="print the event as JSON")
    parser.set_defaults(run=publish)


def publisher(options: dict[str, Any]) -> Account:
    return account_of(options["account"], otherwise="; create-token with --create makes it")


def publish(console: Console, options: dict[str, Any]) -> int:
    account = publisher(options)
    event = actions.publish(
        account,
        options["type"],
        body(options["data"]),
        event_id=options["event_id"],
        channels=options["channel"],
        subject=options["subject"],
        reference=options["reference"],
        ordering_key=options["ordering_key"],
        deliver_at=options["deliver_at"],
        by=BY,
    )
    if event.replayed:
        console.note("This event id was published before; nothing new is sent.")
    else:
        more = ", and a worker goes on" if event.fan_out == "running" else ""
        filtered = f", {event.filtered:,} filtered" if event.filtered else ""
        console.note(f"{count(event.matched, 'webhook')} get it{filtered}{more}.")
    if options["json"]:
        console.json(shown(event))
    else:
        console.line(event.pk)
    return 0
