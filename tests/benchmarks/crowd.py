"""A large installation, made by SQL: 100,000 webhooks, 1 million deliveries, 2 million attempts,
100,000 events.

Four webhooks get 60 % of the deliveries, a quarter of the others share the rest, over 30 days. A
tenth of the deliveries and more failed at first, 2 % were given up, some wait. Webhooks are in
every state, a third of them of one account. The newest event alone was published by the action:
webhooks have subscribed since a moment ago, so that the events before it went to none.
"""

from dataclasses import dataclass
from datetime import timedelta

from django.contrib.auth import get_user_model
from django.db import connection
from django.utils import timezone

from webhooks_app import actions
from webhooks_app.fields import encrypt
from webhooks_app.models import (
    AccessToken,
    Account,
    Attempt,
    AuditEntry,
    Delivery,
    Event,
    EventType,
    Header,
    HourlyCount,
    Job,
    Subscription,
    Webhook,
    WebhookHealth,
    Worker,
)
from webhooks_app.models.health import LATENCY_COLUMNS
from webhooks_app.rules.ids import KEYS_BEGIN, first_id

DAYS = 30
BUSY = 4
MANY = "automation.example"  # a host that a quarter of the webhooks call
TYPES = [f"event.{number}" for number in range(12)]
PUBLISHED = {"type": "event.3", "reference": "published", "subject": "customer-4711"}
STAFF, PASSWORD = "staff", "a password of the benchmark"
KINDS = (
    ("http_500", 500, "Request failed with status code 500"),
    ("http_500", 500, "Request failed with status code 500"),
    ("http_502", 503, "Request failed with status code 503"),
    ("timeout", None, "timeout of 10000ms exceeded"),
    ("refused", None, "connect ECONNREFUSED 192.0.2.1:443"),
    ("http_401", 401, "Request failed with status code 401"),
    ("dns", None, "getaddrinfo ENOTFOUND receiver.example.com"),
    ("tls_expired", None, "certificate has expired"),
)


@dataclass(frozen=True)
class Numbers:
    """How many there are of each."""

    webhooks: int
    deliveries: int

    @classmethod
    def of(cls, size):
        return cls(max(400, int(100_000 * size)), max(2000, int(1_000_000 * size)))

    @property
    def accounts(self):
        return max(5, self.webhooks // 500)

    @property
    def events(self):
        return self.deliveries // 10


class Sql:
    """What the two databases spell differently."""

    def __init__(self):
        self.postgres = connection.vendor == "postgresql"

    def series(self, count):
        if self.postgres:
            return f"s AS (SELECT generate_series(0::bigint, {count - 1}) AS n)"
        return f"s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < {count - 1})"

    def hex(self, number):
        if self.postgres:
            return f"lpad(to_hex(({number})::bigint), 12, '0')"
        return f"printf('%012x', CAST({number} AS INTEGER))"

    def moment(self, seconds):
        if self.postgres:
            return f"to_timestamp({seconds})"
        return f"strftime('%Y-%m-%d %H:%M:%f', {seconds}, 'unixepoch')"

    def hour(self, column):
        if self.postgres:
            return f"date_trunc('hour', {column} AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'"
        return f"substr({column}, 1, 13) || ':00:00'"

    def bytes(self, text):
        return f"convert_to({text}, 'UTF8')" if self.postgres else f"CAST({text} AS BLOB)"

    def insert(self, model, series, columns, *, steps=()):
        """Rows of a model, a column each by its expression; `steps` name what they build on."""
        recursive = "" if self.postgres else "RECURSIVE "
        parts = [self.series(series), *steps]
        last = steps[-1].partition(" ")[0] if steps else "s"
        self.run(
            f"INSERT INTO {model._meta.db_table} ({', '.join(map(_quoted, columns))}) "
            f"WITH {recursive}{', '.join(parts)} SELECT {', '.join(columns.values())} FROM {last}"
        )

    def run(self, statement):
        with connection.cursor() as cursor:
            cursor.execute(statement)


def _quoted(name):
    return connection.ops.quote_name(name)


def _cases(number, values, otherwise):
    """One of some values by the rest of a division."""
    whens = " ".join(f"WHEN {at} THEN {_literal(value)}" for at, value in enumerate(values))
    return f"CASE ({number}) % {len(values)} {whens} ELSE {otherwise} END"


def _literal(value):
    return "NULL" if value is None else f"'{value}'" if isinstance(value, str) else str(value)


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
    _deliveries(numbers, sql, start, end)
    _attempts(numbers, sql)
    _counts(sql)
    _rest(numbers, sql, start, end)
    _events(numbers, sql, start, end)
    _event_types(numbers, sql, start)
    _subscriptions(numbers, sql, start, end)
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
        )
        for n in range(numbers.accounts * 25)
    )


