"""What was sent: deliveries over 30 days, their attempts, and what is counted by the hour."""

from webhooks_app.models import Attempt, Delivery, HourlyCount
from webhooks_app.models.health import LATENCY_COLUMNS
from webhooks_app.rules.ids import KEYS_BEGIN

from .crowd_plan import (
    BUSY,
    DELAYS,
    DOWN,
    DOWN_ERROR,
    DOWN_HOURS,
    DOWN_TRIES,
    KINDS,
    OFFSETS,
    TYPES,
    by_key,
    by_webhook,
    webhook_id,
)
from .crowd_sql import cases, quoted


def deliveries(numbers, sql, start, end):
    count, others = numbers.deliveries, (numbers.webhooks - BUSY) // 4
    step = (end - start) / count
    number = f"CASE WHEN n % 5 < 3 THEN n / 7 % {BUSY} ELSE {BUSY} + (n * 7919) % {others} * 4 END"
    error = f"CASE WHEN w = 1 THEN 0 ELSE n / 10 % {len(KINDS)} END"
    messages = cases("e", [kind[2] for kind in KINDS], "NULL")
    statuses = cases("e", [kind[1] for kind in KINDS], "NULL")
    made = sql.moment(f"{start} + n * {step}")
    finished = "state <> 'pending'"
    # More tries than one have those whose number ends in 6 to 9; see `attempts`.
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
            "webhook_id": webhook_id(sql, "w", start),
            "type": cases("n / 3", [*TYPES, ""], "NULL"),
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
            "ordering_key": f"CASE WHEN {by_key('w')} THEN 'customer-' || (n / 20 % 500) END",
            "position": f"CASE WHEN {by_key('w')} OR {by_webhook('w')} THEN n + 1 END",
        },
        steps=[
            f"t AS (SELECT n, {number} AS w FROM s)",
            f"u AS (SELECT n, w, {state} AS state, {error} AS e FROM t)",
        ],
    )


def attempts(sql):
    """Two for each delivery: its tries, or one try and an interaction."""
    delivery, attempt = Delivery._meta.db_table, Attempt._meta.db_table
    number = sql.number("id")
    tried = "(tries > 0 AND (again = 0 OR tries = 2))"
    failed = (
        f"CASE WHEN NOT {tried} THEN n % 33 = 0 WHEN tries = 2 AND again = 0 THEN TRUE "
        "ELSE last_error <> '' END"
    )
    later = "created_at + again * interval '1 second'"
    if not sql.postgres:
        later = "strftime('%Y-%m-%d %H:%M:%f', created_at, again || ' seconds')"
    seconds = sql.seconds(later)
    key = f"(CAST({seconds} AS bigint) * 1000 - {KEYS_BEGIN}) * {2**22} + (2 * n + again) % {2**22}"
    kind, status, message = (cases("e", column, "NULL") for column in zip(*KINDS, strict=True))
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
        f"INSERT INTO {attempt} ({', '.join(map(quoted, columns))}) "
        f"SELECT {', '.join(columns.values())} FROM ({rows}) AS made"
    )


def counts(sql):
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
        f"WHERE exchange IN ('delivery', 'interaction') GROUP BY webhook_id, {hour} "
        f"ORDER BY {hour}, webhook_id"  # as time wrote them
    )


def night(numbers, sql, start, end):
    """What was sent to DOWN since it is down, over all hours but the last: each is tried anew until
    all tries have failed, so that the newest wait for their next."""
    count, span = numbers.down, (DOWN_HOURS - 1) * 3600
    made = f"{end} - {DOWN_HOURS * 3600} + n * {span / count}"
    tries = " + ".join(f"CASE WHEN age > {offset} THEN 1 ELSE 0 END" for offset in OFFSETS)
    due = cases("tries", [f"{offset}" for offset in OFFSETS], "0").replace("'", "")
    over = f"tries = {DOWN_TRIES}"
    kind, _, message = DOWN_ERROR
    number = f"52 + (n * 7919) % {numbers.webhooks // 50 - 1} * 50"  # those that are down
    sql.insert(
        Delivery,
        count,
        {
            "id": f"{sql.hex('made * 65536')} || {sql.hex(f'{numbers.deliveries} + n')}",
            "webhook_id": webhook_id(sql, f"({number})", start),
            "type": cases("n / 3", TYPES, "NULL"),
            "reference": "'night-' || n",
            "payload": sql.bytes("""'{"order": ' || n || ', "note": "made in the night"}'"""),
            "state": f"CASE WHEN {over} THEN 'failed' ELSE 'pending' END",
            "reason": "''",
            "due_at": sql.moment(f"CASE WHEN {over} THEN made ELSE made + {due} END"),
            "tries": "tries",
            "retry_schedule": f"'{','.join(map(str, DELAYS))}'",
            "created_at": sql.moment("made"),
            "finished_at": f"CASE WHEN {over} THEN {sql.moment(f'made + {OFFSETS[-1]}')} END",
            "last_status": "NULL",
            "last_error": f"'{message}'",
            "created_by": "'client'",
            "requested_by": "''",
        },
        steps=[
            f"t AS (SELECT n, {made} AS made, {end} - ({made}) AS age FROM s)",
            f"u AS (SELECT n, made, {tries} AS tries FROM t)",
        ],
    )
    offsets = " UNION ALL ".join(
        f"SELECT {again} AS again, {offset} AS later" for again, offset in enumerate(OFFSETS)
    )
    seconds = sql.seconds("created_at")
    first = 2 * numbers.deliveries
    columns = {
        "id": f"(CAST({seconds} + later AS bigint) * 1000 - {KEYS_BEGIN}) * {2**22} "
        f"+ ({first} + (n - {numbers.deliveries}) * {DOWN_TRIES} + again) % {2**22}",
        "webhook_id": "webhook_id",
        "delivery_id": "id",
        "exchange": "'delivery'",
        "request_id": "id",
        "number": "again + 1",
        "requested_by": "''",
        "ended_at": sql.moment(f"{seconds} + later"),
        "duration_ms": "3",
        "url": f"'https://{DOWN}/in'",
        "address": "'192.0.2.1:443'",
        "status": "NULL",
        "kind": f"'{kind}'",
        "message": f"'{message}'",
        "answer": "''",
        "answer_headers": "''",
    }
    rows = (
        f"SELECT d.id, webhook_id, created_at, {sql.number('d.id')} AS n, again, later FROM "
        f"{Delivery._meta.db_table} d JOIN ({offsets}) AS o ON again < tries WHERE "
        f"last_error = '{message}' AND reference LIKE 'night-%' ORDER BY later, id"
    )
    sql.run(
        f"INSERT INTO {Attempt._meta.db_table} ({', '.join(map(quoted, columns))}) "
        f"SELECT {', '.join(columns.values())} FROM ({rows}) AS made"
    )
