"""One search for everything: references, ids, webhooks, hosts, customers, events. By indexes alone:
what none answers, a list is linked that looks for it as far as it may."""

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import CharField, F, Value
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from ..fields import Begins, NameStart
from ..models import Account, Attempt, Delivery, Event, Job, Webhook
from ..models.delivery import db_now
from ..models.delivery_filters import unfit
from ..models.webhook import SECRETS_BESIDE
from ..presentation.looks import State, delivery_state, webhook_state
from ..presentation.outages import TOLD
from ..rules.hosts import NO_HOST, host_of
from ..rules.ids import is_id
from . import links
from .base import ConsoleAdmin
from .filters import is_place

SHOWN = 6  # of each sort
ATTEMPT_DIGITS = 12
HOSTS_READ = 200  # webhooks, for the hosts that they call
FORMS_READ = 500  # of the newest references, for what stands before their numbers
FORMS_MOST = 20
VIEWED = ("delivery", "event", "webhook", "account", "attempt")


@dataclass(frozen=True, slots=True)
class Hit:
    link: str
    title: str
    sub: str = ""
    state: State | None = None
    at: Any = None


@dataclass(slots=True)
class Section:
    title: str
    hits: list[Hit]
    more: list[tuple[str, str]] = field(default_factory=list)  # words and link


