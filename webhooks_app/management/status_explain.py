"""The verbs that only look: `status`, `explain`."""

from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q

from webhooks_app import actions
from webhooks_app.models import Delivery, Webhook, Worker, states
from webhooks_app.models.delivery import advice_on, db_now
from webhooks_app.presentation.credentials import credentials_lines
from webhooks_app.presentation.delivery_object import shown
from webhooks_app.presentation.last_error import ELSEWHERE, is_elsewhere, url_of_last_error
from webhooks_app.rules import failures
from webhooks_app.rules.ids import timestamp

from . import hold_release
from .terminal import MANY, Console, bounded, count, many, wrong_usage

EXACTLY = 1_000_000  # of a site that is held, somebody wants to know before he lets it go on
WITH_REFERENCE = 20  # deliveries with one reference that are told


def add_verbs(verbs: Any) -> None:
    parser = verbs.add_parser("status", help="workers, webhooks and what waits")
    parser.add_argument("--json", action="store_true", help="print as JSON (counts end at 1001)")
    parser.set_defaults(run=status)

    parser = verbs.add_parser("explain", help="why was this (not) sent? A delivery or a webhook")
    parser.add_argument("id", metavar="ID", help="of one of them, or the reference of a delivery")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.set_defaults(run=explain)


def status(console: Console, options: dict[str, Any]) -> int:
    now = db_now()
    workers = list(Worker.objects.alive(now))
    live = Webhook.objects.live()
    due, oldest = states.count_due(now, MANY)
    held = {reason: bounded(rows) for reason, rows in states.held_deliveries(now).items()}
    stopped = {reason: bounded(rows) for reason, rows in states.held_webhooks(now).items()}
    finished = Delivery.objects.filter(finished_at__gte=now - timedelta(days=1))
    counts: dict[str, Any] = {
        "webhooks": {
            "total": bounded(live),
            "failing": bounded(live.filter(pk__in=states.FAILING.keys(now))),
            "held": stopped,
        },
        "deliveries": {
            "due": due,
            "held": held,
            "later": bounded(Delivery.objects.filter(states.deliveries_in("later", now))),
            "unrecorded": bounded(states.unrecorded()),
            "failedLast24h": bounded(finished.filter(state=Delivery.State.FAILED)),
        },
    }
    hold = hold_release.as_json()
    if hold["held"]:
        hold["released"] = _released(now)
    if options["json"]:
        console.json(
            {"site": hold, "workers": [_worker(worker) for worker in workers], **counts}
            | {"oldestDueAt": timestamp(oldest)}
        )
        return 0 if workers else 1
    if hold["held"]:
        would = hold["released"]
        console.line(f"THE SITE IS HELD {hold_release.words()}")
        console.line("Nothing is sent. `manage.py webhooks release-all` lets go:")
        console.line(
            f"released    {count(would['due'], 'delivery', EXACTLY)} would be sent at once, "
            f"{many(would['later'], EXACTLY)} later; still held: {_reasons(would['held'])}"
        )
    if workers:
        console.line(f"{count(len(workers), 'worker')} alive")
        console.table(
            ("WORKER", "VERSION", "SINCE", "LAST SIGN", "SHARES", "IN FLIGHT", "SENT", ""),
            (
                (
                    f"{worker.host}:{worker.pid}",
                    worker.version or "before 0.2",
                    timestamp(worker.started_at),
                    f"{max(0, round((now - worker.seen_at).total_seconds()))} s ago",
                    worker.slots,
                    worker.in_flight,
                    worker.sent,
                    _does(worker, held=hold["held"]),
                )
                for worker in workers
            ),
        )
    else:
        console.line("No worker is alive; nothing is sent. Start `manage.py webhooks deliver`.")
    hooks, deliveries = counts["webhooks"], counts["deliveries"]
    console.line(
        f"webhooks    {many(hooks['total'])}, {many(hooks['failing'])} failing; "
        f"not called: {_reasons(stopped)}"
    )
    console.line(
        f"deliveries  {many(deliveries['due'])} due, {many(deliveries['later'])} later, "
        f"{many(deliveries['failedLast24h'])} given up in the last 24 h; held: {_reasons(held)}"
    )
    unwritten = sum(worker.unwritten for worker in workers)
    if deliveries["unrecorded"] or unwritten:
        console.line(
            f"unrecorded  {many(deliveries['unrecorded'])} deliveries were sent and their outcome "
            f"cannot be stored, {many(unwritten)} more are known to a worker alone"
        )
    if oldest is not None:
        console.line(f"oldest due  {timestamp(oldest)}")
    return 0 if workers else 1


def _released(now: datetime) -> dict[str, Any]:
    """What would become of the deliveries that wait when nobody held the site."""
    rows = Delivery.objects.all()
    held = states.held_deliveries(now, released=True)
    return {
        "due": states.count_due(now, EXACTLY, released=True)[0],
        "later": bounded(rows.filter(states.deliveries_in("later", now, released=True)), EXACTLY),
        "held": {reason: bounded(rows) for reason, rows in held.items()},
    }


