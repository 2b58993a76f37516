"""The home page: one sentence that says how things are, four numbers, who needs attention, why."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from html import unescape
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, strip_tags
from django.utils.safestring import SafeString

from ..models import (
    AuditEntry,
    Delivery,
    Job,
    Webhook,
    WebhookHealth,
    states,
)
from ..models.delivery import db_now
from ..models.health import WebhookHealthQuerySet, totals_since
from ..models.states import SILENT
from ..models.tally import Tally
from ..models.webhook import SECRETS
from ..presentation.charts import DAY, SPANS, Chart, Span, chart, rate, span_of
from ..presentation.counts import COUNT_LIMIT, Sets, bounded, in_states
from ..presentation.failed_calls import READ as FAILURES_READ
from ..presentation.failed_calls import failed_calls
from ..presentation.formatting import (
    certificate_words,
    duration,
    identity_words,
    moment,
    plain,
)
from ..presentation.latency import Latency
from ..presentation.looks import WEBHOOK_STATES, State
from ..presentation.our_side import KEEPS_UP, LATE, CountsWithDue
from ..presentation.outages import (
    ATTENTION,
    READ,
    STOPPED_TODAY,
    Outage,
    in_trouble,
    number,
    outages,
    stopped_today,
)
from ..presentation.recurrence import failed_before, is_new, mark
from ..presentation.workers import Workers, workers
from ..roles import may
from ..rules import failures
from . import links
from .assets import LOOKS
from .first_steps import Step, steps
from .jobs import add_url

ADDS_WEBHOOKS = "webhooks_app.add_webhook"
ATTENTION_SHOWN = 10
CERTIFICATES_SHOWN = 5
KINDS_SHOWN = 10
LOG_SHOWN = 6
TOLD = (*SILENT, "rate", "unsteady", "working")  # the states that are counted
LOGGED = ("webhook", "delivery", "account", "accesstoken")
# The certificates that end: who has one that does soon, its column, its words.
ENDINGS = (
    (WebhookHealthQuerySet.certificate_ends_soon, "certificate_ends_at", certificate_words),
    (WebhookHealthQuerySet.identity_ends_soon, "identity_ends_at", identity_words),
)


@dataclass(frozen=True, slots=True)
class Row:
    """An outage as the page shows it, with where its numbers lead."""

    outage: Outage
    page: str  # of the webhook, or of the host of several
    waiting: str
    gave_up: str
    waiting_link: str
    gave_up_link: str
    replay: str
    mark: SafeString | str  # that it is new, or back again

    @classmethod
    def of(cls, outage: Outage) -> "Row":
        """The numbers of one webhook lead to their deliveries, those of several to the page of the
        host, which has them for each."""
        waiting, gave_up = (number(outage.webhooks, name) for name in ("waiting", "gave_up"))
        if outage.alone:
            webhook = outage.first.pk
            page, which = links.webhook(webhook), {"webhook": webhook}
            lists = [
                links.listing("delivery", webhook=webhook, state=state)
                for state in ("pending", "failed")
            ]
        else:
            page, which = links.host(outage.host), {"host": outage.host}
            lists = [f"{page}#hit", f"{page}#hit"]
        replay = add_url(Job.Verb.RETRY, {**which, "state": Delivery.State.FAILED})
        return cls(
            *(outage, page, waiting, gave_up, lists[0], lists[1]),
            replay if gave_up != "0" else "",
            mark(outage.first),
        )


@dataclass(frozen=True, slots=True)
class Kind:
    kind: str
    title: str
    calls: int
    webhooks: int
    link: str
    webhooks_link: str


@dataclass(frozen=True, slots=True)
class Verdict:
    state: State
    headline: SafeString
    more: SafeString

    @property
    def title(self) -> str:
        """The headline for the title of the page, where no script says a time in the reader's
        own zone."""
        return unescape(strip_tags(re.sub(r",? the first since <time.*", "", self.headline)))


def _sets(now: datetime) -> Sets:
    return {
        "any": Webhook.objects.live(),
        **{key: states.counted(key, now) for key in ("site", "working")},
        "tally": Tally.at(now),
        STOPPED_TODAY: Webhook.objects.live().filter(stopped_today(now)),
        "retrying": states.retrying(now),
        "deliveries": Delivery.objects.all(),
    }


_COUNTS = CountsWithDue(_sets)


class Home:
    """What the home page says; every part is read when the template comes to it."""

    spans = tuple(SPANS.values())
    media = LOOKS

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self.now = db_now()
        self.span: Span = span_of(request)
        self.start = self.span.start(self.now)

    # --- what is read ---------------------------------------------------------------------------

    @cached_property
    def _hours(self) -> list[dict[str, Any]]:
        """Counts of all webhooks, hour by hour; with the day before where it is compared."""
        earlier = self.span.step * self.span.steps if self.span is DAY else timedelta(0)
        return totals_since(self.start - earlier, self.now)

    @cached_property
    def counts(self) -> dict[str, Any]:
        """How many webhooks and deliveries are in the states that matter (1,001 is "more"), and
        since when the oldest delivery is due."""
        found = _COUNTS(self.now)
        counts = {**found, **in_states(found["tally"])}
        return {**counts, "idle": _rest(counts)}

    @cached_property
    def steps(self) -> list[Step]:
        """What is to be done on a new site, until the first delivery has been made."""
        if self.counts["deliveries"] > 1 or not self.request.user.has_perm(ADDS_WEBHOOKS):
            return []
        webhook = Webhook.objects.live().order_by("-pk").only("pk").first()
        return steps(self.request, webhook, sent=bool(self.counts["deliveries"]))

    @property
    def steps_left(self) -> bool:
        return not all(step.done for step in self.steps)

    @property
    def oldest_due(self) -> datetime | None:
        since: datetime | None = self.counts["due_since"]
        return since

    # --- what is said ---------------------------------------------------------------------------

    @cached_property
    def verdict(self) -> Verdict:
        """All that deliver nothing are counted first, then what is the matter with them; a queue
        of ours that is late outweighs everything that works."""
        counts = self.counts
        if not counts["any"]:
            more = "Add the first one; it is verified at once."
            return Verdict(WEBHOOK_STATES["idle"], plain("No webhooks yet"), plain(more))
        if counts["site"]:
            return self._held()
        silent = sum(counts[key] for key in SILENT)
        worst = next((key for key in SILENT if counts[key] and key != "paused"), "")
        late = self.late
        if worst:
            state, headline = WEBHOOK_STATES[worst], self._silent(silent, worst)
        elif late:
            state, headline = LATE, late
        else:
            state, headline = WEBHOOK_STATES["working"], plain(self._working(silent))
        alone = worst and silent == counts[worst]  # the headline has said it
        parts = [
            self._part(key)
            for key in (*TOLD, "idle")
            if counts[key] and not (alone and key == worst)
        ]
        if not (silent or counts["unsteady"] or counts["rate"]):
            parts = []  # all work
        sentences = [_joined(parts)] if parts else []
        if counts["failing"] and not alone:
            sentences.append(format_html("The first fails since {}.", self._first()))
        if not late:
            sentences.append(plain("Our side keeps up."))
        elif headline != late:
            sentences.append(format_html("<b>{}.</b>", late))
        if late:
            sentences.append(plain(self._why_late()))
        return Verdict(state, headline, _sentences(sentences))

    def _held(self) -> Verdict:
        waiting, _ = states.count_due(self.now, COUNT_LIMIT, released=True)
        noun = "delivery" if waiting == 1 else "deliveries"
        more = f"Nothing is sent. Released, {bounded(waiting)} {noun} would go out at once."
        headline = _some("site", self.counts["site"])
        return Verdict(WEBHOOK_STATES["site"], headline, plain(more))

    def _part(self, key: str) -> SafeString:
        part = _some(key, self.counts[key])
        if key != "stopped" or not self.counts["stopped_today"]:
            return part
        today = f"{bounded(self.counts['stopped_today'])} of them in the last 24 hours"
        return format_html("{} ({})", part, today)

    def _silent(self, silent: int, worst: str) -> SafeString:
        """ "8 of 19 webhooks deliver nothing"; where all are in one state, that."""
        if silent > self.counts[worst]:
            link = links.listing("webhook", state="silent")
            some = f"{bounded(silent)} of {bounded(self.counts['any'])} webhooks deliver nothing"
            return format_html('<a href="{}">{}</a>', link, some)
        headline = _some(worst, silent)
        if worst == "failing" and self.outages:
            return format_html("{}, the first since {}", headline, self._first())
        return headline

    def _working(self, silent: int) -> str:
        working, unsteady = self.counts["working"] + self.counts["rate"], self.counts["unsteady"]
        if unsteady or (silent and working):
            return "No webhook is failing"
        if not working:
            return "Nothing was delivered yet"
        if working == 1:
            return "The only webhook with calls works"
        return f"All {bounded(working)} webhooks with calls work"

    def _first(self) -> SafeString | str:
        failing = [row.since for row in self.outages if row.state.key == "failing"]
        return moment(min(failing, default=self.now))

    @cached_property
    def late(self) -> SafeString:
        """That what is due waits for us, in words; `""` while it does not."""
        if not self.oldest_due or self.now - self.oldest_due <= KEEPS_UP:
            return plain("")
        due, link = self.due
        count = self.counts["due"]
        noun = "delivery is" if count == 1 else "deliveries are"
        waits = duration(self.now - self.oldest_due)
        words = '<a href="{}">{} {} late</a>: the oldest should have gone out {} ago'
        return format_html(words, link, due, noun, waits)

    def _why_late(self) -> str:
        if not self.workers.alive:
            return "No worker is alive, so nothing is sent."
        return "Workers are alive: tell operations if it goes on."

    @cached_property
    def chart(self) -> Chart:
        return chart(self.span, self.now, self._hours)

    @property
    def drawing(self) -> SafeString:
        return self.chart.drawing(links.calls_of_bar)

    @property
    def before(self) -> str:
        """The rate of the day before, `""` where it is not compared."""
        if self.span is not DAY:
            return ""
        rows = [row for row in self._hours if row["hour"] < self.start]
        return rate(sum(row["delivered"] for row in rows), sum(row["failed"] for row in rows))

    @property
    def latency(self) -> Latency | None:
        return self.chart.latency

    @property
    def workers(self) -> Workers:
        return workers(self.request)

    @cached_property
    def outages(self) -> list[Outage]:
        """Who needs attention, by the host and what is the matter there."""
        rows = in_trouble(self.counts, self.now)
        return outages(rows, self.now, oldest_first=self.oldest_first)

    @cached_property
    def new_outages(self) -> list[Outage]:
        """Those that began within the last hour."""
        return [outage for outage in self.outages if is_new(outage.first, self.now)]

    @property
    def chosen_outages(self) -> list[Outage]:
        return self.new_outages if self.only_new else self.outages

    @cached_property
    def _shown(self) -> list[Outage]:
        return self.chosen_outages[:ATTENTION_SHOWN]

    @cached_property
    def _named(self) -> dict[str, Any]:
        """The webhooks of which more is told, by id and with `failed_before`: those that outages
        are named after, and those whose certificates end first. One statement for both."""
        firsts = [outage.first.pk for outage in self._shown]
        live = WebhookHealth.objects.live()
        ending = (
            ends_soon(live, self.now).order_by(column).values("pk")[: CERTIFICATES_SHOWN + 1]
            for ends_soon, column, _ in ENDINGS
        )
        healths = [WebhookHealth.objects.filter(pk__in=rows).values("pk") for rows in ending]
        ids = Webhook.objects.filter(pk__in=firsts).order_by().values("pk").union(*healths)
        rows = Webhook.objects.filter(pk__in=ids).select_related("account", "health")
        rows = rows.defer(*SECRETS).annotate(failed_before=failed_before())
        return {webhook.pk: webhook for webhook in rows}

    @cached_property
    def attention(self) -> list[Row]:
        """The first of them."""
        for outage in self._shown:
            named = self._named.get(outage.first.pk)
            outage.first.failed_before = named.failed_before if named is not None else None
        return [Row.of(outage) for outage in self._shown]

    @property
    def more_attention(self) -> bool:
        return len(self.chosen_outages) > ATTENTION_SHOWN or self.attention_cut

    @property
    def attention_cut(self) -> bool:
        return sum(self.counts[key] for key in ATTENTION) > READ

    @property
    def attention_read(self) -> int:
        return READ

    @property
    def silent_link(self) -> str:
        return links.listing("webhook", state="silent")

    @property
    def oldest_first(self) -> bool:
        return self.request.GET.get("sort") == "since"

    @property
    def only_new(self) -> bool:
        """Asked for, and there are any: an empty table would hide the others."""
        return self.request.GET.get("trouble") == "new" and bool(self.new_outages)

    @property
    def may_operate(self) -> bool:
        return may(self.request.user, "test")

    @cached_property
    def kinds(self) -> list[Kind]:
        """Why calls failed in the span; of very many failures the newest are counted."""
        return [
            Kind(
                kind,
                failures.title(kind) or kind,
                calls,
                webhooks,
                links.calls("webhookerror", kind=kind, since=self.start),
                links.listing("webhook", met=kind, since=self.start),
            )
            for kind, calls, webhooks in failed_calls(self.start)[:KINDS_SHOWN]
        ]

    @cached_property
    def certificates(self) -> list[tuple[Any, datetime, str]]:
        """Those that end first, the receiver's or the one that we show, with their webhooks; one
        more than is shown says that there are more."""
        found = [
            (webhook, getattr(webhook.health, column), words(webhook.health))
            for webhook in self._named.values()
            for _, column, words in ENDINGS
            if words(webhook.health)
        ]
        return sorted(found, key=lambda one: one[1])[: CERTIFICATES_SHOWN + 1]

    @property
    def certificates_link(self) -> str:
        return links.listing("webhook", certificate="soon")

    @property
    def kinds_cut(self) -> bool:
        return self.chart.failed > FAILURES_READ

    @property
    def kinds_read(self) -> int:
        return FAILURES_READ

    @cached_property
    def log(self) -> list[tuple[AuditEntry, str]]:
        """What staff did last with our things, with the page of the thing."""
        user = self.request.user
        kinds = [kind for kind in LOGGED if user.has_perm(f"webhooks_app.view_{kind}")]
        entries = AuditEntry.objects.filter(kind__in=kinds, door=AuditEntry.Door.ADMIN)
        return [(entry, _page_of(entry)) for entry in entries.order_by("-id")[:LOG_SHOWN]]

    # --- where the numbers lead -----------------------------------------------------------------

    @property
    def calls_link(self) -> str:
        return links.calls(since=self.start)

    @property
    def failed_link(self) -> str:
        return links.calls("webhookerror", since=self.start)

    @property
    def due(self) -> tuple[str, str]:
        return bounded(self.counts["due"]), links.listing("delivery", state="due", created="any")

    @property
    def retrying(self) -> tuple[str, str]:
        link = links.listing("delivery", state="retrying", created="any")
        return bounded(self.counts["retrying"]), link

    @property
    def table(self) -> list[tuple[Any, str, str]]:
        """The bars as rows, the newest first, with the lists of their calls and failures."""
        return [
            (bar, links.calls_of_bar(bar), links.failures_of_bar(bar))
            for bar in reversed(self.chart.bars)
        ]


def _page_of(entry: AuditEntry) -> str:
    return reverse(f"admin:webhooks_app_{entry.kind}_change", args=[entry.target])


def _rest(counts: Mapping[str, int]) -> int:
    """The webhooks of which nothing else is told: they lie apart. 0 where not all are counted."""
    every: int = counts["any"]
    return every - sum(counts[key] for key in TOLD) if every <= COUNT_LIMIT else 0


WORDS = {
    "site": ("is held with the whole site", "are held with the whole site"),
    "failing": ("is failing", "are failing"),
    "breaker": ("is resting after failures", "are resting after failures"),
    "rate": ("is limited", "are limited"),
    "unreadable": ("has a secret that cannot be read", "have a secret that cannot be read"),
    "unverified": ("is not verified", "are not verified"),
    "stopped": ("is stopped", "are stopped"),
    "paused": ("is paused", "are paused"),
    "unsteady": ("is unsteady", "are unsteady"),
    "working": ("works", "work"),
    "idle": ("has delivered nothing yet", "have delivered nothing yet"),
}


def _some(key: str, count: int) -> SafeString:
    """ "3 webhooks are failing", linked to the list of just those."""
    one, many = WORDS[key]
    noun, verb = ("webhook", one) if count == 1 else ("webhooks", many)
    link = links.listing("webhook", state=key)
    return format_html('<a href="{}">{} {} {}</a>', link, bounded(count), noun, verb)


def _joined(parts: list[SafeString]) -> SafeString:
    joined = parts[0]
    for part in parts[1:]:
        joined = format_html("{}, {}", joined, part)
    return format_html("{}.", joined)


def _sentences(sentences: list[SafeString]) -> SafeString:
    whole = sentences[0]
    for sentence in sentences[1:]:
        whole = format_html("{} {}", whole, sentence)
    return whole
