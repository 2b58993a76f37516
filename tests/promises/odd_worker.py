"""`webhooks deliver` with an odd clock or shorter waits, in a process of its own.

`python -m tests.promises.odd_worker '{"clock": 300, "worker.SILENCE_MOST": 1}' deliver …`
sets the clock five minutes ahead and a constant of the engine. The rest goes to manage.py.
"""

import importlib
import json
import sys


def main(oddities, arguments):
    import django
    from django.core.management import execute_from_command_line

    django.setup()
    clock = oddities.pop("clock", 0)
    for name, value in oddities.items():
        module, _, constant = name.rpartition(".")
        module = importlib.import_module(f"webhooks_app.engine.{module}")
        assert hasattr(module, constant), name
        setattr(module, constant, value)
    command = ["manage.py", "webhooks", *arguments]
    if not clock:
        execute_from_command_line(command)
        return
    import datetime

    import time_machine

    there = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=clock)
    with time_machine.travel(there, tick=True):
        execute_from_command_line(command)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2:])
