"""JSON for every client, DRF's browsable API for a person in a browser.

An `Accept` that names neither is answered in JSON (never 406), and so is every request that
brings an `Authorization` header.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from django import forms
from django.apps import apps
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer
from rest_framework.request import Request, override_method

from ..rules.safe_text import JOINERS, shown

KEPT = "\n\r\t" + JOINERS
ACCEPT_LIMIT = 1024  # characters of `Accept` that are read; those of browsers are much shorter


class ApiJSONRenderer(JSONRenderer):
    charset = None
    ensure_ascii = False
    compact = True
    strict = True


_DUMP = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def dump(value: Any) -> bytes:
    """Plain values as ApiJSONRenderer renders them, in a third of its time."""
    # JavaScript took these two for the end of a line once, and REST framework still minds.
    return _DUMP(value).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").encode()


class RawForm(forms.Form):
    """The raw JSON form; DRF's script sends it with the content type it names."""

    _content_type = forms.CharField(
        initial="application/json",
        widget=forms.HiddenInput(attrs={"data-override": "content-type"}),
    )
    _content = forms.CharField(
        label="JSON",
        required=False,
        widget=forms.Textarea(
            attrs={"data-override": "content", "rows": 14, "spellcheck": "false"}
        ),
    )


class ApiBrowsableRenderer(BrowsableAPIRenderer):
    """The browsable API with the raw JSON form only.

    HTML forms cannot hold lists, and an untouched form of masked secrets would wipe them.
    """

    template = "webhooks_app/api.html"

    def get_context(
        self, data: Any, accepted_media_type: str | None, renderer_context: Any
    ) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context(data, accepted_media_type, renderer_context)
        context["roots"] = list(_roots())
        # A resource that is only sent to has nothing to show.
        context["only_sent_to"] = (
            context["response"].status_code == 405 and context["request"].method == "GET"
        )
        context["beside"] = list(_beside(renderer_context["view"]))
        context["rows"] = list(_rows(data)) if isinstance(data, list) else []
        return context

    def get_rendered_html_form(self, data: Any, view: Any, method: str, request: Any) -> Any:
        if method != "DELETE":
            return None
        with override_method(view, request, method) as cloned:
            return self.show_form_for_method(view, method, cloned, None)

    def get_content(
        self, renderer: Any, data: Any, accepted_media_type: str | None, renderer_context: Any
    ) -> Any:
        """For eyes: unseen characters are written as JSON may write them."""
        content = super().get_content(renderer, data, accepted_media_type, renderer_context)
        return shown(content, KEPT) if isinstance(content, str) else content

    def get_raw_data_form(self, data: Any, view: Any, method: str, request: Any) -> Any:
        with override_method(view, request, method) as cloned:
            if not self.show_form_for_method(view, method, cloned, None):
                return None
            content = view.form_content()
        if request.method == method and view.sent and view.response.status_code >= 400:
            text = view.sent.decode("utf-8", "replace")  # what was refused can be mended
        else:
            text = json.dumps(content, indent=4, ensure_ascii=False)
        return RawForm(initial={"_content": shown(text, KEPT)})

    def get_filter_form(self, data: Any, view: Any, request: Any) -> None:
        return None

    def get_breadcrumbs(self, request: Request) -> list[tuple[str, str]]:
        here = request.path.rstrip("/")
        title, root = _root(here)
        crumbs = [(title, root)]
        above, _, last = here.rpartition("/")
        if here != root:
            if above.startswith(root + "/"):
                crumbs.append((above.rpartition("/")[2], above))
            crumbs.append((shown(last), here))
        query = f"?account={self._account(request)}" if self._account(request) else ""
        return [(name, path + query) for name, path in crumbs]

    @staticmethod
    def _account(request: Request) -> str:
        chosen = getattr(request.auth, "chosen", None)
        return chosen.name if chosen else ""


