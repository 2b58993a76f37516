"""The subscriptions of a webhook on its page: changed, and tried on events before that."""

import copy
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, QueryDict
from django.urls import URLPattern

from .. import actions
from ..models import Event, Webhook
from ..presentation.trial import CheckRow, check_rows
from ..roles import may
from ..rules import strictjson
from ..rules.ids import is_id
from ..rules.subscriptions import SUBSCRIPTIONS_LIMIT
from .base import named

EMPTY_ROWS = 1
STALE = "The webhook was changed after you had opened this page. Look at it, then save once more."
NO_EVENT = "The account has no event with this id."


def _text(label: str, most: int, rows: int = 0) -> forms.CharField:
    attrs = {"spellcheck": "false", "autocomplete": "off", "class": "vTextField wh-mono"}
    widget = forms.Textarea(attrs={**attrs, "rows": rows}) if rows else forms.TextInput(attrs)
    return forms.CharField(required=False, label=label, max_length=most, widget=widget)


def _json(text: str) -> Any:
    try:
        return strictjson.loads(text.encode())
    except ValueError as error:
        raise forms.ValidationError(f"This is no JSON: {error}.") from None


class SubscriptionForm(forms.Form):
    """One subscription as people write it; an empty row is none."""

    types = _text("Event types", 16 * 1024, rows=2)
    channels = _text("Channels", 2048)
    filter = _text("Filter", 16 * 1024, rows=8)

    def clean_types(self) -> list[str]:
        return _words(self.cleaned_data["types"])

    def clean_channels(self) -> list[str]:
        return _words(self.cleaned_data["channels"])

    def clean_filter(self) -> Any:
        text = self.cleaned_data["filter"].strip()
        return _json(text) if text else {}


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


class TrialForm(forms.Form):
    """What they are tried on: an event there was, or one that is made up."""

    event = _text("Id of an event", 24)
    type = _text("Or a type", 128)
    event_channels = _text("Its channels", 700)
    payload = _text("Its payload, JSON", actions.PAYLOAD_LIMIT, rows=5)
    history = forms.BooleanField(required=False, label="Also on the last 1,000 events")

    def clean_payload(self) -> bytes:
        text = self.cleaned_data["payload"].strip() or "{}"
        _json(text)
        return text.encode()


SubscriptionFormSet: Any = forms.formset_factory(
    SubscriptionForm, extra=EMPTY_ROWS, max_num=SUBSCRIPTIONS_LIMIT, absolute_max=25
)


