"""Why a webhook got an event or did not; and subscriptions tried before they are saved."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from ... import actions
from ...models import Event
from ...rules.ids import is_id
from .. import body, query
from ..authentication import HISTORY, READ, Need
from ..base import ApiViewSet
from ..describing import Query as parameter
from ..describing import describe
from ..errors import Problem, invalid
from ..serializers.why import TrialSerializer, TrialWrite, WhySerializer, trial_shown
from .events import EventViewSet
from .webhooks import AFTER_ID, PAGING

_EVENT = {"eventId", "type", "channels", "payload"}


class EventWebhooksViewSet(EventViewSet):
    """Of each webhook of the account why it got an event or did not."""

    needs = {"list": Need(HISTORY, "view_event")}
    title = "Why"

    @describe(
        "Tell who got an event, who did not, and why",
        answer=WhySerializer(many=True),
        parameters=(*PAGING, AFTER_ID),
    )
    def list(self, request: Request, id: str) -> Response:
        limit = query.limit(request) or query.DEFAULT_LIMIT
        lines, place = actions.why(self.event, after=query.after_id(request), limit=limit)
        response = Response([self.show(WhySerializer, line) for line in lines])
        if place:
            query.link(request, response, limit, place)
        return response


class TrialViewSet(ApiViewSet):
    """Subscriptions, saved or not, tried on an event or on the last ones. Nothing is sent."""

    needs = {"create": Need(HISTORY, "view_webhook")}
    title = "Try subscriptions"
    secrets = False
    example = {"type": "order.created", "payload": {"order": 4711}}

    @describe(
        "Try subscriptions on an event",
        takes=TrialWrite,
        example=example,
        answer=TrialSerializer,
        parameters=(
            parameter(
                "history",
                {"type": "integer", "minimum": 1, "maximum": actions.HISTORY_MOST},
                "Of so many of the last events say which would have matched.",
            ),
        ),
    )
    def create(self, request: Request, id: str) -> Response:
        most = query.whole(request, "history", actions.HISTORY_MOST)
        sent = self.shaped(TrialWrite, body.loads_slicing(self.read_bytes(), "payload"))
        if most or "eventId" in sent:
            self._check_events("subscriptions" in sent)
        new = sent.get("subscriptions")
        if new is None:
            judged = actions.saved_subscriptions(self.webhook)
        else:
            judged = actions.judged_subscriptions(self.webhook, new)
        asked = self._asked(sent) if _EVENT & set(sent) or not most else None
        trial = actions.tried(judged, asked) if asked else None
        history = actions.tried_on_history(self.webhook.account_id, judged, most) if most else None
        reads = not self.caller.refusal(Need(READ, "view_event"))
        return Response(trial_shown(trial, history, values=reads))

    def _check_events(self, by_others: bool) -> None:
        """Raises Problem 403. Filters of one's own, asked again and again, tell what stands in a
        payload: whoever may not read it may ask the saved ones alone."""
        if refusal := self.caller.refusal(Need(READ if by_others else HISTORY, "view_event")):
            raise Problem(403, refusal)

    def _asked(self, sent: dict[str, Any]) -> actions.Asked:
        """The event that is tried. Raises Problem 400."""
        if "eventId" in sent:
            if others := {"type", "payload", "channels"} & set(sent):
                raise invalid({name: ["Not together with eventId."] for name in sorted(others)})
            event = self._event(sent["eventId"])
            return actions.Asked(event.type, event.channels, event)
        if missing := [name for name in ("type", "payload") if name not in sent]:
            raise invalid({name: ["Send type and payload, or eventId."] for name in missing})
        channels = sent.get("channels", [])
        if not isinstance(channels, list):
            raise invalid({"channels": ["Must be a list."]})
        return actions.Asked.of(sent["type"], channels, actions.encode(sent["payload"]))

    def _event(self, ident: object) -> Event:
        """By our id, or by the publisher's own, the newest."""
        rows = self.caller.events().for_account(self.webhook.account_id)
        event = None
        if isinstance(ident, str):
            event = rows.filter(pk=ident).first() if is_id(ident) else None
            event = event or rows.keyed(ident).order_by("-pk").first()
        if event is None:
            raise invalid({"eventId": ["There is no such event."]})
        return event
