"""Deliveries: queue one, look at what became of it, send it again; the error history."""

from collections.abc import Callable
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from ... import actions, limits
from ...models import Attempt, Delivery, WebhookError
from ...presentation.delivery_object import shown, shown_to_staff
from ...roles import VERBS
from ...rules.failures import KINDS
from .. import intake, query
from ..authentication import HISTORY, MANAGE, READ, SEND, Need
from ..base import ApiViewSet
from ..describing import ANY_JSON, Header, describe
from ..describing import Query as parameter
from ..fields import MOMENT
from ..serializers.deliveries import (
    AttemptSerializer,
    BulkWrite,
    DeliverySerializer,
    ErrorSerializer,
    ReplayedSerializer,
    ReplayWrite,
)
from .webhooks import AFTER_ID, AFTER_KEY, PAGING

_TYPE = parameter("type", {"type": "string", "maxLength": 128}, "The name of the event.")
_REFERENCE = parameter(
    "reference", {"type": "string", "maxLength": 255}, "Your own word for it; searched exactly."
)
_ORDERING_KEY = parameter(
    "orderingKey",
    {"type": "string", "maxLength": 128},
    "What it is sent in order with, where the webhook's `order` is `key`.",
)
_DUE = parameter("dueAt", MOMENT, "Not before this moment, at most 30 days ahead.")
_TIMES = (
    parameter("since", MOMENT, "From this moment on."),
    parameter("until", MOMENT, "Before this moment."),
)
_REPLAYED = Header(
    intake.REPLAYED, "`true` when all of it was stored before, by its keys.", answer=202
)


class WebhookDeliveriesViewSet(ApiViewSet):
    """Deliveries of a webhook: any JSON body, sent byte for byte until it is delivered or dead."""

    needs = {
        "list": Need(HISTORY, "view_delivery"),
        "create": Need(SEND, VERBS["deliver"]),
    }
    title = "Deliveries"
    example = {"order": 4711}
    secrets = False

    @describe(
        "List a webhook's deliveries",
        answer=DeliverySerializer(many=True),
        parameters=(
            *PAGING,
            AFTER_ID,
            *_TIMES,
            _TYPE,
            _REFERENCE,
            parameter(
                "eventId", {"type": "string", "pattern": "^[0-9a-f]{24}$"}, "Of this event only."
            ),
            parameter(
                "state",
                {"type": "string", "enum": list(Delivery.State.values)},
                f"Its state. {query.SHORT}",
            ),
        ),
    )
    def list(self, request: Request, id: str) -> Response:
        rows = Delivery.objects.filter(webhook=self.webhook).defer("payload", "idempotency_key")
        rows = rows.made(query.moment(request, "since"), query.moment(request, "until"))
        if event_type := query.text(request, "type", 128):
            rows = rows.of_type(event_type)
        if reference := query.text(request, "reference", 255):
            rows = rows.with_reference(reference)
        if event := query.ident(request, "eventId"):
            rows = rows.filter(event=event)
        after = query.after_id(request)
        limit = query.limit(request) or query.DEFAULT_LIMIT
        if after:
            rows = rows.filter(id__lt=after)
        state, last = query.choice(request, "state", Delivery.State.values), None
        if state == Delivery.State.PENDING:
            rows = rows.newest_pending(limit + 1)
        elif state:
            if state == Delivery.State.DELIVERED or event_type:
                rows, last = query.looked_through(rows)
            rows = rows.filter(state=state)
        return query.page(request, rows.order_by("-id"), limit, self.item, lambda row: row.id, last)

    @describe(
        "Send a delivery",
        takes=ANY_JSON,
        example={"order": 4711},
        answer=DeliverySerializer,
        status=202,
        errors=(409,),
        parameters=(
            _TYPE,
            _REFERENCE,
            _DUE,
            _ORDERING_KEY,
            Header(
                "Idempotency-Key",
                "The same key and body within 24 h are one delivery.",
                shape={"type": "string", "minLength": 1, "maxLength": 255},
            ),
            _REPLAYED,
        ),
    )
    def create(self, request: Request, id: str) -> Response:
        drafts = intake.single(request, self.webhook, self.read_bytes(), self.caller.by)
        delivery = intake.of_single(actions.accept([drafts])[0])
        return Response(self.item(delivery), status=202, headers=intake.headers([delivery]))

    def item(self, delivery: Delivery) -> dict[str, Any]:
        delivery.webhook = self.webhook  # one look at its health serves the whole page
        return _delivery(self, delivery)


