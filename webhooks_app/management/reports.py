"""The verbs that only look: `status`, `explain`."""

from datetime import timedelta
from typing import Any

from django.db import router
from django.db.models import Q, QuerySet

from webhooks_app import actions
from webhooks_app.models import Delivery, Webhook, Worker, states
from webhooks_app.models.primary import clock
from webhooks_app.rules.ids import timestamp

from .sending import as_json
from .terminal import Console, count, wrong_usage

MANY = 1000  # counted no further: an unbounded count reads the whole table


def add_verbs(verbs: Any) -> None:
    parser = verbs.add_parser("status", help="workers, webhooks and what waits")
    parser.add_argument("--json", action="store_true", help="print as JSON (counts end at 1001)")
    parser.set_defaults(run=status)

    parser = verbs.add_parser("explain", help="why was this (not) sent? A delivery or a webhook")
    parser.add_argument("id", metavar="ID")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.set_defaults(run=explain)


def status(console: Console, options: dict[str, Any]) -> int:
    now = clock(router.db_for_write(Delivery))
    workers = list(Worker.objects.alive(now))
    live = Webhook.objects.live()
    due = Delivery.objects.filter(states.deliveries_in("due", now)).order_by("due_at")
    held = {reason: _count(rows) for reason, rows in states.held_deliveries(now).items()}
    stopped = {reason: _count(rows) for reason, rows in states.held_webhooks(now).items()}
    finished = Delivery.objects.filter(finished_at__gte=now - timedelta(days=1))
    counts: dict[str, Any] = {
        "webhooks": {
            "total": _count(live),
            "failing": _count(live.filter(pk__in=states.FAILING.keys(now))),
            "held": stopped,
        },
        "deliveries": {
            "due": _count(due),
            "held": held,
            "later": _count(Delivery.objects.filter(states.deliveries_in("later", now))),
            "unrecorded": _count(states.unrecorded()),
            "failedLast24h": _count(finished.filter(state=Delivery.State.FAILED)),
        },
    }
    oldest = due.values_list("due_at", flat=True).first()
    if options["json"]:
        console.json(
            {"workers": [_worker(worker) for worker in workers], **counts}
            | {"oldestDueAt": timestamp(oldest)}
        )
        return 0 if workers else 1
    if workers:
        console.line(f"{count(len(workers), 'worker')} alive")
        console.table(
            ("WORKER", "VERSION", "SINCE", "SLOTS", "IN FLIGHT", "SENT", ""),
            (
                (
                    f"{worker.host}:{worker.pid}",
                    worker.version or "before 0.2",
                    timestamp(worker.started_at),
                    worker.slots,
                    worker.in_flight,
                    worker.sent,
                    "stands by" if worker.standby else "",
                )
                for worker in workers
            ),
        )
    else:
        console.line("No worker is alive; nothing is sent. Start `manage.py webhooks deliver`.")
    hooks, deliveries = counts["webhooks"], counts["deliveries"]
    console.line(
        f"webhooks    {_many(hooks['total'])}, {_many(hooks['failing'])} failing; "
        f"not called: {_reasons(stopped)}"
    )
    console.line(
        f"deliveries  {_many(deliveries['due'])} due, {_many(deliveries['later'])} later, "
        f"{_many(deliveries['failedLast24h'])} given up in the last 24 h; held: {_reasons(held)}"
    )
    unwritten = sum(worker.unwritten for worker in workers)
    if deliveries["unrecorded"] or unwritten:
        console.line(
            f"unrecorded  {_many(deliveries['unrecorded'])} deliveries were sent and their outcome "
            f"cannot be stored, {_many(unwritten)} more are known to a worker alone"
        )
    if oldest is not None:
        console.line(f"oldest due  {timestamp(oldest)}")
    return 0 if workers else 1


def _count(rows: "QuerySet[Any]") -> int:
    return rows.order_by()[: MANY + 1].count()


def _reasons(counts: dict[str, int]) -> str:
    words = [f"{_many(number)} {what}" for what, number in counts.items() if number]
    return ", ".join(words) or "none"


def _many(number: int) -> str:
    return f"{MANY:,}+" if number > MANY else f"{number:,}"


