"""The verbs of upkeep: `create-token`, `purge`, `rebuild-counts`."""

from argparse import ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError

from webhooks_app import actions, conf
from webhooks_app.engine.maintenance import pruner, recount, steadiness, upkeep
from webhooks_app.models import AccessToken, Account, AuditEntry

from ..models.delivery import db_now
from .terminal import BY, Console, count, duration, moment, wrong_usage


def add_verbs(verbs: Any) -> None:
    parser = verbs.add_parser(
        "create-token",
        help="make an access token for the API",
        description="Prints the token alone; it is shown this once and never stored.",
    )
    parser.add_argument("account", metavar="ACCOUNT", help="name of the account")
    parser.add_argument("--create", action="store_true", help="make the account if it is missing")
    parser.add_argument("--name", default="", help="what the token is for")
    parser.add_argument("--expires-days", type=days, metavar="DAYS", help="default: never")
    parser.add_argument(
        "--scope", choices=AccessToken.Scope.values, default=AccessToken.Scope.MANAGE.value
    )
    parser.set_defaults(run=create_token)

    parser = verbs.add_parser(
        "purge",
        help="remove old history",
        description="Removes deliveries and attempts that finished long ago, and cancels those "
        "that were held as long. What may still be sent stays. Jobs and the list of who changed "
        "what go by their own settings.",
    )
    parser.add_argument(
        "--older-than",
        type=duration,
        metavar="30d",
        help="default: the setting WEBHOOKS_RETENTION_DAYS",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say how many")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.set_defaults(run=purge)

    parser = verbs.add_parser(
        "rebuild-counts",
        help="hourly counts and health once more, from the attempts",
        description="Counts the hours anew, and takes the last error, last success and run of "
        "failures of every webhook from its attempts, and judges anew which are unsteady. Workers "
        "may go on meanwhile. Hours beyond the retention stay as they are.",
    )
    parser.add_argument(
        "--since", type=moment, metavar="2h|DATE", help="which hours; default: all that are kept"
    )
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.set_defaults(run=rebuild_counts)


def days(text: str) -> timedelta:
    number = float(text)
    if not 0 < number <= 36_500:
        raise ArgumentTypeError("must be more than 0 and at most 36500")
    return timedelta(days=number)


def create_token(console: Console, options: dict[str, Any]) -> int:
    name = options["account"]
    account = Account.objects.filter(name=name).first()
    if account is None and not options["create"]:
        raise wrong_usage(f"There is no account {name}; --create makes it.")
    if len(options["name"]) > 100:
        raise wrong_usage("--name may have at most 100 characters.")
    if account is None:
        account = Account(name=name)
        try:
            account.full_clean()
        except ValidationError as error:
            raise wrong_usage(" ".join(error.messages)) from error
        account.save()
        AuditEntry.objects.note(BY, "Created.", account)
    expires = options["expires_days"]
    _, secret = actions.issue_token(
        account,
        name=options["name"],
        scope=options["scope"],
        expires_at=db_now() + expires if expires else None,
        by=BY,
    )
    console.line(secret)
    return 0


def purge(console: Console, options: dict[str, Any]) -> int:
    older_than = options["older_than"] or conf.settings.retention
    numbers = pruner.purge(older_than, dry_run=options["dry_run"])
    numbers |= upkeep.purge_records(dry_run=options["dry_run"])
    gone = ", ".join(f"{what} {number:,}" for what, number in numbers.items() if number)
    if gone and not options["dry_run"]:
        AuditEntry.objects.note(BY, f"Purged: {gone}.", None)
    if options["json"]:
        console.json({"dryRun": options["dry_run"], **numbers})
        return 0
    for what, number in numbers.items():
        console.line(f"{what}: {number:,}{' would go' if options['dry_run'] else ''}")
    return 0


def rebuild_counts(console: Console, options: dict[str, Any]) -> int:
    hours = counts = webhooks = 0
    with console.progress("Counting") as step:
        for what, number in recount.rebuild(options["since"]):
            if what == "hours":
                hours, counts = hours + 1, counts + number
            else:
                webhooks += number
            step()
    steadiness.judge()
    if options["json"]:
        console.json({"hours": hours, "hourlyCounts": counts, "webhooks": webhooks})
    else:
        console.line(
            f"{count(hours, 'hour')} looked at, {count(counts, 'hourly count')} written, "
            f"health of {count(webhooks, 'webhook')}"
        )
    return 0
