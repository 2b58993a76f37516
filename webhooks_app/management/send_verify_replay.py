"""The verbs that ask for something to be sent: `send`, `verify`, `test`, `replay`."""

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from django.db.models import Exists, OuterRef

from webhooks_app import actions
from webhooks_app.models import Attempt, Delivery, Webhook, Worker, states
from webhooks_app.presentation.delivery_object import shown
from webhooks_app.rules import strictjson
from webhooks_app.rules.failures import advice
from webhooks_app.rules.ids import timestamp

from ..models.delivery import db_now
from .terminal import BY, MANY, Console, count, many, moment, wrong_usage


def add_verbs(verbs: Any) -> None:
    parser = verbs.add_parser("send", help="queue a delivery for a webhook")
    parser.add_argument("webhook", metavar="WEBHOOK_ID")
    parser.add_argument(
        "--data", default="{}", metavar="JSON|@FILE|-", help="the body (default {}); - reads stdin"
    )
    parser.add_argument("--type", default="", help="names the event, at most 128 characters")
    parser.add_argument("--reference", default="", help="your own word for it, at most 255")
    parser.add_argument("--ordering-key", default="", help="what it is sent in order with")
    parser.add_argument("--idempotency-key", help="the same key and body are queued once in 24 h")
    parser.add_argument(
        "--wait", action="store_true", help="wait for the outcome; exit code 1 unless delivered"
    )
    parser.add_argument(
        "--timeout", type=float, default=60, metavar="SECONDS", help="of --wait (default 60)"
    )
    parser.add_argument("--json", action="store_true", help="print the delivery as JSON")
    parser.set_defaults(run=send)

    parser = verbs.add_parser("verify", help="send the verification challenge to webhooks now")
    parser.add_argument("ids", nargs="*", metavar="ID")
    parser.add_argument("--all", action="store_true", help="every webhook of every account")
    parser.add_argument("--json", action="store_true", help="print the outcomes as JSON")
    parser.set_defaults(run=verify)

    parser = verbs.add_parser("test", help="send a sample interaction to a webhook now")
    parser.add_argument("webhook", metavar="WEBHOOK_ID")
    parser.add_argument(
        "--generation",
        type=int,
        choices=(1, 2),
        help="of the sample's body: 1 has a result, 2 (the default) has none",
    )
    parser.add_argument(
        "--data", metavar="JSON|@FILE|-", help="an interaction of your own instead; - reads stdin"
    )
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    parser.set_defaults(run=test)

    parser = verbs.add_parser("replay", help="queue failed deliveries once more")
    parser.add_argument("--webhook", metavar="ID", help="of this webhook only")
    parser.add_argument(
        "--since",
        type=moment,
        default="24h",
        metavar="2h|ISO",
        help="that failed since then (default 24h)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="only say how many (counts of a webhook end at 1001)"
    )
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.set_defaults(run=replay)


def find_webhook(ident: str) -> Webhook:
    webhook = Webhook.objects.live().select_related("account", "health").filter(pk=ident).first()
    if webhook is None:
        raise wrong_usage(f"There is no webhook {ident}.")
    return webhook


def send(console: Console, options: dict[str, Any]) -> int:
    webhook = find_webhook(options["webhook"])
    try:
        delivery = actions.deliver(
            webhook,
            body(options["data"]),
            type=options["type"],
            reference=options["reference"],
            idempotency_key=options["idempotency_key"],
            ordering_key=options["ordering_key"],
            by=BY,
        )
    except ValueError as error:
        raise wrong_usage(f"The body cannot be sent: {error}.") from error
    reason = actions.hold_reason(webhook)
    if reason:
        console.note(f"It waits: {states.hold_sentence(webhook, reason)}")
    elif not Worker.objects.alive().exists():
        console.note("It waits: no worker is alive; start `manage.py webhooks deliver`.")
    if options["wait"]:
        _wait(console, delivery, options["timeout"])
    if options["json"]:
        console.json(shown(delivery))
    else:
        console.line(delivery.id)
    return int(options["wait"] and delivery.state != Delivery.State.DELIVERED)


def body(data: str) -> bytes:
    """The bytes to send: given, of a @file, or of standard input."""
    if data == "-":
        return sys.stdin.buffer.read(actions.PAYLOAD_LIMIT + 1)
    if not data.startswith("@"):
        return data.encode("utf-8", "surrogateescape")
    try:
        with Path(data[1:]).open("rb") as file:
            return file.read(actions.PAYLOAD_LIMIT + 1)
    except OSError as error:
        raise wrong_usage(f"{data[1:]} cannot be read: {error.strerror}.") from error


