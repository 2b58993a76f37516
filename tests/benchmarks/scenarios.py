"""`python -m tests.benchmarks.scenarios [NAME…]`: what must not slow us down, on PostgreSQL (and,
where a scenario says so, on SQLite).

Each scenario runs beside the same load without its trouble, in turns (ROUNDS, default 3), and
ratios are taken within a turn. SIZE shrinks the loads (1 is whole).
"""

import json
import os
import statistics
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from . import calls, doors, in_order, stage
from .__main__ import machine, markdown
from .candidates import produced
from .disk import bytes_each
from .load import WEBHOOKS
from .sink import PythonSink, sink
from .versus import Side, against

ROUNDS = int(os.environ.get("ROUNDS", "3"))
SIZE = float(os.environ.get("SIZE", "1"))
RESULTS = Path(os.environ.get("RESULTS", Path(__file__).parent / "results" / "scenarios.json"))


def sized(count):
    return max(1000, int(count * SIZE))


def hanging(server, receiver):
    """A tenth of the webhooks hangs to the timeout: rate and latency of the healthy ones."""
    count, seconds = sized(60_000), max(2, 15 * SIZE)
    with PythonSink() as hole:
        loads = {
            "without": ([receiver.url()], [receiver.url("timed")], WEBHOOKS * 9 // 10, 1),
            "with": (
                [*[receiver.url()] * 9, hole.url("hang")],
                [*[receiver.url("timed")] * 9, hole.url("hang")],
                WEBHOOKS,
                10 / 9,
            ),
        }
        found = {}
        for name, (urls, timed, number, more) in loads.items():
            with server.database() as url:
                stage.part("fill", " ".join(urls), int(count * more), number, database=url)
                before = receiver.count()
                with stage.workers(1, url):
                    # From the very first on: nobody knows yet who will hang.
                    rate = stage.pace(receiver, before, 1, count)
            half = found["without"]["rate"] / 2 if found else rate / 2
            with server.database() as url, stage.workers(1, url):
                waits = produced(receiver, url, " ".join(timed), half * more, seconds, number)
            found[name] = {"rate": rate} | waits
    rate = found["with"]["rate"] / found["without"]["rate"]
    p99 = found["with"]["p99_ms"] / found["without"]["p99_ms"]
    return found, {"rate kept": (rate, ">= 0.9"), "p99 times": (p99, "<= 2")}


def _against(server, receiver, prepare, count, pending):
    """Rates of `count` deliveries: on an empty history, and with what `prepare` did."""
    rates = {}
    for name, finished, waiting in (("without", 0, count * 5 // 4), ("with", *pending)):
        with server.database() as url:
            stage.part("multiply", receiver.url(), finished, waiting, database=url)
            with server.ask(url) as ask, server.ask(url) as other:
                ask("CHECKPOINT")
                if name == "with":
                    prepare(other)
                before = receiver.count()
                with stage.workers(1, url):
                    rates[name] = stage.pace(receiver, before, count // 20, count)
    return rates, {"rate kept": (rates["with"] / rates["without"], ">= 0.9")}


def history(server, receiver):
    """A million finished deliveries and a million pending ones, against neither."""
    million = sized(1_000_000)
    return _against(server, receiver, lambda ask: None, sized(60_000), (million, million))


def snapshot(server, receiver):
    """A snapshot that is held open elsewhere through 200,000 deliveries."""
    count = sized(200_000)

    def hold(ask):
        ask("BEGIN ISOLATION LEVEL REPEATABLE READ")
        ask("SELECT count(*) FROM webhooks_app_webhook")

    return _against(server, receiver, hold, count, (0, count * 5 // 4))


def memory(server, receiver):
    """Peak memory of a worker with 1,000 in flight and a million pending."""
    with PythonSink() as slow, server.database() as url, server.ask(url) as ask:
        stage.part("multiply", receiver.url(), 0, sized(1_000_000), database=url)
        stage.part("move", slow.url(), "slow/2", database=url)
        deliver = ("manage.py", "webhooks", "deliver", "--concurrency", 1000)
        in_flight = 0
        with stage.workers(1, url, *deliver) as processes:
            meter, end = stage.Meter(processes), time.monotonic() + 30
            while time.monotonic() < end:
                meter.cpu()
                in_flight = max(in_flight, ask("SELECT max(in_flight) FROM webhooks_app_worker")[0])
                time.sleep(0.2)
    found = {"peak MB": meter.peak / 2**20, "in flight": in_flight}
    return found, {"peak MB": (found["peak MB"], "<= 200"), "in flight": (in_flight, ">= 900")}


def backlog(server, receiver):
    """100,000 wait for one webhook: how late is the first delivery of each of 100 others?"""
    with server.database() as url:
        stage.part("multiply", receiver.url(), 0, 100_000, 1, database=url)
        with stage.workers(1, url):
            time.sleep(1)
            committed = stage.part("produce", receiver.url("timed"), 20, 5, database=url)
            arrivals = receiver.arrivals()
        with server.ask(url) as ask:
            left = ask("SELECT count(*) FROM webhooks_app_delivery WHERE state = 'pending'")[0]
    waits = [arrivals[ident] - at for ident, at in committed.items()]
    found = {"median": statistics.median(waits), "worst": max(waits), "still waiting": left}
    assert left, "the backlog was gone before the others came"
    return found, {"worst s": (max(waits), "<= 1")}


def counts(server, receiver):
    """Hourly counts in the finish batch, against a worker that keeps none."""
    found = _against(server, receiver, "without_counts")
    return found, {"rate kept": (found["rate kept"], ">= 0.95"), "CPU": (found["CPU"], "")}


def signed(server, receiver):
    """Calls that are signed, against calls that are not; on PostgreSQL and on SQLite."""
    found, verdicts = {}, {}
    with stage.folder() as folder:
        for place in (server, stage.Sqlite(folder)):
            found[place.name] = _against(place, receiver, "unsigned")
            verdicts[f"rate kept, {place.name}"] = (found[place.name]["rate kept"], ">= 0.95")
            verdicts[f"CPU, {place.name}"] = (found[place.name]["CPU"], "")
    return found, verdicts


def _against(server, receiver, lacking):
    """A worker as it is against one of `ours` that does less."""
    less = ("-c", f"from tests.benchmarks import ours; ours.{lacking}()")
    return against(receiver, sized(60_000), Side(server), Side(server, less))


def intake(server, receiver):
    """Requests accepted by the API: stored together when they come at once, against each by itself;
    and what it takes with a worker beside."""
    with stage.folder() as folder:
        return doors.intake((server, stage.Sqlite(folder)), receiver, max(1, 5 * SIZE))


def interactions(server, receiver):
    """Interactions that are answered at once, and a thousand at a time that wait, of one process;
    on PostgreSQL and on SQLite."""
    with stage.folder() as folder:
        places = (server, stage.Sqlite(folder))
        return calls.interactions(places, receiver, max(1, 5 * SIZE))


def trickle(server, receiver):
    """A few deliveries a second: what each costs, from commit to receipt; and a start."""
    with stage.folder() as folder:
        return doors.trickle((server, stage.Sqlite(folder)), receiver, max(2, 8 * SIZE))


def order(server, receiver):
    """Sent in order against sent in none; and keys beside one that fails for ever."""
    with stage.folder() as folder:
        return in_order.rates((server, stage.Sqlite(folder)), receiver, sized(40_000))


def disk(server, receiver):
    """Bytes on disk of a delivery of 1 KiB: of the first ones, then of as many after a sweep."""
    return bytes_each(server, receiver, sized(200_000))


def events(server, receiver):
    """An event among 1,000 and 10,000 subscriptions with five kinds of filters, and to 1,000
    receivers; on PostgreSQL and on SQLite."""
    found, verdicts = {}, {}
    with stage.folder() as folder:
        for place in (server, stage.Sqlite(folder)):
            parts = {"1,000": ("judge", 1000), "10,000": ("judge", 10_000)}
            parts["1,000 receivers"] = ("spread", 1000)
            figures = {}
            for name, part in parts.items():
                with place.database() as url:
                    figures[name] = stage.part(*map(str, part), database=url)
            found[place.name] = figures
            for number, wanted in (("1,000", "<= 10"), ("10,000", "<= 60")):
                p95 = figures[number]["p95_ms"]
                verdicts[f"p95 ms among {number}, {place.name}"] = (p95, wanted)
            size = figures["1,000 receivers"]["bytes_a_delivery"]
            verdicts[f"bytes a delivery, {place.name}"] = (size, "<= 800")
    return found, verdicts


SCENARIOS = {
    each.__name__: each
    for each in (
        *(hanging, history, snapshot, memory, backlog, counts, signed, intake, trickle, disk),
        *(events, order, interactions),
    )
}


def measure(names):
    stage.prepare()
    found = {name: [] for name in names}
    with sink() as receiver:
        server = stage.Postgres()
        for number in range(1, ROUNDS + 1):
            for name in names:
                figures, verdicts = SCENARIOS[name](server, receiver)
                found[name].append({"figures": figures, "verdicts": verdicts})
                print(f"round {number}, {name}: {figures}", file=sys.stderr, flush=True)
        return {
            "when": datetime.now(UTC).isoformat(timespec="minutes"),
            "machine": machine(),
            "server": server.describe(),
            "size": SIZE,
            "found": found,
        }


def table(result):
    lines = [["scenario", "figure", "median", "each", "wanted"]]
    for name, runs in result["found"].items():
        for figure, (_, wanted) in runs[0]["verdicts"].items():
            values = [run["verdicts"][figure][0] for run in runs]
            each = ", ".join(f"{value:.4g}" for value in values)
            does = " ".join(SCENARIOS[name].__doc__.split()).rstrip(".")
            lines.append([does, figure, f"{statistics.median(values):.4g}", each, wanted])
    return "\n".join(markdown(lines))


if __name__ == "__main__":
    if sys.argv[1:] != ["--markdown"]:
        result = measure(sys.argv[1:] or list(SCENARIOS))
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(result, indent=1))
    print(table(json.loads(RESULTS.read_text())))
