"""Every screen of the admin, visited as a browser of staff does; each in a process with Django.

`python -m tests.benchmarks.screens fill|visit|know`, with the database in DATABASE_URL. The visits
go through the whole stack of middleware, in this process, each on a connection of its own to the
database; with COLD=1 each after all that memory held of the database was dropped. The screens are
those of the admin's URLconf: `unvisited` names what has no case here.
"""

import json
import os
import re
import sys
import time
from contextlib import contextmanager

import django
import psutil

django.setup()

from django.contrib import admin
from django.db import connection
from django.test import Client
from django.urls import reverse

from . import case_beside, case_history, case_webhooks, cold, crowd, knowledge
from .case_rows import OURS, Rows

# Reached by POST alone: they do one thing and lead to a screen.
VERBS = re.compile(
    rf"{OURS}(webhook_(verify|test|pause|enable|close_breaker|clear_error|reveal|rotate_secret|"
    rf"end_overlap|note|host_try|host_csv|host_write_note)"
    r"|eventtype_(archive|unarchive)"
    r"|delivery_(retry|cancel)|job_(pause|resume|stop|pace)|accesstoken_revoke"
    r"|account_note|\w+_export)$"
)
# Nobody adds, deletes or looks up the history of these; the stock address answers 403 or 302.
NEVER = re.compile(
    rf"{OURS}((attempt|webhookerror|auditentry|delivery|event|job)_(add|delete|history)"
    r"|accesstoken_delete)$"
)


def names():
    """The screens of the admin by the names of their addresses."""

    def walk(patterns):
        for pattern in patterns:
            if hasattr(pattern, "url_patterns"):
                yield from walk(pattern.url_patterns)
            elif pattern.name:
                yield pattern.name

    found = {name for name in walk(admin.site.get_urls()) if name.startswith(OURS)}
    found -= {name for name in found if VERBS.match(name) or NEVER.match(name)}
    return {*found, f"{OURS}job_add", "index", "app_list", "autocomplete"}


def unvisited(cases):
    return sorted(names() - set(cases))


def cases():
    """name of an address -> label -> address; or address and what is posted to it."""
    rows = Rows()
    parts = (case_webhooks, case_history, case_beside)
    return {name: found for part in parts for name, found in part.cases(rows).items()}


def sheets():
    """Lists as CSV; they are no screens."""
    return case_beside.sheets(Rows())


class Counted:
    """What was asked of the database, and for how long."""

    def __init__(self):
        self.statements = []

    def __call__(self, execute, sql, params, many, context):
        began = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            self.statements.append((time.perf_counter() - began, sql))


@contextmanager
def counted():
    watch = Counted()
    with connection.execute_wrapper(watch):
        yield watch


def work(before=(0, 0)):
    """CPU milliseconds and KiB read from the disk of this process and of all of PostgreSQL, since
    `before`: of the session, of what reads or works for it, and of what began and ended meanwhile.
    They say more than the time on a machine that others use as well."""
    cpu, read = -before[0], -before[1]
    processes = [psutil.Process()]
    if connection.vendor == "postgresql":
        first = cold.server()
        times = first.cpu_times()
        cpu += (times.children_user + times.children_system) * 1000
        processes += [first, *first.children()]
    for process in processes:
        times = process.cpu_times()
        cpu += (times.user + times.system) * 1000
        read += process.io_counters().read_bytes // 1024
    return cpu, read


def visit(browser, asked, *, anew=True):
    """Seconds, the statements and the answer of one visit, by GET or with a form; on a connection
    of its own, unless `anew` is False."""
    if anew:
        connection.close()
    address, form = (asked, None) if isinstance(asked, str) else asked
    if form is not None:
        form = {**form, "csrfmiddlewaretoken": browser.cookies["csrftoken"].value}
    with counted() as watch:
        began = time.perf_counter()
        answer = browser.get(address) if form is None else browser.post(address, form)
        if answer.streaming:
            b"".join(answer.streaming_content)
        seconds = time.perf_counter() - began
    return seconds, watch.statements, answer


def is_shown(answer):
    """Whether a visit saw what it came for; a search for an id leads to its page."""
    return answer.status_code == 200 or "search" in answer.request["PATH_INFO"]


def log_in(name, password):
    """A browser that came through the log-in form."""
    browser, form = Client(enforce_csrf_checks=True), reverse("admin:login")
    browser.get(form)
    token = browser.cookies["csrftoken"].value
    words = {"username": name, "password": password, "csrfmiddlewaretoken": token}
    answer = browser.post(form, {**words, "next": reverse("admin:index")})
    assert answer.status_code == 302, "the log-in was refused"
    return browser


def measure(rounds):
    """Of screens and of sheets: name -> label -> milliseconds of each visit, and the most
    statements of one."""
    browser = log_in(crowd.STAFF, crowd.PASSWORD)
    everything, files = cases(), sheets()
    crowd.workers()
    for addresses in everything.values():  # templates are read
        visit(browser, next(iter(addresses.values())))
    found = {"screens": {}, "sheets": {}}
    for number in range(rounds):
        crowd.workers()
        for sort, wanted in (("screens", everything), ("sheets", files)):
            for screen, label, asked in _wanted(wanted):
                seen = found[sort].setdefault(screen, {})
                _measured(browser, asked, seen.setdefault(label, _unseen(asked)))
        print(f"round {number + 1} of {rounds} done", file=sys.stderr, flush=True)
    return {**found, "unvisited": unvisited(everything)}


def _wanted(cases):
    only = re.compile(os.environ.get("ONLY", ""))
    for screen, addresses in cases.items():
        for label, asked in addresses.items():
            if only.search(f"{screen} {label}"):
                yield screen, label, asked


def _unseen(asked):
    address = asked if isinstance(asked, str) else asked[0]
    return {"address": address, "queries": 0, "ms": [], "cpu": [], "read": [], "spin": []}


def spin():
    """CPU milliseconds of a fixed piece of work; who works beside us makes all work cost more."""
    began, words = time.process_time(), {}
    for number in range(100_000):
        words[number % 1009] = str(number)
    return (time.process_time() - began) * 1e3


def _measured(browser, asked, case):
    if os.environ.get("COLD"):
        cold.forget()
    connection.close()
    case["spin"].append(round(spin(), 1))
    before = work()
    seconds, statements, answer = visit(browser, asked)
    cpu, read = work(before)
    assert is_shown(answer), (answer.status_code, asked)
    case["queries"] = max(case["queries"], len(statements))
    if seconds * 1e3 <= min(case["ms"], default=float("inf")):
        slowest = max(statements, default=(0, ""))
        case["slowest"] = [round(slowest[0] * 1e3, 1), slowest[1]]
    case["ms"].append(round(seconds * 1e3, 2))
    case["cpu"].append(round(cpu))
    case["read"].append(read)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["fill", size]:
            crowd.fill(float(size))
            print("{}")
        case ["know", kind]:
            knowledge.know(kind)
            print("{}")
        case ["visit", rounds]:
            print(json.dumps(measure(int(rounds))))
