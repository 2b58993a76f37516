"""The numbers of /metrics, in Prometheus' text format. Nothing names a webhook or an account."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import router
from django.db.models import QuerySet, Sum
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE

from ..models import Delivery, HourlyCount, WebhookHealth, Worker, states
from ..models.health import LATENCY_COLUMNS, hour_of, percentile
from ..models.primary import clock
from ..models.webhook import FAILING_AFTER

__all__ = ["CONTENT_TYPE", "Collector", "exposition"]

COUNT_LIMIT = 10_000  # nothing is counted further
UP_TO = f"counted up to {COUNT_LIMIT + 1:,}"


def exposition() -> bytes:
    """The numbers of this moment. Raises DatabaseError, InterfaceError."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return bytes(generate_latest(registry))


class Collector:
    """Asks the database at each scrape; every count is bounded. All are gauges: what is counted
    goes with the retention, and a counter must not fall."""

    def collect(self) -> Iterator[Metric]:
        now = clock(router.db_for_write(Delivery))
        yield from self.deliveries(now)
        yield from self.webhooks(now)
        alive = Worker.objects.alive(now)
        yield gauge("workers", "Workers that send.", alive.filter(standby=False).count())
        yield gauge("workers_standby", "Workers that stand by.", alive.filter(standby=True).count())
        sums = alive.aggregate(flying=Sum("in_flight"), unwritten=Sum("unwritten"))
        yield gauge("in_flight", "Exchanges of the workers under way.", sums["flying"] or 0)
        yield gauge(
            "outcomes_unwritten",
            "Outcomes that live workers could write down nowhere.",
            sums["unwritten"] or 0,
        )
        yield from self.last_hour(hour_of(now))

    def deliveries(self, now: datetime) -> Iterator[Metric]:
        due = Delivery.objects.filter(states.deliveries_in("due", now)).order_by("due_at")
        first = due.values_list("due_at", flat=True).first()
        yield gauge(
            "deliveries_due",
            f"Deliveries that could go out now, {UP_TO}; what is held is not among them.",
            bounded(due),
        )
        yield gauge(
            "oldest_due_seconds",
            "For how long the oldest of them has been due.",
            (now - first).total_seconds() if first else 0,
        )
        later = Delivery.objects.filter(states.deliveries_in("later", now))
        yield gauge(
            "deliveries_later", f"Deliveries whose time comes later, {UP_TO}.", bounded(later)
        )
        yield by(
            "deliveries_held",
            f"Deliveries whose webhook is not called, by the reason, {UP_TO} each.",
            "state",
            states.held_deliveries(now),
        )
        yield gauge(
            "deliveries_unrecorded",
            f"Deliveries that were sent and of which no outcome can be stored, {UP_TO}.",
            bounded(states.unrecorded()),
        )
        given_up = Delivery.objects.filter(
            state=Delivery.State.FAILED, finished_at__gte=now - timedelta(days=1)
        )
        yield gauge(
            "deliveries_given_up", f"Given up in the last 24 hours, {UP_TO}.", bounded(given_up)
        )

    def webhooks(self, now: datetime) -> Iterator[Metric]:
        failing = WebhookHealth.objects.live().filter(states.FAILING.rows(now))
        yield gauge(
            "failing",
            f"Webhooks whose last {FAILING_AFTER} or more calls failed, {UP_TO}.",
            bounded(failing),
        )
        yield by(
            "held",
            f"Webhooks that are not called, by the reason, {UP_TO} each.",
            "state",
            states.held_webhooks(now),
        )

    def last_hour(self, hour: datetime) -> Iterator[Metric]:
        """The last whole hour, and the one that runs."""
        calls = GaugeMetricFamily(
            "webhooks_calls",
            "Calls of deliveries and interactions, by their outcome and the hour they began in.",
            labels=["hour", "outcome"],
        )
        latency = GaugeMetricFamily(
            "webhooks_answer_milliseconds",
            "How long answers took, as the upper bound of their class.",
            labels=["hour", "quantile"],
        )
        answers = GaugeMetricFamily(
            "webhooks_answers_within",
            "Answers that came within so many milliseconds; it begins anew each hour.",
            labels=["hour", "milliseconds"],
        )
        for name, start in (("last", hour - timedelta(hours=1)), ("this", hour)):
            totals = HourlyCount.objects.filter(hour=start).totals()
            for outcome in ("delivered", "failed"):
                calls.add_metric([name, outcome], totals[outcome])
            for quantile in (0.5, 0.95, 0.99):
                found = percentile([totals[column] for column, _ in LATENCY_COLUMNS], quantile)
                if found is not None:
                    latency.add_metric([name, str(quantile)], found)
            within = 0
            for column, bound in LATENCY_COLUMNS:
                within += totals[column]
                answers.add_metric([name, str(bound or "+Inf")], within)
        yield calls
        yield latency
        yield answers


def bounded(rows: "QuerySet[Any]") -> int:
    return rows[: COUNT_LIMIT + 1].count()


def by(name: str, meaning: str, label: str, sets: "Mapping[str, QuerySet[Any]]") -> Metric:
    family = GaugeMetricFamily(f"webhooks_{name}", meaning, labels=[label])
    for value, rows in sets.items():
        family.add_metric([value], bounded(rows.order_by()))
    return family


def gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"webhooks_{name}", meaning, value=value)