class Finder:
    """What is found for a term, of what this user may see."""

    def __init__(self, request: HttpRequest, term: str) -> None:
        self.request, self.term, self.now = request, term, db_now()
        may = request.user.has_perm
        self.sees = {name for name in VIEWED if may(f"webhooks_app.view_{name}")}

    def page_of_id(self) -> str:
        """The page of the one row that has the term as its id, `""` where there is none."""
        if is_id(self.term):
            if name := self._model_of_id():
                return reverse(f"admin:webhooks_app_{name}_change", args=[self.term])
        elif "attempt" in self.sees and self._is_attempt():
            return reverse("admin:webhooks_app_attempt_change", args=[self.term])
        return ""

    def _model_of_id(self) -> str:
        """Of which model a row has the term as its id, by one question for all of them."""
        models: dict[str, Any] = {
            "delivery": Delivery.objects.all(),
            "event": Event.objects.all(),
            "webhook": Webhook.objects.live(),
        }
        rows = {name: models[name] for name in models if name in self.sees}
        if "delivery" in self.sees:
            rows["job"] = Job.objects.all()
        found = [
            row.filter(pk=self.term).order_by().values_list(Value(name, CharField()))
            for name, row in rows.items()
        ]
        if not found:
            return ""
        names = {name for (name,) in found[0].union(*found[1:]).order_by()}
        return next((name for name in rows if name in names), "")

    def _is_attempt(self) -> bool:
        """A number of people's own is shorter than the key of an attempt."""
        long = len(self.term) > ATTEMPT_DIGITS and is_place(Attempt, self.term)
        return long and Attempt.objects.filter(pk=self.term).exists()

    def sections(self) -> list[Section]:
        parts = {
            "delivery": self._deliveries,
            "event": self._events,
            "webhook": self._webhooks,
            "account": self._customers,
        }
        found = [part() for name, part in parts.items() if name in self.sees]
        if "webhook" in self.sees:
            found.insert(-1 if "account" in self.sees else len(found), self._hosts())
        return found

    @cached_property
    def references(self) -> list[str]:
        """The term as references may spell it: a number as the newest of them do."""
        term = self.term
        spelled = {term, *(term.replace(" ", sign) for sign in ("-", "_", ""))}
        if term.isascii() and term.isdecimal() and "delivery" in self.sees:
            newest = Delivery.objects.order_by("-pk").values_list("reference", flat=True)
            heads = Counter(
                reference.rstrip("0123456789")
                for reference in newest[:FORMS_READ]
                if reference[-1:].isdecimal()
            )
            spelled |= {head + term for head, _ in heads.most_common(FORMS_MOST)}
        return sorted(each for each in spelled if each)

    def _deliveries(self) -> Section:
        rows = Delivery.objects.filter(reference__in=self.references).exclude(reference="")
        rows = rows.select_related("webhook__account", "webhook__health")
        rows = rows.defer("payload", *SECRETS_BESIDE)
        found = list(rows.order_by("-reference", "-webhook", "-pk")[: SHOWN + 1])
        hits = [
            Hit(
                reverse("admin:webhooks_app_delivery_change", args=[row.pk]),
                row.reference,
                f"{row.type or row.pk} → {row.webhook}, {row.webhook.account.name}",
                delivery_state(row, self.now),
                row.created_at,
            )
            for row in found[:SHOWN]
        ]
        more = []
        for reference in sorted({row.reference for row in found}) if len(found) > SHOWN else ():
            more.append(
                (f"All with the reference {reference}", links.listing("delivery", q=reference))
            )
        payloads = links.listing("delivery", payload=self.term, created="any")
        more.append(("In payloads of the newest deliveries", payloads))
        return Section("Deliveries", hits, more)

    def _events(self) -> Section:
        rows = Event.objects.select_related("account").defer("payload")
        sets = (
            rows.filter(reference__in=self.references).exclude(reference=""),
            rows.filter(key=self.term, key__isnull=False),
            rows.filter(subject=self.term).exclude(subject=""),
        )
        found: dict[str, Any] = {}
        for place in sets:
            if len(found) < SHOWN:
                found |= {row.pk: row for row in place.order_by()[: SHOWN - len(found)]}
        hits = [
            Hit(
                reverse("admin:webhooks_app_event_change", args=[row.pk]),
                row.type,
                " · ".join(filter(None, [row.reference, row.subject, row.account.name])),
                at=row.created_at,
            )
            for row in found.values()
        ]
        more = (
            [("All that match", links.listing("event", q=self.term))] if len(hits) == SHOWN else []
        )
        return Section("Events", hits, more)

    def _webhooks(self) -> Section:
        rows = Webhook.objects.live().select_related("account", "health").only(*TOLD)
        begins = Begins(NameStart(F("name")), self.term[: NameStart.LENGTH])
        found = list(rows.filter(begins).order_by(NameStart(F("name")))[: SHOWN + 1])
        hits = [
            Hit(
                links.webhook(row.pk),
                str(row),
                f"{host_of(row.url)}, {row.account.name}",
                webhook_state(row, self.now),
            )
            for row in found[:SHOWN]
        ]
        return Section("Webhooks", hits, [("In all names", links.listing("webhook", q=self.term))])

    def _hosts(self) -> Section:
        typed = self.term.partition("://")[2] or self.term
        typed = typed.partition("/")[0].lower()
        rows = Webhook.objects.live().filter(Begins(F("host"), typed)).order_by("host")
        urls = list(rows.values_list("url", flat=True)[:HOSTS_READ]) if typed else []
        counts = Counter(host_of(url) for url in urls)
        counts.pop(NO_HOST, None)
        hits = [
            Hit(links.host(host), host, _webhooks_in_words(count, cut=len(urls) == HOSTS_READ))
            for host, count in list(counts.items())[:SHOWN]
        ]
        return Section("Hosts", hits)

    def _customers(self) -> Section:
        rows = Account.objects.filter(Begins(F("name"), self.term)).order_by("name")
        hits = [
            Hit(
                reverse("admin:webhooks_app_account_change", args=[row.pk]),
                row.name,
                row.contact_email,
            )
            for row in rows[:SHOWN]
        ]
        more = [("In all names", links.listing("account", q=self.term))]
        return Section("Customers", hits, more)


def _webhooks_in_words(count: int, *, cut: bool) -> str:
    return f"{count:,}{'+' if cut else ''} webhook{'' if count == 1 else 's'}"


class Searching(ConsoleAdmin):
    """The part of WebhookAdmin that looks for everything."""

    def get_urls(self) -> list[URLPattern]:
        find = self.admin_site.admin_view(self.find)
        return [path("search/", find, name="webhooks_app_webhook_search"), *super().get_urls()]

    def find(self, request: HttpRequest) -> HttpResponse:
        term = request.GET.get("q", "").strip()
        finder = Finder(request, term)
        if not finder.sees:
            raise PermissionDenied
        sought = bool(term) and not unfit(term)
        if sought and (page := finder.page_of_id()):
            return HttpResponseRedirect(page)
        sections = finder.sections() if sought else []
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": "Search",
            "term": term,
            "sought": sought,
            "sections": sections,
            "found": any(section.hits for section in sections),
        }
        return TemplateResponse(request, "admin/webhooks_app/search.html", context)
