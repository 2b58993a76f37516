"""`make bench`: the durable pipeline on both databases beside our own sender without any.

All runs of a round follow each other, so that a noisy machine is noisy for all; medians count.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import urllib.request
import uuid
from pathlib import Path

from tests import plugin

ROUNDS = int(os.environ.get("ROUNDS", "5"))
COUNT = int(os.environ.get("COUNT", "20000"))
RESULTS = Path(__file__).parent / "results"


def postgres_database(server):
    import psycopg

    name = f"bench_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    address, _, query = server.partition("?")
    return f"{address.rpartition('/')[0]}/{name}?{query}"


def received(port):
    return int(urllib.request.urlopen(f"http://127.0.0.1:{port}/count", timeout=5).read())


def run(port, database, *arguments):
    before = received(port)
    environment = os.environ | {
        "DATABASE_URL": database,
        "WEBHOOKS_ALLOWED_NETWORKS": "127.0.0.0/8",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.run", str(port), str(COUNT), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
        timeout=600,
    )
    result = json.loads(done.stdout)
    assert received(port) - before == COUNT, "the sink must have received each once"
    result["per_second"] = COUNT / result["seconds"]
    return result


def main():
    plugin.test_environment("postgres")
    server = os.environ["TEST_DATABASE_URL"]
    sink = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.sink"], stdout=subprocess.PIPE, text=True
    )
    rounds = []
    try:
        port = int(sink.stdout.readline())
        for number in range(1, ROUNDS + 1):
            with tempfile.TemporaryDirectory() as folder:
                sqlite = f"sqlite:///{folder}/bench.sqlite3"
                results = {
                    "sender alone": run(port, "sqlite://:memory:", "bare"),
                    "SQLite, 1 worker": run(port, sqlite),
                    "PostgreSQL, 1 worker": run(port, postgres_database(server)),
                }
            rounds.append(results)
            print(f"round {number} of {ROUNDS} done", flush=True)
    finally:
        sink.terminate()
        sink.wait()
    report(rounds)


def report(rounds):
    def median(name, figure):
        return statistics.median(r[name].get(figure, 0) for r in rounds)

    ceiling = median("sender alone", "per_second")
    columns = "deliveries/s", "of ceiling", "CPU µs", "peak MB", "stored/s"
    print(f"{'':22}" + "".join(f"{column:>14}" for column in columns))
    for name in rounds[0]:
        rate = median(name, "per_second")
        print(
            f"{name:22}{rate:14,.0f}{rate / ceiling:14.2f}{median(name, 'cpu_us'):14.0f}"
            f"{median(name, 'peak_mb'):14.0f}{median(name, 'stored_per_second'):14,.0f}"
        )
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "latest.json").write_text(json.dumps({"count": COUNT, "rounds": rounds}, indent=1))


if __name__ == "__main__":
    main()
