"""Events and their types, tokens, accounts, the audit log; and what is asked for by a form."""

from webhooks_app.admin import audit, sorts
from webhooks_app.models import AuditEntry

from .case_rows import OURS, SPANS, Rows, change, each, listed, one, ours
from .crowd_plan import DOWN, MANY


def cases(rows):
    published = rows.published
    return {
        f"{OURS}event_changelist": listed("event", *_events(rows)),
        f"{OURS}event_newer": each(
            "event_newer",
            {"after": rows.of_nobody},
            {"after": rows.middle_event, "created": "any"},
            {"after": rows.middle_event, "created": "any", "type": "event.3"},
            {"after": rows.middle_event, "created": "any", "channel": "nowhere"},
        ),
        f"{OURS}event_change": {
            **change("event", ("published", published.pk), ("of nobody", rows.of_nobody)),
            **{
                f"published {label}": ours("event_change", published.pk, **words)[1]
                for label, words in (
                    ("raw", {"raw": 1}),
                    ("after", {"after": rows.middle_webhook}),
                    *(
                        (f"to {name}", {"webhook": name})
                        for name in ("Webhook 0", "no such", rows.busy)
                    ),
                )
            },
        },
        f"{OURS}eventtype_changelist": listed(
            "eventtype",
            *({"state": state} for state in ("declared", "seen", "archived")),
            *({"account": account} for account in (rows.big, rows.small, "nobody")),
            {"account": rows.big, "state": "seen"},
            {"before": rows.declared},
            *({"q": term} for term in ("event.3", "no such")),
        ),
        f"{OURS}eventtype_change": change(
            "eventtype",
            ("declared", rows.declared),
            ("archived", rows.archived),
            ("of the site", rows.unused),
        ),
        f"{OURS}eventtype_add": dict([ours("eventtype_add")]),
        f"{OURS}eventtype_delete": one("eventtype_delete", rows.unused),
        f"{OURS}eventtype_history": one("eventtype_history", rows.declared),
        f"{OURS}accesstoken_changelist": listed(
            "accesstoken",
            *({"state": state} for state in ("usable", "expired", "revoked")),
            *({"account": account} for account in (rows.big, rows.small)),
            {"account": rows.big, "state": "usable"},
            {"q": "client 12"},
            {"before": rows.token},
            {"id": ",".join(map(str, rows.tokens))},
            *({"sort": sort.key} for sort in sorts.OF_TOKENS),
        ),
        f"{OURS}accesstoken_change": change("accesstoken", ("one", rows.token)),
        f"{OURS}accesstoken_add": dict([ours("accesstoken_add")]),
        f"{OURS}accesstoken_history": one("accesstoken_history", rows.token),
        f"{OURS}account_changelist": listed(
            "account",
            *({"q": term} for term in ("tenant-1", "no such")),
            {"before": rows.small.pk},
            *({"sort": sort.key} for sort in sorts.OF_ACCOUNTS),
        ),
        f"{OURS}account_change": change(
            "account", *((name, getattr(rows, name).pk) for name in ("big", "quiet", "small"))
        ),
        f"{OURS}account_add": dict([ours("account_add")]),
        f"{OURS}account_delete": one("account_delete", rows.empty.pk),
        f"{OURS}account_history": one("account_history", rows.big.pk),
        f"{OURS}auditentry_changelist": listed(
            "auditentry",
            *({"door": door} for door in AuditEntry.Door.values),
            *({"did": did} for did in audit.DID),
            *({"created": span} for span in SPANS),
            *({"account": account} for account in (rows.big, rows.small)),
            *({"did": did, "account": rows.big} for did in ("url", "deleted")),
            {"did": "noted", "created": "24h"},
            {"target": rows.busy},
            {"before": rows.middle_entry},
            *({"q": term} for term in ("person 7", "nobody", rows.busy)),
        ),
        f"{OURS}auditentry_change": change("auditentry", ("one", rows.entry)),
        **_forms(rows),
    }


def _events(rows):
    big, small, published, keyed = rows.big, rows.small, rows.published, rows.keyed
    return [
        *({"created": span} for span in SPANS),
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
            for channel in ("us", "lab", "nowhere")
            for span in ("24h", "any")
        ),
        {"channel": "us", "account": small, "created": "any"},
        {"since": rows.moment(days=20), "until": rows.moment(days=20, hours=-1)},
        {"created": "any", "before": rows.middle_event},
        {"type": "event.3", "created": "any", "before": rows.middle_event},
        *({"q": term} for term in (rows.middle_event, published.reference, published.subject)),
        *({"q": term} for term in (keyed.key, "nothing")),
    ]


# --- by POST: what changes nothing but the audit log --------------------------------------------


def _forms(rows):
    """A question before a verb, a record, a list as CSV: label -> address and what is sent."""
    return {
        f"{OURS}webhook_host_close_breakers": _posted("webhook_host_close_breakers", DOWN),
        f"{OURS}webhook_host_pause_all": {
            **_posted("webhook_host_pause_all", DOWN),
            **{f"of many {k}": v for k, v in _posted("webhook_host_pause_all", MANY).items()},
        },
        f"{OURS}delivery_record": {
            form: (ours("delivery_record", rows.night[0].pk)[1], {"as": form})
            for form in ("page", "json", "text")
        },
        f"{OURS}webhook_subscriptions": {
            "tried on events": (
                ours("webhook_subscriptions", rows.busy)[1],
                {
                    **{"try": "1", "history": "on", "event": rows.middle_event},
                    **{
                        f"subscriptions-{name}": value
                        for name, value in (
                            *(("TOTAL_FORMS", "1"), ("INITIAL_FORMS", "0")),
                            *(("0-types", "event.*"), ("0-channels", "")),
                            ("0-filter", '{"total": {"$gte": 100}}'),
                        )
                    },
                },
            )
        },
        "webhook question": {
            verb: _chosen("webhook", verb, keys)
            for verb, keys in (
                *((verb, rows.webhooks) for verb in ("pause_", "enable_")),
                *((verb, rows.downs) for verb in ("replay_", "retry_", "cancel_")),
            )
        },
        "delivery question": {
            verb: _chosen("delivery", verb, rows.deliveries[:50]) for verb in ("retry_", "cancel_")
        },
        "accesstoken question": {"revoke_": _chosen("accesstoken", "revoke_", rows.tokens)},
    }


def _posted(name, *arguments):
    return {"question": (ours(name, *arguments)[1], {})}


def _chosen(model, verb, keys):
    """The rows that were ticked in a list."""
    return ours(f"{model}_changelist")[1], {"action": verb, "_selected_action": keys}


def sheets(rows: Rows):
    """Lists as CSV, whole: up to 10,000 rows."""
    found = {
        model: (ours(f"{model}_export", **words)[1], {})
        for model, words in (
            ("webhook", {}),
            ("delivery", {"created": "any"}),
            *((model, {"created": "any"}) for model in ("attempt", "webhookerror", "event")),
            *((model, {}) for model in ("auditentry", "account", "accesstoken")),
        )
    }
    return {
        "sheet": {
            **found,
            "deliveries, sorted": (ours("delivery_export", sort="tries", created="any")[1], {}),
            "deliveries of a host": (ours("delivery_export", host=DOWN, created="any")[1], {}),
            "few deliveries": (ours("delivery_export", status="418", created="any")[1], {}),
            **{f"host {host}": (ours("webhook_host_csv", host)[1], {}) for host in (DOWN, MANY)},
        }
    }
