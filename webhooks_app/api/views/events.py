"""Events: publish one or many, look at what became of it, take it back."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import router
from rest_framework.request import Request
from rest_framework.response import Response

from ... import actions, limits
from ...models import Event
from ...models.primary import clock
from ...roles import VERBS
from ...rules.ids import is_id
from ...rules.subscriptions import channel
from .. import intake_events, query
from ..authentication import HISTORY, MANAGE, READ, SEND, Need
from ..base import ApiViewSet
from ..describing import Header, describe
from ..describing import Query as parameter
from ..errors import NOT_FOUND, Problem, invalid
from ..fields import MOMENT
from ..intake import REPLAYED
from ..serializers.document import EnvelopeSerializer
from ..serializers.events import (
    EventDetailSerializer,
    EventSerializer,
    EventsWrite,
    EventWrite,
    PublishedSerializer,
    WholeEventSerializer,
)
from .webhooks import ACCOUNT, AFTER_ID, PAGING

CHANNEL_SPAN = timedelta(days=7)  # in which events are looked for by a channel
_EXAMPLE = {"type": "order.created", "payload": {"order": 4711}}


class EventsViewSet(ApiViewSet):
    """Events: published once, sent to every webhook of the account that subscribes to them."""

    needs = {
        "list": Need(HISTORY, "view_event"),
        "create": Need(SEND, VERBS["publish"]),
    }
    target = "event"
    title = "Events"
    example = _EXAMPLE
    body_limit = limits.EVENT_LIMIT

    @describe(
        "List events",
        answer=EventSerializer(many=True),
        parameters=(
            *PAGING,
            AFTER_ID,
            ACCOUNT,
            parameter("since", MOMENT, "Published from this moment on."),
            parameter("until", MOMENT, "Published before this moment."),
            parameter("type", {"type": "string", "maxLength": 128}, "Its type."),
            parameter("eventId", {"type": "string", "maxLength": 256}, "Your own id."),
            parameter("reference", {"type": "string", "maxLength": 255}, "Your own word for it."),
            parameter("subject", {"type": "string", "maxLength": 255}, "Whom it is about."),
            parameter(
                "channel",
                {"type": "string", "maxLength": 128},
                f"One of its channels; with `since`, of at most 7 days. {query.SHORT}",
            ),
        ),
    )
    def list(self, request: Request) -> Response:
        since, until = query.moment(request, "since"), query.moment(request, "until")
        rows = self.caller.events().defer("payload").made(since, until)
        if name := query.text(request, "channel", 128):
            _check_span(name, since, until)
        if event_type := query.text(request, "type", 128):
            rows = rows.filter(type=event_type)
        if key := query.text(request, "eventId", 256):
            rows = rows.keyed(key)
        if reference := query.text(request, "reference", 255):
            rows = rows.with_reference(reference)
        if subject := query.text(request, "subject", 255):
            rows = rows.about(subject)
        if after := query.after_id(request):
            rows = rows.filter(pk__lt=after)
        rows, last = rows.order_by("-pk"), None
        if name:
            rows, last = query.looked_through(rows)
            rows = rows.in_channel(name)
        return query.page(
            request,
            rows,
            query.limit(request),
            lambda event: self.show(EventSerializer, event),
            lambda event: event.pk,
            last,
        )

    @describe(
        "Publish an event",
        takes=EventWrite,
        example=_EXAMPLE,
        answer=EventDetailSerializer,
        status=202,
        errors=(409,),
        parameters=(
            ACCOUNT,
            Header(
                "Idempotency-Key",
                "The same as `eventId`.",
                shape={"type": "string", "minLength": 1, "maxLength": 256},
            ),
            Header(REPLAYED, "`true` when the eventId was seen before.", answer=202),
        ),
    )
    def create(self, request: Request) -> Response:
        new = intake_events.single(request, self.read_bytes())
        answer = _accepted(self, new)
        event = intake_events.of_single(answer)
        shown = self.show(EventDetailSerializer, event)
        return Response(shown, status=202, headers=intake_events.headers([event]))


class EventsInBulkViewSet(ApiViewSet):
    """Many events at once: all are stored, or none."""

    needs = {"create": Need(SEND, VERBS["publish_many"])}
    target = "event"
    title = "Events in bulk"
    example = {"events": [_EXAMPLE]}
    body_limit = limits.BULK_LIMIT

    @describe(
        "Publish many events",
        takes=EventsWrite,
        example=example,
        answer=PublishedSerializer(many=True),
        status=202,
        errors=(409,),
        parameters=(
            ACCOUNT,
            Header(REPLAYED, "`true` when all of them were seen before.", answer=202),
        ),
    )
    def create(self, request: Request) -> Response:
        new = intake_events.bulk(request, self.read_bytes())
        answer = _accepted(self, new)
        events = intake_events.of_bulk(answer)
        shown = [self.show(PublishedSerializer, event) for event in events]
        return Response(shown, status=202, headers=intake_events.headers(events))


class EventViewSet(ApiViewSet):
    """One event. To delete it gives up what is pending of it; the event stays."""

    needs = {
        "retrieve": Need(HISTORY, "view_event"),
        "destroy": Need(MANAGE, VERBS["cancel_event"]),
    }
    target = "event"
    title = "Event"
    delete_means = "What is pending of it is cancelled; the event stays."
    event: Event

    def find(self, ident: str) -> None:
        event = self.caller.events().filter(pk=ident).first() if is_id(ident) else None
        if event is None:
            raise Problem(404, NOT_FOUND)
        self.event = event

    @describe("Get an event", answer=WholeEventSerializer)
    def retrieve(self, request: Request, id: str) -> Response:
        reads = not self.caller.refusal(Need(READ, "view_event"))
        shape = WholeEventSerializer if reads else EventDetailSerializer
        return Response(self.show(shape, self.event))

    @describe("Take an event back", answer=EnvelopeSerializer)
    def destroy(self, request: Request, id: str) -> Response:
        actions.cancel_event(self.event, by=self.caller.by)
        return self.done(self.event.pk)


def _accepted(view: ApiViewSet, new: Sequence[actions.NewEvent]) -> actions.Published:
    asked = actions.Publication(view.caller.account(), new, view.caller.by, are_read=True)
    return actions.accept_events([asked])[0]


def _check_span(name: str, since: Any, until: Any) -> None:
    try:
        channel(name)
    except ValueError as error:
        raise invalid({"channel": [str(error)]}) from None
    if since is None or (until or clock(router.db_for_write(Event))) - since > CHANNEL_SPAN:
        raise invalid({"channel": [f"Send since, too: at most {CHANNEL_SPAN.days} days."]})
