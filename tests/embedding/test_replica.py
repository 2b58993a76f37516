"""A host whose router reads from a replica that lags behind, as in Django's own documentation."""

import sqlite3

import pytest

from tests import databases
from tests.embedding.host import Host

pytestmark = pytest.mark.once

SETTINGS = """
DATABASES = {"default": sqlite("default.sqlite3"), "replica": sqlite("replica.sqlite3")}
DATABASE_ROUTERS = ["routers.PrimaryReplicaRouter"]
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
WEBHOOKS_ALLOWED_NETWORKS = "127.0.0.0/8"
"""
ROUTER = """
class PrimaryReplicaRouter:
    def db_for_read(self, model, **hints):
        return "replica"

    def db_for_write(self, model, **hints):
        return "default"

    def allow_relation(self, obj1, obj2, **hints):
        return True

    def allow_migrate(self, db, app_label, model_name=None, **hints):
        return True
"""
BEFORE = """
User.objects.create_superuser("ops", "ops@example.org", "x")
account = Account.objects.create(name="acme")
webhook = Webhook.objects.create(
    account=account, name="w", url="https://receiver.example.com/", verified_at=timezone.now(),
    verification_due_at=None,
)
token, secret = actions.issue_token(account)
print(secret, webhook.pk)
"""


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """The file of a database, and what was printed when it was made."""
    folder = tmp_path_factory.mktemp("before")
    host = Host(folder, SETTINGS, {"routers.py": ROUTER})
    databases.new_file(folder / "default.sqlite3")  # of the site, which has the same users
    return folder / "default.sqlite3", host.python(BEFORE).split()


@pytest.fixture
def host(tmp_path, before):
    """With an account, a token and a verified webhook, in the replica too; nothing later is."""
    host = Host(tmp_path, SETTINGS, {"routers.py": ROUTER})
    file, (host.secret, host.webhook) = before
    for name in ("default", "replica"):
        with sqlite3.connect(file) as made, sqlite3.connect(tmp_path / f"{name}.sqlite3") as copy:
            made.backup(copy)
    return host


GIVEN = """
from django.db import connections
from webhooks_app.testing import FakeReceiver, drain

def refuse(execute, sql, params, many, context):
    assert "webhooks_app" not in sql, sql
    return execute(sql, params, many, context)

connections["replica"].execute_wrappers.append(refuse)
webhook = Webhook.objects.get(pk="{webhook}")
account = webhook.account
api = Client(headers={{"authorization": "Bearer {secret}"}})
path = "/webhooks/{webhook}"

def send(verb, where, body=None):
    return getattr(api, verb)(where, body, content_type="application/json")
"""


def test_what_decides_is_read_where_it_is_written(host):
    given = GIVEN.format(webhook=host.webhook, secret=host.secret)
    host.python(
        given
        + """
with FakeReceiver() as receiver:
    made = send("post", "/webhooks", {"name": "n", "url": "https://receiver.example.com/"})
    new = "/webhooks/" + made.json()["id"]
    assert api.get(new).status_code == 200
    assert send("put", new, api.get(new).json()).status_code == 200
    assert [send("post", f"{path}/deliveries", {"a": 1}).status_code for _ in range(2)] == [202] * 2
    once = {"headers": {"idempotency-key": "k"}, "content_type": "application/json"}
    first, again = (api.post(f"{path}/deliveries", {"b": 2}, **once) for _ in range(2))
    assert again["Idempotent-Replayed"] == "true"
    assert first.json()["id"] == again.json()["id"]
    delivery = "/deliveries/" + first.json()["id"]
    assert api.get(delivery).json()["state"] == "pending"
    assert drain() == 3
    assert api.get(delivery).json()["state"] == "delivered"
    assert len(api.get(f"{delivery}/attempts").json()) == 1
    assert send("post", f"{delivery}/retry").status_code == 200
    assert send("post", f"{delivery}/cancel").status_code == 200
    assert send("post", f"{path}/interactions", {}).status_code == 200
    assert send("post", f"{path}/verify").status_code == 200
    assert send("post", f"{path}/test").status_code == 200
    assert send("post", f"{path}/replay", {"since": "2020-01-01"}).status_code == 200

    receiver.requests.clear()
    assert send("patch", f"{path}/settings", {"enabled": False}).json()["stopped"] == "paused"
    assert send("post", f"{path}/interactions", {}).status_code == 409
    held = send("post", f"{path}/deliveries", {"c": 3}).json()
    assert held["reason"] == "paused"
    assert drain() == 0
    assert not receiver.requests
    assert send("delete", path).status_code == 200
    assert api.get(path).status_code == 404
    try:
        actions.interact(webhook, {})
    except actions.NotCallable as refused:
        assert refused.reason == "deleted"
    assert not receiver.requests

AccessToken.objects.get().revoke()
assert api.get("/webhooks").status_code == 401
"""
    )


def test_the_console_and_the_commands_show_and_change_what_is_so(host):
    given = GIVEN.format(webhook=host.webhook, secret=host.secret)
    host.python(
        given
        + """
from io import StringIO
from django.core.management import call_command
console = Client()
console.force_login(User.objects.get())
actions.pause(webhook, note="the replica knows nothing of this")
actions.deliver(webhook, {})
page = f"/admin/webhooks_app/webhook/{webhook.pk}"
assert b"the replica knows nothing of this" in console.get(f"{page}/change/").content
for name in "webhook delivery attempt webhookerror account accesstoken auditentry job".split():
    assert console.get(f"/admin/webhooks_app/{name}/").status_code in (200, 404), name
assert console.get("/admin/").status_code == 200
assert console.post(f"{page}/enable/").status_code == 302
assert not Webhook.objects.get(pk=webhook.pk).stopped

def run(*arguments):
    out = StringIO()
    try:
        call_command("webhooks", *arguments, stdout=out)
    except SystemExit as ended:  # 1: no worker is alive
        assert ended.code == 1
    return out.getvalue()

assert '"due": 1' in run("status", "--json")
assert "It may be called" in run("explain", webhook.pk)
run("replay", "--since", "2h")
run("purge", "--dry-run")
run("rebuild-counts")
run("rotate-keys")
run("create-token", "acme", "--name", "more")
from webhooks_app.engine.maintenance import upkeep
upkeep.turn(notices=True, purge=True, judge=True)
"""
    )


def test_a_worker_calls_nobody_whom_the_replica_alone_allows(host):
    host.python(
        GIVEN.format(webhook=host.webhook, secret=host.secret)
        + """
from tests.receivers import Receiver
from webhooks_app.engine import worker
with Receiver() as receiver:
    for stopped, number in (("paused", 0), ("", 1)):
        Webhook.objects.filter(pk=webhook.pk).update(
            url=receiver.url, stopped=stopped, verified_at=timezone.now(), verification_due_at=None
        )
        actions.deliver(webhook, {"n": number})
        worker.run(until_empty=True)
        assert len(receiver.requests) == 2 * number, (stopped, receiver.requests)
"""
    )


def test_a_query_of_the_host_may_still_ask_its_replica(host):
    host.python(
        """
assert Webhook.objects.using("replica").count() == 1
assert User.objects.filter(pk__in=Account.members.through.objects.values("user")).count() == 0
"""
    )
