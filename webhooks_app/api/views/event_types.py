"""The catalogue of event types."""

from typing import Any

from django.db.models import Q
from rest_framework.request import Request
from rest_framework.response import Response

from ... import actions
from ...models import EventType
from ...roles import VERBS
from .. import query
from ..authentication import HISTORY, MANAGE, Need
from ..base import ApiViewSet
from ..describing import Query as parameter
from ..describing import describe
from ..errors import NOT_FOUND, Problem
from ..serializers.document import EnvelopeSerializer
from ..serializers.event_types import EventTypeChanges, EventTypeSerializer, EventTypeWrite
from .webhooks import ACCOUNT, PAGING

_EXAMPLE = {
    "name": "order.created",
    "group": "Orders",
    "description": "An order was placed.",
    "example": {"order": 4711},
}
_CHANGES = {name: value for name, value in _EXAMPLE.items() if name != "name"}
_SITES = "Types of the whole site are changed by its staff."


class EventTypesViewSet(ApiViewSet):
    """Event types: which events there are, those of the account and of the whole site."""

    needs = {
        "list": Need(HISTORY, "view_eventtype"),
        "create": Need(MANAGE, VERBS["declare_event_type"]),
    }
    target = "event_type"
    title = "Event types"
    example = _EXAMPLE

    @describe(
        "List event types",
        answer=EventTypeSerializer(many=True),
        parameters=(
            *PAGING,
            parameter(
                "after",
                {"type": "string", "maxLength": 148},
                "The name before the page (or what `Link` has for it).",
            ),
            ACCOUNT,
            parameter(
                "archived",
                {"type": "string", "enum": ["true", "false"]},
                "Only archived ones (or only the others).",
            ),
        ),
    )
    def list(self, request: Request) -> Response:
        rows = self.caller.event_types()
        if self.caller.is_of_one:  # what one account has of its own, another takes of the site
            rows = _own_first(rows)
        if archived := query.choice(request, "archived", ("true", "false")):
            rows = rows.filter(archived_at__isnull=archived == "false")
        if after := query.text(request, "after", 148):
            rows = rows.filter(_behind(after))
        return query.page(
            request,
            rows.order_by("name", "pk"),
            query.limit(request),
            lambda row: self.show(EventTypeSerializer, row),
            # Who acts for several accounts sees a name as often as they have it.
            lambda row: row.name if self.caller.is_of_one else f"{row.name}/{row.pk}",
        )

    @describe(
        "Declare an event type",
        takes=EventTypeWrite,
        example=_EXAMPLE,
        answer=EventTypeSerializer,
        errors=(409,),
        parameters=(ACCOUNT,),
    )
    def create(self, request: Request) -> Response:
        sent = self.read(EventTypeWrite)
        row = actions.declare_event_type(self.caller.account(), **sent, by=self.caller.by)
        return Response(self.show(EventTypeSerializer, row))


class EventTypeViewSet(ApiViewSet):
    """One event type. To delete it archives it; with `expunge=true` it is removed for good, when
    no subscription names it and no event of it is kept."""

    needs = {
        "retrieve": Need(HISTORY, "view_eventtype"),
        "update": Need(MANAGE, VERBS["update_event_type"]),
        "partial_update": Need(MANAGE, VERBS["update_event_type"]),
        "destroy": Need(MANAGE, VERBS["expunge_event_type"]),
    }
    target = "event_type"
    title = "Event type"
    example = _CHANGES
    delete_means = "It is archived: no longer offered, and kept."
    event_type: EventType

    def find(self, ident: str) -> None:
        rows = self.caller.event_types().filter(name=ident) if "\0" not in ident else None
        # An account's own wins.
        row = None if rows is None else rows.order_by("account").exclude(account=None).first()
        row = row or (rows.first() if rows is not None else None)
        if row is None:
            raise Problem(404, NOT_FOUND)
        self.event_type = row

    @describe("Get an event type", answer=EventTypeSerializer)
    def retrieve(self, request: Request, id: str) -> Response:
        return Response(self.show(EventTypeSerializer, self.event_type))

    @describe(
        "Replace an event type",
        takes=EventTypeChanges,
        example=_CHANGES,
        answer=EventTypeSerializer,
        errors=(409,),
    )
    def update(self, request: Request, id: str) -> Response:
        nothing = {"group": "", "description": "", "example": None, "archived": False}
        return self._changed({**nothing, **self._sent()})

    @describe(
        "Change some fields of an event type",
        takes=EventTypeChanges,
        example=_CHANGES,
        answer=EventTypeSerializer,
        errors=(409,),
    )
    def partial_update(self, request: Request, id: str) -> Response:
        return self._changed(self._sent())

    @describe(
        "Archive or remove an event type",
        answer=EnvelopeSerializer,
        errors=(409,),
        parameters=(
            parameter(
                "expunge", {"type": "string", "enum": ["true", "false"]}, "Remove it for good."
            ),
        ),
    )
    def destroy(self, request: Request, id: str) -> Response:
        self._check_own()
        if query.choice(request, "expunge", ("true", "false")) == "true":
            actions.expunge_event_type(self.event_type, by=self.caller.by)
        else:
            actions.update_event_type(self.event_type, archived=True, by=self.caller.by)
        return self.done(self.event_type.name)

    def _sent(self) -> dict[str, Any]:
        sent = self.read(EventTypeChanges)
        return {name: value for name, value in sent.items() if name not in ("name", "seen", "site")}

    def _changed(self, changes: dict[str, Any]) -> Response:
        self._check_own()
        try:
            row = actions.update_event_type(self.event_type, **changes, by=self.caller.by)
        except EventType.DoesNotExist:
            raise Problem(404, NOT_FOUND) from None
        return Response(self.show(EventTypeSerializer, row))

    def _check_own(self) -> None:
        if self.event_type.account_id is None:
            raise Problem(409, _SITES)

    def form_content(self) -> Any:
        row = getattr(self, "event_type", None)
        return self.example if row is None else self.show(EventTypeSerializer, row)


def _behind(place: str) -> Q:
    """What comes after a name, or after one row of that name."""
    name, _, key = place.partition("/")
    if key.isascii() and key.isdigit() and len(key) < 19:
        return Q(name__gt=name) | Q(name=name, pk__gt=int(key))
    return Q(name__gt=place)


def _own_first(rows: Any) -> Any:
    """Without those of the site that an account has of its own."""
    own = rows.filter(account__isnull=False).order_by().values("name")
    return rows.exclude(Q(account__isnull=True) & Q(name__in=own))
