"""An exchange as it will stand in the history; `store.record` writes it down."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from ..rules import redaction
from ..rules.failures import Failure
from ..rules.ids import keys
from .http.exchange import Outcome
from .store import AttemptRow, microseconds

SMALL_ANSWER = 1024  # bytes of one that is likely to come again
ANSWER_KEPT = 4096  # bytes of an answer that the history keeps
HEADER_KEPT = 300  # bytes of the value of such a header

# Of a failed exchange. None of them carries a session or a challenge.
_HEADERS_KEPT = frozenset(
    (b"content-type", b"content-length", b"date", b"location", b"retry-after", b"server")
)


@dataclass(slots=True)
class Entry:
    """One exchange as it will stand in the history. `failure` is the verdict, which may go
    further than the outcome's own (an answer that is no JSON, a challenge not echoed)."""

    webhook_id: str
    exchange: str
    request_id: str
    url: str
    outcome: Outcome
    failure: Failure | None
    delivery_id: str | None = None
    number: int = 1
    requested_by: str = ""

    @property
    def ended_at(self) -> datetime:
        return self.outcome.started_at + timedelta(milliseconds=self.outcome.duration_ms)

    def row(self) -> AttemptRow:
        begin = (self.webhook_id, self.delivery_id, self.exchange, self.request_id, self.number)
        ended_at = microseconds.of(self.ended_at)
        return row(self.outcome, self.failure, self.url, (*begin, self.requested_by, ended_at))


Begin = tuple[str, str | None, str, str, int, str, int]


def row(outcome: Outcome, failure: Failure | None, url: str, begin: Begin) -> AttemptRow:
    """`Entry.row`, for whoever makes very many; `begin` is what stands before `duration_ms`."""
    kind, text = (failure.kind, storable(failure.message)) if failure else ("", "")
    answer, answer_headers = _kept(outcome, headers=failure is not None)
    return AttemptRow(
        keys.draw(begin[-1] // 1000),
        *begin,
        outcome.duration_ms,
        outcome.dns_ms,
        outcome.connect_ms,
        outcome.tls_ms,
        outcome.wait_ms,
        outcome.read_ms,
        url,
        outcome.address,
        outcome.status,
        kind,
        text,
        answer,
        answer_headers,
        outcome.tls_version,
        microseconds.of(outcome.certificate_ends_at) if outcome.certificate_ends_at else None,
    )


def storable(text: str) -> str:
    """Text that every database takes: PostgreSQL has no NUL."""
    return text.replace("\0", "\ufffd")


def _kept(outcome: Outcome, *, headers: bool) -> tuple[str, str]:
    """The start of the answer and, of a failed one, what helps to find a fault; storable, and
    without the webhook's secrets. The query of an address may hold a stranger's."""
    if not headers and len(outcome.body) <= SMALL_ANSWER:
        # `ok` holds no secret, whoever's it is.
        secrets = outcome.secrets if len(outcome.body) >= redaction.SHORTEST else ()
        return _small_answer(outcome.body, secrets), ""
    kept = [pair for pair in outcome.raw_headers if headers and pair[0].lower() in _HEADERS_KEPT]
    kept = kept[: len(_HEADERS_KEPT)]
    starts = [(outcome.body, ANSWER_KEPT)]
    for name, value in kept:
        shown = value.partition(b"?")[0] if name.lower() == b"location" else value
        starts.append((shown, HEADER_KEPT))
    answer, *values = _starts(starts, outcome.secrets)
    lines = [
        f"{name.decode()}: {' '.join(value.split())}"
        for (name, _), value in zip(kept, values, strict=True)
    ]
    return storable(answer), storable("\n".join(lines))


@lru_cache(maxsize=1024)
def _small_answer(body: bytes, secrets: tuple[str, ...]) -> str:
    """A receiver answers most calls alike, `{}` or `ok`: such an answer is searched once."""
    return storable(_starts([(body, ANSWER_KEPT)], secrets)[0])


def _starts(parts: Sequence[tuple[bytes, int]], secrets: Sequence[str]) -> list[str]:
    """Of each so many bytes as text, without the secrets, of which one may lie across the end."""
    starts = [data[:kept].decode("utf-8", "replace") for data, kept in parts]
    if not secrets:
        return starts
    texts = [data[: kept + redaction.MARGIN].decode("utf-8", "replace") for data, kept in parts]
    return redaction.all_masked(list(zip(texts, map(len, starts), strict=True)), secrets)
