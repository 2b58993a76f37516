"""What is written of an exchange beside its attempt: the hourly counts."""

import sys
import time
from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction

from tests.factories import WebhookFactory
from webhooks_app.engine import attempt_rows, store
from webhooks_app.engine.http import message
from webhooks_app.engine.http.sender import Outcome
from webhooks_app.models import HourlyCount
from webhooks_app.models.health import COUNT_COLUMNS, percentile
from webhooks_app.rules.failures import Failure

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
REFUSED = Failure("refused", "connect ECONNREFUSED 192.0.2.1:443")


def entry(webhook, *, at=NOON, exchange="delivery", ms=12, status=200, failure=None):
    return attempt_rows.Entry(
        webhook_id=webhook.pk,
        exchange=exchange,
        request_id="0" * 24,
        url=webhook.url,
        outcome=Outcome(started_at=at, duration_ms=ms, status=status, failure=failure),
        failure=failure,
    )


def record(*entries):
    with transaction.atomic():
        store.open("default").record([entry.row() for entry in entries])


def counts(**where):
    """The counts of one hour that are not nought."""
    row = HourlyCount.objects.get(**where)
    return {name: getattr(row, name) for name in COUNT_COLUMNS if getattr(row, name)}


@pytest.mark.django_db
def test_an_hour_of_a_webhook_is_one_row_that_grows_with_each_batch():
    webhook = WebhookFactory()
    record(entry(webhook), entry(webhook, at=NOON + timedelta(minutes=59, seconds=59), ms=70))
    record(entry(webhook, exchange="interaction", status=None, failure=REFUSED))
    assert counts(webhook=webhook, hour=NOON) == {
        "delivered": 2,
        "failed": 1,
        "ms_50": 1,
        "ms_100": 1,
    }


@pytest.mark.django_db
def test_each_webhook_and_each_hour_has_its_own_row():
    one, other = WebhookFactory(), WebhookFactory()
    later = NOON + timedelta(hours=1)
    record(entry(other), entry(one, at=later), entry(one), entry(other))
    assert counts(webhook=one, hour=NOON)["delivered"] == 1
    assert counts(webhook=one, hour=later)["delivered"] == 1
    assert counts(webhook=other)["delivered"] == 2


@pytest.mark.django_db
def test_verifications_and_tests_are_not_counted():
    webhook = WebhookFactory()
    record(entry(webhook, exchange="verification"), entry(webhook, exchange="test"))
    assert not HourlyCount.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("ms", "column"),
    [(0, "ms_50"), (50, "ms_50"), (51, "ms_100"), (10000, "ms_10000"), (10001, "slower")],
)
def test_an_answer_falls_under_the_first_bound_that_holds_it(ms, column):
    webhook = WebhookFactory()
    record(entry(webhook, ms=ms, status=503, failure=Failure("http_503", "no")))
    assert counts(webhook=webhook) == {"failed": 1, column: 1}


@pytest.mark.parametrize(
    ("histogram", "share", "bound"),
    [
        ([0] * 9, 0.5, None),
        ([1] + [0] * 8, 0.5, 50),
        ([50, 45, 5] + [0] * 6, 0.5, 50),
        ([50, 45, 5] + [0] * 6, 0.95, 100),
        ([50, 45, 5] + [0] * 6, 0.99, 250),
        ([0] * 8 + [1], 0.5, None),
    ],
)
@pytest.mark.once
def test_a_percentile_is_the_bound_under_which_that_share_came(histogram, share, bound):
    assert percentile(histogram, share) == bound


@pytest.mark.django_db
def test_counts_are_summed_over_hours_and_grouped_for_screens():
    one, other = WebhookFactory(), WebhookFactory()
    later = NOON + timedelta(hours=1)
    record(entry(one), entry(one, at=later, ms=400), entry(other, at=later, ms=400))
    since = HourlyCount.objects.since(later + timedelta(minutes=30))
    assert since.totals()["delivered"] == 2
    assert since.percentile(0.5) == 500
    by_hour = HourlyCount.objects.filter(webhook=one).totals_by("hour")
    assert [(row["hour"], row["delivered"]) for row in by_hour] == [(NOON, 1), (later, 1)]
    assert HourlyCount.objects.none().totals()["failed"] == 0


@pytest.mark.django_db
def test_counts_go_with_their_webhook():
    webhook = WebhookFactory()
    record(entry(webhook))
    webhook.delete()
    assert not HourlyCount.objects.exists()


@pytest.mark.django_db
def test_an_answer_to_a_webhook_with_very_many_words_of_secrets_is_kept_in_a_moment():
    """99 headers of 1,024 characters in words of 8, none like another: what all others wait for
    while the worker's loop does it. At most 50 ms on a machine that has nothing else to do."""
    words = [f"{number:08x}" for number in range(99 * 113)]
    headers = [(f"X-{n}", " ".join(words[113 * n : 113 * n + 113])) for n in range(99)]
    webhook = WebhookFactory()
    head = message.head(webhook, headers)
    outcome = Outcome(
        started_at=NOON,
        status=500,
        raw_headers=[(b"Server", b"<" * 8000)] * 200,
        body=b"<" * 102_400,
        failure=REFUSED,
        secrets=message.post(head, request_id="0" * 24, now=0, body=b"").secrets,
    )
    start = time.thread_time()
    row = attempt_rows.row(outcome, REFUSED, "", ("", None, "", "", 1, "", 0))
    assert time.thread_time() - start < 0.5
    assert row.answer == "<" * 4096
    assert row.answer_headers.splitlines() == ["Server: " + "<" * 300] * 6
    assert sum(map(sys.getsizeof, head.secrets)) < 120_000  # what each such webhook costs


def test_secrets_are_masked_in_the_headers_that_are_kept_and_across_the_end_of_an_answer():
    secret = "k+/" + "0123456789" * 6
    escaped = secret.replace("+", "\\u002B").replace("/", "\\/").encode()
    outcome = Outcome(
        started_at=NOON,
        raw_headers=[
            (b"Location", b"/k%2b%2F" + secret[3:].encode() + b"/x?token=" + secret.encode()),
            (b"Server", b"x" * 290 + secret.encode()),
        ],
        body=b"y" * 4090 + escaped + b"z" * 90_000,
        secrets=(secret,),
    )
    row = attempt_rows.row(outcome, REFUSED, "", ("", None, "", "", 1, "", 0))
    assert row.answer == "y" * 4090 + "••••••••"
    assert row.answer_headers == f"Location: /••••••••/x\nServer: {'x' * 290}••••••••"
