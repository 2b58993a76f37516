"""A large installation, made by SQL: 100,000 webhooks, 1 million deliveries, 2 million attempts,
100,000 events; and 20,000 deliveries more that a host did not take last night, 8 tries each.

Four webhooks get 60 % of the deliveries, a quarter of the others share the rest, over 30 days. A
tenth of the deliveries and more failed at first, 2 % were given up, some wait. Webhooks are in
every state, a third of them of one account, a sixth of another that nothing is sent to; some send
in order. The newest event alone was
published by the action: webhooks have subscribed since a moment ago, so that the events before it
went to none.
"""

from datetime import timedelta

from django.contrib.auth import get_user_model
from django.db import connection
from django.utils import timezone

from webhooks_app import actions
from webhooks_app.engine.maintenance import totals
from webhooks_app.fields import encrypt
from webhooks_app.models import (
    AccessToken,
    Account,
    Header,
    Webhook,
    WebhookHealth,
    Worker,
    sequences,
)

from . import crowd_beside, crowd_history
from .crowd_plan import (
    BUSY,
    DAYS,
    DOWN,
    DOWN_ERROR,
    DOWN_HOURS,
    KINDS,
    MANY,
    QUIET,
    Numbers,
    by_key,
    by_webhook,
    is_down,
    is_quiet,
    webhook_id,
)
from .crowd_sql import Sql, cases

PUBLISHED = {"type": "event.3", "reference": "published", "subject": "customer-4711"}
STAFF, PASSWORD = "staff", "a password of the benchmark"


def fill(size=1.0):
    """Fill an empty, migrated database."""
    numbers, sql = Numbers.of(size), Sql()
    now = timezone.now()
    end = int(now.timestamp())
    start = end - DAYS * 86400
    if not sql.postgres:
        sql.run("PRAGMA synchronous = OFF")
    _people(numbers, now)
    _webhooks(numbers, sql, start, end)
    crowd_history.deliveries(numbers, sql, start, end)
    crowd_history.attempts(sql)
    crowd_history.night(numbers, sql, start, end)
    crowd_history.counts(sql)
    totals.add_up()
    crowd_beside.audit(numbers, sql, start, end)
    crowd_beside.jobs(start)
    crowd_beside.notes(start)
    crowd_beside.events(numbers, sql, start, end)
    crowd_beside.event_types(numbers, sql, start)
    crowd_beside.subscriptions(numbers, sql, start, end)
    sequences.catch_up()
    account = Account.objects.order_by("pk")[0]
    actions.publish(account, payload={"total": 5}, channels=["eu"], by="person 1", **PUBLISHED)
    Account.objects.create(name="empty")
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if sql.postgres else "ANALYZE")
        if not sql.postgres:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _people(numbers, now):
    get_user_model().objects.create_superuser(STAFF, password=PASSWORD)
    Account.objects.bulk_create(
        Account(name=f"tenant-{n}", contact_email=f"tenant-{n}@example.com")
        for n in range(numbers.accounts)
    )
    accounts = list(Account.objects.order_by("pk"))
    AccessToken.objects.bulk_create(
        AccessToken(
            account=accounts[n % len(accounts)],
            name=f"client {n}",
            digest=f"{n:064x}",
            hint=f"whk_{n:04x}"[:8],
            expires_at=now + timedelta(days=n % 90 - 30) if n % 3 else None,
            revoked_at=now if n % 10 == 0 else None,
            last_used_at=now - timedelta(minutes=n) if n % 4 else None,
        )
        for n in range(numbers.accounts * 25)
    )


