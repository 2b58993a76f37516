"""`python -m tests.benchmarks.versus CHECKOUT`: this version against that of another checkout.

Two workers, each with a database of its own, by turns of half a second: while one works, the other
is frozen. Whatever the machine's neighbours do, they do it to both; runs one after the other differ
by a quarter for that reason alone. The other checkout runs in this environment, with its own code.
From the environment: ROUNDS (7), COUNT (deliveries of each side, twice a round, 60,000), DB
(`sqlite`, `postgres` or both).
"""

import math
import os
import signal
import statistics
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import psutil

from . import stage
from .sink import sink

ROUNDS = int(os.environ.get("ROUNDS", "7"))
COUNT = int(os.environ.get("COUNT", "60000"))
DB = os.environ.get("DB", "sqlite,postgres").split(",")
TURN = 0.5  # seconds
WARM = 2  # turns of each side that do not count
IDLE = 20  # turns in which nothing comes of a side: it does not work
LEFT = 0.1  # of the deliveries, at which a round ends: nobody waits for work


@dataclass(frozen=True)
class Side:
    """A worker: where its database is, with the tables of its checkout, and how it is started."""

    server: stage.Server
    command: tuple[str, ...] = ()


@dataclass
class Run:
    """A worker that is frozen, and what it did in its turns."""

    name: str
    family: list[psutil.Process]
    received: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)  # seconds, of the worker and of the server

    def signal(self, number):
        for process in self.family:
            process.send_signal(number)

    def take(self, receiver, meter):
        before, used, started = receiver.count(), meter.cpu(), time.perf_counter()
        self.signal(signal.SIGCONT)
        time.sleep(TURN)
        self.signal(signal.SIGSTOP)
        self.seconds.append(time.perf_counter() - started)
        self.received.append(receiver.count() - before)
        self.cpu.append(meter.cpu() - used)

    def rates(self):
        rates = [n / s for n, s in zip(self.received, self.seconds, strict=True)][WARM:]
        assert any(rates), f"nothing came of {self.name} in {len(rates)} turns that count"
        return rates

    def each_cost(self):
        """CPU of a delivery, in seconds."""
        return sum(self.cpu[WARM:]) / sum(self.received[WARM:])


@contextmanager
def _frozen(sides, receiver, count):
    """Runs of workers that have found their work.

    All of the server is there before anything is frozen, and goes after it: what a frozen worker
    does not read blocks its session, and then no database can be made or dropped.
    """
    with ExitStack() as stack:
        urls = [stack.enter_context(side.server.database()) for side in sides]
        runs = []
        for side, url in zip(sides, urls, strict=True):
            workers = stage.workers(1, url, *side.command, root=side.server.root)
            process = psutil.Process(stack.enter_context(workers)[0].pid)
            family = [process, *process.children(recursive=True)]
            runs.append(Run(f"{side.server.name} of {side.server.root}", family))
        try:
            for run in runs:
                run.signal(signal.SIGSTOP)
            for side, url in zip(sides, urls, strict=True):
                stage.part("fill", receiver.url(), count, database=url, root=side.server.root)
            yield runs
        finally:
            for run in runs:
                run.signal(signal.SIGCONT)


def against(receiver, count, this, other):
    """What `this` does against what `other` does, as ratios, and the rates of both: once with the
    one first and once with the other, for whoever is made first is some hundredths slower."""
    first = _against(receiver, count, this, other)
    second = _against(receiver, count, other, this)
    rates = [(a + b) / 2 for a, b in zip(first["rates"], reversed(second["rates"]), strict=True)]
    return {
        "rate kept": math.sqrt(first["rate kept"] / second["rate kept"]),
        "CPU": math.sqrt(first["CPU"] / second["CPU"]),
        "pairs": first["pairs"] + [1 / pair for pair in second["pairs"]],
        "idle": first["idle"] + second["idle"],
        "rates": rates,
    }


def _against(receiver, count, *sides):
    with _frozen(sides, receiver, count) as runs:
        meters = [
            stage.Meter([*(each.pid for each in run.family), *side.server.processes()])
            for run, side in zip(runs, sides, strict=True)
        ]
        for place in cycle((0, 1, 1, 0)):
            runs[place].take(receiver, meters[place])
            even = len(runs[0].received) == len(runs[1].received)
            for run in runs:
                assert any(run.received[-IDLE:]) or len(run.received) < IDLE, (
                    f"nothing came of {run.name} in {IDLE} turns"
                )
            if even and max(sum(run.received) for run in runs) > (1 - LEFT) * count:
                break
    assert len(runs[0].received) > WARM, (
        f"{count} deliveries are over before {WARM + 1} turns of each side"
    )
    return compared(*runs)


def compared(this, other):
    """`idle`: pairs of turns in one of which nothing came; they are in the rates, and no ratio."""
    rates = [this.rates(), other.rates()]
    pairs = [a / b for a, b in zip(*rates, strict=True) if a and b]
    return {
        "rate kept": sum(rates[0]) / sum(rates[1]),
        "CPU": this.each_cost() / other.each_cost(),
        "pairs": pairs,
        "idle": len(rates[0]) - len(pairs),
        "rates": [statistics.mean(each) for each in rates],
    }


def told(name, rounds):
    kept = [found["rate kept"] for found in rounds]
    cpu = [found["CPU"] for found in rounds]
    pairs = [pair for found in rounds for pair in found["pairs"]]
    assert len(pairs) > 1, f"{name}: in all pairs of turns but {len(pairs)} nothing came of one"
    low, middle, high = statistics.quantiles(pairs, n=4)
    idle = sum(found["idle"] for found in rounds)
    without = f" without {idle} in which nothing came of one side" if idle else ""
    return (
        f"{name}: rate kept {statistics.median(kept):.3f} (rounds {min(kept):.2f} to "
        f"{max(kept):.2f}; {len(pairs)} pairs of turns{without}, quartiles {low:.2f}, "
        f"{middle:.2f}, {high:.2f}), CPU of a delivery {statistics.median(cpu):.3f} "
        f"({min(cpu):.2f} to {max(cpu):.2f})"
    )


def main(checkout):
    stage.prepare()
    with stage.folder() as folder, sink() as receiver:
        servers = {"sqlite": stage.Sqlite, "postgres": lambda _: stage.Postgres()}
        places = [servers[name](folder) for name in DB]
        sides = [(Side(place), Side(place.of(Path(checkout).resolve()))) for place in places]
        found = {place.name: [] for place in places}
        for number in range(1, ROUNDS + 1):
            for this, other in sides:
                rounds = found[this.server.name]
                rounds.append(against(receiver, COUNT, this, other))
                print(f"round {number}, {this.server.name}: {rounds[-1]}", file=sys.stderr)
    for name, rounds in found.items():
        print(told(name, rounds))


if __name__ == "__main__":
    main(*sys.argv[1:])
