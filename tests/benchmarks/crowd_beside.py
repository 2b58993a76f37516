"""What else is there: events with their types and subscriptions, jobs, notes, the audit log."""

from datetime import timedelta

from django.utils import timezone

from webhooks_app.models import (
    Account,
    AuditEntry,
    Delivery,
    Event,
    EventType,
    Job,
    Note,
    Subscription,
)
from webhooks_app.models.health import HOUR, hour_of
from webhooks_app.models.lag import HourlyLag
from webhooks_app.rules.ids import first_id

from .crowd_plan import DAYS, DOWN, MANY, TYPES, webhook_id, webhook_pk
from .crowd_sql import cases

# What was done, the frequent first; notices are letters that went out.
DID = (
    *("Changed the name.",) * 12,
    "Changed the URL, from hooks1.example.com to hooks2.example.com.",
    "Paused: being moved.",
    "Resumed.",
    "Sent a test.",
    "Asked for one more try.",
    "Sent a notice: webhook is failing.",
    "Revealed the token.",
    "Created.",
)


def _first_account():
    return Account.objects.order_by("pk").values_list("pk", flat=True)[0]


def audit(numbers, sql, start, end):
    sql.insert(
        AuditEntry,
        numbers.webhooks,
        {
            "at": sql.moment(f"{start} + n * {(end - start) / numbers.webhooks}"),
            "by": "'person ' || (n % 50)",
            "door": cases("n", AuditEntry.Door.values, "NULL"),
            "action": f"CASE WHEN n % 10000 = 77 THEN 'Struck a note.' ELSE "
            f"{cases('n / 7', DID, 'NULL')} END",
            "kind": "'webhook'",
            "target": webhook_id(sql, "n", start),
            "name": "'Webhook ' || n",
            "account_id": f"{_first_account()} + CASE WHEN n % 3 = 0 THEN 0 ELSE "
            f"n % {numbers.accounts} END",
        },
    )


def jobs(start):
    now = timezone.now()
    edges = {"first": first_id(now - timedelta(days=DAYS)), "last": "f" * 24}
    selections = [
        {"state": "failed"},
        {"webhook": webhook_pk(1, start), "state": "failed"},
        {"host": DOWN, "state": "failed"},
    ]
    Job.objects.bulk_create(
        Job(
            verb=Job.Verb.RETRY,
            selection=selections[n % 3],
            state=Job.State.RUNNING if n > 297 else Job.State.DONE,
            finished_at=None if n > 297 else now,
            expected=1000,
            done=500,
            place="f" * 24,
            created_by="person 1",
            **edges,
        )
        for n in range(300)
    )
    # Some of them have been sent again by the first job.
    job = Job.objects.order_by("pk")[0]
    tried = Delivery.objects.filter(state="delivered").order_by("-pk").values("pk")[:1000]
    Delivery.objects.filter(pk__in=list(tried.values_list("pk", flat=True))).update(
        requested_by=job.signature
    )


def notes(start):
    """Of four things as many as one may have; and how late we were, hour by hour."""
    about = (
        *(("host", DOWN), ("host", MANY)),
        *(("account", str(_first_account())), ("webhook", webhook_pk(1, start))),
    )
    Note.objects.bulk_create(
        Note(kind=kind, target=target, text="Somebody called them. " * 20, by=f"person {n}")
        for kind, target in about
        for n in range(50)
    )
    now = timezone.now()
    HourlyLag.objects.bulk_create(
        HourlyLag(hour=hour_of(now) - n * HOUR, seconds=n % 7, at=hour_of(now) - n * HOUR)
        for n in range(24 * DAYS)
    )


def events(numbers, sql, start, end):
    first = _first_account()
    step = (end - start) / numbers.events
    made = sql.moment(f"{start} + n * {step}")
    sql.insert(
        Event,
        numbers.events,
        {
            "id": f"{sql.hex(f'({start} + n * {step}) * 65536')} || {sql.hex('n')}",
            "account_id": f"{first} + CASE WHEN n % 3 = 0 THEN 0 ELSE n % {numbers.accounts} END",
            "type": cases("n / 3", TYPES, "NULL"),
            "payload": sql.bytes("""'{"order": ' || n || ', "total": ' || (n % 500) || '}'"""),
            "key": "CASE WHEN n % 4 = 0 THEN 'key-' || n END",
            "key_spent": "''",
            "channels": "CASE WHEN n % 9000 = 8 THEN ' lab ' ELSE "
            f"{cases('n / 7', [' eu ', ' eu us ', ''], 'NULL')} END",
            "ordering_key": "''",
            "subject": "CASE WHEN n % 2 = 0 THEN 'customer-' || (n % 9973) ELSE '' END",
            "reference": "CASE WHEN n % 3 = 0 THEN 'order-' || n ELSE '' END",
            "time": made,
            "matched": "0",
            "filtered": "0",
            "judged_at": made,
            "created_at": made,
            "created_by": "'client'",
        },
    )


def event_types(numbers, sql, start):
    """Some of each account, and one of the whole site that no event has."""
    first = _first_account()
    sql.insert(
        EventType,
        numbers.accounts * len(TYPES),
        {
            "account_id": f"{first} + n / {len(TYPES)}",
            "name": cases("n", TYPES, "NULL"),
            "group": "CASE WHEN n % 3 = 0 THEN '' ELSE 'Orders' END",
            "description": "CASE WHEN n % 3 = 0 THEN '' ELSE 'An order was changed.' END",
            "example": """CASE WHEN n % 3 = 0 THEN '' ELSE '{"order": 1}' END""",
            "seen": "n % 3 = 0",
            "archived_at": f"CASE WHEN n % 12 = 11 THEN {sql.moment(start)} END",
            "created_at": sql.moment(start),
        },
    )
    EventType.objects.create(name="never.sent")


def subscriptions(numbers, sql, start, end):
    """Of six webhooks in seven: one in fifty gets all, the others a type, some by a filter."""
    sql.insert(
        Subscription,
        numbers.webhooks,
        {
            "account_id": "account_id",
            "webhook_id": "id",
            "number": "0",
            "pattern": f"CASE WHEN n % 50 = 0 THEN '*' ELSE {cases('n / 3', TYPES, 'NULL')} END",
            "channels": "''",
            "filter": """CASE WHEN n % 7 = 5 THEN '{"total": {"$gte": 100}}' ELSE '' END""",
            "valid_from": sql.moment(end),
        },
        steps=[
            f"t AS (SELECT n, w.id, w.account_id FROM s JOIN webhooks_app_webhook w "
            f"ON w.id = {webhook_id(sql, 'n', start)} WHERE w.deleted_at IS NULL AND n % 7 < 6)",
        ],
    )
