"""Calls that go out now, while the caller waits: interactions, verification, test."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from ... import actions
from ...roles import VERBS
from .. import body
from ..authentication import MANAGE, SEND, Need
from ..base import ApiViewSet
from ..describing import EMPTY_OBJECT, describe
from ..serializers.calls import (
    InteractionAnswerSerializer,
    InteractionWrite,
    OutcomeSerializer,
    SampleWrite,
    VerifyWrite,
)
from ..serializers.document import EnvelopeSerializer

EXAMPLE = {
    "chatId": "602313f00000000000000000",
    "userId": "602313f00000000000000000",
    "node": {"id": "4b0d6bea-1a9b-4d29-bf23-85e8aa9619ae", "name": "foo bar"},
    "userAttributes": {"default_name": "User"},
    "attributes": {"foo": "bar"},
}


class InteractionViewSet(ApiViewSet):
    """Send an interaction now; the answer is the receiver's. Never retried."""

    needs = {"create": Need(SEND, VERBS["interact"])}
    title = "Interactions"
    example = EXAMPLE

    @describe(
        "Send an interaction",
        takes=InteractionWrite,
        example=EXAMPLE,
        answer=InteractionAnswerSerializer,
        errors=(409, 502, 504),
    )
    def create(self, request: Request, id: str) -> Response:
        interaction = body.loads_object(self.read_bytes())
        return Response(actions.interact(self.webhook, interaction, by=self.caller.by))


class BreakerViewSet(ApiViewSet):
    """The breaker opens after ten failures in a row; people may close it before its time is up."""

    needs = {"close": Need(MANAGE, VERBS["close_breaker"])}
    title = "Breaker"
    secrets = False

    @describe("Close the breaker: call again at once", answer=EnvelopeSerializer)
    def close(self, request: Request, id: str) -> Response:
        actions.close_breaker(self.webhook, by=self.caller.by)
        return self.done(self.webhook.id)


class CallViewSet(ApiViewSet):
    """Call the receiver now and see how it went; nothing needs to be sent."""

    needs = {
        "verify": Need(MANAGE, VERBS["verify"]),
        "test": Need(MANAGE, VERBS["test"]),
    }
    title = "Call"

    @describe(
        "Verify a webhook now",
        takes=EMPTY_OBJECT,
        may_be_missing=True,
        answer=OutcomeSerializer,
        errors=(409,),
    )
    def verify(self, request: Request, id: str) -> Response:
        self.read_if_sent(VerifyWrite)
        return self._outcome(actions.verify(self.webhook, by=self.caller.by))

    @describe(
        "Send a sample interaction now, or one of your own",
        takes=SampleWrite,
        may_be_missing=True,
        example={"generation": 1},
        answer=OutcomeSerializer,
        errors=(409,),
    )
    def test(self, request: Request, id: str) -> Response:
        sent = self.read_if_sent(SampleWrite)
        return self._outcome(actions.test(self.webhook, by=self.caller.by, **sent))

    def _outcome(self, attempt: Any) -> Response:
        return Response(self.show(OutcomeSerializer, attempt))
