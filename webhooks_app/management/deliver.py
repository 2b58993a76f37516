"""The verb `deliver`: the worker, or several of them under a supervisor."""

import gc
import os
from argparse import ArgumentTypeError
from contextlib import suppress
from typing import Any

from django.core.management.base import CommandError
from django.db import DatabaseError, router

from webhooks_app.models import Delivery

from . import hold_release
from .supervisor import Child, Supervisor, manage
from .terminal import Console, count, wrong_usage


def add_verbs(verbs: Any) -> None:
    parser = verbs.add_parser(
        "deliver",
        help="send what is due, until stopped",
        description="The worker: sends what is due and verifies webhooks, until Ctrl-C or SIGTERM; "
        "exchanges under way are finished first.",
    )
    parser.add_argument("--once", action="store_true", help="one round of what is due, then end")
    parser.add_argument(
        "--until-empty", action="store_true", help="end when nothing is due and nothing under way"
    )
    parser.add_argument(
        "--processes",
        type=processes,
        default=1,
        metavar="N|auto",
        help="worker processes, supervised; auto: one a CPU (on SQLite one)",
    )
    parser.add_argument(
        "--concurrency",
        type=positive,
        metavar="N",
        help="exchanges in flight a process (default: the setting WEBHOOKS_CONCURRENCY)",
    )
    parser.set_defaults(run=deliver)


def positive(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 10_000:
        raise ArgumentTypeError("must be from 1 to 10000")
    return number


def processes(text: str) -> int:
    """How many; 0 stands for `auto`."""
    if text == "auto":
        return 0
    number = positive(text)
    if number > 256:
        raise ArgumentTypeError("must be at most 256, or auto")
    return number


def deliver(console: Console, options: dict[str, Any]) -> int:
    from webhooks_app.engine import store

    one_sends = store.open(router.db_for_write(Delivery)).is_all_or_nothing
    wanted: int = options["processes"] or (1 if one_sends else cpus())
    if wanted > 1:
        return _supervise(console, options, wanted, one_sends)

    from webhooks_app.engine import worker

    # The collector need not walk through all of Django again and again.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)

    def started(*details: Any) -> None:
        console.line(f"worker {os.getpid()}: ready")

    with suppress(DatabaseError):  # the worker says so, and tries again
        if held := hold_release.words():
            console.note(f"The site is held {held}. Nothing is sent until `webhooks release-all`.")

    try:
        made = worker.run(
            once=options["once"],
            until_empty=options["until_empty"],
            concurrency=options["concurrency"],
            on_start=started,
            forks=True,
        )
    except worker.OthersSend:
        console.line("another worker of this database is running and sends what is due")
        return 0
    except (worker.Away, worker.CannotGoOn) as error:
        raise CommandError(str(error)) from error
    except worker.CannotStart as error:
        raise wrong_usage(str(error)) from error
    console.line(f"worker {os.getpid()}: stopped after {count(made, 'exchange')}")
    return 0


def _supervise(console: Console, options: dict[str, Any], wanted: int, one_sends: bool) -> int:
    from webhooks_app.engine import output
    from webhooks_app.engine.knobs import DEFAULT

    output.never_block()
    if one_sends:
        console.note("SQLite: one process sends, the others stand by.")
    arguments = ["webhooks", "deliver"]
    for name in ("once", "until_empty"):
        if options[name]:
            arguments.append(f"--{name.replace('_', '-')}")
    if options["concurrency"]:
        arguments.append(f"--concurrency={options['concurrency']}")
    command = manage(*arguments, pythonpath=options.get("pythonpath"))
    finishes = options["once"] or options["until_empty"]
    # No connection of ours is shared with the children: they are new programs, not forks.
    children = [
        Child(f"worker process {number}", command, finishes=finishes)
        for number in range(1, wanted + 1)
    ]
    return Supervisor(
        children,
        console.note,
        # A little longer than a worker may take: what is killed while it flies is sent twice.
        grace=DEFAULT.landing_most + 9,
        # What is to end by itself does not try for ever.
        give_up=5 if finishes else None,
    ).run()


def cpus() -> int:
    """The CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
