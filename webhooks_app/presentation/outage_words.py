"""What the page of a host says first, and what its customers can be told."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString

from ..models.delivery import advice_on, calls_from
from ..rules import failures
from ..rules.hosts import host_of
from .banner import lower
from .counts import bounded
from .formatting import duration, moment, visible
from .looks import WEBHOOK_STATES, State, webhook_state
from .outages import Outage

FAILS = ("failing", "breaker")


@dataclass(frozen=True, slots=True)
class Headline:
    state: State
    words: SafeString
    why: str = ""
    recorded: str = ""
    advice: str = ""
    hint: str = ""  # what the pattern of the outage says of its cause

    @property
    def tone(self) -> str:
        return self.state.tone


def headline(
    outages: list[Outage], counts: Mapping[str, int], customers: int, now: datetime
) -> Headline:
    """`outages` are the host's, the largest first; `customers` is 0 where there are too many."""
    if not outages:
        words = f"None of {bounded(counts['all'])} webhooks is failing or held"
        if counts["all"] == 1:
            words = "Its only webhook is neither failing nor held"
        return Headline(WEBHOOK_STATES["working"], format_html("{}", words))
    worst = outages[0]
    whole = counts["silent"] == counts["all"] == len(worst.webhooks)
    since, length = moment(worst.since), duration(now - worst.since)
    title = failures.title(worst.kind)
    reason = f": {lower(title)}" if title else ""
    if whole and worst.alone:
        words = format_html("{} since {} ({}){}", worst.state.word, since, length, reason)
    elif whole:
        hit = f" for all {customers} customers" if customers > 1 else ""
        said = "{}: all {} webhooks, since {} ({}){}{}"
        parts = (worst.state.word, len(worst.webhooks), since, length, reason, hit)
        words = format_html(said, *parts)
    else:
        silent = f"{bounded(counts['silent'])} of {bounded(counts['all'])} webhooks"
        words = format_html("{} deliver nothing, the first since {}{}", silent, since, reason)
    return Headline(
        worst.state,
        words,
        why=worst.why,
        recorded=worst.recorded,
        advice=advice_on(worst.kind),
        hint=_hint(worst, whole=whole),
    )


def _hint(worst: Outage, *, whole: bool) -> str:
    if worst.alone or worst.state.key not in FAILS:
        return ""
    if worst.at_once and worst.customers > 1:
        return f"It began for {worst.within}: the host, not one customer's settings."
    if whole and worst.customers > 1:
        return "All customers of this host meet it, but not since the same time."
    return ""


def note(outage: Outage, host: str) -> str:
    """For a customer, without a word of any other."""
    return "\n".join([*_told(outage, host), _waits(outage)])


def message_for_owner(webhook: Any, now: datetime) -> str:
    """For the owner of the receiver of a webhook, with what was recorded last; `""` where calls do
    not fail."""
    state = webhook_state(webhook, now)
    if state.key not in FAILS:
        return ""
    outage = Outage(host_of(webhook.url), state, webhook.health.last_error_kind, [webhook])
    lines = _told(outage, outage.host)
    if last := webhook.health.last_error_at:
        recorded = visible(outage.recorded[:300])
        lines.append(f"The last one, {last.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC: {recorded}")
    return "\n".join([*lines, _waits(outage)])


def _told(outage: Outage, host: str) -> list[str]:
    since = outage.since.astimezone(UTC)
    first = f"Since {since:%Y-%m-%d %H:%M} UTC our calls to {host} do not succeed."
    return [line for line in (first, outage.why, calls_from(outage.kind)) if line]


def _waits(outage: Outage) -> str:
    if outage.state.key not in FAILS:
        return "What waits is kept."
    return (
        "What waits is kept and goes out by itself as soon as calls succeed; tell us when that is, "
        "and we send again what was given up meanwhile."
    )
