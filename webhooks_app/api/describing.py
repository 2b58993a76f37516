"""Operations as their views describe them: what they take, what they answer, every error. A query
parameter that is not described is not accepted, with drf-spectacular or without."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..models.states import HOLDS
from .schema import AVAILABLE, MAY_BE_MISSING
from .serializers.document import ErrorEnvelopeSerializer

if AVAILABLE:
    from drf_spectacular import types, utils
    from drf_spectacular.openapi import AutoSchema

# For which nobody is called who waits for an answer; breaker and site are 503.
REASONS = [state.reason for state in HOLDS if state.key not in ("site", "breaker", "rate")]

ANY_JSON = object()  # `takes` of an operation that accepts any JSON value
EMPTY_OBJECT = object()  # `takes` of an operation that is told nothing

MEANINGS = {
    400: "Bad input; `details` has a list of sentences per field.",
    401: "No token, or one that is unknown, revoked or expired.",
    403: "The token's scope or the user's permission is too small, or the CSRF check failed.",
    404: "Unknown, malformed or another account's id.",
    409: "The present state does not allow it. Where a webhook may not be called, `details.reason` "
    f"says why: {', '.join(REASONS)}.",
    408: "The body did not come in time.",
    411: "A chunked body, which this server cannot read.",
    413: "The body is larger than 1 MiB, that of a bulk than 5 MiB.",
    415: "The body is not application/json.",
    431: "The head of the request is larger than 16 KiB.",
    429: "Too many requests, wrong tokens, or calls of one webhook; wait `Retry-After` seconds.",
    502: "The receiver failed; the message is what the error history records.",
    503: "The breaker is open, the site is held, or we are busy; wait `Retry-After` seconds.",
    504: "The receiver did not answer in time.",
}
_ALWAYS = (400, 401, 403, 404, 429, 431, 503)
_WITH_BODY = (408, 411, 413, 415)
_RETRY = (429, 503)


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
        return utils.OpenApiParameter(
            parameter.name,
            parameter.shape,
            utils.OpenApiParameter.QUERY,
            description=parameter.meaning,
        )
    return utils.OpenApiParameter(
        parameter.name,
        parameter.shape or str,
        utils.OpenApiParameter.HEADER,
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
    codes = {*errors, *_ALWAYS, *(_WITH_BODY if takes is not None else ())}
    responses: dict[Any, Any] = {status: answer}
    for code in sorted(codes):
        responses[code] = utils.OpenApiResponse(ErrorEnvelopeSerializer, description=MEANINGS[code])
    headers = [
        utils.OpenApiParameter(
            "Retry-After",
            int,
            utils.OpenApiParameter.HEADER,
            description="Seconds.",
            response=[code for code in _RETRY if code in codes],
        ),
        utils.OpenApiParameter(
            "WWW-Authenticate", str, utils.OpenApiParameter.HEADER, response=[401]
        ),
    ]
    examples = []
    if example is not None:
        examples.append(utils.OpenApiExample("Example", value=example, request_only=True))
    request = takes
    if takes is ANY_JSON:
        request = {"application/json": types.OpenApiTypes.ANY}
    elif takes is EMPTY_OBJECT:
        request = {"application/json": {"type": "object", "additionalProperties": False}}
    extended = utils.extend_schema(
        summary=summary,
        request=request,
        responses=responses,
        parameters=[*map(_described, parameters), *headers],
        examples=examples,
        extensions={MAY_BE_MISSING: True} if may_be_missing else None,
    )

    def decorate(method: Any) -> Any:
        # Else the decorator builds on the DEFAULT_SCHEMA_CLASS of the host.
        method.kwargs = {"schema": AutoSchema}
        return accept(extended(method))

    return decorate