def _webhook_id(sql, number, start):
    """By number: made one after the other in the 200 days before the history begins."""
    first = (start - 200 * 86400) * 65536
    return f"({sql.hex(f'{first} + {number} * 11000')} || {sql.hex(f'{number} * 2654435761')})"


def webhook_pk(number, start):
    """The same in Python."""
    first = (start - 200 * 86400) * 65536
    return f"{first + number * 11000:012x}{number * 2654435761:012x}"


def _webhooks(numbers, sql, start, end):
    first = Account.objects.order_by("pk").values_list("pk", flat=True)[0]
    made = sql.moment(f"{start} - 100000 - n % 1000")
    secret = encrypt("secret")
    stopped = (
        "CASE WHEN n = 3 OR n % 200 = 19 THEN 'paused' WHEN n % 500 = 23 THEN 'gone' "
        "WHEN n % 1000 = 29 THEN 'failing' ELSE '' END"
    )
    ident = _webhook_id(sql, "n", start)
    sql.insert(
        Webhook,
        numbers.webhooks,
        {
            "id": ident,
            "account_id": f"{first} + CASE WHEN n % 3 = 0 THEN 0 ELSE n % {numbers.accounts} END",
            "name": "'Webhook ' || n",
            "url": f"CASE WHEN n % 4 = 3 THEN 'https://{MANY}/in/' || n ELSE "
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
            "version": "1",
            "created_at": made,
            "updated_at": made,
            "deleted_at": f"CASE WHEN n % 100 = 37 THEN {made} END",
        },
    )
    failures = "CASE WHEN n = 1 OR n % 100 = 41 THEN 12 WHEN n % 50 = 43 THEN 2 ELSE 0 END"
    erred = f"({failures} > 0 OR n % 10 = 1)"
    lately = sql.moment(f"{end} - n % 80000")
    sql.insert(
        WebhookHealth,
        numbers.webhooks,
        {
            "webhook_id": ident,
            "last_error_at": f"CASE WHEN {erred} THEN {lately} END",
            "last_error_message": f"CASE WHEN {erred} THEN "
            f"{_cases('n / 10', [kind[2] for kind in KINDS], 'NULL')} ELSE '' END",
            "last_error_kind": f"CASE WHEN {erred} THEN "
            f"{_cases('n / 10', [kind[0] for kind in KINDS], 'NULL')} ELSE '' END",
            "last_attempt_at": f"CASE WHEN n % 5 < 4 THEN {lately} END",
            "last_success_at": f"CASE WHEN n % 5 < 4 THEN {lately} END",
            "failures_in_row": failures,
            "failing_since": f"CASE WHEN {failures} > 0 THEN {lately} END",
            "breaker_until": f"CASE WHEN n % 300 = 47 THEN {sql.moment(f'{end} + 864000')} END",
            "breaker_trips": "0",
            "certificate_ends_at": f"CASE WHEN n % 1000 = 61 THEN "
            f"{sql.moment(f'{end} + 864000')} END",
            "unsteady_since": f"CASE WHEN n % 100 = 53 THEN {lately} END",
            "told": "''",
        },
    )
    for position in (0, 1):
        sql.insert(
            Header,
            numbers.webhooks // 4,
            {
                "webhook_id": _webhook_id(sql, "(n * 4)", start),
                "position": f"{position}",
                "name": f"'X-Header-{position}'",
                "value": f"'{secret}'",
            },
        )


