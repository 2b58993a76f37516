"""`manage.py webhooks VERB`: parses; the verbs stand beside in `webhooks_app/management/`."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webhooks_app.actions import ActionError, Invalid

from .. import reports, sending, upkeep, work
from ..terminal import Console


class Command(BaseCommand):
    help = "Outgoing webhooks: the worker, and what operators do with webhooks and deliveries."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.epilog = "Exit codes: 0 done, 1 some failed, 2 wrong usage."
        verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
        for module in (work, sending, reports, upkeep):
            module.add_verbs(verbs)

    def handle(self, *args: Any, **options: Any) -> None:
        console = Console(self.stdout, self.stderr)
        try:
            code = options["run"](console, options)
        except Invalid as error:
            raise CommandError(f"{error.message} {error.details}", returncode=2) from error
        except ActionError as error:
            raise CommandError(error.message) from error
        if code:
            sys.exit(code)
