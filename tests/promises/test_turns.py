"""What a worker asks in one cycle is read by indexes and bounded, however many webhooks there are
and whatever the database believes of its tables."""

import pytest
from django.db import connection

from tests.factories import AccountFactory, WebhookFactory
from tests.promises.growth import learn, reading
from webhooks_app.engine import store
from webhooks_app.engine.handover import Memory
from webhooks_app.engine.knobs import DEFAULT
from webhooks_app.models import (
    Attempt,
    Delivery,
    Header,
    SigningKey,
    Webhook,
    WebhookHealth,
)

MODELS = (Delivery, Webhook, WebhookHealth, Header, SigningKey)
TABLES = tuple(model._meta.db_table for model in (*MODELS, Attempt))
# What all statements of a turn may read together: pages, steps of SQLite's machine.
BUDGET = {"postgresql": 20_000, "sqlite": 600_000}


def copies(model, number, **columns):
    """So many copies of the one row there is, with other values in some columns; `{}` in these is
    the number of the copy."""
    fields = [
        field.column
        for field in model._meta.concrete_fields
        if field.column != "id" and not field.generated
    ]
    if "id" in columns:
        fields = ["id", *fields]
    values = [columns.get(name, f't."{name}"') for name in fields]
    table = model._meta.db_table
    source = f"generate_series(1, {number}) AS s(n)"
    if connection.vendor == "sqlite":
        source = (
            "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s "
            f"WHERE n < {number}) SELECT n FROM s) AS s"
        )
    names = ", ".join(f'"{name}"' for name in fields)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({names}) SELECT {', '.join(values)} "
            f"FROM (SELECT * FROM {table} LIMIT 1) AS t CROSS JOIN {source}"
        )


def numbered(number="n", *, first="0"):
    """SQL for the id with a number; its last digits choose the slot."""
    if connection.vendor == "sqlite":
        return f"printf('{first}%019x%04x', {number}, {number} % 65536)"
    return f"'{first}' || lpad(to_hex({number}), 19, '0') || lpad(to_hex({number} % 65536), 4, '0')"


@pytest.fixture
def crowd(reader):
    """Makes webhooks with two deliveries each that are due, by the thousand."""

    def crowd(number):
        webhook = WebhookFactory(account=AccountFactory(), headers=[("X-Key", "k")])
        SigningKey.objects.of([webhook.pk])
        store.open("default").put_one(Delivery.new(webhook.pk, b"{}", **NOTHING))
        copies(Webhook, number, id=numbered())
        copies(WebhookHealth, number, webhook_id=numbered())
        copies(Header, number, webhook_id=numbered())
        copies(SigningKey, number, webhook_id=numbered())
        for place in ("1", "2"):
            copies(Delivery, number, id=numbered(first=place), webhook_id=numbered())
        ids = Webhook.objects.filter(pk__lt="1").order_by("pk").values_list("pk", flat=True)
        return list(ids)

    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            for table in TABLES:
                cursor.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    return crowd


NOTHING = {"type": "", "reference": "", "retry_schedule": "5", "created_by": ""}


def asked(ids, number):
    """All that a cycle may ask, at its most: what is claimed, and what may have changed, of other
    webhooks each."""
    some = [ids[place :: len(ids) // number][:number] for place in range(4)]
    waiting = {
        ident: (1, [place + ident[1:] for place in "12"])
        for ident in some[0][: DEFAULT.webhooks_asked]
    }
    wants = [
        store.Want(ident, DEFAULT.claim_most // DEFAULT.claimed_for, None)
        for ident in some[1][:200]
    ]
    memory = Memory(
        waiting=waiting,
        held=some[2][: DEFAULT.webhooks_asked],
        open_breakers=some[3][: DEFAULT.webhooks_asked],
    )
    return wants, memory


@pytest.mark.slow
@pytest.mark.parametrize("known", ["never looked at", "looked at when empty", "looked at"])
@pytest.mark.parametrize("number", [10_000, pytest.param(100_000, marks=pytest.mark.prove)])
def test_a_cycle_reads_about_what_it_asks(crowd, reader, known, number):
    if known == "looked at when empty":
        learn()
    ids = crowd(number)
    if known == "looked at":
        learn()
    reader.begin_anew()
    reader.discover()
    wants, memory = asked(ids, DEFAULT.webhooks_asked)
    with reading(TABLES) as watch:
        reader.own(frozenset())
        reader.discover(look=True)
        claims = reader.claim(wants)
        changes = reader.changes(memory)
        reader.verifications({})
    assert watch.statements
    assert (watch.whole, changes.ended) == ([], {})
    assert len(claims.rows) == 200
    assert watch.sorted <= DEFAULT.claim_most
    # By statistics from an empty table every index looks as good as any other.
    strange = 3 if known == "looked at when empty" else 1
    assert watch.cost < strange * BUDGET[connection.vendor]
