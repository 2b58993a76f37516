"""A night of an operator: what happens really happens, Prometheus' clock alone is ours. Each alarm
of docs/alerts.yml that should ring rings, and no other."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
import requests
import yaml
from cryptography.fernet import Fernet

from tests.alerts.promql import Query, Rule, Samples
from tests.commands.conftest import site  # noqa: F401
from tests.docs.tables import DOCS
from tests.ports import free_port
from tests.receivers import Receiver
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.slow

RULES = DOCS / "alerts.yml"
EVERY = 15.0  # seconds between scrapes, and between looks at the rules
TOKEN = "metrics-s3cret"
SCRAPE = "from webhooks_app.api.metrics import exposition; print(exposition().decode())"


DELIVER = """
from django.test import override_settings
from webhooks_app import actions
from webhooks_app.models import Webhook
with override_settings(WEBHOOKS_RETRY_SCHEDULE=[]):
    actions.deliver_many([(Webhook.objects.get(pk="{ident}"), n) for n in range({count})])
"""

OTHER_VERSION = "import manage, webhooks_app; webhooks_app.__version__ = '9.9.9'; manage.main()"

# The database takes no outcome of this webhook.
REFUSE = """
from django.db import connection
with connection.cursor() as cursor:
    if connection.vendor == "sqlite":
        cursor.execute("CREATE TRIGGER refuse BEFORE UPDATE ON webhooks_app_webhookhealth WHEN "
                       "NEW.webhook_id = '{ident}' BEGIN SELECT RAISE(ABORT, 'no'); END")
    else:
        cursor.execute("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                       "$$ BEGIN RAISE EXCEPTION 'no'; END $$")
        cursor.execute("CREATE TRIGGER refuse BEFORE UPDATE ON webhooks_app_webhookhealth FOR EACH "
                       "ROW WHEN (NEW.webhook_id = '{ident}') EXECUTE FUNCTION refuse()")
"""


def rules():
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    return group["rules"]


def rung(before, after, minutes):
    """What rings within so many minutes of `after`, which follow 90 of `before`."""
    judged, samples, now = [Rule.read(rule) for rule in rules()], Samples(), 0.0
    for text, lasts in ((before, 90), (after, minutes)):
        for _ in range(round(lasts * 60 / EVERY)):
            now += EVERY
            samples.add(now, text)
    late = samples.times[240:]  # from an hour on, which is as far as a rule looks back
    return {rule.name for at in late for rule in judged if rule.rings(samples, at)}


class Watched:
    """The site, and what its /metrics says."""

    def __init__(self, site):  # noqa: F811
        self.site = site
        site.environment["WEBHOOKS_VERIFICATION"] = "required"

    def scrape(self):
        """None when the database does not answer."""
        try:
            return self.site.shell(SCRAPE)[-1]
        except Exception as error:  # of whichever driver
            if type(error).__name__ != "OperationalError":
                raise
            return None

    def until(self, start, more_than=None):
        """A scrape in which a line begins so (with a number beyond that), and that saw all of it
        happen."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            text = self.scrape()
            found = re.search(rf"^{re.escape(start)}(.*)", text, re.MULTILINE)
            if found and (more_than is None or float(found[1]) > more_than):
                return self.scrape()
            time.sleep(0.1)
        raise AssertionError(f"{start} did not come:\n{text}")

    def worker(self, **knobs):
        if knobs:
            odd = ("-m", "tests.promises.odd_worker", json.dumps(knobs), "deliver")
            process = self.site.start_program(*odd, "--concurrency", "20")
        else:
            process = self.site.start("webhooks", "deliver")
        assert any("ready" in line for line in iter(process.stdout.readline, ""))
        return process

    def webhook(self, url, *, verified=True):
        ident = self.site.webhook(url)
        passed = "Now()" if verified else "None"
        self.site.shell(
            "from django.db.models.functions import Now; from webhooks_app.models import Webhook;"
            f"row = Webhook.objects.get(pk={ident!r}); row.token = 'a secret'; row.save();"
            f"rows = Webhook.objects.filter(pk={ident!r});"
            f"rows.update(verified_at={passed}, verification_due_at=None)"
        )
        return ident

    def deliver(self, ident, count=1):
        """Each is tried once."""
        self.site.shell(DELIVER.format(ident=ident, count=count))


@contextmanager
def away(site):  # noqa: F811
    """The database of the site: nobody can connect to it, or nobody can write."""
    url = site.environment["DATABASE_URL"]
    if "sqlite" in url:
        file = url.removeprefix("sqlite:///").partition("?")[0]
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
        return
    name = re.search(r"site_\w+", url)[0]
    with psycopg.connect(os.environ["TEST_DATABASE_URL"], autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
        yield
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def errors_of(port):
    """How often the process with this port found the database away."""
    answer = requests.get(
        f"http://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30
    )
    return float(re.search(r"^webhooks_process_database_errors_total (.*)", answer.text, re.M)[1])


@pytest.mark.once  # that both databases count the same says `tests/test_metrics.py`
def test_each_alarm_rings_in_its_scene_and_no_other(site):  # noqa: F811
    watched = Watched(site)
    with Receiver() as receiver:
        good = watched.webhook(receiver.url)
        worker = watched.worker()
        before = watched.until("webhooks_workers 1.0")
        watched.deliver(good, 5)
        well = watched.until(
            'webhooks_attempts_total{kind="delivery",outcome="success"} 5.0',
        )
        assert rung(before, well, 60) == set()

        # An operator holds the site, and forgets it.
        site.shell("from webhooks_app import actions; actions.hold_all(note='mending')")
        held = watched.until("webhooks_site_held 1.0")
        assert rung(well, held, 25) == set()
        assert rung(well, held, 35) == {"WebhooksSiteHeld"}
        site.shell("from webhooks_app import actions; actions.release_all()")

        # An upgrade is left half way.
        other = site.start_program("-c", OTHER_VERSION, "webhooks", "deliver")
        two = watched.until("webhooks_worker_versions 2.0")
        assert rung(well, two, 55) == set()
        assert rung(well, two, 65) == {"WebhooksVersionsDiffer"}
        other.terminate()
        other.wait(PATIENCE)

        # One webhook is not verified, and a delivery waits for it.
        unverified = watched.webhook(f"{receiver.url}/new", verified=False)
        watched.deliver(unverified)
        waits = watched.scrape()
        assert rung(well, waits, 25) == set()
        assert rung(well, waits, 35) == {"WebhooksUnverifiedWaiting"}
        site.shell(
            "from webhooks_app.models import Delivery, Webhook;"
            "Delivery.objects.filter(state='pending').delete();"
            f"Webhook.objects.filter(pk={unverified!r}).update(stopped='paused')"
        )

        # The worker is killed, and something becomes due.
        worker.send_signal(signal.SIGKILL)
        worker.wait(PATIENCE)
        watched.deliver(good)
        site.shell(
            "from datetime import timedelta; from django.db.models import F;"
            "from webhooks_app.models import Delivery, Worker; ago = timedelta(minutes=5);"
            "Delivery.objects.filter(state='pending').update(due_at=F('due_at') - ago);"
            "Worker.objects.update(seen_at=F('seen_at') - ago)"
        )
        assert rung(well, watched.scrape(), 5) == {"WebhooksNoWorker", "WebhooksLate"}

        # Another is started, with a key that opens nothing.
        right = site.environment["WEBHOOKS_ENCRYPTION_KEYS"]
        site.environment["WEBHOOKS_ENCRYPTION_KEYS"] = Fernet.generate_key().decode()
        worker = watched.worker()
        lost = watched.until('webhooks_held{state="unreadable"} 1.0')
        assert rung(well, lost, 5) == {"WebhooksKeyLost"}
        worker.terminate()
        worker.wait(PATIENCE)

        # The key is back, the database is away.
        site.environment["WEBHOOKS_ENCRYPTION_KEYS"] = right
        watched.worker()
        mended = watched.until('webhooks_held{state="unreadable"} 0.0')
        url = site.environment["DATABASE_URL"]
        nowhere = "sqlite:////nowhere/at.all" if "sqlite" in url else "postgres://x@127.0.0.1:1/x"
        site.environment["DATABASE_URL"] = nowhere
        away = watched.scrape()
        assert away is None
        assert rung(mended, away, 3) == {"WebhooksAway"}
        site.environment["DATABASE_URL"] = url

        # A receiver is down.
        down = watched.webhook(f"http://127.0.0.1:{free_port()}/")
        watched.deliver(down, 12)
        failing = watched.until("webhooks_breakers_open 1.0")
    assert rung(mended, failing, 12) == {
        "WebhooksReceiverDown",
        "WebhooksMostCallsFail",
        "WebhooksGivenUp",
    }


def test_an_outcome_that_cannot_be_written_rings(site):  # noqa: F811
    watched = Watched(site)
    with Receiver() as receiver:
        ident = watched.webhook(receiver.url)
        watched.worker(again_first=0.05, again_apart=0.05)
        well = watched.until("webhooks_workers 1.0")
        site.shell(REFUSE.format(ident=ident))
        watched.deliver(ident)
        unrecorded = watched.until("webhooks_deliveries_unrecorded 1.0")
    assert rung(well, unrecorded, 3) == {"WebhooksUnrecorded"}


def test_a_database_that_is_away_now_and_then_rings(site):  # noqa: F811
    """Once it is there again: meanwhile nobody can be asked how often."""
    own = free_port()
    if "sqlite" in site.environment["DATABASE_URL"]:
        site.environment["DATABASE_URL"] += "?timeout=1"
    site.environment |= {"WEBHOOKS_METRICS_TOKEN": TOKEN, "WEBHOOKS_METRICS_PORT": str(own)}
    watched = Watched(site)
    watched.worker(heartbeat_every=0.1, upkeep_every=0.1)
    well = watched.until("webhooks_workers 1.0")
    with away(site):
        until(lambda: errors_of(own) > 5, "a worker that finds the database away")
    watched.until("webhooks_database_errors_total", more_than=5)
    back = watched.until("webhooks_workers 1.0")  # which has told of itself again
    assert rung(well, back, 5) == {"WebhooksDatabaseErrors"}


@pytest.mark.once
def test_each_rule_has_its_scene():
    scenes = Path(__file__).read_text()
    assert [rule["alert"] for rule in rules() if f'"{rule["alert"]}"' not in scenes] == []


@pytest.mark.once
def test_each_rule_says_what_it_is_and_what_to_do():
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "action"}


@pytest.mark.once
def test_prometheus_own_tool_takes_the_rules():
    if not (tool := shutil.which("promtool")):
        pytest.skip("promtool is not here")
    subprocess.run([tool, "check", "rules", str(RULES)], check=True, timeout=60)


@pytest.mark.once
@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 10, 20, 30], 30), ([0, 10, 2, 12], 22), ([7, 7, 7, 7], 0), ([6, 0, 0, 3], 4)],
)
def test_an_increase_knows_a_restart_from_a_count(values, expected):
    """What lies before the first sample is guessed, as Prometheus does it: of the last a third."""
    samples = Samples()
    for place, value in enumerate(values):
        samples.add(60.0 * place, f"# TYPE x_total counter\nx_total {value}\n")
    assert Query("increase(x_total[4m])").at(samples, 180.0) == {frozenset(): expected}
