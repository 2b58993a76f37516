"""A night of an operator: what happens really happens, Prometheus' clock alone is ours. Each alarm
of docs/alerts.yml that should ring rings, and no other."""

import shutil
import signal
import subprocess
import time

import pytest
import yaml
from cryptography.fernet import Fernet

from tests.alerts.promql import Query, Rule, Samples
from tests.commands.conftest import empty_site, site  # noqa: F401
from tests.docs.tables import DOCS
from tests.ports import free_port
from tests.receivers import Receiver

pytestmark = pytest.mark.slow

RULES = DOCS / "alerts.yml"
EVERY = 15.0  # seconds between scrapes, and between looks at the rules
SCRAPE = "from webhooks_app.api.metrics import exposition; print(exposition().decode())"


DELIVER = """
from django.test import override_settings
from webhooks_app import actions
from webhooks_app.models import Webhook
with override_settings(WEBHOOKS_RETRY_SCHEDULE=[]):
    actions.deliver_many([(Webhook.objects.get(pk="{ident}"), n) for n in range({count})])
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

    def until(self, start):
        """A scrape in which a line begins so, and that saw all of it happen."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            text = self.scrape()
            if f"\n{start}" in text:
                return self.scrape()
            time.sleep(0.1)
        raise AssertionError(f"{start} did not come:\n{text}")

    def worker(self):
        process = self.site.start("webhooks", "deliver")
        assert "ready" in process.stdout.readline()
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


@pytest.mark.timeout(180)
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
        worker.wait(10)
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
        worker.wait(60)

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
