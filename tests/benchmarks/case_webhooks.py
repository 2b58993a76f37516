"""Home, webhooks, hosts, the search and our side."""

from webhooks_app.admin import sorts

from .case_rows import HOSTS, KINDS_MET, NOBODY, OURS, change, each, listed, one, ours, page
from .crowd_plan import DOWN, MANY

HEALTHS = (
    *("failing", "breaker", "rate", "unverified", "unreadable", "unsteady", "working", "paused"),
    *("stopped", "idle", "silent", "deleted"),
)


def cases(rows):
    return {
        "index": dict(
            [
                page("index"),
                *(page("index", span=span) for span in ("24h", "7d", "30d")),
                page("index", sort="since"),
            ]
        ),
        "app_list": dict([page("app_list", "webhooks_app")]),
        "autocomplete": dict(
            page("autocomplete", app_label="webhooks_app", model_name=m, field_name=f, term=term)
            for m, f in (("webhook", "account"), ("delivery", "webhook"))
            for term in ("", "1", "no such name")
        ),
        f"{OURS}webhook_changelist": listed("webhook", *_filters(rows)),
        f"{OURS}webhook_host": {
            label: ours("webhook_host", host)[1]
            for label, host in zip(("in trouble", "of many", "down", "quiet"), HOSTS, strict=True)
        },
        f"{OURS}webhook_search": each("webhook_search", *({"q": term} for term in _terms(rows))),
        f"{OURS}worker_changelist": listed("worker"),
        f"{OURS}webhook_change": {
            **change(
                "webhook",
                *((name, getattr(rows, name)) for name in ("busy", "failing", "idle", "held")),
                *((name, getattr(rows, name)) for name in ("ordered", "blocked", "down")),
            ),
            **{
                f"{name} {span}": ours("webhook_change", getattr(rows, name), span=span)[1]
                for name in ("busy", "failing")
                for span in ("7d", "30d")
            },
        },
        f"{OURS}webhook_add": dict([ours("webhook_add")]),
        f"{OURS}webhook_delete": one("webhook_delete", rows.busy),
        f"{OURS}webhook_restore": one("webhook_restore", rows.deleted),
        f"{OURS}webhook_history": one("webhook_history", rows.busy),
    }


def _filters(rows):
    big, small = rows.big, rows.small
    return [
        *({"state": state} for state in HEALTHS),
        *({"kind": kind} for kind in (*KINDS_MET, "gone")),
        *({"account": account} for account in (big, rows.quiet, small, "nobody")),
        *({"q": term} for term in ("Webhook 4711", "hooks77.example", "no such", "9")),
        *({"q": term} for term in (rows.busy, DOWN, "tenant-1")),
        {"before": rows.middle_webhook},
        {"state": "failing", "before": rows.middle_webhook},
        *({"state": state, "account": big} for state in ("failing", "silent", "deleted")),
        {"state": "silent", "host": DOWN},
        {"state": "working", "kind": "dns", "account": small},
        {"state": "paused", "q": "no such"},
        {"kind": "refused", "account": big},
        {"certificate": "soon"},
        {"trouble": "new"},
        *({"sort": sort.key} for sort in sorts.OF_WEBHOOKS),
        *({"sort": sort.key, "account": big} for sort in sorts.OF_WEBHOOKS),
        *({"sort": sort.key, "host": DOWN} for sort in sorts.OF_WEBHOOKS),
        *({"sort": sort, "state": "failing"} for sort in ("failing", "waiting")),
        {"sort": "name", "before": "n450"},
        *({"met": kind, "since": rows.moment(days=1)} for kind in ("dns", "gone")),
        *({"host": host} for host in (*HOSTS, NOBODY)),
        {"host": MANY, "state": "failing"},
        {"host": MANY, "account": big},
        {"id": ",".join(rows.webhooks)},
    ]


def _terms(rows):
    return (
        *(rows.reference, rows.reference.removeprefix("order-"), "night-77", "no such"),
        *("Webhook 4711", "Webhook", "hooks77", "hooks", "tenant-1", "tenant", DOWN, MANY),
        *(rows.published.subject, rows.keyed.key, "customer 4711", "a"),
        *(rows.middle, rows.busy, rows.middle_event, rows.middle_attempt, rows.job, "f" * 24),
    )