def _deliveries(numbers, sql, start, end):
    count, others = numbers.deliveries, (numbers.webhooks - BUSY) // 4
    step = (end - start) / count
    number = f"CASE WHEN n % 5 < 3 THEN n / 7 % {BUSY} ELSE {BUSY} + (n * 7919) % {others} * 4 END"
    error = f"CASE WHEN w = 1 THEN 0 ELSE n / 10 % {len(KINDS)} END"
    messages = _cases("e", [kind[2] for kind in KINDS], "NULL")
    statuses = _cases("e", [kind[1] for kind in KINDS], "NULL")
    made = sql.moment(f"{start} + n * {step}")
    finished = "state <> 'pending'"
    # More tries than one have those whose number ends in 6 to 9; see `_attempts`.
    state = (
        f"CASE WHEN n % 100 IN (47, 99) THEN 'failed' WHEN n % 1000 = 500 THEN 'cancelled' "
        f"WHEN n % 20 IN (7, 8) AND n > {count * 0.9} THEN 'pending' "
        f"WHEN n % 20 IN (3, 10) AND n > {count * 0.99} THEN 'pending' "
        f"WHEN w = 3 AND n % 10 < 6 AND n > {count * 0.8} THEN 'pending' ELSE 'delivered' END"
    )
    erred = "(state IN ('failed', 'cancelled') OR state = 'pending' AND n % 10 > 5)"
    payload = (
        """'{"order": ' || n || ', "customer": {"name": "Customer ' || (n % 9973) || '", "mail": """
        """"customer' || (n % 9973) || '@example.com"}, "lines": [' """
        + "".join(
            f"""|| '{{"sku": "SKU-{line}' || (n % 997) || '", "count": {line}, "price": 9.50}}, '"""
            for line in range(1, 5)
        )
        + """ || '{"sku": "SHIPPING", "count": 1, "price": 4.90}], "note": "made by a program"}'"""
    )
    sql.insert(
        Delivery,
        count,
        {
            "id": f"{sql.hex(f'({start} + n * {step}) * 65536')} || {sql.hex('n')}",
            "webhook_id": _webhook_id(sql, "w", start),
            "type": _cases("n / 3", [*TYPES, ""], "NULL"),
            "reference": "CASE WHEN n % 3 = 0 THEN 'order-' || n ELSE '' END",
            "payload": sql.bytes(payload),
            "state": "state",
            "reason": "CASE WHEN state = 'cancelled' THEN 'cancelled by staff' ELSE '' END",
            "due_at": f"CASE WHEN state = 'pending' AND n % 10 > 5 THEN "
            f"{sql.moment(f'{end} + 600 + n % 36000')} ELSE {made} END",
            "tries": "CASE WHEN n % 10 > 5 THEN 2 WHEN state = 'pending' THEN 0 ELSE 1 END",
            "retry_schedule": "CASE WHEN state = 'failed' THEN '5' "
            "ELSE '5,300,1800,7200,18000,36000,36000' END",
            "created_at": made,
            "finished_at": f"CASE WHEN {finished} THEN {sql.moment(f'{start} + n * {step} + 2')} "
            "END",
            "last_status": f"CASE WHEN {erred} THEN {statuses} WHEN {finished} THEN 200 END",
            "last_error": f"CASE WHEN {erred} THEN {messages} ELSE '' END",
            "created_by": "'client'",
            "requested_by": "''",
        },
        steps=[
            f"t AS (SELECT n, {number} AS w FROM s)",
            f"u AS (SELECT n, w, {state} AS state, {error} AS e FROM t)",
        ],
    )


