"""What the fast door serves: requests that store deliveries, publish events or send interactions,
and their answers.

The rules are those of the API's views, and so are the words.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.core.handlers.asgi import ASGIRequest

from webhooks_app import actions, request_ids
from webhooks_app.actions import interactions
from webhooks_app.api import body, errors, intake, intake_events, query, rendering, throttling
from webhooks_app.api.authentication import Need, TokenCaller
from webhooks_app.api.errors import Problem
from webhooks_app.api.views.calls import InteractionViewSet
from webhooks_app.api.views.deliveries import BulkViewSet, WebhookDeliveriesViewSet
from webhooks_app.api.views.events import EventsInBulkViewSet, EventsViewSet
from webhooks_app.limits import Headers
from webhooks_app.models import Webhook
from webhooks_app.presentation import delivery_object, event_object
from webhooks_app.rules.ids import is_id

NO_PARAMETERS: dict[str, str] = {}
BULK_WEIGHT = 16  # what a byte of a bulk counts: fourteen of them may be a whole delivery

Answer = tuple[int, Headers, bytes]
Webhooks = Mapping[tuple[int, str], Webhook]  # by account and id


class Asked:
    """A request that waits for its group."""

    need: ClassVar[Need]
    parameters: ClassVar[frozenset[str]]
    allow: ClassVar[bytes]
    weight: ClassVar[int] = 1  # what each byte of the body counts
    status: ClassVar[int] = 202  # of its answer
    stores: ClassVar[bool] = True  # something, before it is answered

    waits = False  # for a receiver
    has_ended = False  # which has answered

    caller: TokenCaller

    def __init__(self, request: ASGIRequest, ident: str, sent: bytes) -> None:
        self.request, self.ident, self.sent = request, ident, sent
        self.META = request.META
        self.size = len(sent) * self.weight
        self.name = request_ids.chosen(request.META.get("HTTP_X_REQUEST_ID", ""))
        self.problem: Problem | None = None
        self.digest = ""

    @property
    def query_params(self) -> Any:
        return self.request.GET if self.META["QUERY_STRING"] else NO_PARAMETERS

    @property
    def address(self) -> str:
        return throttling.client_address(self.request)

    def judge(self, webhooks: Webhooks) -> None:
        """As the views do, in their order. Raises Problem."""
        self.find(webhooks)
        if refusal := self.caller.refusal(self.need):
            raise Problem(403, refusal)
        query.only(self, self.parameters)
        body.require_json_type(self.request)
        body.require_plain(self.request)
        self.read()

    def find(self, webhooks: Webhooks) -> None:
        """Raises Problem 404."""

    def read(self) -> None:
        """What is asked. Raises Problem."""
        raise NotImplementedError

    def settle(self, held: dict[str, str]) -> None:
        """Look up all that the answer tells, before the commit: after it nothing may fail. `held`:
        why deliveries of webhooks are held, as far as this group knows."""

    @property
    def is_apart(self) -> bool:
        """Whether it was not stored, because it wants a transaction of its own."""
        return False

    def told(self) -> tuple[dict[str, str], Any]:
        """Headers and content of the answer. Raises what `errors.foreseen` knows."""
        raise NotImplementedError


class OfWebhook(Asked):
    """About a webhook that its path names."""

    webhook: Webhook

    @property
    def key(self) -> tuple[int, str]:
        return self.caller.token.account_id, self.ident

    def find(self, webhooks: Webhooks) -> None:
        if self.key not in webhooks:
            raise Problem(404, errors.NOT_FOUND)
        self.webhook = webhooks[self.key]


# --- deliveries -----------------------------------------------------------------------------------


class Single(OfWebhook):
    """`POST /webhooks/:id/deliveries`."""

    need = WebhookDeliveriesViewSet.needs["create"]
    parameters = WebhookDeliveriesViewSet.create.parameters
    allow = b"GET, POST, HEAD"

    drafts: list[actions.Draft]
    answer: actions.Answer
    held: str  # why deliveries of its webhook are held

    def read(self) -> None:
        self.drafts = self.drafted()
        for draft in self.drafts:
            draft.request_id = self.name

    def drafted(self) -> list[actions.Draft]:
        return intake.single(self, self.webhook, self.sent, self.caller.by)

    def settle(self, held: dict[str, str]) -> None:
        ident = self.webhook.pk
        if ident not in held:
            held[ident] = actions.hold_reason(self.webhook)
        self.held = held[ident]

    def told(self) -> tuple[dict[str, str], Any]:
        delivery = intake.of_single(self.answer)
        return intake.headers([delivery]), delivery_object.shown(delivery, self.held)


class Bulk(Single):
    """`POST /webhooks/:id/deliveries/bulk`."""

    need = BulkViewSet.needs["create"]
    parameters = BulkViewSet.create.parameters
    allow = b"POST"
    weight = BULK_WEIGHT

    def drafted(self) -> list[actions.Draft]:
        return intake.bulk(self, self.webhook, self.sent, self.caller.by)

    def told(self) -> tuple[dict[str, str], Any]:
        deliveries = intake.of_bulk(self.answer)
        shown = [delivery_object.shown(each, self.held) for each in deliveries]
        return intake.headers(deliveries), shown


# --- interactions ---------------------------------------------------------------------------------


class Interaction(OfWebhook):
    """`POST /webhooks/:id/interactions`: answered when its receiver has answered."""

    need = InteractionViewSet.needs["create"]
    parameters = InteractionViewSet.create.parameters
    allow = b"POST"
    status = 200
    stores = False

    to_interact: interactions.ToInteract
    begun: interactions.Begun  # where it `waits`
    answer: dict[str, Any] | Exception

    def read(self) -> None:
        sent = body.loads_object(self.sent)
        self.to_interact = interactions.ToInteract(self.webhook, sent, self.caller.by)

    @property
    def is_lost(self) -> bool:
        return self.waits and self.begun.is_lost

    def told(self) -> tuple[dict[str, str], Any]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return {}, self.answer


# --- events ---------------------------------------------------------------------------------------


class SingleEvent(Asked):
    """`POST /events`."""

    need = EventsViewSet.needs["create"]
    parameters = EventsViewSet.create.parameters
    allow = b"GET, POST, HEAD"

    publication: actions.Publication
    answer: actions.Published | None

    def read(self) -> None:
        new, account = self.new(), self.caller.account()
        self.publication = actions.Publication(
            account, new, self.caller.by, self.name, are_read=True
        )

    def new(self) -> list[actions.NewEvent]:
        return intake_events.single(self, self.sent)

    def settle(self, held: dict[str, str]) -> None:
        if isinstance(self.answer, list):
            for event in self.answer:
                event.first_deliveries  # noqa: B018 - of one that was there before

    @property
    def is_apart(self) -> bool:
        return self.answer is None

    def told(self) -> tuple[dict[str, str], Any]:
        assert self.answer is not None
        event = intake_events.of_single(self.answer)
        return intake_events.headers([event]), event_object.in_detail(event)


class BulkOfEvents(SingleEvent):
    """`POST /events/bulk`."""

    need = EventsInBulkViewSet.needs["create"]
    parameters = EventsInBulkViewSet.create.parameters
    allow = b"POST"
    weight = BULK_WEIGHT

    def new(self) -> list[actions.NewEvent]:
        return intake_events.bulk(self, self.sent)

    def settle(self, held: dict[str, str]) -> None:
        """Their deliveries are not told."""

    def told(self) -> tuple[dict[str, str], Any]:
        assert self.answer is not None
        events = intake_events.of_bulk(self.answer)
        return intake_events.headers(events), [event_object.in_short(event) for event in events]


def served(path: str) -> tuple[type[Asked] | None, str]:
    """What a POST to this path asks, and the id in it."""
    match path.removesuffix("/").split("/"):
        case ["", "webhooks", ident, "deliveries"] if is_id(ident):
            return Single, ident
        case ["", "webhooks", ident, "deliveries", "bulk"] if is_id(ident):
            return Bulk, ident
        case ["", "webhooks", ident, "interactions"] if is_id(ident):
            return Interaction, ident
        case ["", "events"]:
            return SingleEvent, ""
        case ["", "events", "bulk"]:
            return BulkOfEvents, ""
    return None, ""


# --- answers --------------------------------------------------------------------------------------


def answer_to(asked: Asked) -> Answer | None:
    """None for one that Django is to answer."""
    try:
        if asked.problem is not None:
            raise asked.problem
        if asked.is_apart:
            return None
        headers, content = asked.told()
    except Exception as error:
        problem = errors.foreseen(error)
        if problem is None:
            raise
        return refused(asked, problem)
    return _rendered(asked, asked.status, headers, content)


def refused(asked: Asked, problem: Problem) -> Answer:
    return _rendered(asked, *errors.answer(problem))


def _rendered(asked: Asked, status: int, headers: dict[str, str], content: Any) -> Answer:
    rendered = rendering.dump(content)
    return (
        status,
        [
            *_SAID_BY_ALL,
            (b"Allow", asked.allow),
            *[(name.encode(), text.encode()) for name, text in headers.items()],
            (b"X-Request-Id", asked.name.encode()),
            (b"Content-Length", b"%d" % len(rendered)),
        ],
        rendered,
    )


_SAID_BY_ALL: Headers = [
    (b"Content-Type", b"application/json"),
    (b"Vary", b"Accept"),
    (b"Cache-Control", b"no-store"),
]
