"""`python -m tests.benchmarks.console`: how fast every screen of a large installation is.

Each screen and each of its filters and searches is visited ROUNDS times (20) by a superuser who
came through the log-in form, in one process with the whole stack of middleware and a new
connection to the database each time; receiver, network and browser are not measured. From the
environment: SIZE (1 is 100,000 webhooks, 1 million deliveries and what belongs to them, see
crowd.py), DB (sqlite, postgres or both), KEEP (the folder of the filled databases, build/console:
one is made anew when the schema has changed or it is a day old), STATISTICS (`grown`, or `young`:
the databases plan as they did when they were small), COLD=1 (nothing of the database is in memory
before a visit), ONLY (a regular expression for screen and filter) and RESULTS (the file).
`--markdown` prints the last table again.
"""

import json
import os
import statistics
import sys
from datetime import UTC, datetime
from pathlib import Path

from . import kept, stage
from .__main__ import machine, markdown

SIZE = float(os.environ.get("SIZE", "1"))
COLD = bool(os.environ.get("COLD"))
ROUNDS = int(os.environ.get("ROUNDS", "1" if COLD else "20"))
DB = os.environ.get("DB", "sqlite,postgres").split(",")
KEEP = os.environ.get("KEEP", stage.ROOT / "build" / "console")
STATISTICS = os.environ.get("STATISTICS", "grown")
RESULTS = Path(os.environ.get("RESULTS", Path(__file__).parent / "results" / "console.json"))
MOST_QUERIES, MOST_MS = 12, 300
LONGEST = 4 * 3600  # seconds of one part


def part(*arguments, database):
    process = stage.python("-m", "tests.benchmarks.screens", *arguments, database=database)
    output, _ = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, f"{arguments} failed"
    return json.loads(output)


def measure():
    stage.prepare()
    found = {}
    for name in DB:
        with kept.filled(name, SIZE, KEEP, part) as url:
            part("know", STATISTICS, database=url)
            found[name] = part("visit", ROUNDS, database=url)
    return {
        "when": datetime.now(UTC).isoformat(timespec="minutes"),
        "machine": machine(),
        "size": SIZE,
        "rounds": ROUNDS,
        "cold": COLD,
        "statistics": STATISTICS,
        "databases": found,
    }


def p95(times):
    return sorted(times)[max(0, -(-len(times) * 95 // 100) - 1)]


def rows(screens):
    """A line for each screen: its p95 is that of its slowest filter, which it names; what a case
    costs in CPU, and reads from the disk, is that of the one with the most."""
    for name, cases in screens.items():
        if not cases:
            continue
        slowest = max(cases, key=lambda label: p95(cases[label]["ms"]))
        times = [ms for case in cases.values() for ms in case["ms"]]
        yield [
            name.removeprefix("webhooks_app_").replace("_", " "),
            f"{len(cases)}",
            f"{max(case['queries'] for case in cases.values())}",
            f"{statistics.median(times):.0f}",
            f"{p95(cases[slowest]['ms']):.0f}",
            f"{max(times):.0f}",
            f"{max(statistics.median(case['cpu']) for case in cases.values()):.0f}",
            f"{max(statistics.median(case['read']) for case in cases.values()) / 1024:.1f}",
            slowest,
        ]


def over(screens):
    """What is over a limit, the dearest first: (screen and filter, queries, p95, median, CPU)."""
    found = []
    for name, cases in screens.items():
        for label, case in cases.items():
            late = p95(case["ms"])
            if case["queries"] > MOST_QUERIES or late > MOST_MS:
                middle = statistics.median(case["ms"]), statistics.median(case["cpu"])
                found.append((f"{name} {label}", case["queries"], late, *middle))
    return sorted(found, key=lambda each: -each[-1])


def _cheap(screens):
    cases = [case for found in screens.values() for case in found.values()]
    return sum(statistics.median(case["cpu"]) <= MOST_MS for case in cases)


def _busy(screens):
    """How much more CPU the same work cost at times than at others (see `screens.spin`)."""
    spins = [ms for found in screens.values() for case in found.values() for ms in case["spin"]]
    return statistics.median(spins) / min(spins) if spins else 1


def table(result):
    head = [
        "screen",
        "cases",
        "queries",
        "p50 ms",
        "p95 ms",
        "max ms",
        "CPU ms",
        "MiB",
        "slowest case",
    ]
    parts = [
        f"{result['machine']}. SIZE={result['size']:g}, {result['rounds']} "
        f"{'cold ' if result['cold'] else ''}visits of each case, planned by "
        f"{result['statistics']} statistics, {result['when']}."
    ]
    for database, found in result["databases"].items():
        screens, problems = found["screens"], over(found["screens"])
        parts += [
            "",
            f"{database}:",
            "",
            *markdown([head, *rows(screens), *rows(found["sheets"])]),
            "",
        ]
        count = sum(map(len, screens.values()))
        parts.append(
            f"Verdict: {count - len(problems)} of {count} cases have at most {MOST_QUERIES} "
            f"queries and a p95 of at most {MOST_MS} ms. {_cheap(screens)} cases cost at most "
            f"{MOST_MS} ms of CPU, which counts where others use the machine, too; a fixed "
            f"piece of work cost {_busy(screens):.1f} times as much in the middle as at best."
        )
        parts += [
            f"- over: {name}: {queries} queries, {ms:.0f} ms (median {median:.0f}, CPU {cpu:.0f})"
            for name, queries, ms, median, cpu in problems
        ]
        parts += [f"- not visited: {name}" for name in found["unvisited"]]
    return "\n".join(parts)


if __name__ == "__main__":
    if sys.argv[1:] != ["--markdown"]:
        result = measure()
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(result))
    result = json.loads(RESULTS.read_text())
    print(table(result))
    found = result["databases"].values()
    sys.exit(any(each["unvisited"] or over(each["screens"]) for each in found))
