"""The documented API: list, get, create, update and delete webhooks; and their settings."""

from typing import Any

from django.db.models import Q
from rest_framework.request import Request
from rest_framework.response import Response

from ... import actions
from ...models import states
from ...models.delivery import db_now
from ...roles import VERBS
from ...rules.hosts import LIMIT
from .. import masks, query
from ..authentication import MANAGE, READ, Need
from ..base import ApiViewSet
from ..describing import Header, describe
from ..describing import Query as parameter
from ..errors import NOT_FOUND, Problem, invalid
from ..serializers.document import (
    EnvelopeSerializer,
    WebhookItemSerializer,
    WebhookPatch,
    WebhookPut,
    WebhookSerializer,
    WebhookWrite,
)
from ..serializers.settings import SettingsSerializer, SettingsWrite

EXAMPLE = {
    "name": "Webhook name",
    "url": "https://example.com/webhook",
    "token": "",
    "headers": [],
    "auth": {},
}
PAGING = (
    parameter("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, "Most items of a page."),
    Header("Link", "The next page, when there is one.", answer=200),
)
_AFTER = "The id after which the page begins (see `Link`)."
AFTER_ID = parameter("after", {"type": "string", "pattern": "^[0-9a-f]{24}$"}, _AFTER)
AFTER_KEY = parameter("after", {"type": "string", "pattern": "^[0-9]{1,19}$"}, _AFTER)

ACCOUNT = parameter(
    "account",
    {"type": "string", "pattern": "^[a-z0-9-]{1,64}$"},
    "For a session that may act for several accounts; a token has its own.",
)


class WebhookViewSet(ApiViewSet):
    """Webhooks: what is called, with which token, headers and credentials."""

    needs = {
        "list": Need(READ, "view_webhook"),
        "create": Need(MANAGE, VERBS["create_webhook"]),
        "retrieve": Need(READ, "view_webhook"),
        "update": Need(MANAGE, VERBS["update_webhook"]),
        "partial_update": Need(MANAGE, VERBS["update_webhook"]),
        "destroy": Need(MANAGE, VERBS["delete_webhook"]),
    }
    example = EXAMPLE

    @describe(
        "List all webhooks",
        answer=WebhookItemSerializer(many=True),
        parameters=(
            *PAGING,
            AFTER_ID,
            ACCOUNT,
            parameter("search", {"type": "string", "maxLength": 2048}, "Part of name or URL."),
            parameter(
                "host",
                {"type": "string", "maxLength": LIMIT},
                "Whose URL names this host, like `example.com` or `example.com:8443`.",
            ),
            parameter(
                "failing",
                {"type": "string", "enum": ["true", "false"]},
                "Only those whose last 5 or more calls failed (or only the others).",
            ),
        ),
    )
    def list(self, request: Request) -> Response:
        rows = self.webhooks().only("id", "name", "url", "health__last_error_message")
        search = query.text(request, "search", 2048)
        if search:
            rows = rows.filter(Q(name__icontains=search) | Q(url__icontains=search))
        if host := query.text(request, "host", LIMIT):
            try:
                rows = rows.at_host(host)
            except ValueError:
                raise invalid({"host": ["Must be a host like example.com:8443."]}) from None
        failing = query.choice(request, "failing", ("true", "false"))
        if failing == "true":
            rows = rows.filter(states.FAILING.webhooks(db_now()))
        elif failing == "false":
            rows = rows.exclude(pk__in=states.FAILING.keys(db_now()))
        after = query.after_id(request)
        if after:
            rows = rows.filter(id__gt=after)
        return query.page(
            request,
            rows.order_by("id"),
            query.limit(request, default=None),
            lambda webhook: self.show(WebhookItemSerializer, webhook),
            lambda webhook: webhook.id,
        )

    @describe(
        "Create a webhook",
        takes=WebhookWrite,
        example=EXAMPLE,
        answer=EnvelopeSerializer,
        parameters=(ACCOUNT,),
    )
    def create(self, request: Request) -> Response:
        sent = self.read(WebhookWrite)
        fields = masks.changes(sent, None, masked=self.caller.masked)
        webhook = actions.create_webhook(self.caller.account(), by=self.caller.by, **fields)
        return self.done(webhook.id)

    @describe("Get a webhook", answer=WebhookSerializer)
    def retrieve(self, request: Request, id: str) -> Response:
        return Response(self.show(WebhookSerializer, self.webhook))

    @describe(
        "Update a webhook",
        takes=WebhookPut,
        example=EXAMPLE,
        answer=EnvelopeSerializer,
        errors=(409,),
    )
    def update(self, request: Request, id: str) -> Response:
        return self._update(WebhookPut)

    @describe(
        "Change some fields of a webhook",
        takes=WebhookPatch,
        answer=EnvelopeSerializer,
        errors=(409,),
    )
    def partial_update(self, request: Request, id: str) -> Response:
        return self._update(WebhookPatch)

    def _update(self, shape: type[WebhookWrite]) -> Response:
        sent = self.read(shape)
        with self.atomic():
            # Masks stand for what is stored now, so the row is locked before they are read.
            webhook = self.locked()
            fields = masks.changes(sent, webhook, masked=self.caller.masked)
            actions.update_webhook(webhook, by=self.caller.by, **fields)
        return self.done(webhook.id)

    @describe("Delete a webhook", answer=EnvelopeSerializer)
    def destroy(self, request: Request, id: str) -> Response:
        actions.delete_webhook(self.webhook, by=self.caller.by)
        return self.done(self.webhook.id)

    def form_content(self) -> Any:
        webhook = getattr(self, "webhook", None)
        if self.action == "create" or webhook is None:
            return EXAMPLE
        return self.show(WebhookSerializer, webhook)


FIELDS = {  # of the settings, and what `update_webhook` calls them
    "timeout": "timeout",
    "maxInFlight": "max_in_flight",
    "form": "form",
    "order": "order",
    "onDead": "on_dead",
    "rateLimit": "rate_limit",
    "retrySchedule": "retry_schedule",
}


class SettingsViewSet(ApiViewSet):
    """What the documented object has no field for. `enabled: false` pauses, `true` resumes."""

    needs = {
        "retrieve": Need(READ, "view_webhook"),
        "partial_update": Need(MANAGE, VERBS["update_webhook"], VERBS["pause"]),
    }
    title = "Settings"

    @describe("Get a webhook's settings", answer=SettingsSerializer)
    def retrieve(self, request: Request, id: str) -> Response:
        return Response(self.show(SettingsSerializer, self.webhook))

    @describe(
        "Change a webhook's settings",
        takes=SettingsWrite,
        example={"enabled": False, "note": "maintenance until noon"},
        answer=SettingsSerializer,
        errors=(409,),
    )
    def partial_update(self, request: Request, id: str) -> Response:
        sent = self.read(SettingsWrite)
        note = _note(sent)
        fields = {FIELDS[key]: value for key, value in sent.items() if key in FIELDS}
        for name, value in sent.get("breaker", {}).items():
            fields[f"breaker_{name}"] = value
        if "prefix" in sent.get("signature", {}):
            fields["signature_prefix"] = sent["signature"]["prefix"]
        with self.atomic():
            webhook = self.locked()
            # A whole GET comes back from the browsable API: only what would change is judged.
            if actions.would_change(webhook, **fields):
                self.require("update_webhook")
            if given := masks.credentials(sent, webhook, masked=self.caller.masked):
                self.require("update_webhook")
                fields |= given
            if sent.get("enabled") is bool(webhook.stopped):
                self.require("enable" if webhook.stopped else "pause")
            if fields:
                actions.update_webhook(webhook, by=self.caller.by, **fields)
            if "subscriptions" in sent and sent["subscriptions"] != actions.subscriptions(webhook):
                self.require("set_subscriptions")
                actions.set_subscriptions(webhook, sent["subscriptions"], by=self.caller.by)
            if sent.get("enabled") is False:
                actions.pause(webhook, note=note, by=self.caller.by)
            elif sent.get("enabled") is True:
                actions.enable(webhook, by=self.caller.by)
        webhook = self.webhooks().filter(pk=webhook.pk).first()
        if webhook is None:
            raise Problem(404, NOT_FOUND)
        self.webhook = webhook
        return Response(self.show(SettingsSerializer, webhook))

    def form_content(self) -> Any:
        webhook = getattr(self, "webhook", None)
        return {} if webhook is None else self.show(SettingsSerializer, webhook)


def _note(sent: dict[str, Any]) -> str:
    note = sent.get("note", "")
    if not isinstance(note, str) or len(note) > 255:
        raise invalid({"note": ["Must be a text of at most 255 characters."]})
    if note and "enabled" not in sent:
        raise invalid({"note": ["A note says why a webhook is paused: send enabled as well."]})
    return note
