"""Every statement that runs often, and every list, reads about what it shows, whatever the history
has grown to and whatever the database believes of its tables."""

import psycopg
import pytest
from django.db import connection, connections, transaction
from django.test import Client

from tests.api.conftest import Api
from tests.factories import UserFactory
from tests.promises.growth import SPAN, TABLES, History, Undo, learn, reading
from webhooks_app.engine import attempt_rows, store, transitions
from webhooks_app.engine.http.sender import Outcome
from webhooks_app.engine.maintenance import accepted, pruner
from webhooks_app.engine.store import microseconds
from webhooks_app.management.terminal import MANY, bounded
from webhooks_app.models import AccessToken, Delivery, Webhook, states
from webhooks_app.models.webhook import SLOTS
from webhooks_app.rules.ids import first_id

PENDING, DUE = "delivery_pending_webhook", "delivery_due"
KEY = {"postgresql": "webhooks_app_delivery_pkey"}
ATTEMPT_KEY = {"postgresql": "webhooks_app_attempt_pkey", "sqlite": "PRIMARY"}
AUTO_KEY = "sqlite_autoindex_webhooks_app_delivery_1"

# What a statement, or the request behind a name, may read: pages, steps of SQLite's machine.
BUDGET = {"postgresql": 1500, "sqlite": 60_000}


@pytest.fixture(autouse=True)
def swept(django_db_setup, django_db_blocker):
    """What the tests before have stored and taken back, as young as the history ends, is read by
    nobody any more. PostgreSQL would read it."""
    if connection.vendor != "postgresql":
        return
    with django_db_blocker.unblock():
        url = connection.get_connection_params() | {"context": None}
    with psycopg.connect(**url, autocommit=True) as other:
        for table in TABLES:
            other.execute(f"VACUUM {table}")


