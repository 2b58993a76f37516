"""The secret that the calls of a webhook are signed with: shown, rotated, its overlap ended."""

from datetime import timedelta
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from ... import actions
from ...roles import VERBS
from ...rules.validators import MASK
from ..authentication import MANAGE, Need
from ..base import ApiViewSet
from ..describing import describe
from ..errors import invalid
from ..serializers.document import EnvelopeSerializer
from ..serializers.secret import RotateWrite, SigningSecretSerializer

EXAMPLE = {"gracePeriodSeconds": 86400}
GRACE_MOST = int(actions.GRACE_MOST.total_seconds())


class SecretViewSet(ApiViewSet):
    """The secret that calls are signed with. A session sees the mask."""

    needs = {
        "retrieve": Need(MANAGE, "view_webhook"),
        "rotate": Need(MANAGE, VERBS["rotate_secret"]),
        "end_overlap": Need(MANAGE, VERBS["end_overlap"]),
    }
    title = "Signing secret"
    example = EXAMPLE
    secrets = False

    @describe("Get the signing secret", answer=SigningSecretSerializer, errors=(404, 409))
    def retrieve(self, request: Request, id: str) -> Response:
        if self.caller.masked:
            return Response({"key": MASK})
        return Response({"key": actions.reveal_secret(self.webhook, by=self.caller.by)})

    @describe(
        "Sign with a new secret, and for a while with the old one as well",
        takes=RotateWrite,
        example=EXAMPLE,
        answer=SigningSecretSerializer,
        errors=(404,),
    )
    def rotate(self, request: Request, id: str) -> Response:
        sent = self.read_if_sent(RotateWrite)
        grace = sent.get("gracePeriodSeconds", int(actions.GRACE.total_seconds()))
        if type(grace) is not int or not 0 <= grace <= GRACE_MOST:
            words = f"Must be a whole number of seconds from 0 to {GRACE_MOST}."
            raise invalid({"gracePeriodSeconds": [words]})
        secret = actions.rotate_secret(
            self.webhook, sent.get("key"), timedelta(seconds=grace), by=self.caller.by
        )
        return Response({"key": MASK if self.caller.masked else secret})

    @describe(
        "End the overlap: sign with the present secret alone",
        answer=EnvelopeSerializer,
        errors=(404,),
    )
    def end_overlap(self, request: Request, id: str) -> Response:
        actions.end_overlap(self.webhook, by=self.caller.by)
        return self.done(self.webhook.id)

    def form_content(self) -> Any:
        return EXAMPLE