def _webhooks(numbers, sql, start, end):
    first = Account.objects.order_by("pk").values_list("pk", flat=True)[0]
    made = sql.moment(f"{start} - 100000 - n % 1000")
    secret = encrypt("secret")
    stopped = (
        "CASE WHEN n = 3 OR n % 200 = 19 THEN 'paused' WHEN n % 500 = 23 THEN 'gone' "
        "WHEN n % 1000 = 29 THEN 'failing' WHEN n % 1000 = 12 THEN 'blocked' ELSE '' END"
    )
    ident, down, quiet = webhook_id(sql, "n", start), is_down("n"), is_quiet("n")
    sql.insert(
        Webhook,
        numbers.webhooks,
        {
            "id": ident,
            "account_id": f"{first} + CASE WHEN n % 3 = 0 THEN 0 WHEN {quiet} THEN 1 ELSE "
            f"n % {numbers.accounts} END",
            "name": "'Webhook ' || n",
            "url": f"CASE WHEN {down} THEN 'https://{DOWN}/in/' || n "
            f"WHEN n % 4 = 3 THEN 'https://{MANY}/in/' || n "
            f"WHEN {quiet} THEN 'https://{QUIET}/in/' || n ELSE "
            "'https://hooks' || (n % 5000) || '.example.com/in/' || n END",
            "token": f"CASE WHEN n % 2 = 0 THEN '{secret}' ELSE '' END",
            "auth_username": "''",
            "auth_password": "''",
            "verified_at": f"CASE WHEN n % 200 = 31 THEN NULL ELSE {made} END",
            "verification_due_at": "NULL",
            "stopped": stopped,
            "stopped_note": "''",
            "stopped_by": "'staff'",
            "stopped_at": f"CASE WHEN {stopped} = '' THEN NULL ELSE {made} END",
            "max_in_flight": "10",
            "order": f"CASE WHEN {by_key('n')} THEN 'key' WHEN {by_webhook('n')} THEN "
            "'webhook' ELSE '' END",
            "on_dead": "CASE WHEN n % 1000 = 12 THEN 'stop' ELSE 'continue' END",
            "rate_count": "CASE WHEN n % 30 = 9 THEN 100 END",
            "rate_seconds": "CASE WHEN n % 30 = 9 THEN 60 END",
            "retry_schedule": "CASE WHEN n % 60 = 8 THEN '5,60' END",
            "version": "1",
            "created_at": made,
            "updated_at": made,
            "deleted_at": f"CASE WHEN n % 100 = 37 THEN {made} END",
        },
    )
    failures = (
        f"CASE WHEN n = 1 OR n % 100 = 41 THEN 12 WHEN {down} THEN 40 WHEN n % 50 = 43 THEN 2 "
        "ELSE 0 END"
    )
    erred = f"({failures} > 0 OR n % 10 = 1)"
    lately, later = sql.moment(f"{end} - n % 80000"), sql.moment(f"{end} + 864000")
    refused = sql.moment(f"{end} - n % 600")
    broken = sql.moment(f"{end} - {DOWN_HOURS * 3600} + n % 40")
    kind, _, message = DOWN_ERROR
    sql.insert(
        WebhookHealth,
        numbers.webhooks,
        {
            "webhook_id": ident,
            "last_error_at": f"CASE WHEN {down} THEN {refused} WHEN {erred} THEN {lately} END",
            "last_error_message": f"CASE WHEN {down} THEN '{message}' WHEN {erred} THEN "
            f"{cases('n / 10', [kind[2] for kind in KINDS], 'NULL')} ELSE '' END",
            "last_error_kind": f"CASE WHEN {down} THEN '{kind}' WHEN {erred} THEN "
            f"{cases('n / 10', [kind[0] for kind in KINDS], 'NULL')} ELSE '' END",
            "last_attempt_at": f"CASE WHEN n % 5 < 4 THEN {lately} END",
            "last_success_at": f"CASE WHEN {down} THEN {broken} WHEN n % 5 < 4 THEN {lately} END",
            "failures_in_row": failures,
            "failing_since": f"CASE WHEN {down} THEN {broken} WHEN {failures} > 0 THEN "
            f"{lately} END",
            "breaker_until": f"CASE WHEN n % 300 = 47 OR {down} AND n % 100 = 2 THEN {later} END",
            "breaker_trips": "0",
            "certificate_ends_at": f"CASE WHEN n % 1000 = 61 THEN {later} END",
            "identity_ends_at": f"CASE WHEN n % 1000 = 67 THEN {later} END",
            "rests_until": f"CASE WHEN n % 250 = 11 THEN {later} END",
            "rests": "CASE WHEN n % 250 = 11 THEN 1 ELSE 0 END",
            "unreadable_since": f"CASE WHEN n % 2000 = 71 THEN {lately} END",
            "unsteady_since": f"CASE WHEN n % 100 = 53 THEN {lately} END",
            "told": f"CASE WHEN {down} THEN 'failing' ELSE '' END",
        },
    )
    for position in (0, 1):
        sql.insert(
            Header,
            numbers.webhooks // 4,
            {
                "webhook_id": webhook_id(sql, "(n * 4)", start),
                "position": f"{position}",
                "name": f"'X-Header-{position}'",
                "value": f"'{secret}'",
            },
        )


def workers():
    """Two that live, as of now."""
    Worker.objects.all().delete()
    busy = Webhook.objects.order_by("pk").values_list("pk", flat=True)[:BUSY]
    for name in "ab":
        Worker.objects.create(
            id=name, host=name, pid=1, slots=32, in_flight=40, in_flight_of=dict.fromkeys(busy, 10)
        )
