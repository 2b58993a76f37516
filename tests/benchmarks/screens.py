"""Every screen of the admin, visited as a browser of staff does; each in a process with Django.

`python -m tests.benchmarks.screens fill|visit`, with the database in DATABASE_URL. The visits go
through the whole stack of middleware, in this process, each on a connection of its own to the
database; with COLD=1 each after all that memory held of the database was dropped. The screens are
those of the admin's URLconf: `unvisited` names what has no case here.
"""

import json
import os
import re
import sys
import time
from contextlib import contextmanager
from datetime import timedelta
from urllib.parse import urlencode

import django
import psutil

django.setup()

from django.contrib import admin
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from webhooks_app.admin import sorts
from webhooks_app.models import (
    AccessToken,
    Account,
    Attempt,
    AuditEntry,
    Delivery,
    Event,
    EventType,
    Job,
    Webhook,
    WebhookError,
)

from . import cold, crowd

OURS = "webhooks_app_"
# Reached by POST alone: they do one thing and lead to a screen.
VERBS = re.compile(
    rf"{OURS}(webhook_(verify|test|pause|enable|close_breaker|clear_error|reveal|rotate_secret|"
    rf"end_overlap|subscriptions|note|host_try|host_close_breakers|host_pause_all|host_csv|"
    r"host_write_note)"
    r"|eventtype_(archive|unarchive)"
    r"|delivery_(retry|cancel|record)|job_(pause|resume|stop|pace)|accesstoken_revoke"
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
    """name of an address -> label -> address. Asks the database for rows to look at."""
    now = timezone.now()

    def moment(**ago):
        return (now - timedelta(**ago)).strftime("%Y-%m-%dT%H:%M:%SZ")

    busy, failing, idle, held = (
        Webhook.objects.get(name=f"Webhook {number}").pk for number in (0, 1, 5, 3)
    )
    deleted = Webhook.objects.filter(deleted_at__isnull=False).order_by("pk")[0].pk
    (empty, small), big = Account.objects.order_by("-pk")[:2], Account.objects.order_by("pk")[0]
    of_busy = Delivery.objects.filter(webhook=busy).order_by("-pk")
    middle = Delivery.objects.order_by("pk")[Delivery.objects.count() // 2].pk
    middle_attempt = Attempt.objects.order_by("pk")[Attempt.objects.count() // 2].pk
    newest = Delivery.objects.order_by("-pk")[20].pk
    middle_webhook = Webhook.objects.order_by("pk")[Webhook.objects.count() // 2].pk
    reference = Delivery.objects.filter(pk__gte=middle).exclude(reference="").order_by("pk")[0]
    job, running = Job.objects.order_by("pk")[0].pk, Job.objects.order_by("-pk")[0].pk
    token, entry = AccessToken.objects.order_by("pk")[0].pk, AuditEntry.objects.order_by("-pk")[0]
    published = Event.objects.with_reference(crowd.PUBLISHED["reference"])[0]
    keyed = Event.objects.filter(key__isnull=False).order_by("-pk")[0]
    of_nobody = Event.objects.filter(pk__gte=keyed.pk, matched=0).order_by("-pk")[0].pk
    middle_event = Event.objects.order_by("pk")[Event.objects.count() // 2].pk
    declared, archived = (
        EventType.objects.filter(archived_at__isnull=not gone, seen=False).order_by("-pk")[1].pk
        for gone in (False, True)
    )
    unused = EventType.objects.get(name="never.sent").pk
    kinds = sorted({kind for kind, *_ in crowd.KINDS})
    states = ("pending", "due", "waiting", "retrying", "held", "delivered", "failed", "cancelled")
    spans = ("1h", "24h", "7d", "30d", "any")

    def page(name, *arguments, **words):
        label = " ".join(f"{key}={_short(value)}" for key, value in words.items()) or "plain"
        query = f"?{urlencode(words)}" if words else ""
        return label, reverse(f"admin:{name}", args=arguments) + query

    def listed(model, *choices):
        return dict(page(f"{OURS}{model}_changelist", **words) for words in ({}, *choices))

    def rows(model, *idents, **words):
        name = f"{OURS}{model}_change"
        return {label: page(name, ident, **words)[1] for label, ident in idents}

    def one(model, verb, ident):
        return dict([page(f"{OURS}{model}_{verb}", ident)])

    history = [
        *({"created": span} for span in spans),
        *({"kind": kind, "created": span} for kind in (*kinds, "gone") for span in ("24h", "any")),
        *({"account": account, "created": "any"} for account in (big, small, "nobody")),
        *({"account": account} for account in (big, small)),
        *({"status": status, "created": "any"} for status in ("503", "none", "418")),
        *({"webhook": webhook} for webhook in (busy, failing, idle)),
        {"webhook": busy, "kind": "http_500"},
        {"webhook": failing, "status": "500"},
        *(
            {"webhook": webhook, "message": words, "since": moment(days=30)}
            for webhook in (busy, failing)
            for words in ("connect ECONNREFUSED …", "no such words")
        ),
        *({"message": "no such words", "created": span} for span in ("24h", "any")),
        {"webhook": idle, "kind": "gone"},
        {"webhook": busy, "exchange": "calls", "since": moment(hours=23)},
        {"exchange": "calls", "since": moment(days=7)},
        {"exchange": "calls", "since": moment(days=20), "until": moment(days=20, hours=-1)},
        {"exchange": "calls", "kind": "http_500", "since": moment(days=30)},
        {"account": small, "kind": "http_500", "created": "any"},
        *({"host": host, "created": "any"} for host in ("hooks41.example.com", crowd.MANY)),
        *({"exchange": exchange} for exchange in ("delivery", "test", "verification")),
        {"exchange": "test", "created": "any"},
        {"created": "any", "before": middle_attempt},
        *({"q": term} for term in (of_busy[0].pk, busy, reference.reference, "nothing")),
    ]
    selections = [
        {"state": "failed"},
        {"state": "failed", "since": "24h"},
        {"webhook": failing, "state": "failed"},
        {"webhook": busy},
        {"account": big, "state": "failed"},
        {"account": small},
        *({"host": host, "state": "failed"} for host in ("hooks41.example.com", crowd.MANY)),
        {"kind": "http_500", "since": "24h"},
        {"kind": "http_500"},
        {"status": "5xx"},
        {"status": "418"},
        {"type": "event.3"},
        {"type": "none.such"},
        {"failed_since": "7d"},
        {"payload": "Customer 4711", "since": "24h"},
        {"payload": "no such text"},
        {"webhook": busy, "payload": "no such text"},
        {"state": "delivered", "status": "418"},
        {"event": published.pk},
        {"event": published.pk, "state": "failed"},
    ]
    return {
        "index": dict(
            [page("index"), *(page("index", span=span) for span in ("24h", "7d", "30d"))]
        ),
        "app_list": dict([page("app_list", "webhooks_app")]),
        "autocomplete": dict(
            page("autocomplete", app_label="webhooks_app", model_name=m, field_name=f, term=term)
            for m, f in (("webhook", "account"), ("delivery", "webhook"))
            for term in ("", "1", "no such name")
        ),
        f"{OURS}webhook_changelist": listed(
            "webhook",
            *({"state": state} for state in HEALTHS),
            *({"kind": kind} for kind in (*kinds, "gone")),
            *({"account": account} for account in (big, small, "nobody")),
            *({"q": term} for term in ("Webhook 4711", "hooks77.example", "no such", "9", busy)),
            {"before": middle_webhook},
            {"state": "failing", "account": big},
            {"state": "working", "kind": "dns", "account": small},
            {"state": "paused", "q": "no such"},
            {"certificate": "soon"},
            {"trouble": "new"},
            *({"sort": sort.key} for sort in sorts.OF_WEBHOOKS),
            {"sort": "name", "before": "n950"},
            {"sort": "waiting", "account": big},
            *({"met": kind, "since": moment(days=1)} for kind in ("dns", "gone")),
            *({"host": host} for host in ("hooks41.example.com", crowd.MANY, "nobody.example")),
            {"id": ",".join(Webhook.objects.order_by("-pk").values_list("pk", flat=True)[:50])},
        ),
        f"{OURS}webhook_host": {
            label: page(f"{OURS}webhook_host", host)[1]
            for label, host in (("in trouble", "hooks41.example.com"), ("of many", crowd.MANY))
        },
        f"{OURS}webhook_search": dict(
            page(f"{OURS}webhook_search", q=term)
            for term in (
                *(reference.reference, reference.reference.removeprefix("order-"), "no such"),
                *("Webhook 4711", "hooks77", "hooks", "tenant-1", published.subject, keyed.key),
            )
        ),
        f"{OURS}worker_changelist": listed("worker"),
        f"{OURS}webhook_change": {
            **rows("webhook", ("busy", busy), ("failing", failing), ("idle", idle), ("held", held)),
            **{
                f"busy {span}": page(f"{OURS}webhook_change", failing, span=span)[1]
                for span in ("7d", "30d")
            },
        },
        f"{OURS}webhook_add": dict([page(f"{OURS}webhook_add")]),
        f"{OURS}webhook_delete": one("webhook", "delete", busy),
        f"{OURS}webhook_restore": one("webhook", "restore", deleted),
        f"{OURS}webhook_history": one("webhook", "history", busy),
        f"{OURS}delivery_changelist": listed(
            "delivery",
            *({"sort": sort.key, "created": "any"} for sort in sorts.OF_DELIVERIES),
            {"sort": "next", "state": "pending", "created": "any"},
            *({"created": span} for span in spans),
            *({"state": state, "created": span} for state in states for span in ("24h", "any")),
            *({"state": state, "webhook": busy} for state in states),
            *({"state": state, "webhook": idle} for state in ("failed", "pending")),
            *(
                {"kind": kind, "created": span}
                for kind in (*kinds, "gone")
                for span in ("24h", "any")
            ),
            *({"kind": kind, "webhook": busy} for kind in ("dns", "gone")),
            *(
                {"kind": "http_500", "created": "any", **words}
                for words in (
                    *({"state": state} for state in ("failed", "pending")),
                    *({"account": account} for account in (big, small)),
                    {"status": "503"},
                    {"before": middle},
                )
            ),
            *({"webhook": webhook} for webhook in (busy, failing, idle, "Webhook 0", "none such")),
            *({"account": account, "created": "any"} for account in (big, small, "nobody")),
            *({"account": account} for account in (big, small)),
            *(
                {"host": host, "created": "any", **more}
                for host in ("hooks41.example.com", crowd.MANY, "nobody.example")
                for more in ({}, {"state": "failed"}, {"state": "pending"})
            ),
            {"account": small, "state": "failed", "created": "any"},
            {"account": small, "state": "delivered", "created": "any"},
            *(
                {"type": type, "created": span}
                for type in ("event.3", "none.such")
                for span in ("24h", "any")
            ),
            {"type": "event.3", "webhook": busy},
            {"type": "none.such", "webhook": busy},
            *(
                {"status": status, "created": span}
                for status in ("503", "5xx", "none", "418")
                for span in ("24h", "30d", "any")
            ),
            {"status": "418", "webhook": busy},
            {"status": "503", "state": "failed", "created": "any"},
            *({"reference": word} for word in (reference.reference, "nothing")),
            *(
                {"payload": word, "created": span}
                for word in ("Customer 4711", "no such text")
                for span in ("24h", "any")
            ),
            {"payload": "no such text", "webhook": busy},
            *({"failed_since": span, "created": "any"} for span in ("24h", "30d")),
            {"webhook": failing, "failed_since": moment(days=7)},
            {"since": moment(days=20), "until": moment(days=20, hours=-1)},
            {"job": job, "created": "any"},
            {"event": published.pk},
            *({"event": published.pk, "state": state} for state in ("pending", "failed")),
            {"event": middle_event, "created": "any"},
            {"id": ",".join(of_busy.values_list("pk", flat=True)[:100])},
            {"created": "any", "before": middle},
            {"state": "failed", "created": "any", "before": middle},
            *({"q": term} for term in (middle, busy, published.pk, reference.reference)),
            *(
                {"q": term, "created": span}
                for term in ("Customer 4711", "no such text")
                for span in ("24h", "any")
            ),
            {"q": "no such text", "webhook": busy},
            {"q": "no such text", "state": "failed", "created": "any"},
        ),
        f"{OURS}delivery_newer": dict(
            page(f"{OURS}delivery_newer", **words)
            for words in (
                {"after": newest},
                {"after": middle, "created": "any"},
                {"after": middle, "created": "any", "state": "failed"},
                {"after": middle, "created": "any", "status": "418"},
            )
        ),
        **{
            f"{OURS}{model}_newer": dict(
                page(f"{OURS}{model}_newer", **words)
                for words in (
                    {"after": middle_attempt, "created": "any"},
                    {"after": middle_attempt, "created": "any", "status": "418"},
                )
            )
            for model in ("attempt", "webhookerror")
        },
        f"{OURS}delivery_change": {
            **rows(
                "delivery",
                ("delivered", of_busy.filter(state="delivered")[0].pk),
                ("gave up", of_busy.filter(state="failed")[0].pk),
                ("retrying", of_busy.filter(state="pending").order_by("-tries")[0].pk),
                ("in the middle", middle),
            ),
            "raw": page(f"{OURS}delivery_change", middle, raw=1)[1],
        },
        f"{OURS}event_changelist": listed(
            "event",
            *({"created": span} for span in spans),
            *({"account": account, "created": "any"} for account in (big, small, "nobody")),
            *({"account": account} for account in (big, small)),
            *(
                {"type": type, "created": span}
                for type in ("event.3", "none.such")
                for span in ("24h", "any")
            ),
            *({"type": type, "account": big, "created": "any"} for type in ("event.3", "none")),
            *({"reference": word} for word in (published.reference, "nothing")),
            *({"subject": word, "created": "any"} for word in (published.subject, "nothing")),
            *(
                {"channel": channel, "created": span}
                for channel in ("us", "nowhere")
                for span in ("24h", "any")
            ),
            {"channel": "us", "account": small, "created": "any"},
            {"since": moment(days=20), "until": moment(days=20, hours=-1)},
            {"created": "any", "before": middle_event},
            {"type": "event.3", "created": "any", "before": middle_event},
            *(
                {"q": term}
                for term in (
                    *(middle_event, published.reference, published.subject, keyed.key),
                    "nothing",
                )
            ),
        ),
        f"{OURS}event_newer": dict(
            page(f"{OURS}event_newer", **words)
            for words in (
                {"after": of_nobody},
                {"after": middle_event, "created": "any"},
                {"after": middle_event, "created": "any", "type": "event.3"},
                {"after": middle_event, "created": "any", "channel": "nowhere"},
            )
        ),
        f"{OURS}event_change": {
            **rows("event", ("published", published.pk), ("of nobody", of_nobody)),
            **{
                f"published {label}": page(f"{OURS}event_change", published.pk, **words)[1]
                for label, words in (
                    ("raw", {"raw": 1}),
                    ("after", {"after": middle_webhook}),
                    *((f"to {name}", {"webhook": name}) for name in ("Webhook 0", "no such", busy)),
                )
            },
        },
        f"{OURS}eventtype_changelist": listed(
            "eventtype",
            *({"state": state} for state in ("declared", "seen", "archived")),
            *({"account": account} for account in (big, small, "nobody")),
            {"account": big, "state": "seen"},
            {"before": declared},
            *({"q": term} for term in ("event.3", "no such")),
        ),
        f"{OURS}eventtype_change": rows(
            "eventtype", ("declared", declared), ("archived", archived), ("of the site", unused)
        ),
        f"{OURS}eventtype_add": dict([page(f"{OURS}eventtype_add")]),
        f"{OURS}eventtype_delete": one("eventtype", "delete", unused),
        f"{OURS}eventtype_history": one("eventtype", "history", declared),
        f"{OURS}attempt_changelist": listed("attempt", *history),
        f"{OURS}attempt_change": rows("attempt", ("one", middle_attempt)),
        f"{OURS}webhookerror_changelist": listed("webhookerror", *history),
        f"{OURS}webhookerror_change": rows(
            "webhookerror", ("one", WebhookError.objects.order_by("-pk")[0].pk)
        ),
        f"{OURS}job_changelist": listed("job", {"before": job}),
        f"{OURS}job_change": rows("job", ("done", job), ("running", running)),
        f"{OURS}job_progress": one("job", "progress", running),
        f"{OURS}job_add": dict(
            page(f"{OURS}job_add", verb=verb, **words)
            for words in selections
            for verb in ("retry", "cancel")
        ),
        f"{OURS}accesstoken_changelist": listed(
            "accesstoken",
            *({"state": state} for state in ("usable", "expired", "revoked")),
            {"account": big},
            {"q": "client 12"},
        ),
        f"{OURS}accesstoken_change": rows("accesstoken", ("one", token)),
        f"{OURS}accesstoken_add": dict([page(f"{OURS}accesstoken_add")]),
        f"{OURS}accesstoken_history": one("accesstoken", "history", token),
        f"{OURS}account_changelist": listed("account", {"q": "tenant-1"}, {"before": small.pk}),
        f"{OURS}account_change": rows("account", ("big", big.pk), ("small", small.pk)),
        f"{OURS}account_add": dict([page(f"{OURS}account_add")]),
        f"{OURS}account_delete": one("account", "delete", empty.pk),
        f"{OURS}account_history": one("account", "history", big.pk),
        f"{OURS}auditentry_changelist": listed(
            "auditentry",
            *({"door": door} for door in AuditEntry.Door.values),
            *({"created": span} for span in spans),
            {"account": big},
            {"target": busy},
            *({"q": term} for term in ("person 7", "nobody", busy)),
        ),
        f"{OURS}auditentry_change": rows("auditentry", ("one", entry.pk)),
    }


HEALTHS = (
    *("failing", "breaker", "unverified", "unsteady", "working", "paused", "stopped", "idle"),
)


def _short(value):
    return str(value)[:12]


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
    """CPU milliseconds and KiB read from the disk of this process, since `before`, and of the
    session of PostgreSQL that is open. They are the same on a machine that others use as well."""
    cpu, read = -before[0], -before[1]
    processes = [psutil.Process()]
    if connection.vendor == "postgresql" and connection.connection is not None:
        processes.append(psutil.Process(connection.connection.info.backend_pid))
    for process in processes:
        times = process.cpu_times()
        cpu += (times.user + times.system) * 1000
        read += process.io_counters().read_bytes // 1024
    return cpu, read


def visit(browser, address):
    """Seconds, the statements and the answer of one visit."""
    connection.close()
    with counted() as watch:
        began = time.perf_counter()
        answer = browser.get(address)
        seconds = time.perf_counter() - began
    return seconds, watch.statements, answer


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
    """screen -> label -> milliseconds of each visit, and the most statements of one."""
    browser, found = log_in(crowd.STAFF, crowd.PASSWORD), {}
    everything = cases()
    only = os.environ.get("ONLY", "")
    for number in range(rounds + 1):  # the first is not counted: templates are read in it
        crowd.workers()
        for screen, addresses in everything.items():
            for label, address in addresses.items():
                if only not in f"{screen} {label}":
                    continue
                if number and os.environ.get("COLD"):
                    cold.forget()
                connection.close()
                before = work()
                seconds, statements, answer = visit(browser, address)
                cpu, read = work(before)
                assert answer.status_code == 200, (answer.status_code, address)
                case = found.setdefault(screen, {}).setdefault(
                    label, {"address": address, "queries": 0, "ms": [], "cpu": [], "read": []}
                )
                case["queries"] = max(case["queries"], len(statements))
                slowest = max(statements, default=(0, ""))
                case["slowest"] = [round(slowest[0] * 1e3, 1), slowest[1][:200]]
                if number:
                    case["ms"].append(round(seconds * 1e3, 2))
                    case["cpu"].append(round(cpu))
                    case["read"].append(read)
    return {"screens": found, "unvisited": unvisited(everything)}


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        crowd.fill(float(sys.argv[2]))
        print("{}")
    else:
        print(json.dumps(measure(int(sys.argv[2]))))
