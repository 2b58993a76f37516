"""The record of a delivery: what was accepted of whom, where it was sent, what came back each time.

It is made to be handed out as proof, so every moment is whole and in UTC, and no secret is in it:
addresses are those that were sent to, without their token.
"""

import hashlib
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from .. import __version__
from ..engine.http.message import without_token
from ..models import Attempt, Delivery
from ..rules.ids import timestamp
from .formatting import in_utc, visible
from .looks import delivery_state

ATTEMPTS_MOST = 200
ANSWER_SHOWN = 300  # characters, where the record is read; the JSON has what is kept
WORDS = (
    "All times are UTC. The body is told by the SHA-256 of the bytes that are sent. Addresses are "
    "told without their token; no header value, password or signing secret is part of a record."
)


@dataclass(frozen=True, slots=True)
class Body:
    bytes: int
    sha256: str
    contentType: str


@dataclass(frozen=True, slots=True)
class Record:
    """A delivery as it stands at `made_at`, with its attempts, the oldest first."""

    delivery: Delivery
    attempts: list[Attempt]
    cut: bool  # older attempts are left out
    body: Body | None  # None: its event is kept no longer
    made_at: datetime
    made_by: str

    @property
    def delivered(self) -> Attempt | None:
        """The attempt that the receiver accepted."""
        return next((attempt for attempt in reversed(self.attempts) if attempt.ok), None)

    @property
    def outcome(self) -> str:
        return delivery_state(self.delivery, self.made_at).word

    @property
    def address(self) -> str:
        """Where it was sent, or will be."""
        last = self.delivered or (self.attempts[-1] if self.attempts else None)
        return last.url if last else without_token(self.delivery.webhook.url)

    def as_json(self) -> dict[str, Any]:
        """For programs, with the names that the API has for them."""
        row, webhook, good = self.delivery, self.delivery.webhook, self.delivered
        return {
            "recordOf": row.pk,
            "madeAt": timestamp(self.made_at),
            "madeBy": self.made_by,
            "madeWith": f"Webhooks {__version__}",
            "about": WORDS,
            "account": webhook.account.name,
            "webhook": {"id": webhook.pk, "name": webhook.name},
            "type": row.type,
            "reference": row.reference,
            "eventId": row.event_id,
            "state": row.state,
            "reason": row.reason,
            "accepted": {
                "at": timestamp(row.created_at),
                "by": row.created_by,
                "requestId": row.stored_in or "",
            },
            "finishedAt": timestamp(row.finished_at) if row.finished_at else None,
            "url": self.address,
            "body": asdict(self.body) if self.body else None,
            "delivered": {
                "at": timestamp(good.ended_at),
                "number": good.number,
                "status": good.status,
                "address": good.address,
                "tls": tls_words(good),
            }
            if good
            else None,
            "attempts": [_attempt(attempt) for attempt in self.attempts],
            "olderAttemptsLeftOut": self.cut,
        }

    def lines(self) -> list[tuple[str, str]]:
        """For people: what it says before its attempts."""
        row, webhook, good = self.delivery, self.delivery.webhook, self.delivered
        accepted = spelled(row.created_at)
        if row.created_by:
            accepted += f", from “{row.created_by}”"
        body = "its event is kept no longer"
        if self.body:
            noun = "byte" if self.body.bytes == 1 else "bytes"
            body = f"{self.body.bytes:,} {noun}, {self.body.contentType}"
        found = [
            ("Delivery", row.pk),
            ("Customer", webhook.account.name),
            ("Webhook", f"{webhook.name} ({webhook.pk})"),
            ("Event type", row.type),
            ("Reference", row.reference),
            ("Event", row.event_id or ""),
            ("Accepted by us", accepted),
            ("Request", row.stored_in or ""),
            ("Outcome", f"{self.outcome}: {row.reason}" if row.reason else self.outcome),
            ("Delivered", f"{spelled(good.ended_at)}, try {good.number}" if good else ""),
            ("Accepted by", _accepted_by(good) if good else ""),
            ("Finished", spelled(row.finished_at) if row.finished_at and not good else ""),
            ("Address", f"POST {self.address}"),
            ("Body", body),
            ("SHA-256", self.body.sha256 if self.body else ""),
        ]
        return [(label, value) for label, value in found if value]

    def tries(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """Each attempt: its head, and what is said of it."""
        return [(f"Try {attempt.number}", _lines(attempt)) for attempt in self.attempts]

    def as_text(self) -> str:
        parts = [f"Record of delivery {self.delivery.pk}", self.made, "", *_block(self.lines())]
        for head, lines in self.tries():
            parts += ["", head, *_block(lines)]
        if self.cut:
            parts += ["", f"Attempts before the last {ATTEMPTS_MOST} are left out."]
        return "\n".join([*parts, "", WORDS, ""])

    @property
    def made(self) -> str:
        return f"made {spelled(self.made_at)} by {self.made_by}, Webhooks {__version__}"


def record_of(delivery: Delivery, *, now: datetime, by: str) -> Record:
    """Reads its attempts and body; `by` is who asks for it."""
    newest = list(delivery.attempts.order_by("-id")[: ATTEMPTS_MOST + 1])
    content_type, payload = delivery.body()
    body = Body(
        len(payload), hashlib.sha256(payload).hexdigest(), content_type or "application/json"
    )
    gone = delivery.event_id is not None and not payload
    attempts = newest[:ATTEMPTS_MOST][::-1]
    return Record(delivery, attempts, len(newest) > ATTEMPTS_MOST, None if gone else body, now, by)


def tls_words(attempt: Attempt) -> str:
    """Whether the call went over TLS. A certificate is always checked, with its names, before
    anything is sent; so an answer over https is the answer of whom it was issued to."""
    if not attempt.url.lower().startswith("https:"):
        return "none: the address is http"
    if attempt.status is None and attempt.wait_ms is None:
        return "no session came about"
    version = f"{attempt.tls_version}, " if attempt.tls_version else ""
    shaken = f", handshake in {attempt.tls_ms:,} ms" if attempt.tls_ms is not None else ""
    kept = ", on a kept connection" if attempt.tls_ms is None and attempt.connect_ms is None else ""
    return f"{version}certificate and host name checked{shaken}{kept}"


def spelled(moment: datetime) -> str:
    """A whole date with its zone, to the millisecond."""
    return in_utc(moment).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"


def _accepted_by(attempt: Attempt) -> str:
    took = f"HTTP {attempt.status} in {attempt.duration_ms:,} ms"
    return f"{attempt.address}, {took}, TLS: {tls_words(attempt)}"


def _lines(attempt: Attempt) -> list[tuple[str, str]]:
    outcome = f"HTTP {attempt.status}" if attempt.status else "no answer"
    if not attempt.ok:
        outcome = f"{outcome}, {(attempt.title or 'failed').lower()}"
    answer = visible(attempt.answer)
    if len(answer) > ANSWER_SHOWN:
        answer = answer[:ANSWER_SHOWN] + "…"
    found = [
        ("Began", spelled(attempt.started_at)),
        ("Ended", f"{spelled(attempt.ended_at)}, after {attempt.duration_ms:,} ms"),
        ("Outcome", outcome),
        ("Message", visible(attempt.message)),
        ("Address", f"{attempt.url}, at {attempt.address}" if attempt.address else attempt.url),
        ("TLS", tls_words(attempt)),
        ("Answer", answer),
        ("Asked for by", attempt.requested_by),
    ]
    return [(label, value) for label, value in found if value]


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "startedAt": timestamp(attempt.started_at),
        "endedAt": timestamp(attempt.ended_at),
        "durationMs": attempt.duration_ms,
        "url": attempt.url,
        "address": attempt.address,
        "tls": tls_words(attempt),
        "status": attempt.status,
        "ok": attempt.ok,
        "error": None
        if attempt.ok
        else {"kind": attempt.kind, "title": attempt.title, "message": attempt.message},
        "answer": attempt.answer,
        "askedForBy": attempt.requested_by,
    }


def _block(lines: list[tuple[str, str]]) -> list[str]:
    """Label and value beside each other; a value of several lines stays in its column. A
    customer's own words, too, are for a terminal."""
    wide = 16
    return [
        f"{label if place == 0 else '':<{wide}}{line}"
        for label, value in lines
        for place, line in enumerate(visible(value).splitlines() or [""])
    ]
