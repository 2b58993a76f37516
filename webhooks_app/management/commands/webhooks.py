"""`manage.py webhooks VERB`: parses; the verbs stand beside in `webhooks_app/management/`."""

import sys
from argparse import SUPPRESS, ArgumentParser
from typing import Any

from django.core.management.base import CommandError, CommandParser

from webhooks_app import __version__, checks
from webhooks_app.actions import ActionError, Invalid

from .. import (
    delete_account,
    deliver,
    hold_release,
    keys_roles,
    match,
    publish,
    send_verify_replay,
    status_explain,
    tokens_purge,
)
from ..base import PlainCommand
from ..terminal import Console, resolved, wrong_usage

RAW = ("data", "pythonpath")  # options that take any bytes: a body, names of files
EXAMPLES = {  # of each verb, below its --help
    "create-token": "acme --create --name 'the shop' --scope send",
    "deliver": "--processes auto",
    "send": "5a21a9e21ec94a0007f9ac19 --type order.created --data '{\"order\": 4711}'",
    "publish": "acme order.created --data '{\"order\": 4711}'",
    "match": "acme order.created --data '{\"order\": 4711}'",
    "verify": "--all --json",
    "test": "5a21a9e21ec94a0007f9ac19",
    "replay": "--since 2h --dry-run",
    "status": "--json",
    "explain": "5a21a9e21ec94a0007f9ac19",
    "hold-all": "--note 'restored from the backup of 03:00'",
    "release-all": "",
    "delete-account": "acme --yes",
    "purge": "--older-than 30d --dry-run",
    "rebuild-counts": "--since 24h",
    "rotate-secret": "5a21a9e21ec94a0007f9ac19 --grace 2d",
    "rotate-keys": "--dry-run",
    "create-roles": "--again",
}
VERBS = (
    deliver,
    send_verify_replay,
    publish,
    match,
    status_explain,
    hold_release,
    tokens_purge,
    delete_account,
    keys_roles,
)
FLAGS = ("--traceback", "--no-color", "--force-color", "--skip-checks")


class Command(PlainCommand):
    help = "Outgoing webhooks: the worker, and what operators do with webhooks and deliveries."
    # All of Django's import the whole site first.
    requires_system_checks = (checks.OURS,)

    def get_version(self) -> str:
        return f"webhooks-console {__version__}"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.epilog = "Exit codes: 0 done, 1 some failed, 2 wrong usage."
        verbs = parser.add_subparsers(title="verbs", metavar="VERB")
        parser.set_defaults(run=lambda console, options: _without_verb(console, parser))
        for module in VERBS:
            module.add_verbs(verbs)
        for name, verb in verbs.choices.items():
            accept_common_options(verb)
            verb.epilog = f"Example: manage.py webhooks {name} {EXAMPLES[name]}"

    def handle(self, *args: Any, **options: Any) -> None:
        console = Console(self.stdout, self.stderr)
        for name, value in options.items():
            if name not in RAW and not _is_utf8(value):
                raise wrong_usage(f"{name.replace('_', ' ').capitalize()} must be UTF-8 text.")
        try:
            options = {name: resolved(value) for name, value in options.items()}
            code = options["run"](console, options)
        except Invalid as error:
            raise CommandError(error.message, returncode=2) from error
        except ActionError as error:
            raise CommandError(error.message) from error
        if code:
            sys.exit(code)


def _without_verb(console: Console, parser: ArgumentParser) -> int:
    """The menu, as `--help` has it."""
    for line in parser.format_help().splitlines():
        console.note(line)
    return 2


def _is_utf8(value: Any) -> bool:
    """What the command line had besides reaches Python as lone surrogates."""
    try:
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                text.encode()
    except UnicodeEncodeError:
        return False
    return True


def accept_common_options(verb: ArgumentParser) -> None:
    """Django's own options, which argparse knows before the verb only, after it too."""
    for name in ("--settings", "--pythonpath"):
        verb.add_argument(name, default=SUPPRESS, help=SUPPRESS)
    for name in FLAGS:
        verb.add_argument(name, action="store_true", default=SUPPRESS, help=SUPPRESS)
    verb.add_argument(
        "-v", "--verbosity", type=int, choices=range(4), default=SUPPRESS, help=SUPPRESS
    )