class BulkViewSet(ApiViewSet):
    """Many deliveries of a webhook at once: all of them are stored, or none."""

    needs = {"create": Need(SEND, VERBS["deliver_many"])}
    title = "Bulk"
    example = {"deliveries": [{"payload": {"order": 4711}, "type": "order.created"}]}
    secrets = False
    body_limit = limits.BULK_LIMIT

    @describe(
        "Send many deliveries",
        takes=BulkWrite,
        example=example,
        answer=DeliverySerializer(many=True),
        status=202,
        errors=(409,),
        parameters=(_REPLAYED,),
    )
    def create(self, request: Request, id: str) -> Response:
        drafts = intake.bulk(request, self.webhook, self.read_bytes(), self.caller.by)
        deliveries = intake.of_bulk(actions.accept([drafts])[0])
        held = actions.hold_reason(self.webhook)
        rows = [_delivery(self, delivery, held) for delivery in deliveries]
        return Response(rows, status=202, headers=intake.headers(deliveries))


class DeliveryViewSet(ApiViewSet):
    """One delivery."""

    target = "delivery"
    needs = {
        "retrieve": Need(HISTORY, "view_delivery"),
        "attempts": Need(HISTORY, "view_attempt"),
        "retry": Need(MANAGE, VERBS["retry"]),
        "cancel": Need(MANAGE, VERBS["cancel"]),
    }
    title = "Delivery"

    @describe("Get a delivery", answer=DeliverySerializer)
    def retrieve(self, request: Request, id: str) -> Response:
        return Response(_delivery(self, self.delivery))

    @describe(
        "List a delivery's attempts",
        answer=AttemptSerializer(many=True),
        parameters=(*PAGING, AFTER_KEY, *_TIMES),
    )
    def attempts(self, request: Request, id: str) -> Response:
        rows = Attempt.objects.filter(delivery=self.delivery)
        return _attempts(self, rows, AttemptSerializer)

    @describe("Send a delivery again", answer=DeliverySerializer, errors=(409,))
    def retry(self, request: Request, id: str) -> Response:
        return self._after(actions.retry)

    @describe("Give a pending delivery up", answer=DeliverySerializer, errors=(409,))
    def cancel(self, request: Request, id: str) -> Response:
        return self._after(actions.cancel)

    def _after(self, verb: Callable[..., Delivery]) -> Response:
        webhook = self.delivery.webhook
        delivery = verb(self.delivery, by=self.caller.by)
        delivery.webhook = webhook  # read with its health before; reading it anew is not needed
        return Response(_delivery(self, delivery))


class ReplayViewSet(ApiViewSet):
    """Send everything again that failed since a moment."""

    needs = {"create": Need(MANAGE, VERBS["start_replay"])}
    title = "Replay"
    example = {"since": "2018-01-12T13:40:40.260Z"}

    @describe(
        "Send all failed deliveries again",
        takes=ReplayWrite,
        example=example,
        answer=ReplayedSerializer,
    )
    def create(self, request: Request, id: str) -> Response:
        since = query.read_moment("since", self.read(ReplayWrite)["since"])
        replayed, job = actions.start_replay(self.webhook, since=since, by=self.caller.by)
        return Response({"replayed": replayed} | ({"job": job.pk} if job else {}))


class ErrorViewSet(ApiViewSet):
    """The error history of a webhook, newest first."""

    needs = {"list": Need(READ, "view_webhookerror")}
    title = "Errors"

    @describe(
        "List a webhook's errors",
        answer=ErrorSerializer(many=True),
        parameters=(
            *PAGING,
            AFTER_KEY,
            *_TIMES,
            parameter("kind", {"type": "string", "enum": sorted(KINDS)}, "The kind of error."),
            parameter(
                "exchange",
                {"type": "string", "enum": list(Attempt.Exchange.values)},
                f"What was under way. {query.SHORT}",
            ),
        ),
    )
    def list(self, request: Request, id: str) -> Response:
        rows = WebhookError.objects.filter(webhook=self.webhook)
        if kind := query.choice(request, "kind", sorted(KINDS)):
            rows = rows.filter(kind=kind)
        exchange = query.choice(request, "exchange", Attempt.Exchange.values)
        return _attempts(self, rows.defer("answer"), ErrorSerializer, exchange)


def _delivery(view: ApiViewSet, delivery: Delivery, held: str | None = None) -> dict[str, Any]:
    """`held`: why those of its webhook are, where that is known already."""
    return (shown_to_staff if view.caller.is_staff else shown)(delivery, held)


def _attempts(view: ApiViewSet, rows: Any, shape: Any, exchange: str = "") -> Response:
    request, last = view.request, None
    since, until = query.moment(request, "since"), query.moment(request, "until")
    rows = rows.ended(since, until)
    after = query.after_key(request)
    if after is not None:
        rows = rows.filter(id__lt=after)
    if exchange:
        rows, last = query.looked_through(rows)
        rows = rows.filter(exchange=exchange)
    return query.page(
        request,
        rows.order_by("-id"),
        query.limit(request),
        lambda row: view.show(shape, row),
        lambda row: row.id,
        last,
    )
