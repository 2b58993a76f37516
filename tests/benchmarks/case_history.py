"""Deliveries, attempts, errors, and the jobs over deliveries."""

from webhooks_app.admin import sorts

from .case_rows import HOSTS, KINDS_MET, NOBODY, OURS, SPANS, change, each, listed, one, ours
from .crowd_plan import DOWN, MANY

STATES = ("pending", "due", "waiting", "retrying", "held", "delivered", "failed", "cancelled")


def cases(rows):
    exchanges = _exchanges(rows)
    return {
        f"{OURS}delivery_changelist": listed("delivery", *_deliveries(rows), *_narrow(rows)),
        f"{OURS}delivery_newer": each(
            "delivery_newer",
            {"after": rows.newest},
            {"after": rows.middle, "created": "any"},
            {"after": rows.middle, "created": "any", "state": "failed"},
            {"after": rows.middle, "created": "any", "status": "418"},
            {"after": rows.middle, "created": "any", "host": DOWN},
        ),
        **{
            f"{OURS}{model}_newer": each(
                f"{model}_newer",
                {"after": rows.middle_attempt, "created": "any"},
                {"after": rows.middle_attempt, "created": "any", "status": "418"},
                {"after": rows.middle_attempt, "created": "any", "host": DOWN},
            )
            for model in ("attempt", "webhookerror")
        },
        f"{OURS}delivery_change": {
            **change(
                "delivery",
                ("delivered", rows.of_busy.filter(state="delivered")[0].pk),
                ("gave up", rows.of_busy.filter(state="failed")[0].pk),
                ("retrying", rows.of_busy.filter(state="pending").order_by("-tries")[0].pk),
                ("of many tries", rows.night[0].pk),
                ("in the middle", rows.middle),
            ),
            "raw": ours("delivery_change", rows.middle, raw=1)[1],
        },
        f"{OURS}attempt_changelist": listed("attempt", *exchanges),
        f"{OURS}attempt_change": change("attempt", ("one", rows.middle_attempt)),
        f"{OURS}webhookerror_changelist": listed("webhookerror", *exchanges),
        f"{OURS}webhookerror_change": change("webhookerror", ("one", rows.error)),
        f"{OURS}job_changelist": listed("job", {"before": rows.job}),
        f"{OURS}job_change": change("job", ("done", rows.job), ("running", rows.running)),
        f"{OURS}job_progress": one("job_progress", rows.running),
        f"{OURS}job_add": each(
            "job_add",
            *(
                {"verb": verb, **words}
                for words in _selections(rows)
                for verb in ("retry", "cancel")
            ),
        ),
    }


def _deliveries(rows):
    """By one word, or by when as well."""
    big, small, published = rows.big, rows.small, rows.published
    return [
        *({"sort": sort.key, "created": "any"} for sort in sorts.OF_DELIVERIES),
        *({"created": span} for span in SPANS),
        *({"state": state, "created": span} for state in STATES for span in ("24h", "any")),
        *(
            {"kind": kind, "created": span}
            for kind in (*KINDS_MET, "gone")
            for span in ("24h", "any")
        ),
        *(
            {"webhook": webhook}
            for webhook in (rows.busy, rows.failing, rows.idle, rows.ordered, rows.down)
        ),
        *({"webhook": name} for name in ("Webhook 0", "none such")),
        *({"account": account, "created": "any"} for account in (big, rows.quiet, small, "nobody")),
        *({"account": account} for account in (big, rows.quiet, small)),
        *({"host": host, "created": span} for host in (*HOSTS, NOBODY) for span in ("24h", "any")),
        *(
            {"type": type, "created": span}
            for type in ("event.3", "none.such")
            for span in ("24h", "any")
        ),
        *(
            {"status": status, "created": span}
            for status in ("503", "5xx", "none", "418")
            for span in ("24h", "30d", "any")
        ),
        *({"reference": word} for word in (rows.reference, "nothing")),
        *(
            {"payload": word, "created": span}
            for word in ("Customer 4711", "no such text")
            for span in ("24h", "any")
        ),
        *({"failed_since": span, "created": "any"} for span in ("24h", "30d")),
        {"failed_until": rows.moment(days=29), "created": "any"},
        {"since": rows.moment(days=20), "until": rows.moment(days=20, hours=-1)},
        *({name: rows.job, "created": "any"} for name in ("job", "skipped")),
        {"event": published.pk},
        {"event": rows.middle_event, "created": "any"},
        {"id": ",".join(rows.deliveries)},
        {"created": "any", "before": rows.middle},
        *({"q": term} for term in (rows.middle, rows.busy, published.pk, rows.reference)),
        *(
            {"q": term, "created": span}
            for term in ("Customer 4711", "no such text")
            for span in ("24h", "any")
        ),
    ]