class Panel:
    """The subscriptions as the page shows them: those that hold, or what somebody sent."""

    def __init__(self, webhook: Webhook, sent: Any = None) -> None:
        self.webhook, self.sent = webhook, sent
        self.present = [_written(one) for one in actions.subscriptions(webhook)]
        self.rows = SubscriptionFormSet(sent, initial=self.present, prefix="subscriptions")
        self.trial_form = TrialForm(sent)
        self.problems: list[str] = []
        self.trial: actions.Trial | None = None
        self.history: actions.History | None = None

    @property
    def mark(self) -> str:
        return str(self.webhook.version)

    @property
    def checks(self) -> list[CheckRow]:
        return check_rows(self.trial.checks) if self.trial else []

    @cached_property
    def filled(self) -> list[Any]:
        """The rows in which something stands, once they were read."""
        return [form for form in self.rows.forms if any(form.cleaned_data.values())]

    def judged(self) -> list[dict[str, Any]] | None:
        """What was sent, as `actions.judged_subscriptions` gives it; None, and the problems at
        their places, where it cannot be."""
        if not self.rows.is_valid():
            return None
        try:
            return actions.judged_subscriptions(self.webhook, self.wanted)
        except actions.Invalid as invalid:
            self._report(invalid.details)
            return None

    @property
    def wanted(self) -> list[dict[str, Any]]:
        """As `actions.set_subscriptions` takes them."""
        return [dict(form.cleaned_data) for form in self.filled]

    def save(self, by: str) -> bool:
        """Whether it is done; if not, the page says why."""
        if self.judged() is None:
            return False
        if self.sent.get("version", self.mark) != self.mark:
            self.problems.append(STALE)
            return False
        actions.set_subscriptions(self.webhook, self.wanted, by=by)
        return True

    def try_out(self) -> None:
        """Fills `trial` and `history`."""
        wanted = self.judged()
        if wanted is None or not self.trial_form.is_valid():
            return
        given = self.trial_form.cleaned_data
        if given["event"] or given["type"]:
            asked = self._asked(given)
            self.trial = actions.tried(wanted, asked) if asked else None
        if given["history"]:
            self.history = actions.tried_on_history(self.webhook.account_id, wanted)

    def _asked(self, given: Mapping[str, Any]) -> actions.Asked | None:
        if ident := given["event"].strip():
            rows = Event.objects.for_account(self.webhook.account_id).filter(pk=ident)
            event = rows.first() if is_id(ident) else None
            if event is None:
                self.trial_form.add_error("event", NO_EVENT)
                return None
            return actions.Asked(event.type, event.channels, event)
        try:
            channels = _words(given["event_channels"])
            return actions.Asked.of(given["type"].strip(), channels, given["payload"])
        except actions.Invalid as invalid:
            for name, found in invalid.details.items():
                field = "event_channels" if name == "channels" else name
                self.trial_form.add_error(field, list(found))
            return None

    def _report(self, details: Mapping[str, Any]) -> None:
        found = details["subscriptions"]
        if not isinstance(found, Mapping):
            self.problems += [line for _, line in actions.sentences(found)]
            return
        for place, inner in found.items():
            for name, problems in inner.items():
                lines = [f"{path} {line}".strip() for path, line in actions.sentences(problems)]
                self.filled[int(place)].add_error(name, lines)


def _written(one: Mapping[str, Any]) -> dict[str, str]:
    """A subscription as people read and write it."""
    filter = one["filter"]
    return {
        "types": "\n".join(one["types"]),
        "channels": " ".join(one["channels"]),
        "filter": json.dumps(filter, indent=2, ensure_ascii=False) if filter else "",
    }


class Subscribing:
    """The half of WebhookAdmin that is about subscriptions."""

    def subscriptions_context(self, request: HttpRequest, webhook: Webhook) -> dict[str, Any]:
        panel = getattr(request, "_subscriptions", None) or Panel(webhook)
        return {"panel": panel, "may_subscribe": may(request.user, "set_subscriptions")}

    def subscriptions_urls(self) -> list[URLPattern]:
        return [self.post_view("subscriptions", "subscriptions", self.subscribe)]  # type: ignore[attr-defined]

    def subscribe(self, request: HttpRequest, webhook: Webhook) -> HttpResponse:
        """Saves, or tries and shows the page with what came of it."""
        if not may(request.user, "set_subscriptions"):
            raise PermissionDenied
        panel = Panel(webhook, request.POST)
        if "try" in request.POST:
            stored = request.POST.get("event") or request.POST.get("history")
            if stored and not request.user.has_perm("webhooks_app.view_event"):
                raise PermissionDenied  # what filters find in an event tells its payload
            panel.try_out()
        elif panel.save(named(request)):
            words = "Saved: subscriptions. What is published from now on goes by them."
            self.message_user(request, words, messages.SUCCESS)  # type: ignore[attr-defined]
            return self.to_page(webhook, "#subscriptions")  # type: ignore[attr-defined]
        return self._shown_again(request, webhook, panel)

    def _shown_again(self, request: HttpRequest, webhook: Webhook, panel: Panel) -> HttpResponse:
        """The page as a GET shows it, with what was sent in the panel."""
        looked: Any = copy.copy(request)
        looked.method, looked.POST, looked._subscriptions = "GET", QueryDict(), panel
        return self.change_view(looked, webhook.pk, form_url="../change/")  # type: ignore[attr-defined]
