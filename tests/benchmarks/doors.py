"""What the API accepts and at what price, alone and with a worker behind it; and what a delivery
costs a worker that is asked for a few."""

import json
import re
import statistics
import time

from . import stage
from .candidates import NOTHING_PENDING, web
from .load import BULKS

UNLIMITED = dict.fromkeys(("WEBHOOKS_RATE_PER_TOKEN", "WEBHOOKS_RATE_PER_ADDRESS"), "1000000000")
CLIENTS = {1: ">= 1", 10: ">= 4", 50: ">= 6"}  # and how many times as many are wanted
PACES = (100, 1000)  # messages a second


def intake(places, receiver, seconds):
    """Requests accepted by the two doors, deliveries and events; then with a worker beside."""
    found, verdicts = {}, {}
    for place in places:
        with (
            place.database() as url,
            web(url, **UNLIMITED) as together,
            web(url, **UNLIMITED, GROUP_COMMIT="false") as each,
        ):
            account = stage.part("account", receiver.url(), database=url)
            doors = {"each": each, "together": together}
            for kind, path in paths(account).items():
                accepted = {
                    clients: _accepted(place, doors, path, clients, account["token"], seconds)
                    for clients in CLIENTS
                }
                found[place.name, kind] = accepted
                verdicts |= _against(accepted, f"{kind}, {place.name}")
            door = {"together": together}
            for kind, path in paths(account).items():
                for number in BULKS:
                    path_of = f"{path}/bulk:{number}"
                    figures = _accepted(place, door, path_of, 10, account["token"], seconds)
                    found[place.name, f"{kind} in bulks of {number}"] = figures
                    what = f"{kind} in bulks of {number}, {place.name}"
                    verdicts |= _of_bulk(figures["together"], what)
        figures = _with_worker(place, receiver, seconds)
        found[place.name, "with a worker"] = figures
        for name, value in figures.items():
            verdicts[f"with a worker, {place.name}: {name}"] = (value, WANTED.get(name, ""))
    return {", ".join(key): value for key, value in found.items()}, verdicts


def _of_bulk(figures, what):
    wanted = ">= 15000" if what.startswith(f"deliveries in bulks of {max(BULKS)}") else ""
    return {
        f"stored a second, {what}": (figures["per_second"], wanted),
        f"CPU ms of web, {what}": (figures["cpu_ms"], ""),
        f"CPU ms of database, {what}": (figures["database_cpu_ms"], ""),
    }


WANTED = {
    "end to end a second, 50 clients": ">= 2500",
    "CPU ms of all at 1000/s": "<= 0.6",
    "answer to receipt p50 ms at 100/s": "<= 2",
    "answer to receipt p99 ms at 100/s": "<= 20",
    "answer to receipt p50 ms at 1000/s": "<= 2",
    "answer to receipt p99 ms at 1000/s": "<= 20",
}


def paths(account):
    return {"deliveries": f"/webhooks/{account['webhook']}/deliveries", "events": "/events"}


def _against(accepted, what):
    verdicts = {}
    for clients, wanted in CLIENTS.items():
        figures = accepted[clients]
        times = figures["together"]["per_second"] / figures["each"]["per_second"]
        verdicts[f"times as many, {clients} clients, {what}"] = (times, wanted)
    for clients in CLIENTS:
        figures, when = accepted[clients]["together"], f"{clients} clients, {what}"
        most = "<= 0.35" if clients == max(CLIENTS) else ""
        verdicts[f"accepted a second, {when}"] = (figures["per_second"], "")
        verdicts[f"CPU ms of web, {when}"] = (figures["cpu_ms"], most)
        verdicts[f"CPU ms of database, {when}"] = (figures["database_cpu_ms"], "")
    return verdicts


def _accepted(place, doors, path, clients, token, seconds):
    """By the door: answers of 202 a second, and the CPU of web process and database for each; of a
    bulk, for each of its deliveries."""
    found, each = {}, int(path.partition(":")[2] or 1)
    # Turn about, so that neither is always the one that finds the machine warm.
    for name in sorted(doors, reverse=time.time_ns() % 2 == 0):
        server, port = doors[name]
        for length in (0.5, seconds):  # the first only warms the server up
            meters = [stage.Meter([server]), stage.Meter(place.processes())]
            before = [meter.cpu() for meter in meters]
            number, rate = asked(port, path, clients, length, token)
            cpu = [m.cpu() - earlier for m, earlier in zip(meters, before, strict=True)]
        found[name] = {
            "per_second": rate * each,
            "cpu_ms": cpu[0] * 1000 / number / each,
            "database_cpu_ms": cpu[1] * 1000 / number / each,
        }
    return found


def asked(port, path, clients, seconds, token, status=202):
    """How many requests were answered so, as all of them must be; and how many a second."""
    ask = ("-m", "tests.benchmarks.clients", port, "POST", path, clients, seconds, token)
    said = stage.python(*ask).communicate(timeout=300)[0]
    number = re.search(rf"\{{{status}: (\d+)\}}", said)
    assert number, said
    return int(number[1]), float(said.partition("/s")[0].replace(",", ""))


