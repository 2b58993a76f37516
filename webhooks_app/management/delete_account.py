"""The verb `delete-account`: a customer leaves, and all that is his own goes."""

from typing import Any

from django.db.models import QuerySet

from webhooks_app import actions
from webhooks_app.models import AccessToken, Account, Delivery, Event, Webhook

from .terminal import BY, Console, account_of, bounded, many, wrong_usage


def add_verbs(verbs: Any) -> None:
    parser = verbs.add_parser(
        "delete-account",
        help="remove an account with all that is its own, for good",
        description="Removes its webhooks, deliveries, attempts, events, notes and access tokens, "
        "in small steps while everything runs; cut short, start it again. The audit log stays. "
        "Without --yes it only says how much there is.",
    )
    parser.add_argument("account", metavar="ACCOUNT", help="name of the account")
    parser.add_argument("--yes", action="store_true", help="do it: it cannot be undone")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.set_defaults(run=delete_account)


def delete_account(console: Console, options: dict[str, Any]) -> int:
    name = options["account"]
    account = account_of(name)
    if not options["yes"]:
        console.note(f"{name} has {_there(account)}")
        raise wrong_usage("Nothing was removed: --yes removes all of it, for good.")
    removed = actions.delete_account(account, by=BY)
    if options["json"]:
        console.json(removed)
    else:
        numbers = (f"{what}: {number:,}" for what, number in removed.items())
        console.line(f"{name} is removed, with {', '.join(numbers)}")
    return 0


def _there(account: Account) -> str:
    rows: dict[str, QuerySet[Any]] = {
        "webhooks": Webhook.objects.for_account(account),
        "deliveries": Delivery.objects.filter(webhook__account=account),
        "events": Event.objects.filter(account=account),
        "access tokens": AccessToken.objects.filter(account=account),
    }
    return ", ".join(f"{what}: {many(bounded(found))}" for what, found in rows.items())
