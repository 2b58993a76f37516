"""How long receivers take to answer: what half of their answers, and what 95 % of them, stay
within. Of many hours from the histograms, of the last calls of a webhook exactly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from ..models import Attempt
from ..models.health import percentile
from .collected import Collected
from .formatting import lasting

LOOKED_AT = 200  # the last attempts of a webhook
CALLS = (Attempt.Exchange.DELIVERY, Attempt.Exchange.INTERACTION)  # what rates and charts count
MEDIAN, MOST = 0.5, 0.95


@dataclass(frozen=True, slots=True)
class Latency:
    """Of so many answers; `median` and `most` in words."""

    answers: int
    median: str
    most: str

    @property
    def short(self) -> tuple[str, str]:
        """Both for a narrow column: "≤ 100 ms", "> 10 s"."""
        median, most = (
            words.replace("within", "≤").replace("over", ">") for words in (self.median, self.most)
        )
        return median, most


def of_histogram(histogram: Sequence[int]) -> Latency | None:
    """`histogram` holds the counts of LATENCY_COLUMNS; None without answers."""
    answers = sum(histogram)
    if not answers:
        return None
    return Latency(answers, *(_within(percentile(histogram, share)) for share in (MEDIAN, MOST)))


def last_attempts(webhook: Any) -> Collected:
    """For `of_last_calls`, with the row of a webhook (an OuterRef to it): reads LOOKED_AT rows by
    the index, and no more."""
    newest = Attempt.objects.filter(webhook=webhook).order_by("-pk")[:LOOKED_AT]
    return Collected.of(newest, "duration_ms", "status", "exchange")


def of_last_calls(attempts: Sequence[Mapping[str, Any]] | None) -> Latency | None:
    """Of those of these attempts that were calls and got an answer; None when there is none."""
    took = sorted(
        row["duration_ms"] for row in attempts or () if row["status"] and row["exchange"] in CALLS
    )
    if not took:
        return None
    median, most = (lasting(took[ceil(share * len(took)) - 1]) for share in (MEDIAN, MOST))
    return Latency(len(took), median, most)


def _within(bound: int | None) -> str:
    return f"within {bound:,} ms" if bound is not None else "over 10 s"
