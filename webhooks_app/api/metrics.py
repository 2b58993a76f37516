"""The numbers of /metrics, in Prometheus' text format. Nothing names a webhook, an account or a
host: the labels are kind, outcome and state, and every series is there from the start, because a
rate needs the nought before the one."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from django.db.models import QuerySet, Sum
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE

from ..engine.maintenance import accepted
from ..engine.store.counters import DATABASE_ERRORS, GIVEN_UP
from ..models import Attempt, Counter, Delivery, WebhookHealth, Worker, site, states
from ..models.delivery import db_now
from ..models.webhook import FAILING_AFTER
from ..rules.failures import KINDS

__all__ = ["CONTENT_TYPE", "Collector", "exposition"]

COUNT_LIMIT = 10_000  # no gauge is counted further
UP_TO = f"counted up to {COUNT_LIMIT + 1:,}"


def exposition() -> bytes:
    """The numbers of this moment. Raises DatabaseError, InterfaceError."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return bytes(generate_latest(registry))


class Collector:
    """Asks the database at each scrape; what is counted for it is bounded."""

    def collect(self) -> Iterator[Metric]:
        now = db_now()
        yield from self.totals()
        yield from self.deliveries(now)
        yield from self.webhooks(now)
        alive = Worker.objects.alive(now)
        yield gauge("workers", "Workers that send.", alive.filter(standby=False).count())
        yield gauge("workers_standby", "Workers that stand by.", alive.filter(standby=True).count())
        yield gauge(
            "worker_versions",
            "Versions of the live workers: more than one while an upgrade is under way.",
            alive.order_by().values("version").distinct().count(),
        )
        sums = alive.aggregate(flying=Sum("in_flight"), unwritten=Sum("unwritten"))
        yield gauge("in_flight", "Exchanges of the workers under way.", sums["flying"] or 0)
        yield gauge(
            "outcomes_unwritten",
            "Outcomes that live workers could write down nowhere.",
            sums["unwritten"] or 0,
        )

    def totals(self) -> Iterator[Metric]:
        """Since the installation began."""
        # In one statement with the place, so that what a worker counts meanwhile counts once.
        rows = list(Counter.objects.order_by().values_list("name", "kind", "count", "place"))
        attempts = CounterMetricFamily(
            "webhooks_attempts",
            "Exchanges with receivers, by kind and outcome.",
            labels=["kind", "outcome"],
        )
        exchanges = Attempt.Exchange.values
        for exchange in exchanges:
            of_it = [(kind, count) for name, kind, count, _ in rows if name == exchange]
            attempts.add_metric([exchange, "success"], sum(n for kind, n in of_it if not kind))
            attempts.add_metric([exchange, "failure"], sum(n for kind, n in of_it if kind))
        yield attempts
        failures = CounterMetricFamily(
            "webhooks_failures", "Exchanges that failed, by the kind of error.", labels=["kind"]
        )
        for kind in KINDS:
            of_kind = (n for name, found, n, _ in rows if found == kind and name in exchanges)
            failures.add_metric([kind], sum(of_kind))
        yield failures
        taken = [(count, place) for name, _, count, place in rows if name == accepted.ACCEPTED]
        count, place = taken[0] if taken else (0, "")
        yield counter("deliveries_accepted", "Deliveries stored.", count + accepted.behind(place))
        yield counter(
            "deliveries_given_up",
            "Deliveries whose last try failed.",
            sum(count for name, _, count, _ in rows if name == GIVEN_UP),
        )
        yield counter(
            "database_errors",
            "Times that a worker or web process found the database away or in its way.",
            sum(count for name, _, count, _ in rows if name == DATABASE_ERRORS),
        )

    def deliveries(self, now: datetime) -> Iterator[Metric]:
        yield gauge("site_held", "1 while an operator holds the whole site.", site.is_held())
        due, since = states.count_due(now, COUNT_LIMIT)
        yield gauge(
            "deliveries_due",
            f"Deliveries that could go out now, {UP_TO}; what is held is not among them.",
            due,
        )
        yield gauge(
            "oldest_due_seconds",
            "For how long the oldest of them has been due.",
            (now - since).total_seconds() if since else 0,
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

        resting = WebhookHealth.objects.live().filter(states.BREAKER.rows(now))
        yield gauge(
            "breakers_open", f"Webhooks that rest after failures, {UP_TO}.", bounded(resting)
        )


def bounded(rows: "QuerySet[Any]") -> int:
    return rows.order_by()[: COUNT_LIMIT + 1].count()


def by(name: str, meaning: str, label: str, sets: "Mapping[str, QuerySet[Any]]") -> Metric:
    family = GaugeMetricFamily(f"webhooks_{name}", meaning, labels=[label])
    for value, rows in sets.items():
        family.add_metric([value], bounded(rows))
    return family


def gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"webhooks_{name}", meaning, value=value)


def counter(name: str, meaning: str, value: float) -> Metric:
    return CounterMetricFamily(f"webhooks_{name}", meaning, value=value)
