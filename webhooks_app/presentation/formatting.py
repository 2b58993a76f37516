"""Small parts of pages: icons, states, moments, durations, the bar of an attempt's phases."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from ..models import Attempt
from ..models.delivery import db_now
from ..models.health import CERTIFICATE_SOON
from ..rules.safe_text import JOINERS, shown
from .looks import State

PHASES = (
    ("dns_ms", "DNS"),
    ("connect_ms", "connect"),
    ("tls_ms", "TLS"),
    ("wait_ms", "wait"),
    ("read_ms", "read"),
)
BROKE_OFF = {
    "dns_ms": "looking the name up",
    "connect_ms": "connecting",
    "tls_ms": "securing the connection",
    "wait_ms": "waiting for the answer",
    "read_ms": "reading the answer",
}
BAR = 400  # units of the drawing


def plain(words: str) -> SafeString:
    """Words as a part of a page."""
    return format_html("{}", words)


def visible(text: str) -> str:
    """A receiver's text: characters that act unseen are shown as escapes, lines stay lines."""
    return shown(text.replace("\r\n", "\n"), keep="\n\t" + JOINERS)


def icon(name: str, tone: str = "idle") -> SafeString:
    return format_html(
        '<svg class="wh-i wh-{}" aria-hidden="true" focusable="false"><use href="#wh-{}"/></svg>',
        tone,
        name,
    )


def badge(state: State) -> SafeString:
    """Shape, word and colour of a state."""
    return format_html(
        '<span class="wh-state wh-{}">{}<span>{}</span></span>',
        state.tone,
        icon(state.icon, state.tone),
        state.word,
    )


NEAR = timedelta(days=180)  # of such a moment the day says the year, also where that changes


def moment(value: datetime | None) -> SafeString | str:
    """Absolute, UTC, 24 h; the day is left out when it is today's. times.js says it in the
    reader's own time zone and puts UTC beside it."""
    return _time(value, "moment", short_moment(value)) if value else ""


def hour(value: datetime) -> SafeString:
    """The start of a bar of a chart: "Mon 11:00", "3 Nov 11:00" when it is older than a week."""
    value = in_utc(value)
    old = db_now() - value > timedelta(days=7)
    day = f"{value.day} {value.strftime('%b')}" if old else value.strftime("%a")
    return _time(value, "hour", f"{day} {value.strftime('%H:%M')}")


def _time(value: datetime, form: str, words: str) -> SafeString:
    value = in_utc(value)
    return format_html(
        '<time datetime="{}" data-form="{}" title="{} UTC">{}</time>',
        value.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        form,
        value.strftime("%Y-%m-%d %H:%M:%S"),
        words,
    )


def in_utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


def short_moment(value: datetime, now: datetime | None = None) -> str:
    value, now = in_utc(value), in_utc(now or db_now())
    clock = value.strftime("%H:%M:%S")
    if value.date() == now.date():
        return clock
    if value.date() == now.date() - timedelta(days=1):
        return f"yesterday {clock}"
    day = f"{value.day} {value.strftime('%b')}"
    is_plain = value.year == now.year or abs(value - now) < NEAR
    return f"{day} {clock}" if is_plain else f"{day} {value.year}"


def duration(length: timedelta) -> str:
    """In words, two units at most: "1 h 30 min"."""
    seconds = max(int(length.total_seconds()), 0)
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} days"


def ago(value: datetime | None) -> str:
    return duration(db_now() - value) if value else ""


def certificate_words(health: Any) -> str:
    """Of a receiver's certificate that ends within 14 days, or has ended; `""` of any other."""
    return _ending("certificate", health.certificate_ends_at)


def identity_words(health: Any) -> str:
    """The same of the certificate that we show."""
    return _ending("client certificate", health.identity_ends_at)


def _ending(what: str, ends: datetime | None) -> str:
    now = db_now()
    if ends is None or ends - now > CERTIFICATE_SOON:
        return ""
    if ends <= now:
        return f"{what} has ended"
    return f"{what} ends in {duration(ends - now)}"


def thousands(value: int) -> str:
    return f"{value:,}"


def lasting(milliseconds: int) -> str:
    """How long something took: "841 ms", from ten seconds on "10 s"."""
    if milliseconds < 10_000:
        return f"{milliseconds:,} ms"
    return (
        f"{milliseconds / 1000:.3g} s" if milliseconds < 60_000 else f"{milliseconds // 1000:,} s"
    )


def phase_words(attempt: Attempt) -> str:
    """ "DNS 2 · connect 12 · wait 841 · read 2 ms"; nothing stands for what was not needed."""
    known = [(word, getattr(attempt, field)) for field, word in PHASES]
    words = [f"{word} {value:,}" for word, value in known if value is not None]
    if not words:
        return "not sent" if not attempt.address else ""
    kept = attempt.connect_ms is None and attempt.wait_ms is not None
    broken = ""
    if attempt.kind and attempt.status is None:
        last = [field for field, _ in PHASES if getattr(attempt, field) is not None][-1]
        broken = f" · broke off while {BROKE_OFF[last]}"
    return ("kept connection · " if kept else "") + " · ".join(words) + " ms" + broken


def phase_bar(attempt: Attempt, scale: int) -> SafeString:
    """The phases as one bar, all attempts of a page on one scale; a red end means it broke off."""
    parts, x = [], 0.0
    for number, (field, _) in enumerate(PHASES):
        value = getattr(attempt, field)
        if value is None:
            continue
        width = max(value / max(scale, 1) * BAR, 2.5)
        parts.append((number, f"{x:.1f}", f"{width:.1f}"))
        x += width
    bars = format_html_join(
        "", '<rect class="wh-ph{}" x="{}" y="2" width="{}" height="10"/>', parts
    )
    if attempt.kind and attempt.status is None:
        bars += format_html(
            '<rect class="wh-ph-end" x="{}" y="0" width="3" height="14"/>', f"{x:.1f}"
        )
    return format_html(
        '<svg class="wh-phases" viewBox="0 0 {} 14" preserveAspectRatio="none" aria-hidden="true" '
        'focusable="false"><line class="wh-axis" x1="0" x2="{}" y1="13" y2="13"/>{}</svg>',
        BAR + 12,
        BAR + 12,
        mark_safe(bars),  # noqa: S308  (numbers of ours)
    )
