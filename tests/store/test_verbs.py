"""The two stores side by side, and their connections."""

import ast
import inspect
import threading
import time
from functools import partial

import pytest
from django.db import DatabaseError, connection, connections, transaction

from tests.docs.tables import ROOT
from tests.factories import WebhookFactory
from tests.waiting import PATIENCE
from webhooks_app.engine import store
from webhooks_app.engine.store import bulk, common, errors, postgres, sqlite
from webhooks_app.engine.store.base import Store
from webhooks_app.models import HourlyCount, Webhook

APP = ROOT / "webhooks_app"
VERBS = list(vars(Store))


def verbs_of(module):
    """Public functions of its class, as they stand in the file."""
    (found,) = [n for n in ast.parse(inspect.getsource(module)).body if isinstance(n, ast.ClassDef)]
    functions = [n for n in found.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [node.name for node in functions if not node.name.startswith("_")]


@pytest.mark.once
@pytest.mark.parametrize("module", [postgres, sqlite, common])
def test_every_file_has_its_verbs_in_the_order_of_the_protocol(module):
    verbs = verbs_of(module)
    assert [verb for verb in VERBS if verb in verbs] == verbs


@pytest.mark.once
def test_whatever_one_of_them_says_by_itself_the_other_does_too():
    """`put_one` and `put` alone are common, and PostgreSQL's own where its clock decides."""
    assert set(verbs_of(postgres)) - set(verbs_of(sqlite)) == {"put_one", "put"}
    assert set(verbs_of(sqlite)) <= set(verbs_of(postgres))


@pytest.fixture
def own(transactional_db, knobs):
    """A store with a connection of its own, as a worker has it."""
    shared = connections["default"]
    own = store.open("default").own(knobs, lock_timeout=0.2, repeats=True)
    yield own
    own.connection.close()
    connections["default"] = shared


def test_a_connection_of_its_own_is_this_threads_and_no_other_ones(own):
    assert connections["default"] is own.connection
    assert store.open("default").connection is own.connection
    found = []
    thread = threading.Thread(target=lambda: found.append(connections["default"]))
    thread.start()
    thread.join()
    assert found[0] is not own.connection
    WebhookFactory()
    own.connection.close()
    assert Webhook.objects.count() == 1  # made anew, with all that it had


def rename(webhook, own=None, seconds=None):
    with transaction.atomic():
        if own:
            own.limit_locks(seconds)
        Webhook.objects.filter(pk=webhook.pk).update(name="x")


def test_a_row_that_is_locked_is_not_waited_for_for_ever(own):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite locks no rows")
    webhook, held, release = WebhookFactory(), threading.Event(), threading.Event()

    def hold():
        with transaction.atomic():
            list(Webhook.objects.select_for_update().filter(pk=webhook.pk))
            held.set()
            release.wait(PATIENCE)
        connections.close_all()

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(PATIENCE)
    try:
        for change in (partial(rename, webhook), partial(rename, webhook, own, 0.05)):
            with pytest.raises(DatabaseError) as caught:
                change()
            assert errors.is_locked(caught.value)
            assert not errors.is_away(caught.value)
    finally:
        release.set()
        thread.join()


def test_a_connection_that_is_hung_up_is_made_anew(own):
    WebhookFactory()
    own.hang_up()
    if connection.vendor == "postgresql":
        with pytest.raises(DatabaseError) as caught:
            Webhook.objects.count()
        assert errors.is_away(caught.value)
        own.connection.close()
    assert Webhook.objects.count() == 1


def test_what_asks_for_an_end_of_others_lets_the_transaction_go_on(own):
    with transaction.atomic():
        own.lock_table(HourlyCount._meta.db_table)
        own.by_index_only()
        own.let_others_in()
        webhook = WebhookFactory()
    own.let_others_in()
    assert Webhook.objects.get() == webhook


def test_who_waits_to_write_comes_in_between_two_steps_however_long_each_takes(transactional_db):
    if connection.vendor == "postgresql":
        pytest.skip("there others need not wait")
    webhook, other = WebhookFactory(), WebhookFactory()
    begun, ended, steps = threading.Event(), threading.Event(), []

    def change_much():
        while not ended.is_set():
            with transaction.atomic():
                rename(webhook)
                begun.set()
                time.sleep(0.25)
            steps.append(1)
            store.open("default").let_others_in()
        connections.close_all()

    thread = threading.Thread(target=change_much)
    thread.start()
    missed = []
    for _ in range(2):
        begun.clear()
        assert begun.wait(PATIENCE)
        before = len(steps)
        rename(other)
        missed.append(len(steps) - before)
    ended.set()
    thread.join()
    assert max(missed) <= 2


COLUMNS = (("id", "text"), ("name", "text"), ("max_in_flight", "int4"))
UPDATE = f"UPDATE {Webhook._meta.db_table} AS w SET name = r.name, max_in_flight = r.max_in_flight "


@pytest.mark.django_db
@pytest.mark.parametrize("rows", [1, 4, 5, 26, 131])
def test_a_statement_is_run_for_every_row_and_tells_how_many_it_changed(rows):
    ours = [WebhookFactory() for _ in range(3)]
    names = ['say "no"', "back\\slash\\", '{"a", NULL}']
    values = [
        [hook.pk, name, n + 1] for n, (hook, name) in enumerate(zip(ours, names, strict=True))
    ]
    strangers = [[f"{n:024x}", "nobody", 1] for n in range(rows)]
    sql = f"{UPDATE} FROM {{rows}} WHERE w.id = r.id"
    assert store.open("default").execute(sql, COLUMNS, [*strangers, *values]) == 3
    found = dict(Webhook.objects.values_list("pk", "name"))
    assert found == {hook.pk: name for hook, name in zip(ours, names, strict=True)}


@pytest.mark.once
def test_statements_for_any_number_of_rows_are_not_kept_without_end():
    for rows in range(1, 1000):
        bulk.from_values("SELECT 1 FROM {rows}", COLUMNS, rows)
    assert bulk.from_values.cache_info().currsize < 200


# Where else a database's name decides something, and why it cannot be a verb of the store.
ASKS = {
    "engine/store/__init__.py": "who opens the store",
    "fields.py": "the type of a column, as a migration asks for it",
    "migrations/0003_deliveries_by_error.py": "an index beside what runs",
    "migrations/0017_order.py": "a sequence, where a counter is a row on SQLite",
    "migrations/0010_counts_by_index.py": "likewise",
    "migrations/0011_oauth_and_identity.py": "a word more in a check of the largest table",
    "migrations/0021_swept_sooner.py": "what PostgreSQL alone sweeps",
    "models/database_file.py": "a file that was replaced, noticed by whoever opens a connection",
    "models/statement_timeout.py": "an end to whatever is asked, by every door",
    "models/primary.py": "whose clock decides, in the rows that every door writes",
    "models/sequences.py": "sequences that a restore left behind",
}


@pytest.mark.once
def test_what_database_it_is_is_asked_where_the_table_says_and_nowhere_else():
    found = {
        path.relative_to(APP).as_posix()
        for path in APP.rglob("*.py")
        if any(
            isinstance(node, ast.Attribute) and node.attr == "vendor"
            for node in ast.walk(ast.parse(path.read_text()))
        )
    }
    assert found == set(ASKS)
