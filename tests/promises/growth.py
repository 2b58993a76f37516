"""A history of any size, and how much of it a statement reads."""

import json
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

from django.db import connection, transaction

from tests.factories import AccountFactory
from webhooks_app.models import Attempt, Delivery, Webhook, WebhookHealth
from webhooks_app.rules.ids import first_id, first_key

TABLES = (Delivery._meta.db_table, Attempt._meta.db_table)
SPAN = timedelta(days=30)


def webhooks(count):
    """Some webhooks of one account; the first is the one that everything is asked about."""
    account = AccountFactory(name="big")
    made = [
        Webhook(account=account, name="Orders", url="https://receiver.example.com/hook")
        for _ in range(count)
    ]
    for webhook in made:
        webhook.verified_at, webhook.verification_due_at = webhook.created_at, None
    Webhook.objects.bulk_create(made)
    WebhookHealth.objects.bulk_create(WebhookHealth(webhook=webhook) for webhook in made)
    return sorted(made, key=lambda webhook: webhook.pk)


class History:
    """`rows` deliveries over 30 days, half of them of the first webhook.

    Of a hundred that ended 96 were delivered, 3 failed and 1 was cancelled, each with an attempt;
    one delivery in ten has a reference. A fifth of what is added is pending.
    """

    def __init__(self, rows, webhooks_count):
        self.rows = rows
        self.now = datetime.now(UTC)
        self.start = self.now - SPAN
        self.webhooks = webhooks(webhooks_count)
        self.busy = self.webhooks[0]

    def add_finished(self):
        self._add(0, self.rows * 4 // 5, pending=False)

    def add_pending(self):
        self._add(self.rows * 4 // 5, self.rows, pending=True)

    def _add(self, first, last, *, pending):
        webhook_ids = [webhook.pk for webhook in self.webhooks]
        apart = SPAN / self.rows
        state = (
            "'pending'"
            if pending
            else "CASE WHEN n % 100 < 96 THEN 'delivered' WHEN n % 100 < 99 THEN 'failed' "
            "ELSE 'cancelled' END"
        )
        failed = "" if pending else "Request failed with status code 500"
        ticks = int(self.start.timestamp() * 65536)
        step = apart.total_seconds() * 65536
        key = f"{first_key(self.start)} + (n * {apart.total_seconds() * 1000 * 2**22})"
        key = f"CAST({key} AS bigint)"
        postgres = connection.vendor == "postgresql"
        if postgres:
            source = "generate_series(%(first)s, %(last)s - 1) AS s(n)"
            ident = f"lpad(to_hex({ticks} + (n * {step})::bigint), 12, '0')"
            ident += " || lpad(to_hex(n), 12, '0')"
            moment = f"%(start)s::timestamptz + n * interval '{apart.total_seconds()} seconds'"
            webhook = "(%(webhooks)s::text[])[CASE WHEN n %% 2 = 0 THEN 1 "
            webhook += "ELSE 1 + n / 2 %% %(count)s END]"
            payload, parameters = "decode(repeat('20', 200), 'hex')", webhook_ids
        else:
            source = (
                "(WITH RECURSIVE s(n) AS (SELECT %(first)s UNION ALL SELECT n + 1 FROM s "
                "WHERE n < %(last)s - 1) SELECT n FROM s) AS s"
            )
            ident = f"printf('%%012x%%012x', {ticks} + CAST(n * {step} AS INTEGER), n)"
            moment = f"strftime('%%Y-%%m-%%d %%H:%%M:%%f', {self.start.timestamp()} + "
            moment += f"n * {apart.total_seconds()}, 'unixepoch')"
            webhook = "json_extract(%(webhooks)s, '$[' || (CASE WHEN n %% 2 = 0 THEN 0 "
            webhook += "ELSE n / 2 %% %(count)s END) || ']')"
            payload, parameters = "zeroblob(200)", json.dumps(webhook_ids)
        state = state.replace("%", "%%")
        error = f"CASE WHEN {state} = 'failed' THEN '{failed}' ELSE '' END"
        values = {
            "first": first,
            "last": last,
            "start": self.start,
            "webhooks": parameters,
            "count": len(webhook_ids),
        }
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                INSERT INTO {TABLES[0]} (id, webhook_id, type, reference, payload, state, reason,
                  due_at, tries, retry_schedule, created_at, finished_at, last_error, created_by,
                  requested_by)
                SELECT {ident}, {webhook}, 'order.created',
                  CASE WHEN n %% 10 = 0 THEN 'order-' || n ELSE '' END, {payload}, {state}, '',
                  {moment}, {int(not pending)}, '5,300', {moment},
                  {"NULL" if pending else moment}, {error}, '', ''
                FROM {source}""",
                values,
            )
            if pending:
                return
            cursor.execute(
                f"""
                INSERT INTO {TABLES[1]} (id, webhook_id, delivery_id, exchange, request_id, number,
                  requested_by, ended_at, duration_ms, url, address, status, kind, message,
                  answer, answer_headers)
                SELECT {key}, {webhook}, {ident}, 'delivery', {ident}, 1, '', {moment}, 20,
                  'https://receiver.example.com/hook', '192.0.2.1:443', 200,
                  CASE WHEN {error} = '' THEN '' ELSE 'http_500' END, {error}, '', ''
                FROM {source}""",
                values,
            )

    def at(self, share):
        """A moment in the span, from 0 to 1."""
        return self.start + SPAN * share

    def id_at(self, share):
        return first_id(self.at(share))


def learn():
    """Let the database look at its tables, so that it plans by what is in them now."""
    with connection.cursor() as cursor:
        for model in (Delivery, Attempt, Webhook, WebhookHealth):
            cursor.execute(f"ANALYZE {model._meta.db_table}")


class Reading:
    """What the statements of a block did with the big tables: through which indexes they came,
    which of them walked through a whole table, and how much was read: pages on PostgreSQL, steps
    of the machine on SQLite."""

    def __init__(self, tables=TABLES):
        self.tables = tables
        self.statements = []
        self.indexes = set()
        self.whole = []
        self.sorted = 0  # rows, at the most; PostgreSQL's
        self.cost = 0

    def on_postgresql(self, execute, sql, params, many, context):
        if any(table in sql for table in self.tables):
            self.statements.append(sql)
            with suppress(Undo), transaction.atomic(), connection.cursor() as cursor:
                how = "EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT JSON) "
                cursor.cursor.execute(how + sql, params)
                plan = cursor.cursor.fetchone()[0][0]["Plan"]
                self.cost += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
                self._node(plan, sql)
                raise Undo
        return execute(sql, params, many, context)

    def _node(self, node, sql):
        if "Sort" in node["Node Type"]:
            self.sorted = max(self.sorted, node["Plans"][0]["Actual Rows"])
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in self.tables:
            self.whole.append(sql)
        if "Index Name" in node:
            self.indexes.add(node["Index Name"])
        for child in node.get("Plans", ()):
            self._node(child, sql)

    def on_sqlite(self, sql):
        if any(table in sql for table in self.tables):
            self.statements.append(sql)

    def explain_sqlite(self):
        for sql in set(self.statements):
            for *_, line in connection.connection.execute("EXPLAIN QUERY PLAN " + sql):
                words = line.split()
                if "INDEX" in words:
                    self.indexes.add(words[words.index("INDEX") + 1])
                if words[0] == "SCAN" and "USING" not in words and words[1] in ("d", *self.tables):
                    self.whole.append(sql)

    def step(self):
        self.cost += 100


class Undo(Exception):
    """What was only looked at is not done."""


@contextmanager
def reading(tables=TABLES):
    """Watch what the statements of the block read, of those that name one of these tables."""
    watch = Reading(tables)
    if connection.vendor == "postgresql":
        with connection.execute_wrapper(watch.on_postgresql):
            yield watch
        return
    connection.ensure_connection()
    session = connection.connection
    session.set_trace_callback(watch.on_sqlite)
    session.set_progress_handler(watch.step, 100)
    try:
        yield watch
    finally:
        session.set_progress_handler(None, 0)
        session.set_trace_callback(None)
        watch.explain_sqlite()