def _attempts(numbers, sql):
    """Two for each delivery: its tries, or one try and an interaction."""
    delivery, attempt = Delivery._meta.db_table, Attempt._meta.db_table
    number = "('x' || right(id, 12))::bit(48)::bigint" if sql.postgres else None
    if not sql.postgres:
        connection.connection.create_function(
            "number_of", 1, lambda ident: int(ident[12:], 16), deterministic=True
        )
        number = "number_of(id)"
    tried = "(tries > 0 AND (again = 0 OR tries = 2))"
    failed = (
        f"CASE WHEN NOT {tried} THEN n % 33 = 0 WHEN tries = 2 AND again = 0 THEN TRUE "
        "ELSE last_error <> '' END"
    )
    later = "created_at + again * interval '1 second'"
    if not sql.postgres:
        later = "strftime('%Y-%m-%d %H:%M:%f', created_at, again || ' seconds')"
    seconds = f"extract(epoch FROM {later})" if sql.postgres else f"strftime('%s', {later})"
    key = f"(CAST({seconds} AS bigint) * 1000 - {KEYS_BEGIN}) * {2**22} + (2 * n + again) % {2**22}"
    kind, status, message = (_cases("e", column, "NULL") for column in zip(*KINDS, strict=True))
    columns = {
        "id": key,
        "webhook_id": "webhook_id",
        "delivery_id": f"CASE WHEN {tried} THEN id END",
        "exchange": f"CASE WHEN {tried} THEN 'delivery' WHEN n % 1000 = 1 THEN 'test' "
        "WHEN n % 1000 = 2 THEN 'verification' ELSE 'interaction' END",
        "request_id": "id",
        "number": f"CASE WHEN {tried} THEN again + 1 ELSE 1 END",
        "requested_by": "''",
        "ended_at": later,
        "duration_ms": f"CASE WHEN failed AND {kind} = 'timeout' THEN 10000 ELSE 20 + n % 400 END",
        "wait_ms": "15 + n % 400",
        "read_ms": "1",
        "url": "'https://hooks' || (n % 5000) || '.example.com/in'",
        "address": "'192.0.2.1:443'",
        "status": f"CASE WHEN failed THEN {status} ELSE 200 END",
        "kind": f"CASE WHEN failed THEN {kind} ELSE '' END",
        "message": f"CASE WHEN failed THEN {message} ELSE '' END",
        "answer": """'{"ok": true, "received": "' || id || '"}'""",
        "answer_headers": "CASE WHEN failed THEN 'content-type: application/json' ELSE '' END",
    }
    busy_failing = "webhook_id = (SELECT id FROM webhooks_app_webhook WHERE name = 'Webhook 1')"
    rows = (
        f"SELECT *, {failed} AS failed FROM (SELECT d.id, webhook_id, tries, last_error, "
        f"created_at, {number} AS n, again, CASE WHEN {busy_failing} THEN 0 ELSE "
        f"{number} / 10 % {len(KINDS)} END AS e FROM {delivery} d, "
        "(SELECT 0 AS again UNION ALL SELECT 1) AS two) AS both_of_them ORDER BY id, again"
    )
    sql.run(
        f"INSERT INTO {attempt} ({', '.join(map(_quoted, columns))}) "
        f"SELECT {', '.join(columns.values())} FROM ({rows}) AS made"
    )


def _counts(sql):
    hour, within, lower = sql.hour("ended_at"), [], -1
    for _, bound in LATENCY_COLUMNS:
        up_to = "" if bound is None else f" AND duration_ms <= {bound}"
        within.append(f"status IS NOT NULL AND duration_ms > {lower}{up_to}")
        lower = bound
    conditions = ["kind = ''", "kind <> ''", *within]
    names = ["delivered", "failed", *(name for name, _ in LATENCY_COLUMNS)]
    sums = ", ".join(f"SUM(CASE WHEN {held} THEN 1 ELSE 0 END)" for held in conditions)
    sql.run(
        f"INSERT INTO {HourlyCount._meta.db_table} (webhook_id, hour, {', '.join(names)}) "
        f"SELECT webhook_id, {hour}, {sums} FROM {Attempt._meta.db_table} "
        f"WHERE exchange IN ('delivery', 'interaction') GROUP BY webhook_id, {hour}"
    )