def _reasons(counts: dict[str, int]) -> str:
    words = [f"{many(number)} {what}" for what, number in counts.items() if number]
    return ", ".join(words) or "none"


def _does(worker: Worker, *, held: bool) -> str:
    if held:
        return "holds" if worker.holds else "has not noticed the hold"
    return "stands by" if worker.standby else ""


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
        "holds": worker.holds,
        "unwritten": worker.unwritten,
    }


def explain(console: Console, options: dict[str, Any]) -> int:
    ident = options["id"]
    found = _deliveries(ident)
    delivery, others = next(iter(found), None), found[1:]
    webhook = delivery.webhook if delivery else _webhook(ident)
    if webhook is None:
        raise wrong_usage(f"There is no delivery and no webhook {ident}, and no such reference.")
    lines = _of_webhook(webhook)
    attempts = list(webhook.attempts.order_by("-id")[:10])
    if delivery is not None:
        own = _of_delivery(delivery)
        lines = [*own, *(line for line in lines if line not in own), *map(_also, others)]
        attempts = list(delivery.attempts.order_by("-id")[:100])
    if options["json"]:
        console.json(
            {
                "delivery": shown(delivery) if delivery else None,
                "others": [other.id for other in others],
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


def _deliveries(word: str) -> list[Delivery]:
    """The one with this id, or those with this reference, the newest first."""
    rows = Delivery.objects.select_related("webhook__health").defer("payload")
    if found := rows.filter(pk=word).first():
        return [found]
    same = rows.with_reference(word).order_by("-reference", "-webhook", "-pk")[:WITH_REFERENCE]
    return sorted(same, key=lambda delivery: delivery.pk, reverse=True)


def _also(delivery: Delivery) -> str:
    error = f", {delivery.last_error}" if delivery.last_error else ""
    return (
        f"Delivery {delivery.pk} to {delivery.webhook} has this reference, too: "
        f"{delivery.state}{error}"
    )


def _webhook(ident: str) -> Webhook | None:
    return Webhook.objects.select_related("health").filter(Q(pk=ident)).first()


def _of_delivery(delivery: Delivery) -> list[str]:
    tries = f"{count(delivery.tries, 'try')} of {delivery.max_tries}"
    if delivery.state == Delivery.State.PENDING:
        now = db_now()
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
    elif actions.delivery_reason(delivery) == states.ORDER:
        lines.append(states.SENTENCES[states.ORDER])
    if delivery.sequence is not None:
        key = "" if delivery.ordering_key is None else f" with the key {delivery.ordering_key!r}"
        lines.append(f"It is sent in order{key}, as number {delivery.sequence}.")
    if delivery.stored_in:
        lines.append(f"It was stored by the request {delivery.stored_in}.")
    last = delivery.attempts.order_by("-id").first()
    if last is not None and not last.ok:
        lines += [f"Last error: {last.message}", *_cure(last.kind)]
    return lines


def _cure(kind: str) -> list[str]:
    why, advice = failures.why(kind), advice_on(kind)
    return [*([why] if why else []), *([f"What to do: {advice}"] if advice else [])]


def _of_webhook(webhook: Webhook) -> list[str]:
    lines = [f"Webhook {webhook.id} ({webhook}) calls {webhook.url}"]
    if webhook.deleted_at is not None:
        return [*lines, f"It was deleted {timestamp(webhook.deleted_at)}."]
    reasons = states.hold_reasons(webhook, db_now())
    for which, reason in enumerate(reasons):
        sentence = states.hold_sentence(webhook, reason)
        lines.append(f"{'It is held, too' if which else 'It is held'}: {sentence}")
    if not reasons:
        lines.append("It may be called.")
    if webhook.stopped_note:
        lines.append(f"Note: {webhook.stopped_note}")
    lines += credentials_lines(webhook)
    for head in actions.heads(webhook):
        key = head.delivery.ordering_key
        many = f"{head.behind:,}{' or more' if head.is_many else ''}"
        decides = "retry or cancel it to go on"
        when = f"next try {timestamp(head.next_at)}" if head.next_at else decides
        lines.append(
            f"Head of the line{'' if key is None else f' of {key!r}'}: delivery "
            f"{head.delivery.pk} since {timestamp(head.since)}, {many} behind it, {when}: "
            f"{head.delivery.last_error or 'no error'}"
        )
    lines.append(f"Verification: {webhook.verification}.")
    health = webhook.health
    if health.last_error_at is not None:
        when = timestamp(health.last_error_at)
        lines.append(f"Last error of the webhook: {health.last_error_message} ({when})")
        if is_elsewhere(webhook, url_of_last_error(webhook).first()):
            lines.append(f"It {ELSEWHERE}.")
        elif health.last_success_at is None or health.last_success_at < health.last_error_at:
            lines += _cure(health.last_error_kind)
    if not Worker.objects.alive().exists():
        lines.append("No worker is alive; nothing is sent. Start `manage.py webhooks deliver`.")
    return lines
