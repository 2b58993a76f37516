"""Calls over time: the spans they are counted in, the bars of a chart, and their drawing.

Delivered stands above a line, failed below it, each on its own scale, so that a few failures among
many deliveries are seen. The drawing holds no text: the page around it says the same in words.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from ..models import HourlyCount
from ..models.health import COUNT_COLUMNS, LATENCY_COLUMNS, hour_of
from .latency import Latency, of_histogram

UP = 0.68  # the part of the height that stands above the line


@dataclass(frozen=True, slots=True)
class Span:
    """The time that a page looks at: whole hours, the present one last."""

    key: str
    words: str
    bar: str  # how long one bar is
    step: timedelta
    steps: int

    def start(self, now: datetime) -> datetime:
        return hour_of(now.astimezone(UTC)) + timedelta(hours=1) - self.step * self.steps


SPANS = {
    span.key: span
    for span in (
        Span("24h", "24 hours", "hour", timedelta(hours=1), 24),
        Span("7d", "7 days", "6 hours", timedelta(hours=6), 28),
        Span("30d", "30 days", "day", timedelta(days=1), 30),
    )
}
DAY = SPANS["24h"]


def span_of(request: HttpRequest) -> Span:
    """The span a page was asked for; 24 hours where that cannot be read."""
    return SPANS.get(request.GET.get("span", ""), DAY)


@dataclass(slots=True)
class Bar:
    start: datetime
    end: datetime
    delivered: int = 0
    failed: int = 0

    @property
    def calls(self) -> int:
        return self.delivered + self.failed


@dataclass(frozen=True, slots=True)
class Chart:
    span: Span
    bars: list[Bar]
    start: datetime
    latency: Latency | None = None  # of the answers of the span, where their histogram was read

    @property
    def delivered(self) -> int:
        return sum(bar.delivered for bar in self.bars)

    @property
    def failed(self) -> int:
        return sum(bar.failed for bar in self.bars)

    @property
    def calls(self) -> int:
        return self.delivered + self.failed

    @property
    def rate(self) -> str:
        return rate(self.delivered, self.failed)

    @property
    def most(self) -> tuple[int, int]:
        """The highest bar above the line and the one below it."""
        up = max((bar.delivered for bar in self.bars), default=0)
        return up, max((bar.failed for bar in self.bars), default=0)

    @property
    def ticks(self) -> list[datetime]:
        """Where the words below the drawing stand; "now" comes after the last."""
        return [self.bars[len(self.bars) * part // 4].start for part in range(4)]

    def drawing(self, link: Callable[[Bar], str] | None = None) -> SafeString:
        return draw(self.bars, 960, 120, gap=6, name="wh-chart", link=link)

    def spark(self) -> SafeString:
        return draw(self.bars, 96, 24, gap=1, name="wh-spark")


def chart(span: Span, now: datetime, counts: Iterable[Mapping[str, Any]]) -> Chart:
    """`counts` are rows of `hour`, `delivered`, `failed` and, for the latency, LATENCY_COLUMNS."""
    start = span.start(now)
    bars = [
        Bar(start + span.step * place, start + span.step * (place + 1))
        for place in range(span.steps)
    ]
    histogram = [0] * len(LATENCY_COLUMNS)
    for count in counts:
        place = (count["hour"] - start) // span.step
        if 0 <= place < span.steps:
            bars[place].delivered += count["delivered"]
            bars[place].failed += count["failed"]
            for column, (name, _) in enumerate(LATENCY_COLUMNS):
                histogram[column] += count.get(name, 0)
    return Chart(span, bars, start, of_histogram(histogram))


def charts_of(webhook_ids: list[str], span: Span, now: datetime) -> dict[str, Chart]:
    """A chart for each of a few webhooks, in one query."""
    rows = HourlyCount.objects.since(span.start(now)).filter(webhook__in=webhook_ids)
    by_webhook: dict[str, list[Mapping[str, Any]]] = {ident: [] for ident in webhook_ids}
    for row in rows.values("webhook_id", "hour", *COUNT_COLUMNS):
        by_webhook[row["webhook_id"]].append(row)
    return {ident: chart(span, now, counts) for ident, counts in by_webhook.items()}


def rate(delivered: int, failed: int) -> str:
    """ "97.8 %"; never rounded up to 100 while anything failed. `""` without calls."""
    calls = delivered + failed
    if not calls:
        return ""
    if not failed:
        return "100 %"
    return f"{delivered * 1000 // calls / 10:.1f} %"


def draw(
    bars: list[Bar],
    width: int,
    height: int,
    *,
    gap: int,
    name: str,
    link: Callable[[Bar], str] | None = None,
) -> SafeString:
    up = max((bar.delivered for bar in bars), default=0) or 1
    down = max((bar.failed for bar in bars), default=0)
    axis = round(height * UP, 1) if down else height - 1
    each = width / (len(bars) or 1)
    parts: list[tuple[str, float, float, float, float]] = []
    for place, bar in enumerate(bars):
        x, wide = place * each + gap / 2, each - gap
        if bar.delivered:
            tall = max(axis * bar.delivered / up, 1.5)
            parts.append(("wh-bar-ok", x, axis - tall, wide, tall))
        if bar.failed:
            parts.append(("wh-bar-bad", x, axis, wide, max((height - axis) * bar.failed / down, 3)))
    drawn = format_html_join(
        "",
        '<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>',
        ((part[0], *(f"{number:.1f}" for number in part[1:])) for part in parts),
    )
    if link:
        # For the mouse only: the table below has the same links for everybody.
        drawn += format_html_join(
            "",
            '<a href="{}" tabindex="-1"><rect class="wh-hit" x="{}" y="0" width="{}" height="{}">'
            "<title>{} delivered, {} failed</title></rect></a>",
            (
                (
                    *(link(bar), f"{place * each:.1f}", f"{each:.1f}", height),
                    *(f"{bar.delivered:,}", f"{bar.failed:,}"),
                )
                for place, bar in enumerate(bars)
                if bar.calls
            ),
        )
    return format_html(
        '<svg class="{}" viewBox="0 0 {} {}" preserveAspectRatio="none" aria-hidden="true" '
        'focusable="false">{}<line class="wh-axis" x1="0" x2="{}" y1="{}" y2="{}"/></svg>',
        *(name, width, height, drawn, width, axis, axis),
    )
