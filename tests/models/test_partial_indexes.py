"""What a partial index says of its rows is written into statements, and no row is read for it."""

import pytest
from django.db import connection
from django.db.models import Q

from webhooks_app.models import Attempt, Delivery, Webhook, WebhookHealth
from webhooks_app.models.webhook import FAILING_AFTER

IMPLIED = {
    "pending": lambda: Delivery.objects.pending().values("due_at"),
    "gave up": lambda: Delivery.objects.filter(state="failed").values("webhook"),
    "in order": lambda: Webhook.objects.exclude(order="").values("pk"),
    "failing": lambda: WebhookHealth.objects.filter(
        failures_in_row__gte=FAILING_AFTER, failing_since__isnull=False
    ).values("webhook"),
    "erred": lambda: WebhookHealth.objects.filter(Q(failures_in_row__gte=1)).values("webhook"),
    "failed": lambda: Attempt.objects.failed().values("webhook"),
}


@pytest.mark.parametrize("rows", IMPLIED.values(), ids=IMPLIED)
def test_the_words_of_an_index_are_written_and_not_bound(rows):
    _, bound = rows().order_by().query.sql_with_params()
    assert bound == ()


def test_other_words_are_bound():
    rows = Delivery.objects.filter(type="it's", state="delivered", webhook__stopped="gone")
    assert set(rows.query.sql_with_params()[1]) == {"it's", "delivered", "gone"}


@pytest.mark.parametrize("rows", IMPLIED.values(), ids=IMPLIED)
def test_sqlite_reads_no_row_to_find_what_the_index_says(db, rows):
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL reads an index alone by other rules")
    with connection.cursor() as cursor:
        tables = cursor.execute("SELECT rootpage FROM sqlite_master WHERE type = 'table'")
        roots = {root for (root,) in tables.fetchall()}
        program = cursor.execute(f"EXPLAIN {rows().order_by().query}").fetchall()
    opened = {step[2] for step in program if step[1] == "OpenRead" and step[3] in roots}
    read = [step for step in program if step[1] == "Column" and step[2] in opened]
    assert read == []