def _rest(numbers, sql, start, end):
    first = Account.objects.order_by("pk").values_list("pk", flat=True)[0]
    sql.insert(
        AuditEntry,
        numbers.webhooks,
        {
            "at": sql.moment(f"{start} + n * {(end - start) / numbers.webhooks}"),
            "by": "'person ' || (n % 50)",
            "door": _cases("n", AuditEntry.Door.values, "NULL"),
            "action": "'Changed the URL.'",
            "kind": "'webhook'",
            "target": _webhook_id(sql, "n", start),
            "name": "'Webhook ' || n",
            "account_id": f"{first} + n % {numbers.accounts}",
        },
    )
    edges = {"first": first_id(timezone.now() - timedelta(days=DAYS)), "last": "f" * 24}
    selections = [{"state": "failed"}, {"webhook": webhook_pk(1, start), "state": "failed"}]
    now = timezone.now()
    Job.objects.bulk_create(
        Job(
            verb=Job.Verb.RETRY,
            selection=selections[n % 2],
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


def _events(numbers, sql, start, end):
    first = Account.objects.order_by("pk").values_list("pk", flat=True)[0]
    step = (end - start) / numbers.events
    made = sql.moment(f"{start} + n * {step}")
    sql.insert(
        Event,
        numbers.events,
        {
            "id": f"{sql.hex(f'({start} + n * {step}) * 65536')} || {sql.hex('n')}",
            "account_id": f"{first} + CASE WHEN n % 3 = 0 THEN 0 ELSE n % {numbers.accounts} END",
            "type": _cases("n / 3", TYPES, "NULL"),
            "payload": sql.bytes("""'{"order": ' || n || ', "total": ' || (n % 500) || '}'"""),
            "key": "CASE WHEN n % 4 = 0 THEN 'key-' || n END",
            "key_spent": "''",
            "channels": _cases("n / 7", [" eu ", " eu us ", ""], "NULL"),
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


def _event_types(numbers, sql, start):
    """Some of each account, and one of the whole site that no event has."""
    first = Account.objects.order_by("pk").values_list("pk", flat=True)[0]
    sql.insert(
        EventType,
        numbers.accounts * len(TYPES),
        {
            "account_id": f"{first} + n / {len(TYPES)}",
            "name": _cases("n", TYPES, "NULL"),
            "group": "CASE WHEN n % 3 = 0 THEN '' ELSE 'Orders' END",
            "description": "CASE WHEN n % 3 = 0 THEN '' ELSE 'An order was changed.' END",
            "example": """CASE WHEN n % 3 = 0 THEN '' ELSE '{"order": 1}' END""",
            "seen": "n % 3 = 0",
            "archived_at": f"CASE WHEN n % 12 = 11 THEN {sql.moment(start)} END",
            "created_at": sql.moment(start),
        },
    )
    EventType.objects.create(name="never.sent")


def _subscriptions(numbers, sql, start, end):
    """Of six webhooks in seven: one in fifty gets all, the others a type, some by a filter."""
    sql.insert(
        Subscription,
        numbers.webhooks,
        {
            "account_id": "account_id",
            "webhook_id": "id",
            "number": "0",
            "pattern": f"CASE WHEN n % 50 = 0 THEN '*' ELSE {_cases('n / 3', TYPES, 'NULL')} END",
            "channels": "''",
            "filter": """CASE WHEN n % 7 = 5 THEN '{"total": {"$gte": 100}}' ELSE '' END""",
            "valid_from": sql.moment(end),
        },
        steps=[
            f"t AS (SELECT n, w.id, w.account_id FROM s JOIN webhooks_app_webhook w "
            f"ON w.id = {_webhook_id(sql, 'n', start)} WHERE w.deleted_at IS NULL AND n % 7 < 6)",
        ],
    )


def workers():
    """Two that live, as of now."""
    Worker.objects.all().delete()
    busy = Webhook.objects.order_by("pk").values_list("pk", flat=True)[:BUSY]
    for name in "ab":
        Worker.objects.create(
            id=name, host=name, pid=1, slots=32, in_flight=40, in_flight_of=dict.fromkeys(busy, 10)
        )
