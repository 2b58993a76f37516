"""What the page of an account says of a customer: how its webhooks do, who calls for it, what it
was told."""

from collections import Counter
from functools import cached_property
from typing import Any

from django.db.models import F
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ..models import (
    AccessToken,
    Account,
    AuditEntry,
    Delivery,
    Event,
    HourlyCount,
    Webhook,
    states,
)
from ..models.delivery import db_now
from ..models.delivery_filters import condition
from ..models.tally import Tally
from ..presentation.charts import DAY, rate
from ..presentation.counts import bounded, bounded_counts, in_states
from ..presentation.looks import WEBHOOK_STATES, State, webhook_state
from ..presentation.outages import trouble_since, worst_first
from . import links
from .webhook_list import RARE

WEBHOOKS_SHOWN = 20
SHOWN = 5  # tokens, events, notices
STUCK = ("waiting", "gave_up")
RANK = {key: place for place, key in enumerate((*states.SILENT, "unsteady"))}


class AccountBoard:
    """Every part is read when the template comes to it; None where this user may not see it."""

    def __init__(self, request: HttpRequest, account: Account) -> None:
        self.account, self.now = account, db_now()
        self._may = request.user.has_perm

    def _sees(self, model: str) -> bool:
        return bool(self._may(f"webhooks_app.view_{model}"))

    # --- webhooks ---------------------------------------------------------------------------------

    @cached_property
    def _live(self) -> Any:
        return Webhook.objects.for_account(self.account)

    @cached_property
    def _rows(self) -> list[Any]:
        if not self._sees("webhook"):
            return []
        return worst_first(self._live, self.now, WEBHOOKS_SHOWN)

    @property
    def sees_webhooks(self) -> bool:
        return self._sees("webhook")

    @cached_property
    def webhooks(self) -> list[tuple[Any, State, Any]]:
        """Each with how it does, and since when where that says anything; those with any trouble
        first."""
        shown = []
        for row in self._rows[:WEBHOOKS_SHOWN]:
            state = webhook_state(row, self.now)
            shown.append((row, state, trouble_since(row, state)))
        return sorted(shown, key=lambda one: RANK.get(one[1].key, len(RANK)))

    @property
    def more(self) -> bool:
        return len(self._rows) > WEBHOOKS_SHOWN

    @cached_property
    def counts(self) -> dict[str, int]:
        """Webhooks in the states that are rare, what waits and what gave up: of the rows where
        these are all, else by as few index rows as there are webhooks."""
        if not self.more:
            found = Counter(state.key for _, state, _ in self.webhooks)
            for name in STUCK:
                found[name] = sum(getattr(row, name) or 0 for row in self._rows)
            return {**found, "all": len(self._rows)}
        theirs = Delivery.objects.filter(condition("account", self.account.name, self.now))
        counted = bounded_counts(
            all=self._live,
            tally=Tally.at(self.now, self._live),
            waiting=theirs.queued(),
            gave_up=theirs.filter(state=Delivery.State.FAILED),
        )
        return {**counted, **in_states(counted["tally"])}

    @cached_property
    def verdict(self) -> State | None:
        """How the worst of its webhooks does; None where it has none, or nobody may see one."""
        shown = {state.key for _, state, _ in self.webhooks}
        order = (*RANK, "working", "idle")
        return next((WEBHOOK_STATES[key] for key in order if key in shown), None)

    @property
    def headline(self) -> SafeString:
        parts = [
            format_html(
                '<a href="{}">{} {}</a>',
                *(self._listed(key), bounded(count), WEBHOOK_STATES[key].word.lower()),
            )
            for key in RARE
            if (count := self.counts.get(key, 0))
        ]
        every = self.counts["all"]
        said = format_html("{} webhook{}", bounded(every), "" if every == 1 else "s")
        for part in parts:
            said = format_html("{}, {}", said, part)
        return said if parts or not every else format_html("{}, none failing or held", said)

    def _listed(self, state: str) -> str:
        return links.listing("webhook", account=self.account.name, state=state)

    @property
    def numbers(self) -> list[tuple[str, str, str]]:
        """Word, number and list of what waits and gave up."""
        if not self._sees("delivery"):
            return []
        where = {"account": self.account.name, "created": "any"}
        return [
            (word, bounded(self.counts[key]), links.listing("delivery", **where, state=state))
            for word, key, state in (
                ("Waiting", "waiting", "pending"),
                ("Gave up", "gave_up", "failed"),
            )
        ]

    @cached_property
    def calls(self) -> dict[str, Any] | None:
        """Of the last 24 hours; None for a customer of more webhooks than are shown, whose hours
        are too many to be summed."""
        if self.more:
            return None
        ids = [row.pk for row in self._rows]
        sums = HourlyCount.objects.since(DAY.start(self.now)).filter(webhook__in=ids).totals()
        since: dict[str, Any] = {"account": self.account.name, "since": DAY.start(self.now)}
        return {
            "all": sums["delivered"] + sums["failed"],
            "failed": sums["failed"],
            "rate": rate(sums["delivered"], sums["failed"]),
            "link": links.calls(**since),
            "failed_link": links.calls("webhookerror", **since),
        }

    # --- who calls for it, what happened, what it was told ----------------------------------------

    @cached_property
    def tokens(self) -> list[AccessToken] | None:
        if not self._sees("accesstoken"):
            return None
        usable = AccessToken.objects.usable().filter(account=self.account)
        return list(usable.order_by(F("last_used_at").desc(nulls_last=True), "-pk")[:SHOWN])

    @cached_property
    def events(self) -> list[Event] | None:
        if not self._sees("event"):
            return None
        rows = Event.objects.filter(account=self.account).defer("payload")
        return list(rows.order_by("-pk")[:SHOWN])

    @cached_property
    def notices(self) -> list[AuditEntry] | None:
        """The letters about its webhooks that went out last."""
        if not self._sees("webhook"):
            return None
        return AuditEntry.objects.notices_of(self.account, SHOWN)
