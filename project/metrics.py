"""/metrics: how the site does, for Prometheus. Nothing names a webhook or an account."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, InterfaceError
from django.db.models import QuerySet, Sum
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from webhooks_app import conf
from webhooks_app.api import errors, throttling
from webhooks_app.api.authentication import bearer
from webhooks_app.models import Delivery, HourlyCount, WebhookHealth, Worker, states
from webhooks_app.models.health import LATENCY_COLUMNS, hour_of, percentile
from webhooks_app.models.webhook import FAILING_AFTER

from .errors import only_read

COUNT_LIMIT = 10_000  # nothing is counted further
UP_TO = f"counted up to {COUNT_LIMIT + 1:,}"


@only_read
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Wants `Authorization: Bearer <WEBHOOKS_METRICS_TOKEN>`; without that setting a 404."""
    token = conf.metrics_token()
    if not token:
        return JsonResponse(errors.envelope(404, errors.NOT_FOUND), status=404)
    given = request.META.get("HTTP_AUTHORIZATION", "")
    if not constant_time_compare(bearer(given) or "", token):
        return _refused(request, given)
    registry = CollectorRegistry(auto_describe=False)
    try:
        registry.register(Collector())
        text = generate_latest(registry)
    except (DatabaseError, InterfaceError):
        return JsonResponse(errors.envelope(503, "The database does not answer."), status=503)
    return HttpResponse(text, content_type=CONTENT_TYPE_PLAIN_0_0_4)


def _refused(request: HttpRequest, given: str) -> HttpResponse:
    try:
        if given:
            throttling.wrong_token(request)
    except errors.Problem as problem:
        response = JsonResponse(errors.envelope(429, problem.message), status=429)
        response["Retry-After"] = str(round(problem.retry_after or 1))
        return response
    response = JsonResponse(errors.envelope(401, "Send the token of the metrics."), status=401)
    response["WWW-Authenticate"] = "Bearer"
    return response


class Collector:
    """Asks the database at each scrape; every count is bounded. All are gauges: what is counted
    goes with the retention, and a counter must not fall."""

    def collect(self) -> Iterator[Metric]:
        now = timezone.now()
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