def grown(rows, webhooks, known):
    """A history that the database has looked at when it was empty, half filled or complete."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            for table in TABLES:
                cursor.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    grown = History(rows, webhooks)
    if known == "empty":
        learn()
    grown.add_finished()
    if known == "before the pending came":
        learn()
    grown.add_pending()
    if known == "all":
        learn()
    return grown


def hot(grown):
    """The statements of the worker: what is called, and the indexes it may come through."""
    on, queue = connections["default"], store.open("default")
    now = grown.now
    a_few = SPAN * 20 / grown.rows
    place = (queue.moment(grown.at(0.95)), grown.id_at(0.95))
    pending = Delivery.objects.filter(state="pending").order_by("id").defer("payload")
    batch = [finished(delivery, now) for delivery in pending[:100]]
    idents = [item.attempt.request_id for item in batch]
    key = KEY.get(on.vendor, AUTO_KEY)

    def of_the_writer(verb):
        queue.by_index_only()  # as all of its session
        return verb(batch)

    def claim(after):
        return queue.claim([store.Want(w.pk, 10, after) for w in grown.webhooks[:100]], now)

    seen = queue.look(now - a_few, now, store.Watermark(now - a_few))[1]
    slots = set(range(SLOTS))
    worker = {}
    if on.vendor == "postgresql":
        worker["arrivals"] = (
            lambda: queue.arrivals(now - a_few, now, seen, slots, 1000),
            {DUE, PENDING},
        )
    return worker | {
        "look": (
            lambda: queue.look(now - a_few, now, store.Watermark(now - a_few)),
            {DUE, PENDING},
        ),
        "look again": (lambda: queue.look(now - a_few, now, seen), {DUE, PENDING}),
        "claim from the start": (lambda: claim(None), {PENDING}),
        "claim from a place": (lambda: claim(place), {PENDING}),
        "unrecorded": (lambda: of_the_writer(queue.unrecorded), {"attempt_delivery"}),
        "finish": (lambda: of_the_writer(queue.finish), {key}),
        "what was accepted": (lambda: accepted.behind(first_id(now - a_few)), {key, DUE}),
        "retry": (lambda: transitions.retry(idents[0]), {key}),
        "retry of many": (lambda: transitions.retry_all(idents), {key}),
        "cancel": (lambda: transitions.cancel(idents[0], "by hand"), {key}),
        "cancel of many": (lambda: transitions.cancel_many(idents, "by hand"), {key}),
        "purge": (
            lambda: pruner.purge(SPAN - SPAN * 100 / grown.rows),
            {key, DUE, "attempt_delivery", ATTEMPT_KEY[on.vendor], "attempt_list", "delivery_list"},
        ),
    }


def finished(delivery, now):
    outcome = Outcome(started_at=now, status=200)
    entry = attempt_rows.Entry(
        delivery.webhook_id,
        "delivery",
        delivery.pk,
        "https://receiver.example.com/hook",
        outcome,
        None,
        delivery_id=delivery.pk,
    )
    return store.Finished(entry.row(), delivery.tries, "delivered", None, microseconds.of(now))


def lists(grown):
    """The lists of the API for a webhook with half of the history, and look-ups of the console."""
    api = Api(AccessToken.issue(grown.busy.account)[1])
    console = Client()
    console.force_login(UserFactory(is_superuser=True))
    ident = Delivery.objects.filter(pk__gte=grown.id_at(0.5)).order_by("pk")[0].pk
    long_ago, then = (grown.at(share).isoformat().replace("+00:00", "Z") for share in (0.1, 0.1001))
    hook = f"/webhooks/{grown.busy.pk}"
    admin = "/admin/webhooks_app"
    addresses = [
        *(f"{hook}/deliveries?state={state}" for state in ("failed", "cancelled", "pending")),
        f"{hook}/deliveries?until={long_ago}",
        f"{hook}/deliveries?since={long_ago}&until={then}",
        f"{hook}/deliveries?state=failed&until={long_ago}",
        f"{hook}/deliveries?after={first_id(grown.at(0.3))}",
        f"{hook}/deliveries?state=pending&after={first_id(grown.at(0.9))}",
        f"/webhooks/{grown.webhooks[-1].pk}/deliveries?state=pending",
        *(f"{hook}/deliveries?reference={word}" for word in ("order-100", "none")),
        *(f"{hook}/deliveries?type={word}" for word in ("order.created", "none")),
        *(f"{hook}/errors?{words}" for words in ("", "kind=http_500", "kind=refused")),
        f"/deliveries/{ident}",
        f"/deliveries/{ident}/attempts",
    ]
    found = {address: lambda address=address: api.get(address) for address in addresses}
    of_errors = (f"/delivery/?kind={kind}&created=any" for kind in ("http_500", "refused"))
    by_id = f"/delivery/?q={ident}", f"/delivery/{ident}/change/", f"/attempt/?q={ident}"
    for page in (*by_id, *of_errors):
        found[page] = lambda page=page: console.get(admin + page)
    return found


def look(call):
    """What a call reads; what it changes is undone."""
    try:
        with transaction.atomic(), reading() as watch:
            answer = call()
            raise Undo
    except Undo:
        pass
    assert getattr(answer, "status_code", 200) == 200
    assert watch.statements
    return watch


@pytest.mark.django_db
@pytest.mark.slow
@pytest.mark.parametrize(
    "known",
    [
        pytest.param("empty", marks=pytest.mark.prove),
        pytest.param("before the pending came", marks=pytest.mark.prove),
        "all",
    ],
)
@pytest.mark.parametrize(
    ("rows", "webhooks"),
    [(20_000, 200), pytest.param(1_000_000, 5000, marks=pytest.mark.prove)],
)
def test_nothing_reads_more_than_it_needs(rows, webhooks, known):
    history_ = grown(rows, webhooks, known)
    budget = BUDGET[connection.vendor]
    problems = {}
    for name, (call, indexes) in hot(history_).items():
        watch = look(call)
        # By statistics from an empty table all ways cost the same; then only what is read counts.
        strange = known != "empty" and not watch.indexes & indexes
        if watch.whole or strange or watch.cost > 3 * budget:
            problems[name] = (watch.cost, watch.indexes, watch.whole)
    # Until the database has looked at the table a list may sort what it could have walked through,
    # and read all attempts for those of its page.
    most = 20 * budget if known == "empty" else budget
    for name, call in lists(history_).items():
        watch = look(call)
        if (watch.whole and known != "empty") or watch.cost > most:
            problems[name] = (watch.cost, watch.indexes, watch.whole)
    # A look at every webhook: some pages for each, however long its queue.
    watch = look(lambda: store.open("default").scan(history_.now)[0])
    if watch.whole or watch.cost > budget * webhooks / 25:
        problems["waiting"] = (watch.cost, watch.indexes, watch.whole)
    assert problems == {}


@pytest.mark.django_db
def test_a_webhook_with_little_to_do_is_not_sought_among_the_others():
    """One webhook waits behind ten thousand deliveries of the others that came before."""
    history_ = grown(20_000, 2, "all")
    last = history_.webhooks[1]
    late = Delivery.objects.filter(state="pending", webhook=last).order_by("-id")[5]
    Delivery.objects.filter(webhook=last, pk__lt=late.pk, state="pending").update(
        webhook=history_.busy
    )
    learn()
    want = store.Want(last.pk, 10, None)
    watch = look(lambda: store.open("default").claim([want], history_.now))
    assert watch.indexes & {PENDING}
    assert watch.cost < BUDGET[connection.vendor] / 5


@pytest.mark.django_db
@pytest.mark.parametrize("known", ["empty", "all"])
@pytest.mark.parametrize("rows", [20_000, pytest.param(500_000, marks=pytest.mark.prove)])
def test_what_is_counted_of_what_waits_is_not_sought_among_what_is_held(rows, known):
    """A fifth waits, and nearly all of that for webhooks that are paused."""
    if connection.vendor == "postgresql" and known == "empty":
        pytest.skip("PostgreSQL looks at its tables by itself")
    history_ = grown(rows, 200, known)
    now, goes = history_.now, history_.webhooks[-20:]
    paused = Webhook.objects.exclude(pk__in=[webhook.pk for webhook in goes])
    paused.update(stopped="paused", stopped_at=now)
    held = Delivery.objects.filter(state="pending", webhook__stopped="paused").count()
    assert held > 0.18 * rows
    few = {
        "later": lambda: bounded(Delivery.objects.filter(states.deliveries_in("later", now))),
        "unrecorded": lambda: bounded(states.unrecorded()),
    }
    for reason, rows_ in states.held_deliveries(now).items():
        few[reason] = lambda rows_=rows_: bounded(rows_)
    budget = BUDGET[connection.vendor]
    problems = {}
    for name, call in few.items():
        watch = look(call)
        if watch.whole or watch.cost > (budget if name == "paused" else budget / 4):
            problems[name] = (watch.cost, watch.indexes, watch.whole)
    # The held ones that were due before are passed by in an index, which names their webhooks.
    # PostgreSQL asks of a row that no vacuum has seen whether it is there, and of those of tests
    # before this one, which are not.
    passed = 6 * held
    for most in (0, MANY):
        watch = look(lambda most=most: states.count_due(now, most))
        if DUE not in watch.indexes or watch.whole or watch.cost > budget + passed:
            problems["due", most] = (watch.cost, watch.indexes, held)
    assert problems == {}
