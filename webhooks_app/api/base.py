"""The base of all our views: every policy is set here, nothing is read from the host's settings."""

from contextlib import AbstractContextManager
from functools import cache
from typing import Any, ClassVar

from django.db import connections, router, transaction
from django.utils import timezone
from django.utils.html import escape
from django.views.decorators.debug import sensitive_variables
from rest_framework.exceptions import NotAuthenticated
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.viewsets import ViewSet

from ..engine import faults
from ..models import Delivery, Webhook, database_file
from ..models.webhook import SECRETS_BESIDE
from ..roles import VERBS
from ..rules.ids import is_id, timestamp
from . import body, errors, query, rendering, schema, throttling
from .authentication import MANAGE, BearerAuthentication, Caller, Need, SessionAuthentication


@cache
def _shown(shape: type[Serializer], masked: bool) -> Serializer:
    # Making one costs more than using it; showing something changes nothing in it.
    return shape(context={"masked": masked})


class Allowed(BasePermission):
    """The scope of the token, or Django's permission of the session, for the verb at hand."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if not isinstance(request.auth, Caller):
            raise NotAuthenticated
        need = view.needs.get(view.action)
        self.message = request.auth.refusal(need) if need is not None else ""
        return not self.message


class ApiViewSet(ViewSet):
    """Judges in this order: 429, 401, 404 (not yours), 403, then the verb's own 400 and 409.

    `needs` names what each action asks for; `target` says what the id in the path is.
    """

    authentication_classes = [BearerAuthentication, SessionAuthentication]
    permission_classes = [Allowed]
    parser_classes = [body.StrictJSONParser]
    renderer_classes = [rendering.ApiJSONRenderer, rendering.ApiBrowsableRenderer]
    content_negotiation_class = rendering.Negotiation
    throttle_classes: ClassVar[list] = []  # type: ignore[misc]
    versioning_class = None
    metadata_class = None
    http_method_names = ["get", "post", "put", "patch", "delete", "head"]
    schema = schema.base_schema()

    needs: ClassVar[dict[str, Need]] = {}
    target: ClassVar[str] = "webhook"
    secrets: ClassVar[bool] = True  # whether those of the webhook are read with it
    title = "Webhooks"
    body_limit: ClassVar[int] = body.LIMIT  # bytes
    delete_means = "Its secrets are wiped at once and what waits is cancelled."
    example: ClassVar[Any] = {}  # what the browsable API's form starts from

    webhook: Webhook
    delivery: Delivery
    sent = b""  # the body, once it was read

    @classmethod
    def as_view(cls, actions: Any = None, **initkwargs: Any) -> Any:
        view = super().as_view(actions, **initkwargs)
        # Each verb opens its own transaction; some call out, which no transaction may enclose.
        for alias in connections:
            view = transaction.non_atomic_requests(alias)(view)
        return view

    # --- judging a request

    @sensitive_variables()
    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """DRF's own; what goes wrong below it is reported without the values of variables."""
        return super().dispatch(request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        self.format_kwarg = None
        request.accepted_renderer, request.accepted_media_type = self.perform_content_negotiation(
            request
        )
        request.version, request.versioning_scheme = None, None
        database_file.check(router.db_for_write(Webhook))
        throttling.count_address(request._request)
        if not isinstance(request.auth, Caller):
            raise NotAuthenticated
        throttling.count_caller(self.caller.key)
        if "id" in kwargs:
            self.find(kwargs["id"])
        self.check_permissions(request)
        if verb := getattr(self, self.action or "", None):  # none: a 405
            query.only(request, verb.parameters)

    @property
    def caller(self) -> Caller:
        return self.request.auth  # type: ignore[return-value]

    def find(self, ident: str) -> None:
        """Set `webhook` or `delivery`. Unknown, malformed and foreign ids are the same 404."""
        if not is_id(ident):
            raise errors.Problem(404, errors.NOT_FOUND)
        if self.target == "delivery":
            delivery = self.deliveries().filter(pk=ident).first()
            if delivery is None:
                raise errors.Problem(404, errors.NOT_FOUND)
            self.delivery = delivery
        else:
            webhook = self.caller.webhook(ident, secrets=self.secrets)
            if webhook is None:
                raise errors.Problem(404, errors.NOT_FOUND)
            self.webhook = webhook

    def webhooks(self) -> Any:
        return self.caller.webhooks().select_related("health")

    def deliveries(self) -> Any:
        return (
            self.caller.deliveries()
            .select_related("webhook__health")
            .defer("payload", *SECRETS_BESIDE)
        )

    def locked(self) -> Webhook:
        """The webhook with its row locked, as it stands now; inside `self.atomic()` only."""
        rows = self.caller.webhooks().select_for_update(of=("self",), no_key=True)
        webhook = rows.filter(pk=self.webhook.pk).first()
        if webhook is None:
            raise errors.Problem(404, errors.NOT_FOUND)
        return webhook

    @staticmethod
    def atomic() -> AbstractContextManager[None]:
        return transaction.atomic(using=router.db_for_write(Webhook))

    def require(self, verb: str) -> None:
        """For what the body decides. Raises Problem 403 when a session may not do this verb."""
        if message := self.caller.refusal(Need(MANAGE, VERBS[verb])):
            raise errors.Problem(403, message)

    # --- reading and answering

    def read_bytes(self) -> bytes:
        self.sent = body.read_json_bytes(self.request._request, self.body_limit)
        return self.sent

    def read(self, shape: type[Serializer]) -> dict[str, Any]:
        """The JSON object that was sent, in this shape. Raises 400, 408, 411, 413, 415."""
        return self.shaped(shape, body.loads_object(self.read_bytes()))

    @staticmethod
    def shaped(shape: type[Serializer], value: dict[str, Any]) -> dict[str, Any]:
        serializer = shape(data=value)
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)

    def read_if_sent(self, shape: type[Serializer]) -> dict[str, Any]:
        """`read`, where nothing needs to be sent."""
        self.sent = body.read(self.request._request)
        if not self.sent:
            return {}
        body.require_json_type(self.request._request)
        return self.shaped(shape, body.loads_object(self.sent))

    def show(self, shape: type[Serializer], instance: Any) -> dict[str, Any]:
        return dict(_shown(shape, self.caller.masked).to_representation(instance))

    def done(self, ident: str) -> Response:
        """The documented envelope."""
        return Response(
            {
                "id": ident,
                "timestamp": timestamp(timezone.now()),
                "status": {"code": 200, "type": "success"},
            }
        )

    def form_content(self) -> Any:
        """What the browsable API's form starts from, for `self.action`."""
        return self.example

    # --- DRF's hooks

    def get_exception_handler(self) -> Any:
        return errors.handle

    def get_format_suffix(self, **kwargs: Any) -> None:
        return None

    def get_view_name(self) -> str:
        return self.title

    def get_view_description(self, html: bool = False) -> str:
        text = " ".join((type(self).__doc__ or "").split())
        return escape(text) if html else text

    def handle_exception(self, exc: Exception) -> Response:
        response = self.get_exception_handler()(exc, self.get_exception_handler_context())
        response.exception = True
        return response

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            database_file.check(router.db_for_write(Webhook))
        except database_file.Replaced as error:
            response = self.handle_exception(error)  # nothing that was done will be there
        if response.status_code < 300:
            faults.settle()
        self.response = response
        response = super().finalize_response(request, response, *args, **kwargs)
        response["Cache-Control"] = "no-store"  # secrets in clear, and states of the moment
        return response


class UnknownPath(ApiViewSet):
    """Any other path below ours: a JSON 404, after the 401."""

    schema = None
    title = "Not found"

    def find(self, ident: str) -> None:
        raise errors.Problem(404, errors.NOT_FOUND)

    def nothing(self, request: Request, id: str) -> Response:
        raise errors.Problem(404, errors.NOT_FOUND)
