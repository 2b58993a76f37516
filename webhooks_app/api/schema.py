"""The only place that knows drf-spectacular, an extra: without it the API works undocumented."""

from collections.abc import Callable
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
    411: "A chunked body, which this server cannot read.",
    413: "The body is larger than 1 MiB.",
    415: "The body is not application/json.",
    429: "Too many requests, wrong tokens, or calls of one webhook; wait `Retry-After` seconds.",
    502: "The receiver failed; the message is what the error history records.",
    503: "The breaker is open, or we are busy; try again after `Retry-After` seconds.",
    504: "The receiver did not answer in time.",
}
_ALWAYS = (401, 403, 429, 503)
_WITH_BODY = (400, 411, 413, 415)
_RETRY = (429, 503)


def base_schema() -> Any:
    """What our base view sets as `schema`, whatever the host's default is."""
    return AutoSchema() if AVAILABLE else None


def field(shape: dict[str, Any]) -> Callable[[Any], Any]:
    """Describe a serializer field (class or method) by a JSON schema."""
    return extend_schema_field(shape) if AVAILABLE else lambda target: target


def query(name: str, shape: dict[str, Any], meaning: str) -> Any:
    return (
        OpenApiParameter(name, shape, OpenApiParameter.QUERY, description=meaning)
        if AVAILABLE
        else None
    )


def header(name: str, meaning: str, *, answer: int | None = None) -> Any:
    """A request header, or one of the answer with this status."""
    if not AVAILABLE:
        return None
    return OpenApiParameter(
        name,
        str,
        OpenApiParameter.HEADER,
        description=meaning,
        response=[answer] if answer else False,
    )


def describe(
    summary: str,
    *,
    answer: Any,
    status: int = 200,
    takes: Any = None,
    example: Any = None,
    errors: tuple[int, ...] = (),
    parameters: tuple[Any, ...] = (),
) -> Callable[[Any], Any]:
    """Describe an operation: what it takes, its success and every error it can answer with."""
    if not AVAILABLE:
        return lambda method: method
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
    extended = extend_schema(
        summary=summary,
        request=request,
        responses=responses,
        parameters=[*parameters, *headers],
        examples=examples,
    )

    def decorate(method: Any) -> Any:
        # Else the decorator builds on the DEFAULT_SCHEMA_CLASS of the host.
        method.kwargs = {"schema": AutoSchema}
        return extended(method)

    return decorate


def exactly(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """A hook for POSTPROCESSING_HOOKS: what we answer has the named fields and no other."""
    for name, shape in result["components"]["schemas"].items():
        if shape.get("type") == "object" and not name.endswith(("Write", "Patch")):
            shape["additionalProperties"] = False
    return result


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
