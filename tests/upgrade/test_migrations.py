"""A released migration never changes; a database of each release becomes one of today's."""

import hashlib
import json
import sqlite3
from contextlib import closing

import pytest

from tests import databases
from tests.commands.conftest import Site
from tests.processes import ROOT
from tests.receivers import Receiver
from tests.upgrade.make import TOKEN

FROZEN = {
    "0001_initial.py": "27ae3c20468f862713d74e33f54cb4e5704078e7be2dba930541f417a182f2eb",
}


@pytest.mark.once
@pytest.mark.parametrize(("name", "digest"), FROZEN.items())
def test_a_released_migration_is_never_edited(name, digest):
    content = (ROOT / "webhooks_app" / "migrations" / name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == digest, "write a migration of its own"


LOOK = """
import json
from django.test import Client
from webhooks_app.models import *
client = Client(headers={"authorization": "Bearer " + TOKEN}, SERVER_NAME="localhost")
webhooks = client.get("/webhooks").json()
healthy = next(w for w in webhooks if w["name"] == "Healthy")
print(json.dumps({
    "names": sorted(w["name"] for w in webhooks),
    "errors": sorted(w["error"] for w in webhooks),
    "healthy": client.get("/webhooks/" + healthy["id"]).json(),
    "states": sorted(Delivery.objects.values_list("state", flat=True)),
    "attempts": Attempt.objects.count(), "failed": WebhookError.objects.count(),
    "members": list(Account.objects.values_list("members__username", flat=True)),
    "audit": AuditEntry.objects.filter(action="paused").exists(),
}))
"""


SEEN_MEANWHILE = """
import json, sqlite3
from django.core.management import call_command
from django.db import connection
outside = sqlite3.connect(connection.settings_dict["NAME"])
NAMES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'new__%'"
def tables():
    return {name for name, in outside.execute(NAMES)}
seen, gone = tables(), set()
def look(execute, *args):
    result = execute(*args)
    now = tables()
    gone.update(seen - now)
    seen.update(now)
    return result
with connection.execute_wrapper(look):
    call_command("migrate", verbosity=0)
print(json.dumps([len(seen), sorted(gone)]))
"""


@pytest.mark.once
@pytest.mark.skipif(databases.is_postgres(), reason="PostgreSQL makes no table anew")
def test_no_table_is_gone_for_a_moment_while_sqlite_is_migrated(released):
    """Old workers and web processes go on meanwhile; and a kill would leave it so."""
    seen, gone = json.loads(released.shell(SEEN_MEANWHILE)[-1])
    assert seen > 20
    assert gone == []


def test_everything_of_a_released_database_is_there_after_migrate(upgraded):
    seen = json.loads(upgraded.shell(f"TOKEN = {TOKEN!r}\n{LOOK}")[-1])
    assert seen["names"] == ["Failing", "Healthy", "New", "Paused"]
    assert seen["errors"] == ["", "", "", "Request failed with status code 503"]
    assert seen["healthy"]["token"] == "a token"
    assert seen["healthy"]["auth"] == {"username": "user", "password": "a password"}
    assert seen["healthy"]["headers"] == [
        {"name": "X-Api-Key", "value": "a header"},
        {"name": "X-Api-Key", "value": "a second"},
    ]
    assert seen["states"] == ["cancelled", "delivered", "failed", *["pending"] * 6]
    assert (seen["attempts"], seen["failed"]) == (2, 1)
    assert seen["members"] == ["boss"]
    assert seen["audit"]


def test_what_a_released_database_holds_is_not_counted_as_accepted_anew(upgraded):
    accepted = "from webhooks_app.api.metrics import exposition; print(exposition().decode())"
    told = [line for line in upgraded.shell(accepted)[-1].splitlines() if "accepted_total " in line]
    assert told[-1] == "webhooks_deliveries_accepted_total 0.0"


def test_what_waited_in_a_released_database_is_sent_after_migrate(upgraded):
    with Receiver() as receiver:
        upgraded.shell(
            "from webhooks_app.models import Webhook;"
            f"Webhook.objects.filter(name='Healthy').update(url={receiver.url!r})"
        )
        upgraded.manage("webhooks", "deliver", "--until-empty")
        assert sorted(json.loads(call.body)["order"] for call in receiver.requests) == [
            0,
            1,
            2,
            3,
            4,
        ]


@pytest.mark.once
def test_migrate_on_a_database_from_before_the_first_release_says_so(tmp_path):
    file = tmp_path / "old.sqlite3"
    databases.new_file(file)
    site = Site(f"sqlite:///{file}", tmp_path)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("ALTER TABLE webhooks_app_attempt RENAME COLUMN ended_at TO started_at")
    said = site.failure("migrate")
    assert "made by a version before 0.1.0" in said
    assert "Start over with a new database." in said
    assert "Traceback" not in said
