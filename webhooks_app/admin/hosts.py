"""The page of a host: whom an outage of it hits, and what is done about it for all of them."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_http_methods

from .. import actions
from ..models import Attempt, AuditEntry, Delivery, Job, Note, Webhook, WebhookError, states
from ..models.delivery import db_now
from ..models.delivery_filters import condition
from ..presentation.counts import COUNT_LIMIT, bounded, bounded_counts
from ..presentation.looks import State, webhook_state
from ..presentation.outage_words import Headline, headline, note
from ..presentation.outages import (
    TOLD,
    Outage,
    outages,
    since_when,
    stuck,
    trouble_since,
    with_stuck,
    worst_first,
)
from ..roles import may
from ..rules import failures
from ..rules.hosts import host_of, read_host
from . import links
from .attempts import asked_for
from .base import ConsoleAdmin, counted, named, typed_note
from .export import ROWS_MOST, sheet
from .jobs import add_url
from .mass_verbs import HELD
from .notes import panel, written
from .outlook import kept_back

SHOWN = 50
CONFIRMED = {
    "close-breakers": "Close",
    "pause-all": "Pause",
}
HEAD = (
    *("Customer", "Webhook", "Id", "State", "Since", "Waiting", "Gave up", "Last error"),
    "Contact",
)


class Host:
    """What the page of a host says; every part is read when the template comes to it."""

    def __init__(self, request: HttpRequest, host: str, now: datetime) -> None:
        self.request, self.host, self.now = request, host, now
        self.may_look = request.user.has_perm
        self.live = Webhook.objects.live().at_host(host)

    @cached_property
    def rows(self) -> list[Any]:
        """Those that deliver nothing first, then the newest."""
        return worst_first(self.live, self.now, SHOWN)

    @cached_property
    def answer(self) -> str:
        """What a receiver of the largest outage answered last."""
        if not self.outages or not self.may_look("webhooks_app.view_webhookerror"):
            return ""
        failed = WebhookError.objects.filter(webhook=self.outages[0].first.pk).order_by("-pk")
        return failed.values_list("answer", flat=True).first() or ""

    @cached_property
    def counts(self) -> dict[str, int]:
        there = Delivery.objects.filter(condition("host", self.host, self.now))
        return bounded_counts(
            all=self.live,
            silent=self.live.filter(states.webhooks_in("silent", self.now)),
            resting=self.resting,
            running=self.live.filter(stopped=""),
            waiting=there.queued(),
            gave_up=there.filter(state=Delivery.State.FAILED),
        )

    @property
    def resting(self) -> Any:
        return self.live.filter(states.BREAKER.webhooks(self.now))

    @cached_property
    def shown(self) -> list[tuple[Any, State, datetime | None]]:
        """With how each does, and since when where that says anything; the most stuck first."""
        found = []
        for row in self.rows[:SHOWN]:
            state = webhook_state(row, self.now)
            found.append((row, state, trouble_since(row, state)))
        rank = {key: place for place, key in enumerate(states.SILENT)}
        last = len(rank)
        return sorted(found, key=lambda each: (rank.get(each[1].key, last), -stuck(each[0])))

    @property
    def more(self) -> bool:
        return len(self.rows) > SHOWN

    @cached_property
    def outages(self) -> list[Outage]:
        """What is the matter with those that are shown, the largest first."""
        trouble = [row for row, state, _ in self.shown if state.key in states.SILENT]
        return sorted(
            outages(trouble, self.now, oldest_first=True), key=lambda each: -len(each.webhooks)
        )

    @cached_property
    def headline(self) -> Headline:
        customers = 0 if self.more else len({row.account_id for row in self.rows})
        return headline(self.outages, self.counts, customers, self.now)

    @cached_property
    def notes(self) -> list[Note]:
        return actions.notes_about(self.host)

    @property
    def note_for_customers(self) -> str:
        return note(self.outages[0], self.host) if self.outages else ""

    @property
    def worst(self) -> Any:
        """The webhook that is tried: the one for which most is stuck."""
        return self.shown[0][0]

    # --- where numbers and buttons lead ---------------------------------------------------------

    @property
    def numbers(self) -> list[tuple[str, str, str]]:
        """Word, number and list of what waits, gave up and is called."""
        host, words = self.host, []
        lists: tuple[tuple[str, str, str, dict[str, str]], ...] = (
            ("Webhooks", "all", "webhook", {}),
            ("Deliver nothing", "silent", "webhook", {"state": "silent"}),
            ("Waiting", "waiting", "delivery", {"state": "pending", "created": "any"}),
            ("Gave up", "gave_up", "delivery", {"state": "failed", "created": "any"}),
        )
        for word, key, model, more in lists:
            if self.may_look(f"webhooks_app.view_{model}"):
                link = links.listing(model, host=host, **more)
                words.append((word, bounded(self.counts[key]), link))
        return words

    @property
    def replay(self) -> str:
        words = {"host": self.host, "state": Delivery.State.FAILED}
        return add_url(Job.Verb.RETRY, words) if self.counts["gave_up"] else ""

    @property
    def busy(self) -> str:
        return f"Calling {self.host}, {self.worst.exchange_timeout:g} s at most…"

    @property
    def keys(self) -> list[str]:
        """Of its webhooks, the newest first."""
        return list(self.live.order_by("-pk").values_list("pk", flat=True)[:ROWS_MOST])

    def lines(self, keys: Sequence[str]) -> Iterator[list[object]]:
        """Of the sheet: the cells of some webhooks."""
        contacts = self.may_look("webhooks_app.view_account")
        rows = self.live.filter(pk__in=keys).select_related("account", "health").only(*TOLD)
        for row in with_stuck(rows).order_by("-pk"):
            state = webhook_state(row, self.now)
            yield [
                *(row.account.name, row.name, row.pk, state.word),
                since_when(row).isoformat(timespec="seconds"),
                *(bounded(row.waiting or 0), bounded(row.gave_up or 0)),
                failures.title(row.health.last_error_kind),
                row.account.contact_email if contacts else "",
            ]


class AtHost(ConsoleAdmin):
    """The half of WebhookAdmin that is about hosts."""

    def get_urls(self) -> list[URLPattern]:
        verbs: dict[str, Callable[..., HttpResponseBase]] = {
            "try": self.try_host,
            "close-breakers": self.close_breakers,
            "pause-all": self.pause_all,
            "csv": self.host_sheet,
            "write-note": self.note_host,
        }
        return [
            self._host_view("", "host", self.host_page, "GET"),
            *(
                self._host_view(f"{verb}/", f"host_{verb.replace('-', '_')}", view, "POST")
                for verb, view in verbs.items()
            ),
            *super().get_urls(),
        ]

    def _host_view(
        self, route: str, name: str, view: Callable[..., HttpResponseBase], method: str
    ) -> URLPattern:
        """A view of a host as it is written by us; a GET of a verb leads to the page."""

        def answer(request: HttpRequest, host: str) -> HttpResponseBase:
            if not self.has_view_permission(request):
                raise PermissionDenied
            try:
                plain = read_host(host)
            except ValueError:
                raise Http404 from None
            if request.method != "POST" and method == "POST":
                return HttpResponseRedirect(links.host(plain))
            found = Host(request, plain, db_now())
            if not found.rows:
                raise Http404
            return view(request, found)

        methods = ["GET", "HEAD", *([method] if method == "POST" else [])]
        guarded = self.admin_site.admin_view(require_http_methods(methods)(answer))
        guarded = transaction.non_atomic_requests(guarded)
        return path(f"host/<str:host>/{route}", guarded, name=f"webhooks_app_webhook_{name}")

    def _context(self, request: HttpRequest, host: Host, **more: Any) -> dict[str, Any]:
        context = self.admin_site.each_context(request)
        return {**context, "opts": self.opts, "media": self.media, "host": host, **more}

    def host_page(self, request: HttpRequest, host: Host) -> HttpResponse:
        context = self._context(
            request,
            host,
            title=host.host,
            page_state=host.headline.state.word,
            may_operate=may(request.user, "test"),
            answer=self._answer(request, host),
            **panel(request, host.notes, "write-note/"),
        )
        return TemplateResponse(request, "admin/webhooks_app/webhook/host.html", context)

    @staticmethod
    def _answer(request: HttpRequest, host: Host) -> Attempt | None:
        """What came of the try that the page was asked for after."""
        found = asked_for(request)
        return found if found and host_of(found.webhook.url) == host.host else None

    # --- verbs ----------------------------------------------------------------------------------

    def try_host(self, request: HttpRequest, host: Host) -> HttpResponse:
        """A test of one of its webhooks, whose answer the page shows."""
        if not may(request.user, "test"):
            raise PermissionDenied
        try:
            attempt = actions.test(host.worst, by=named(request))
        except actions.ActionError as error:
            self.message_user(request, f"{host.worst}: {error.message}", messages.ERROR)
            return HttpResponseRedirect(links.host(host.host))
        return HttpResponseRedirect(f"{links.host(host.host)}?attempt={attempt.pk}#answer")

    def close_breakers(self, request: HttpRequest, host: Host) -> HttpResponse:
        if not may(request.user, "close_breaker"):
            raise PermissionDenied
        rows = list(host.resting.order_by("pk").only("pk", "name", "account")[:COUNT_LIMIT])
        words = "Each is called again at once, and rests again when its calls go on failing."
        if page := self._asked(request, host, rows, "close-breakers", "breaker", words):
            return page
        for webhook in rows:
            actions.close_breaker(webhook, by=named(request))
        goes_on = kept_back(request, [row.pk for row in rows]) or "They are called again at once."
        return self._done(request, host, rows, f"Breakers closed: {{}}. {goes_on}")

    def pause_all(self, request: HttpRequest, host: Host) -> HttpResponse:
        if not may(request.user, "pause"):
            raise PermissionDenied
        running = host.live.filter(stopped="").order_by("pk")
        rows = list(running.only("pk", "name", "account")[:COUNT_LIMIT])
        if page := self._asked(request, host, rows, "pause-all", "webhook", HELD, note=True):
            return page
        for webhook in rows:
            actions.pause(webhook, note=typed_note(request), by=named(request))
        return self._done(request, host, rows, "Paused: {}. Deliveries are kept and wait.")

    def note_host(self, request: HttpRequest, host: Host) -> HttpResponse:
        level, words = written(request, host.host)
        self.message_user(request, words, level)
        return HttpResponseRedirect(f"{links.host(host.host)}#notes")

    def host_sheet(self, request: HttpRequest, host: Host) -> HttpResponseBase:
        AuditEntry.objects.note(named(request), f"Took the webhooks of {host.host} as CSV.", None)
        return sheet(f"webhooks at {host.host}", HEAD, host.keys, host.lines)

    def _asked(
        self,
        request: HttpRequest,
        host: Host,
        rows: list[Any],
        verb: str,
        noun: str,
        words: str,
        *,
        note: bool = False,
    ) -> HttpResponse | None:
        """The page that says what a verb would do; None once it was confirmed."""
        if "confirmed" in request.POST or not rows:
            return None
        customers = len({row.account_id for row in rows})
        nouns = "customer" if customers == 1 else "customers"
        return self.question(
            request,
            rows,
            counted(CONFIRMED[verb], noun, len(rows)),
            f"{words} Of {customers:,} {nouns}:",
            crumbs=[(links.listing("webhook"), "Webhooks"), (links.host(host.host), host.host)],
            place=reverse(
                f"admin:webhooks_app_webhook_host_{verb.replace('-', '_')}", args=[host.host]
            ),
            note=note,
            where=f" at {host.host}",
        )

    def _done(self, request: HttpRequest, host: Host, rows: list[Any], words: str) -> HttpResponse:
        count = f"{len(rows):,} webhook{'' if len(rows) == 1 else 's'} at {host.host}"
        if rows:
            self.message_user(request, words.format(count), messages.SUCCESS)
        else:
            self.message_user(request, "Nothing was changed: there is none.", messages.WARNING)
        return HttpResponseRedirect(links.host(host.host))
