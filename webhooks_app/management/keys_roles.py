"""The verbs of keys and roles: `rotate-keys`, `rotate-secret`, `create-roles`."""

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import Group

from webhooks_app import actions, conf
from webhooks_app.engine.maintenance import key_rotation
from webhooks_app.models import AuditEntry
from webhooks_app.roles import make_roles

from .send_verify_replay import find_webhook
from .terminal import BY, Console, count, duration, wrong_usage


def add_verbs(verbs: Any) -> None:
    parser = verbs.add_parser(
        "rotate-keys",
        help="encrypt every stored secret with the newest key",
        description="Put the new key in front of WEBHOOKS_ENCRYPTION_KEYS, restart everything, run "
        "this, then take the old key out. It may be interrupted and started again.",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say how many")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.set_defaults(run=rotate_keys)

    parser = verbs.add_parser(
        "rotate-secret",
        help="sign the calls of a webhook with a new secret",
        description="Prints the new secret alone. The old one signs beside it until --grace is "
        "over, so that the receiver can take the new one in the meantime.",
    )
    parser.add_argument("webhook", metavar="WEBHOOK_ID")
    parser.add_argument(
        "--grace",
        type=duration,
        default="24h",
        metavar="24h",
        help="for which the old secret holds, at most 7d; 0s ends it at once (default 24h)",
    )
    parser.add_argument("--json", action="store_true", help="print the secret as JSON")
    parser.set_defaults(run=rotate_secret)

    parser = verbs.add_parser(
        "create-roles",
        help="the groups viewer, operator and administrator",
        description="Makes the groups that are missing. One that exists is left as it is.",
    )
    parser.add_argument(
        "--again", action="store_true", help="give existing groups the permissions of their role"
    )
    parser.set_defaults(run=create_roles)


def create_roles(console: Console, options: dict[str, Any]) -> int:
    made = make_roles(again=options["again"])
    for group in Group.objects.filter(name__in=made).order_by("id"):
        AuditEntry.objects.note(BY, "Given the permissions of its role.", group)
        console.line(group.name)
    return 0


def rotate_secret(console: Console, options: dict[str, Any]) -> int:
    webhook, grace = find_webhook(options["webhook"]), options["grace"]
    if grace > actions.GRACE_MOST:
        raise wrong_usage("--grace may be at most 7d.")
    secret = actions.rotate_secret(webhook, grace=grace, by=BY)
    if options["json"]:
        console.json({"key": secret, "gracePeriodSeconds": round(grace / timedelta(seconds=1))})
    else:
        console.line(secret)
    if grace:
        console.note(f"The old secret signs beside it for {actions.spelled(grace)}.")
    return 0


def rotate_keys(console: Console, options: dict[str, Any]) -> int:
    dry_run = options["dry_run"]
    looked_at = rotated = unreadable = 0
    with console.progress("Rotating") as done:
        for step in key_rotation.rotate(dry_run=dry_run):
            looked_at += step.looked_at
            rotated += step.rotated
            unreadable += len(step.unreadable)
            for row in step.unreadable:
                console.note(f"No key decrypts {row}.")
            done(f"{step.column}: {looked_at:,} looked at, {rotated:,} under an older key")
    if rotated and not dry_run:
        AuditEntry.objects.note(BY, f"Encrypted {count(rotated, 'secret')} anew.", None)
    if options["json"]:
        numbers = {"lookedAt": looked_at, "rotated": rotated, "unreadable": unreadable}
        console.json({"dryRun": dry_run, **numbers})
    else:
        would = "would be " if dry_run else ""
        console.line(f"{count(rotated, 'secret')} of {looked_at:,} {would}encrypted anew")
    if dry_run and not rotated and not unreadable and len(conf.settings.encryption_keys) > 1:
        console.note("Only the first of WEBHOOKS_ENCRYPTION_KEYS is needed: take the others out.")
    return 1 if unreadable else 0
