"""The benchmark itself works; how fast anything is, no test says."""

import json
import os
import re
import subprocess
import sys
import urllib.request

import pytest

from . import sink, stage, versus

pytestmark = pytest.mark.once


@pytest.mark.parametrize("kind", [sink.Nginx, sink.PythonSink])
def test_a_sink_counts_what_came_and_notes_when(kind):
    if kind is sink.Nginx and sink.NGINX is None:
        pytest.skip("nginx is not installed; the Python sink serves instead")
    with kind() as receiver:
        for path in ("", "timed"):
            headers = {"webhook-id": f"msg-{path}"}
            request = urllib.request.Request(receiver.url(path), b"{}", headers)
            assert urllib.request.urlopen(request, timeout=30).status == 200
        assert receiver.count() == 2
        assert list(receiver.arrivals()) == ["msg-timed"]


@pytest.mark.prove
def test_a_small_benchmark_prints_its_table_and_writes_its_figures(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks"],
        cwd=stage.ROOT,
        env=os.environ
        | {
            "COUNT": "200",
            "ROUNDS": "1",
            "SECONDS": "0.5",
            "ONLY": "PostgreSQL, 1 worker",
            "RESULTS": str(tmp_path / "figures.json"),
        },
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    (figures,) = json.loads((tmp_path / "figures.json").read_text())["rounds"]
    assert list(figures) == ["yardstick", "PostgreSQL, 1 worker"]
    for name, run in figures.items():
        assert run["per_second"] > 0
        assert f"| {name} " in done.stdout
    assert figures["PostgreSQL, 1 worker"]["p50_ms"] > 0


def run_of(*received):
    seconds, cpu = [0.5] * len(received), [0.1] * len(received)
    return versus.Run("this one", [], list(received), seconds, cpu)


def test_of_turns_in_which_nothing_came_of_one_side_no_ratio_is_made_and_it_is_said():
    this, other = run_of(5, 5, 100, 0, 100, 50), run_of(5, 5, 100, 100, 0, 100)
    for one, two in ((this, other), (other, this)):
        found = versus.compared(one, two)
        assert (len(found["pairs"]), found["idle"]) == (2, 2)
    said = versus.told("SQLite", [found])
    assert "2 pairs of turns without 2 in which nothing came of one side" in said
    whole = versus.compared(run_of(5, 5, 100, 90, 80), run_of(5, 5, 100, 90, 80))
    assert "3 pairs of turns, quartiles" in versus.told("SQLite", [whole])


def test_a_side_of_which_nothing_comes_is_named():
    with pytest.raises(AssertionError, match="nothing came of this one in 2 turns"):
        versus.compared(run_of(5, 5, 0, 0), run_of(5, 5, 100, 100))


@pytest.mark.prove
def test_this_checkout_against_itself_says_by_how_much_the_two_differ():
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.versus", str(stage.ROOT)],
        cwd=stage.ROOT,
        env=os.environ | {"COUNT": "60000", "ROUNDS": "1", "DB": "sqlite"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    kept, cpu = re.match(
        r"SQLite: rate kept (\S+) .* CPU of a delivery (\S+) ", done.stdout
    ).groups()
    assert 0.2 < float(kept) < 5
    assert 0.5 < float(cpu) < 2
