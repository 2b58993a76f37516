"""What interactions cost, which somebody waits for: answered at once, and many that wait."""

import time
from concurrent.futures import ThreadPoolExecutor

from . import stage
from .candidates import web
from .doors import UNLIMITED, asked
from .sink import PythonSink

CLIENTS = (1, 10, 50)
WAITING = 1000  # interactions at a time
TAKES = 2  # seconds that their receiver takes
PLACES = {"WEBHOOKS_CONCURRENCY": str(4 * WAITING)}  # of which a webhook may have a third


def interactions(places, receiver, seconds):
    found, verdicts = {}, {}
    for place in places:
        for name, figures in _at_once(place, receiver, seconds).items():
            found[f"{name}, {place.name}"] = figures
            wanted = ">= 2000" if name == f"{max(CLIENTS)} clients" else ""
            verdicts[f"a second, {name}, {place.name}"] = (figures["per_second"], wanted)
            verdicts[f"CPU ms of web, {name}, {place.name}"] = (figures["cpu_ms"], "")
            verdicts[f"CPU ms of database, {name}, {place.name}"] = (figures["database_cpu_ms"], "")
        found[f"waiting, {place.name}"] = figures = _waiting(place)
        what = f"with {WAITING:,} that wait {TAKES} s, {place.name}"
        verdicts[f"peak MB of web, {what}"] = (figures["peak_mb"], "<= 300")
        verdicts[f"a second, {what}"] = (figures["per_second"], "")
    return found, verdicts


def _at_once(place, receiver, seconds):
    figures = {}
    with place.database() as url, web(url, **UNLIMITED, **PLACES) as (server, port):
        account = stage.part("account", receiver.url(), database=url)
        path = f"/webhooks/{account['webhook']}/interactions"
        asked(port, path, 1, 0.5, account["token"], status=200)
        for clients in CLIENTS:
            meters = [stage.Meter([server]), stage.Meter(place.processes())]
            before = [meter.cpu() for meter in meters]
            number, rate = asked(port, path, clients, seconds, account["token"], status=200)
            cpu = [m.cpu() - earlier for m, earlier in zip(meters, before, strict=True)]
            figures[f"{clients} clients"] = {
                "per_second": rate,
                "cpu_ms": cpu[0] * 1000 / number,
                "database_cpu_ms": cpu[1] * 1000 / number,
            }
    return figures


def _waiting(place):
    """As many as are to wait, each asked again as soon as it is answered, three times in all."""
    with (
        PythonSink() as slow,
        place.database() as url,
        web(url, **UNLIMITED, **PLACES) as (server, port),
        ThreadPoolExecutor(1) as beside,
    ):
        account = stage.part("account", slow.url(f"slow/{TAKES}"), database=url)
        path, meter = f"/webhooks/{account['webhook']}/interactions", stage.Meter([server])
        ask = (port, path, WAITING, 2.5 * TAKES, account["token"], 200)
        answered = beside.submit(asked, *ask)
        while not answered.done():
            meter.cpu()
            time.sleep(0.1)
        number, rate = answered.result()
    assert number >= 2 * WAITING, number
    return {"per_second": rate, "peak_mb": meter.peak / 2**20}
