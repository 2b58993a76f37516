"""What views and serializers know of drf-spectacular, an extra: without it the API works
undocumented. (`docs` serves what is described here.)"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

try:
    from drf_spectacular.extensions import OpenApiAuthenticationExtension
    from drf_spectacular.openapi import AutoSchema
    from drf_spectacular.types import OpenApiTypes
    from drf_spectacular.utils import (
        OpenApiExample,
        OpenApiParameter,
        OpenApiResponse,
        extend_schema,
        extend_schema_field,
    )
except ImportError:  # the app is installed without its extra `docs`
    AVAILABLE = False
else:
    AVAILABLE = True

MEANINGS = {
    400: "Bad input; `details` has a list of sentences per field.",
    401: "No token, or one that is unknown, revoked or expired.",
    403: "The token's scope or the user's permission is too small, or the CSRF check failed.",
    404: "Unknown, malformed or another account's id.",
    409: "The present state does not allow it; `details.reason` says why.",
    408: "The body did not come in time.",
    411: "A chunked body, which this server cannot read.",
    413: "The body is larger than 1 MiB.",
    415: "The body is not application/json.",
    431: "The head of the request is larger than 16 KiB.",
    429: "Too many requests, wrong tokens, or calls of one webhook; wait `Retry-After` seconds.",
    502: "The receiver failed; the message is what the error history records.",
    503: "The breaker is open, or we are busy; try again after `Retry-After` seconds.",
    504: "The receiver did not answer in time.",
}
_ALWAYS = (400, 401, 403, 404, 429, 431, 503)
_WITH_BODY = (408, 411, 413, 415)
_RETRY = (429, 503)


def base_schema() -> Any:
    """What our base view sets as `schema`, whatever the host's default is."""
    return AutoSchema() if AVAILABLE else None


def field(shape: dict[str, Any]) -> Callable[[Any], Any]:
    """Describe a serializer field (class or method) by a JSON schema."""
    return extend_schema_field(shape) if AVAILABLE else lambda target: target


@dataclass(frozen=True, slots=True)
class Query:
    """A query parameter of an operation; one that is not described is not accepted."""

    name: str
    shape: dict[str, Any]
    meaning: str


@dataclass(frozen=True, slots=True)
class Header:
    """A request header, or one of the answer with this status."""

    name: str
    meaning: str
    answer: int | None = None
    shape: dict[str, Any] | None = None  # of any text


def _described(parameter: Query | Header) -> Any:
    if isinstance(parameter, Query):
        return OpenApiParameter(
            parameter.name,
            parameter.shape,
            OpenApiParameter.QUERY,
            description=parameter.meaning,
        )
    return OpenApiParameter(
        parameter.name,
        parameter.shape or str,
        OpenApiParameter.HEADER,
        description=parameter.meaning,
        response=[parameter.answer] if parameter.answer else False,
    )


def describe(
    summary: str,
    *,
    answer: Any,
    status: int = 200,
    takes: Any = None,
    may_be_missing: bool = False,
    example: Any = None,
    errors: tuple[int, ...] = (),
    parameters: tuple[Query | Header, ...] = (),
) -> Callable[[Any], Any]:
    """Describe an operation: what it takes, its success and every error it can answer with.

    Its query parameters are all that it accepts, with drf-spectacular or without.
    """
    known = frozenset(each.name for each in parameters if isinstance(each, Query))

    def accept(method: Any) -> Any:
        method.parameters = known
        return method

    if not AVAILABLE:
        return accept
    from .serializers import ErrorEnvelopeSerializer

    codes = {*errors, *_ALWAYS, *(_WITH_BODY if takes is not None else ())}
    responses: dict[Any, Any] = {status: answer}
    for code in sorted(codes):
        responses[code] = OpenApiResponse(ErrorEnvelopeSerializer, description=MEANINGS[code])
    headers = [
        OpenApiParameter(
            "Retry-After",
            int,
            OpenApiParameter.HEADER,
            description="Seconds.",
            response=[code for code in _RETRY if code in codes],
        ),
        OpenApiParameter("WWW-Authenticate", str, OpenApiParameter.HEADER, response=[401]),
    ]
    examples = []
    if example is not None:
        examples.append(OpenApiExample("Example", value=example, request_only=True))
    request = takes
    if takes is ANY_JSON:
        request = {"application/json": OpenApiTypes.ANY}
    elif takes is EMPTY_OBJECT:
        request = {"application/json": {"type": "object", "additionalProperties": False}}
    extended = extend_schema(
        summary=summary,
        request=request,
        responses=responses,
        parameters=[*map(_described, parameters), *headers],
        examples=examples,
        extensions={_MAY_BE_MISSING: True} if may_be_missing else None,
    )

    def decorate(method: Any) -> Any:
        # Else the decorator builds on the DEFAULT_SCHEMA_CLASS of the host.
        method.kwargs = {"schema": AutoSchema}
        return accept(extended(method))

    return decorate


def exactly(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """A hook for POSTPROCESSING_HOOKS: objects have the named fields and no other, and a body that
    an operation takes must be sent."""
    for name, shape in result["components"]["schemas"].items():
        if shape.get("type") == "object" and name not in OPEN:
            shape["additionalProperties"] = False
    for operations in result["paths"].values():
        for operation in operations.values():
            if "requestBody" in operation:
                operation["requestBody"]["required"] = not operation.pop(_MAY_BE_MISSING, False)
    return result


OPEN = {"InteractionWrite"}  # whose unknown keys are sent on
_MAY_BE_MISSING = "x-body-may-be-missing"
EMPTY_OBJECT = object()  # `takes` of an operation that is told nothing
ANY_JSON = object()  # `takes` of an operation that accepts any JSON value


if AVAILABLE:

    class BearerScheme(OpenApiAuthenticationExtension):
        target_class = "webhooks_app.api.authentication.BearerAuthentication"
        name = "developerAccessToken"

        def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
            return {"type": "http", "scheme": "bearer"}

    class SessionScheme(OpenApiAuthenticationExtension):
        target_class = "webhooks_app.api.authentication.SessionAuthentication"
        name = "session"

        def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
            from django.conf import settings

            return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}