# Names of routes, and of the links to them: what stands beside a webhook, and beside a delivery.
OF_WEBHOOK = {
    **{"webhook": "Webhook", "settings": "Settings", "webhook-deliveries": "Deliveries"},
    **{"errors": "Errors", "interactions": "Call it", "test": "Test", "verify": "Verify"},
    **{"subscriptions-test": "Try subscriptions", "replay": "Replay", "close-breaker": "Breaker"},
    **{"bulk": "Many deliveries", "secret": "Signing secret"},
}
OF_DELIVERY = {
    **{"delivery": "Delivery", "attempts": "Attempts", "retry": "Retry", "cancel": "Cancel"},
}


# Lists of events by their titles, and the names of their routes.
ROOTS = {"Events": "webhooks_events:events", "Event types": "webhooks_events:event-types"}


def _roots() -> Iterator[tuple[str, str]]:
    """All lists that stand at the top, as far as the site includes them."""
    yield "Webhooks", reverse("webhooks_app:webhooks")
    for title, name in ROOTS.items():
        with suppress(NoReverseMatch):
            yield title, reverse(name)


def _root(here: str) -> tuple[str, str]:
    """The title and the address of the list that an address stands below."""
    for title, name in ROOTS.items():
        with suppress(NoReverseMatch):
            root = reverse(name)
            if here == root or here.startswith(f"{root}/"):
                return title, root
    return "Webhooks", reverse("webhooks_app:webhooks")


def _beside(view: Any) -> Iterator[tuple[str, str]]:
    """Links to the other resources of the one that is shown."""
    delivery, webhook = getattr(view, "delivery", None), getattr(view, "webhook", None)
    for row, names in ((delivery, OF_DELIVERY), (webhook, OF_WEBHOOK)):
        if row is not None:
            for name, title in names.items():
                yield title, reverse(f"webhooks_app:{name}", args=[row.pk])
    if (event := getattr(view, "event", None)) is not None:
        yield "Event", reverse("webhooks_events:event", args=[event.pk])
        yield "Why", reverse("webhooks_events:event-webhooks", args=[event.pk])
    if delivery is not None:
        yield "Its webhook", reverse("webhooks_app:webhook", args=[delivery.webhook_id])


def _rows(data: list[Any]) -> Iterator[tuple[str, str]]:
    """Links to what a list holds: webhooks and event types by their name, others by their id."""
    for row in data:
        if "fanOut" in row:
            yield f"{row['type']} {row['id']}", reverse("webhooks_events:event", args=[row["id"]])
        elif "archived" in row:
            yield row["name"], reverse("webhooks_events:event-type", args=[row["name"]])
        elif "verdict" in row:
            to = reverse("webhooks_app:webhook", args=[row["webhookId"]])
            yield f"{row['webhookId']}: {row['verdict']}", to
        elif "webhookId" in row:
            yield row["id"], reverse("webhooks_app:delivery", args=[row["id"]])
        elif "url" in row and "name" in row:
            yield shown(row["name"]), reverse("webhooks_app:webhook", args=[row["id"]])


class Negotiation(BaseContentNegotiation):
    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[Any, str]:
        plain, browsable = renderers
        if wants_html(request._request):
            return browsable, browsable.media_type
        return plain, plain.media_type


def wants_html(request: HttpRequest) -> bool:
    """Whether a browser asks: HTML is named and liked better than JSON, and no token is sent. The
    pages need the scripts of REST framework, so it must be an installed app."""
    if "HTTP_AUTHORIZATION" in request.META or not apps.is_installed("rest_framework"):
        return False
    liking = {"text/html": 0.0, "application/json": 0.0}
    for choice in request.META.get("HTTP_ACCEPT", "")[:ACCEPT_LIMIT].lower().split(","):
        media_type, *parameters = (part.strip() for part in choice.split(";"))
        if media_type in liking:
            liking[media_type] = _quality(parameters)
    if liking["text/html"] <= liking["application/json"]:
        return False
    try:
        return request.GET.get("format") != "json"
    except SuspiciousOperation:  # more parameters than Django reads
        return False


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
