"""A worker with an odd clock or other knobs, in a process of its own.

`python -m tests.promises.odd_worker '{"clock": 300, "idle_most": 3.0}' deliver --concurrency 20`
sets the clock five minutes ahead and one of the engine's knobs.
"""

import argparse
import datetime
import json
from contextlib import nullcontext

import time_machine


def main(oddities, concurrency):
    import django

    django.setup()
    from webhooks_app.engine import worker
    from webhooks_app.engine.knobs import Knobs

    clock = oddities.pop("clock", 0)
    there = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=clock)
    with time_machine.travel(there, tick=True) if clock else nullcontext():
        worker.run(
            concurrency=concurrency,
            forks=True,
            knobs=Knobs(**oddities),
            on_start=lambda: print("ready", flush=True),
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("oddities", type=json.loads)
    parser.add_argument("verb", choices=["deliver"])
    parser.add_argument("--concurrency", type=int)
    given = parser.parse_args()
    main(given.oddities, given.concurrency)