def _worker(worker: Worker) -> dict[str, Any]:
    return {
        "id": worker.id,
        "host": worker.host,
        "pid": worker.pid,
        "version": worker.version,
        "startedAt": timestamp(worker.started_at),
        "seenAt": timestamp(worker.seen_at),
        "standby": worker.standby,
        "slots": worker.slots,
        "inFlight": worker.in_flight,
        "sent": worker.sent,
        "unwritten": worker.unwritten,
    }


def explain(console: Console, options: dict[str, Any]) -> int:
    ident = options["id"]
    delivery = Delivery.objects.select_related("webhook__health").filter(pk=ident).first()
    webhook = delivery.webhook if delivery else _webhook(ident)
    if webhook is None:
        raise wrong_usage(f"There is no delivery and no webhook {ident}.")
    lines = _of_webhook(webhook)
    attempts = list(webhook.attempts.order_by("-id")[:10])
    if delivery is not None:
        lines = [*_of_delivery(delivery), *lines]
        attempts = list(delivery.attempts.order_by("-id")[:100])
    if options["json"]:
        console.json(
            {
                "delivery": as_json(delivery) if delivery else None,
                "webhookId": webhook.id,
                "held": actions.hold_reason(webhook),
                "explanation": lines,
                "attempts": [
                    {
                        "exchange": attempt.exchange,
                        "number": attempt.number,
                        "date": timestamp(attempt.ended_at),
                        "durationMs": attempt.duration_ms,
                        "status": attempt.status,
                        "kind": attempt.kind,
                        "message": attempt.message,
                        "advice": attempt.advice,
                    }
                    for attempt in attempts
                ],
            }
        )
        return 0
    for line in lines:
        console.line(line)
    if attempts:
        console.line("Exchanges, newest first:")
        console.table(
            ("WHEN", "KIND", "TRY", "MS", "OUTCOME"),
            (
                (
                    timestamp(attempt.ended_at),
                    attempt.exchange,
                    attempt.number,
                    attempt.duration_ms,
                    attempt.message or f"answered {attempt.status}",
                )
                for attempt in attempts
            ),
        )
    return 0


def _webhook(ident: str) -> Webhook | None:
    return Webhook.objects.select_related("health").filter(Q(pk=ident)).first()


def _of_delivery(delivery: Delivery) -> list[str]:
    tries = f"{count(delivery.tries, 'try')} of {delivery.max_tries}"
    if delivery.state == Delivery.State.PENDING:
        now = clock(router.db_for_write(Delivery))
        when = "is due" if delivery.due_at <= now else "waits until"
        lines = [f"Delivery {delivery.id} {when} {timestamp(delivery.due_at)}, after {tries}."]
    else:
        lines = [
            f"Delivery {delivery.id} is {delivery.state} since "
            f"{timestamp(delivery.finished_at)}, after {tries}."
        ]
    if delivery.reason == states.UNRECORDED:
        lines = [f"Delivery {delivery.id} waits for somebody, after {tries}."]
        lines.append(states.SENTENCES[states.UNRECORDED])
    elif delivery.reason:
        lines.append(f"Reason: {delivery.reason}.")
    last = delivery.attempts.order_by("-id").first()
    if last is not None and not last.ok:
        lines.append(f"Last error: {last.message}. {last.why} {last.advice}")
    return lines


def _of_webhook(webhook: Webhook) -> list[str]:
    lines = [f"Webhook {webhook.id} ({webhook}) calls {webhook.url}"]
    if webhook.deleted_at is not None:
        return [*lines, f"It was deleted {timestamp(webhook.deleted_at)}."]
    reason = actions.hold_reason(webhook)
    lines.append(f"It is held: {states.SENTENCES[reason]}" if reason else "It may be called.")
    if webhook.stopped_note:
        lines.append(f"Note: {webhook.stopped_note}")
    lines.append(f"Verification: {webhook.verification}.")
    health = webhook.health
    if health.last_error_at is not None:
        when = timestamp(health.last_error_at)
        lines.append(f"Last error of the webhook: {health.last_error_message} ({when})")
    if not Worker.objects.alive().exists():
        lines.append("No worker is alive; nothing is sent. Start `manage.py webhooks deliver`.")
    return lines
