import pytest
from django.core.cache import cache
from django.db import connections
from django.template.base import Template
from django.test import TransactionTestCase
from environ import Env

from tests import databases
from tests.browser import chromium  # noqa: F401
from tests.emptied import Emptied
from tests.factories import AccountFactory
from webhooks_app.actions import jobs
from webhooks_app.engine import faults
from webhooks_app.engine.knobs import Knobs
from webhooks_app.engine.reader import Reader
from webhooks_app.models import AccessToken, site
from webhooks_app.rules.ids import keys


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment, django_db_blocker, tmp_path_factory, pytestconfig):
    """A copy of the migrated database, of this process alone. SQLite in a file, as an installation
    has it: threads and workers open it themselves.

    Django empties every table after a test with transactions, and makes all permissions and
    roles anew; here those stay, and of the others only what holds rows is emptied."""
    connection = connections["default"]
    url = databases.new(tmp_path_factory.mktemp("database") / "test.sqlite3")
    connection.settings_dict["NAME"] = Env.db_url_config(url)["NAME"]
    if connection.vendor == "sqlite" and not pytestconfig.getoption("--run-prove"):
        # No ordinary test outlives a loss of power.
        pragmas = "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
        connection.settings_dict["OPTIONS"]["init_command"] = pragmas
    with django_db_blocker.unblock():
        emptied = Emptied()
    flush = TransactionTestCase._fixture_teardown
    TransactionTestCase._fixture_teardown = lambda case: emptied.now() or flush(case)
    yield
    TransactionTestCase._fixture_teardown = flush


render = Template._render


@pytest.fixture(scope="session", autouse=True)
def templates_as_they_are(django_test_environment):
    """Django's test client would copy the context of each template, down to the last field: a tenth
    of what a page costs. Tests read pages instead."""
    Template._render = render


@pytest.fixture(autouse=True)
def nothing_kept():
    """What one test left in the cache is none of the next one's business, nor how late it was,
    nor whether the database failed it."""
    cache.clear()
    keys.begin()
    site.forget()
    faults.seen = faults.written = 0


@pytest.fixture(autouse=True)
def counted_to_the_end(monkeypatch):
    """A page does not count for longer than 0.15 s; on a busy machine no count is quicker."""
    monkeypatch.setattr(jobs, "COUNTED_IN", 30)


@pytest.fixture
def account(db):
    return AccountFactory(name="acme")


@pytest.fixture
def secret(account):
    """An access token of `account` with the scope manage, in clear."""
    return AccessToken.issue(account)[1]


@pytest.fixture
def loopback(settings):
    """Receivers of the tests live on loopback, which no installation may reach by default."""
    settings.WEBHOOKS_ALLOWED_NETWORKS = ["127.0.0.0/8", "::1/128"]


@pytest.fixture
def knobs(request):
    """How the worker of a test paces itself: as `@pytest.mark.knobs(…)` says, the nearest first."""
    turned = {}
    for marker in request.node.iter_markers("knobs"):
        turned = marker.kwargs | turned
    return Knobs(**turned)


@pytest.fixture
def reader(transactional_db, knobs):
    """The reading side of a worker, that owns all webhooks."""
    shared = connections["default"]
    reader = Reader("default", knobs)
    reader.own(frozenset())
    reader.discover()
    yield reader
    reader.leave()
    connections["default"] = shared