def _narrow(rows):
    """By several words at once."""
    big, small, published = rows.big, rows.small, rows.published
    busy, idle = rows.busy, rows.idle
    return [
        {"sort": "next", "state": "pending", "created": "any"},
        {"sort": "tries", "host": DOWN, "created": "any"},
        {"sort": "webhook", "account": big, "created": "any", "before": "n450"},
        {"sort": "tries", "webhook": busy},
        *(
            {"state": state, "webhook": webhook}
            for state in STATES
            for webhook in (busy, rows.ordered, rows.down)
        ),
        *({"state": state, "webhook": idle} for state in ("failed", "pending", "held")),
        *(
            {"state": state, "account": account, "created": "any"}
            for state in ("failed", "pending", "held", "delivered")
            for account in (big, rows.quiet, small)
        ),
        *(
            {"host": host, "state": state, "created": "any"}
            for host in (*HOSTS, NOBODY)
            for state in ("failed", "pending", "held", "delivered")
        ),
        {"host": DOWN, "state": "failed", "failed_since": rows.moment(hours=8), "created": "any"},
        {"host": MANY, "kind": "refused", "created": "any"},
        {"host": DOWN, "kind": "refused", "created": "any"},
        {"host": DOWN, "kind": "gone", "created": "any"},
        *({"kind": kind, "webhook": busy} for kind in ("dns", "gone")),
        *(
            {"kind": "http_500", "created": "any", **words}
            for words in (
                *({"state": state} for state in ("failed", "pending")),
                *({"account": account} for account in (big, rows.quiet, small)),
                *({"status": "503"}, {"before": rows.middle}, {"sort": "tries"}),
            )
        ),
        *({"type": type, "webhook": busy} for type in ("event.3", "none.such")),
        {"status": "418", "webhook": busy},
        {"status": "503", "state": "failed", "created": "any"},
        {"payload": "no such text", "webhook": busy},
        {"payload": "no such text", "host": DOWN},
        {"webhook": rows.failing, "failed_since": rows.moment(days=7)},
        *({"event": published.pk, "state": state} for state in ("pending", "failed")),
        {"job": rows.job, "state": "delivered", "created": "any"},
        {"state": "failed", "created": "any", "before": rows.middle},
        {"q": "no such text", "webhook": busy},
        {"q": "no such text", "state": "failed", "created": "any"},
    ]


def _exchanges(rows):
    """Of attempts and of errors."""
    big, small, busy, failing = rows.big, rows.small, rows.busy, rows.failing
    return [
        *({"sort": sort.key, "created": "any"} for sort in sorts.OF_ATTEMPTS),
        {"sort": "slowest", "webhook": busy},
        *({"created": span} for span in SPANS),
        *(
            {"kind": kind, "created": span}
            for kind in (*KINDS_MET, "gone")
            for span in ("24h", "any")
        ),
        *({"account": account, "created": "any"} for account in (big, rows.quiet, small, "nobody")),
        *({"account": account} for account in (big, rows.quiet, small)),
        *({"host": host, "created": span} for host in (*HOSTS, NOBODY) for span in ("24h", "any")),
        *({"host": host, "kind": "refused", "created": "any"} for host in (MANY, DOWN)),
        *(
            {"type": type, "created": span}
            for type in ("event.3", "none.such")
            for span in ("24h", "any")
        ),
        *({"status": status, "created": "any"} for status in ("503", "5xx", "none", "418")),
        *({"webhook": webhook} for webhook in (busy, failing, rows.idle, rows.down)),
        {"webhook": busy, "kind": "http_500"},
        {"webhook": failing, "status": "500"},
        *(
            {"webhook": webhook, "message": words, "since": rows.moment(days=30)}
            for webhook in (busy, failing)
            for words in ("connect ECONNREFUSED …", "no such words")
        ),
        *({"message": "no such words", "created": span} for span in ("24h", "any")),
        {"webhook": rows.idle, "kind": "gone"},
        {"webhook": busy, "exchange": "calls", "since": rows.moment(hours=23)},
        {"exchange": "calls", "since": rows.moment(days=7)},
        {
            "exchange": "calls",
            "since": rows.moment(days=20),
            "until": rows.moment(days=20, hours=-1),
        },
        {"exchange": "calls", "kind": "http_500", "since": rows.moment(days=30)},
        {"account": small, "kind": "http_500", "created": "any"},
        *({"exchange": exchange} for exchange in ("delivery", "test", "verification", "token")),
        *({"exchange": exchange, "created": "any"} for exchange in ("test", "token")),
        {"created": "any", "before": rows.middle_attempt},
        *({"q": term} for term in (rows.of_busy[0].pk, busy, rows.reference, "nothing")),
    ]


def _selections(rows):
    busy, failing, published = rows.busy, rows.failing, rows.published
    return [
        {"state": "failed"},
        {"state": "failed", "since": "24h"},
        {"state": "held"},
        {"state": "retrying"},
        {"webhook": failing, "state": "failed"},
        {"webhook": busy},
        {"webhook": rows.ordered, "state": "held"},
        {"account": rows.big, "state": "failed"},
        {"account": rows.small},
        {"account": rows.quiet, "state": "failed"},
        *({"host": host, "state": "failed"} for host in HOSTS),
        {"host": DOWN, "failed_since": rows.moment(hours=8), "failed_until": rows.moment(hours=4)},
        {"host": DOWN, "kind": "refused", "since": "24h"},
        {"kind": "http_500", "since": "24h"},
        {"kind": "http_500"},
        {"status": "5xx"},
        {"status": "418"},
        {"type": "event.3"},
        {"type": "none.such"},
        {"reference": rows.reference},
        {"failed_since": "7d"},
        {"payload": "Customer 4711", "since": "24h"},
        {"payload": "no such text"},
        {"webhook": busy, "payload": "no such text"},
        {"state": "delivered", "status": "418"},
        {"event": published.pk},
        {"event": published.pk, "state": "failed"},
    ]