def _wait(console: Console, delivery: Delivery, seconds: float) -> None:
    """Until it is finished, telling each failed try; or until the time is over."""
    deadline = time.monotonic() + seconds
    told = delivery.tries
    while delivery.state == Delivery.State.PENDING and time.monotonic() < deadline:
        time.sleep(0.1)
        delivery.refresh_from_db()
        if delivery.tries > told and delivery.last_error:
            told = delivery.tries
            console.note(f"try {told} of {delivery.max_tries}: {delivery.last_error}")
    if delivery.state == Delivery.State.PENDING:
        console.note(f"still pending after {seconds:g} s; next try {timestamp(delivery.due_at)}")
    elif delivery.state != Delivery.State.DELIVERED:
        console.note(f"{delivery.state}: {delivery.reason or delivery.last_error}")


def verify(console: Console, options: dict[str, Any]) -> int:
    if bool(options["ids"]) == options["all"]:
        raise wrong_usage("Give the IDs of webhooks, or --all.")
    webhooks = (
        list(Webhook.objects.live().order_by("id"))
        if options["all"]
        else [find_webhook(ident) for ident in dict.fromkeys(options["ids"])]
    )
    outcomes: list[dict[str, Any]] = []
    with console.progress("verifying", len(webhooks)) as step:
        for webhook in webhooks:
            outcome = _outcome(webhook, partial(actions.verify, webhook, by=BY))
            outcomes.append(outcome)
            if not options["json"]:
                console.line(_verdict(webhook, outcome))
            step()
    if options["json"]:
        console.json(outcomes)
    failed = sum(not outcome["ok"] for outcome in outcomes)
    if failed:
        console.note(f"{count(failed, 'webhook')} of {len(outcomes)} did not pass.")
    return int(failed > 0)


def _outcome(webhook: Webhook, call: Callable[[], Attempt]) -> dict[str, Any]:
    outcome: dict[str, Any] = {"id": webhook.id, "name": webhook.name, "ok": False}
    try:
        attempt = _patiently(call)
    except actions.Invalid:
        raise
    except actions.ActionError as error:
        return outcome | {"status": None, "durationMs": 0, "error": {"message": error.message}}
    failure = None
    if not attempt.ok:
        failure = {"kind": attempt.kind, "message": attempt.message, "advice": advice(attempt.kind)}
    return outcome | {
        "ok": attempt.ok,
        "status": attempt.status,
        "durationMs": attempt.duration_ms,
        "error": failure,
    }


def _patiently(call: Callable[[], Attempt]) -> Attempt:
    """Verify or test, waiting where only the pace forbids it."""
    for _ in range(20):
        try:
            return call()
        except (actions.TooSoon, actions.Busy) as wait:
            time.sleep(wait.retry_after)
    return call()


def test(console: Console, options: dict[str, Any]) -> int:
    webhook = find_webhook(options["webhook"])
    data, own = options["data"], None
    if data is not None:
        try:
            own = strictjson.loads(body(data))
        except ValueError as error:
            raise wrong_usage(f"The interaction is not valid JSON: {error}.") from error
    sample: dict[str, Any] = {"generation": options["generation"], "interaction": own, "by": BY}
    outcome = _outcome(webhook, lambda: actions.test(webhook, **sample))
    if options["json"]:
        console.json(outcome)
    else:
        console.line(_verdict(webhook, outcome))
    return int(not outcome["ok"])


def _verdict(webhook: Webhook, outcome: dict[str, Any]) -> str:
    if outcome["ok"]:
        return f"ok      {webhook.id}  {webhook}  ({outcome['durationMs']} ms)"
    error = outcome["error"]
    message = f"{error['message'].removesuffix('.')}."
    sentence = " ".join(part for part in (message, error.get("advice")) if part)
    return f"failed  {webhook.id}  {webhook}: {sentence}"


def replay(console: Console, options: dict[str, Any]) -> int:
    since = options["since"]
    if since > db_now():
        raise wrong_usage("--since lies in the future.")
    if options["webhook"]:
        webhooks = [find_webhook(options["webhook"])]
    else:
        failed = Delivery.objects.filter(
            webhook=OuterRef("pk"), state=Delivery.State.FAILED, finished_at__gte=since
        )
        webhooks = list(Webhook.objects.live().filter(Exists(failed)).order_by("id"))
    numbers: dict[str, int] = {}
    with console.progress("replaying", len(webhooks)) as step:
        for webhook in webhooks:
            if options["dry_run"]:
                number = actions.replayable(webhook, since, limit=MANY)
            else:
                number = actions.replay(webhook, since=since, by=BY)
            numbers[webhook.id] = number
            if not options["json"]:
                told = many(number) if options["dry_run"] else f"{number:,}"
                console.line(f"{webhook.id}  {webhook}: {told}")
            step()
    total = sum(numbers.values())
    if options["json"]:
        console.json({"total": total, "dryRun": options["dry_run"], "webhooks": numbers})
    elif options["dry_run"] and any(number > MANY for number in numbers.values()):
        least = sum(min(number, MANY) for number in numbers.values())
        console.line(f"{least:,}+ deliveries would be sent again.")
    elif options["dry_run"]:
        console.line(f"{count(total, 'delivery')} would be sent again.")
    else:
        console.line(f"{count(total, 'delivery')} will be sent again.")
    return 0
