"""`make bench`: our pipeline, its rivals and a yardstick, one after the other, round by round.

A noisy machine is so noisy for all of them; what counts are medians, and the ratio to the
yardstick of the same round. From the environment: ROUNDS, COUNT (deliveries of a run), SECONDS
(that latency is looked at), ONLY (names, or parts of them; semicolons between) and RESULTS (the
file). `python -m tests.benchmarks --markdown` prints the last table again.
"""

import json
import os
import platform
import statistics
import sys
from datetime import UTC, datetime
from pathlib import Path

from . import candidates, rivals, sink, stage

ROUNDS = int(os.environ.get("ROUNDS", "5"))
COUNT = int(os.environ.get("COUNT", "60000"))
ONLY = [name.strip() for name in os.environ.get("ONLY", "").split(";") if name.strip()]
SECONDS = float(os.environ.get("SECONDS", "5"))
RESULTS = Path(os.environ.get("RESULTS", Path(__file__).parent / "results" / "latest.json"))
YARDSTICK = "yardstick"
ENQUEUE = "storing: "


def chosen(folder):
    """name -> a function of the sink and COUNT, in the order in which they run."""
    servers = sqlite, postgres = stage.Sqlite(folder), stage.Postgres()
    everything = {
        "sender alone": candidates.alone,
        "SQLite, 1 worker": candidates.durable(sqlite),
        "PostgreSQL, 1 worker": candidates.with_latency(postgres, SECONDS),
        "PostgreSQL, 2 workers": candidates.durable(postgres, 2),
    } | rivals.rivals(postgres)
    everything |= {f"{ENQUEUE}{server.name}": candidates.enqueue(server) for server in servers}
    wanted = {
        name: run
        for name, run in everything.items()
        if not ONLY or any(part.lower() in name.lower() for part in ONLY)
    }
    return wanted, [server.describe() for server in servers]


def measure():
    stage.prepare()
    with stage.folder() as folder, sink.sink() as receiver:
        wanted, servers = chosen(folder)
        rounds = []
        for number in range(1, ROUNDS + 1):
            before = candidates.yardstick(receiver, COUNT)
            results = {name: tried(run, receiver) for name, run in wanted.items()}
            after = candidates.yardstick(receiver, COUNT)
            middle = {figure: (before[figure] + after[figure]) / 2 for figure in before}
            rounds.append({YARDSTICK: middle} | results)
            print(f"round {number} of {ROUNDS} done", file=sys.stderr, flush=True)
        return {
            "when": datetime.now(UTC).isoformat(timespec="minutes"),
            "machine": machine(),
            "sink": receiver.name,
            "servers": servers,
            "count": COUNT,
            "rounds": rounds,
        }


def tried(run, receiver):
    try:
        return run(receiver, COUNT)
    except stage.Missing as reason:
        return {"missing": str(reason)}


def machine():
    models = [line for line in read("/proc/cpuinfo").splitlines() if line.startswith("model name")]
    model = models[0].partition(":")[2].strip() if models else platform.machine()
    return (
        f"{os.cpu_count()} CPUs ({model}), {platform.system()} {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}"
    )


def read(path):
    try:
        return Path(path).read_text()
    except OSError:
        return ""


COLUMNS = {
    "deliveries/s": ("per_second", "{:,.0f}"),
    "× yardstick": ("ratio", "{:.2f}"),
    "worst, best": ("spread", "{}"),
    "CPU µs each": ("cpu_us", "{:.0f}"),
    "database CPU µs": ("database_cpu_us", "{:.0f}"),
    "peak MB": ("peak_mb", "{:.0f}"),
    "commit→receipt p50, p99 ms": ("waits", "{}"),
}


def medians(runs):
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def rows(rounds):
    """The medians of each candidate; a ratio is to the yardstick of the same round."""
    for name in rounds[0]:
        if name.startswith(ENQUEUE):
            continue
        runs = [results[name] for results in rounds]
        if "missing" in runs[0]:
            yield name, {"spread": f"not run: {runs[0]['missing']}"}
            continue
        figures = medians(runs)
        ratios = [
            run["per_second"] / results[YARDSTICK]["per_second"]
            for run, results in zip(runs, rounds, strict=True)
        ]
        if "p50_ms" in figures:
            figures["waits"] = f"{figures['p50_ms']:.1f}, {figures['p99_ms']:.0f}"
        figures["ratio"] = statistics.median(ratios)
        figures["spread"] = f"{min(ratios):.2f}, {max(ratios):.2f}"
        yield name, figures


def table(result):
    lines = [["", *COLUMNS]]
    for name, figures in rows(result["rounds"]):
        lines.append([name])
        for figure, form in COLUMNS.values():
            lines[-1].append(form.format(figures[figure]) if figures.get(figure) else "")
    head = [
        f"{result['machine']}; sink: {result['sink']}.",
        *(f"{server}." for server in result["servers"]),
        f"Medians of {len(result['rounds'])} interleaved rounds on {result['when']}, "
        f"{result['count']:,} deliveries each.",
    ]
    stored = [["stored/s", "deliver", "deliver_many"]]
    for name in result["rounds"][0]:
        if name.startswith(ENQUEUE):
            rates = medians([results[name] for results in result["rounds"]])
            stored.append([name.removeprefix(ENQUEUE)])
            stored[-1] += [f"{rates[way]:,.0f}" for way in stored[0][1:]]
    return "\n".join([*head, "", *markdown(lines), "", *markdown(stored)])


def markdown(lines):
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines = [lines[0], ["-" * width for width in widths], *lines[1:]]
    return [f"| {' | '.join(map(str.ljust, line, widths))} |" for line in lines]


if __name__ == "__main__":
    if sys.argv[1:] != ["--markdown"]:
        result = measure()
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(result, indent=1))
    print(table(json.loads(RESULTS.read_text())))