def _with_worker(place, receiver, seconds):
    """From the request to the receipt."""
    figures = {}
    with (
        place.database() as url,
        web(url, **UNLIMITED) as (server, port),
        stage.workers(1, url) as workers,
        place.ask(url) as ask,
    ):
        account = stage.part("account", receiver.url("timed"), database=url)
        token, path = account["token"], paths(account)["deliveries"]
        asked(port, path, 10, 0.5, token)
        meters = {"web": [server], "worker": workers, "database": place.processes()}
        meters = {name: stage.Meter(processes) for name, processes in meters.items()}
        for clients in CLIENTS:
            _drained(ask)
            before, began = _cpu(meters), time.time()
            number, rate = asked(port, path, clients, seconds, token)
            _drained(ask)
            when = f"{clients} clients"
            figures[f"accepted a second, {when}"] = rate
            figures |= _each(meters, before, number, when)
            arrivals = [at for at in receiver.arrivals().values() if at >= began]
            assert len(arrivals) == number, f"{len(arrivals)} of {number} came"
            figures[f"end to end a second, {when}"] = number / (max(arrivals) - min(arrivals))
        for pace in PACES:
            before = _cpu(meters)
            answered = _answered(port, path, pace, seconds, token)
            _drained(ask)
            figures |= _each(meters, before, len(answered), f"{pace}/s")
            arrivals = receiver.arrivals()
            waits = [(arrivals[ident] - at) * 1000 for ident, at in answered.items()]
            percentiles = statistics.quantiles(waits, n=100)
            for share in (50, 99):
                name = f"answer to receipt p{share} ms at {pace}/s"
                figures[name] = percentiles[share - 1]
    return figures


def _answered(port, path, pace, seconds, token):
    """When each was answered, by its id, of requests at an even pace."""
    ask = ("-m", "tests.benchmarks.clients", port, "POST", path, 50, seconds, token, pace)
    return json.loads(stage.python(*ask).communicate(timeout=300)[0])


def _cpu(meters):
    return {name: meter.cpu() for name, meter in meters.items()}


def _each(meters, before, number, when):
    used = {name: (meter.cpu() - before[name]) * 1000 / number for name, meter in meters.items()}
    used["all"] = sum(used.values())
    return {f"CPU ms of {name} at {when}": value for name, value in used.items()}


def _drained(ask):
    while not ask(NOTHING_PENDING)[0]:
        time.sleep(0.02)


def trickle(places, receiver, seconds):
    """How soon a worker that is started sends; what one costs that has nothing to do; and of
    deliveries that come at an even pace what each costs, and how long from commit to receipt."""
    found, verdicts = {}, {}
    for place in places:
        figures = _started(place, receiver)
        with place.database() as url, stage.workers(1, url) as workers:
            meters = {"worker": workers, "database": place.processes()}
            meters = {name: stage.Meter(processes) for name, processes in meters.items()}
            time.sleep(2)
            before = _cpu(meters)
            time.sleep(seconds)
            figures |= _each(meters, before, seconds, "rest, a second")
            for pace in (100, 300, 1000):
                figures |= _trickled(meters, receiver, url, pace, seconds)
        found[place.name] = figures
        for name, value in figures.items():
            verdicts[f"{place.name}: {name}"] = (value, TRICKLE.get(name, ""))
    return found, verdicts


TRICKLE = {
    "from ready to receipt, s": "<= 0.3",
    **{f"commit to receipt p50 ms at {pace}/s": "<= 2" for pace in PACES},
    **{f"commit to receipt p99 ms at {pace}/s": "<= 20" for pace in PACES},
}


def _started(place, receiver):
    with place.database() as url:
        moments = []
        for _ in range(2):  # the first one finds no lock of any other
            stage.part("fill", receiver.url(), 1, database=url)
            before, begun = receiver.count(), time.perf_counter()
            with stage.workers(1, url):
                ready = time.perf_counter()
                while receiver.count() == before:
                    time.sleep(0.001)
                moments = [begun, ready, time.perf_counter()]
    begun, ready, came = moments
    return {"from start to ready, s": ready - begun, "from ready to receipt, s": came - ready}


def _trickled(meters, receiver, url, pace, seconds):
    """The first second, in which the one that stores starts up, is left out."""
    first, last = receiver.count(), int(pace * (seconds + 1))
    storing = ("produce", receiver.url("timed"), pace, seconds + 2)
    producer = stage.python("-m", "tests.benchmarks.ours", *storing, database=url)
    stage.pace(receiver, first, 1, pace)
    before = _cpu(meters)
    stage.pace(receiver, first, pace, last)
    figures = _each(meters, before, last - pace, f"{pace}/s")
    committed = json.loads(producer.communicate(timeout=60)[0])
    stage.pace(receiver, first, len(committed) - 1, len(committed))
    arrivals, warm = receiver.arrivals(), min(committed.values()) + 1
    waits = [(arrivals[key] - at) * 1000 for key, at in committed.items() if at > warm]
    percentiles = statistics.quantiles(waits, n=100)
    for share in (50, 99):
        figures[f"commit to receipt p{share} ms at {pace}/s"] = percentiles[share - 1]
    return figures
