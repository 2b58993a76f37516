"""What order costs: deliveries out of a backlog, counted at the receiver."""

import time
from dataclasses import dataclass
from typing import Any

from . import stage
from .load import CONCURRENCY, WEBHOOKS
from .sink import PythonSink


@dataclass
class Load:
    sink: Any
    count: int  # receipts
    webhooks: int
    keys: range  # in turn; of none of these: in no order
    path: str = ""  # at the sink: `but/KEY` refuses that one

    def rate(self, place):
        """Of a worker that finds all of it at its start; the first ones are left out."""
        stored = self.count * 5 // 4
        if self.path:
            stored = stored * len(self.keys) // (len(self.keys) - 1)
        top, keys = max(10, CONCURRENCY // self.webhooks), ",".join(map(str, self.keys))
        with place.database() as database:
            filling = ("fill_in_order", self.sink.url(self.path), stored, self.webhooks, top, keys)
            stage.part(*map(str, filling), database=database)
            before = self.sink.count()
            with stage.workers(1, database):
                return stage.pace(self.sink, before, self.count // 20, self.count)


def rates(places, receiver, count):
    """Without an order and by key, of many webhooks and of one; and of nine keys by themselves and
    beside one that fails for ever."""
    found, verdicts = {}, {}
    with PythonSink() as refusing:
        pairs = {
            "100 keys on each of 100 webhooks": (
                ("plain", Load(receiver, count, WEBHOOKS, range(0))),
                ("by key", Load(receiver, count, WEBHOOKS, range(100))),
                ">= 0.5",
            ),
            "100 keys on one webhook": (
                ("plain", Load(receiver, count // 2, 1, range(0))),
                ("by key", Load(receiver, count // 2, 1, range(100))),
                ">= 0.5",
            ),
            "nine keys beside one that fails": (
                ("nine", Load(refusing, count // 4, 1, range(1, 10))),
                ("beside one", Load(refusing, count // 4, 1, range(10), "but/0")),
                ">= 0.95",
            ),
        }
        for place in places:
            for what, (*both, wanted) in pairs.items():
                figures = {}
                # Turn about, so that neither is always the one that finds the machine warm.
                for name, load in both[:: 1 - 2 * (time.time_ns() % 2)]:
                    figures[name] = load.rate(place)
                (before, _), (after, _) = both
                found[f"{place.name}, {what}"] = figures
                kept = figures[after] / figures[before]
                verdicts[f"rate kept, {place.name}, {what}"] = kept, wanted
    return found, verdicts
