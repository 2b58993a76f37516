"""Every answer that is no success, in the documented envelope; set on our base view alone."""

import logging
import math
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import (
    BadRequest,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
)
from django.core.signals import got_request_exception
from django.db import DatabaseError, IntegrityError, InterfaceError
from django.http import Http404
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError
from django.utils import timezone
from django.utils.log import log_response
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from .. import actions
from ..engine import faults
from ..engine.store.errors import is_away, is_locked
from ..fields import WrongKey
from ..models import Webhook, database_file, sequences
from ..models.delivery import advice_on
from ..rules.failures import TIMEOUTS
from ..rules.ids import timestamp

logger = logging.getLogger("webhooks_app.api")

NOT_FOUND = "There is nothing of yours under this address."
WRONG_METHOD = "This address does not know the method of the request."
FORBIDDEN = "You may not do this."
DATABASE_RETRY_AFTER = 5  # seconds


class Problem(exceptions.APIException):
    """An error answer: HTTP status, a sentence, and what the envelope's `details` should hold."""

    def __init__(
        self,
        status: int,
        message: str,
        details: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status_code = status
        self.message = message
        self.details = details
        self.retry_after = retry_after


def invalid(details: Mapping[str, Any]) -> Problem:
    """400 with a list of sentences per field, nested as the input was."""
    return Problem(400, _summary(details), details)


def too_large(limit: int = 1024 * 1024) -> str:
    return f"The body is larger than {limit // 1024**2} MiB."


def envelope(status: int, message: str, details: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The documented envelope of an error; HTTP status and `status.code` are equal."""
    inner: dict[str, Any] = {"code": status, "type": "error", "message": message}
    if details:
        inner["details"] = details
    return {"timestamp": timestamp(timezone.now()), "status": inner}


def handle(exception: Exception, context: dict[str, Any]) -> Response:
    """The answer to any exception of a view. What nobody foresaw is logged and hidden: a 500."""
    problem = foreseen(exception)
    if problem is None:
        problem = unforeseen(exception, context)
    set_rollback()
    status, headers, body = answer(problem)
    response = Response(body, status=status, headers=headers)
    if _receivers_own(exception):
        _log_quietly(response, context)
    return response


def answer(problem: Problem) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and body, at whatever door."""
    headers = {}
    if problem.status_code == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if problem.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(problem.retry_after)))
    body = envelope(problem.status_code, problem.message, problem.details)
    return problem.status_code, headers, body


def _receivers_own(exception: Exception) -> bool:
    match exception:
        case actions.ExchangeFailed() | actions.NotCallable():
            return True
    return False


def _log_quietly(response: Response, context: dict[str, Any]) -> None:
    """What a receiver did is told by the history and is no error of ours, as which Django logs
    every answer of 500 and more."""
    request = getattr(context.get("request"), "_request", None)
    path = request.path if request is not None else ""
    words = f"{response.status_code} for a receiver: %s"
    log_response(words, path, response=response, request=request, level="info")


def foreseen(exception: Exception) -> Problem | None:
    """What an exception means for whoever asked; None for a fault of ours."""
    match exception:
        case Problem():
            return exception
        case actions.ActionError():
            return _of_action(exception)
        case WrongKey():
            return _of_action(actions.NotCallable("unreadable"))
        case exceptions.ValidationError():
            return invalid(_plain(exception.detail))
        case exceptions.NotAuthenticated():
            return Problem(401, "Send an access token: Authorization: Bearer <token>.")
        case exceptions.MethodNotAllowed():
            return Problem(405, WRONG_METHOD)
        case exceptions.NotFound() | Http404() | Webhook.DoesNotExist():
            return Problem(404, NOT_FOUND)
        case exceptions.PermissionDenied():
            return Problem(403, str(exception.detail))
        case PermissionDenied():
            return Problem(403, FORBIDDEN)
        case exceptions.APIException():
            return Problem(exception.status_code, str(exception.detail))
        case RequestDataTooBig():
            return Problem(413, too_large())
        case SuspiciousOperation() | BadRequest() | MultiPartParserError() | UnreadablePostError():
            return Problem(400, "The request cannot be read.")
        case database_file.Replaced():
            return Problem(503, database_file.REPLACED, retry_after=DATABASE_RETRY_AFTER)
        case IntegrityError() if sequences.is_behind(exception):
            sequences.catch_up()
            return Problem(503, sequences.WORDS, retry_after=1)
        case DatabaseError() | InterfaceError() if _is_passing(exception):
            faults.note()
            logger.warning("the database did not answer", exc_info=exception)
            return Problem(
                503,
                "The database does not answer at the moment; try again.",
                retry_after=DATABASE_RETRY_AFTER,
            )
    return None


def _is_passing(error: Exception) -> bool:
    return is_away(error) or is_locked(error)


def _of_action(error: actions.ActionError) -> Problem:
    match error:
        case actions.Invalid():
            return invalid(error.details)
        case actions.NotCallable(reason="deleted"):
            return Problem(404, NOT_FOUND)
        case actions.NotCallable(reason="breaker" | "site"):
            return Problem(
                503, error.message, {"reason": error.reason}, retry_after=error.retry_after or 1
            )
        case actions.NotCallable():
            return Problem(409, error.message, {"reason": error.reason})
        case actions.TooSoon():
            return Problem(429, error.message, retry_after=error.retry_after)
        case actions.Busy():
            return Problem(503, error.message, retry_after=error.retry_after)
        case actions.ExchangeFailed():
            failure = error.failure
            status = 504 if failure.kind in TIMEOUTS else 502
            return Problem(
                status,
                failure.message,
                {
                    "date": timestamp(error.date),
                    "kind": failure.kind,
                    "advice": advice_on(failure.kind),
                },
            )
    return Problem(409, error.message)


def unforeseen(exception: Exception, context: dict[str, Any]) -> Problem:
    request = context.get("request")
    logger.error("unforeseen error in the API", exc_info=exception)
    # Error trackers and the test client listen to this signal.
    got_request_exception.send(
        sender=type(context.get("view")), request=getattr(request, "_request", request)
    )
    return Problem(500, "Something went wrong on our side; it was logged.")


def _plain(detail: Any) -> dict[str, Any]:
    """DRF's error details as plain JSON, always an object."""
    if isinstance(detail, Mapping):
        return {str(key): _plain_value(value) for key, value in detail.items()}
    return {"body": _plain_value(detail)}


def _plain_value(detail: Any) -> Any:
    if isinstance(detail, Mapping):
        return _plain(detail)
    if isinstance(detail, list | tuple):
        return [_plain_value(item) for item in detail]
    return str(detail)


def _summary(details: Mapping[str, Any]) -> str:
    """The first sentence of the details with its path: `headers.3.name: …`."""
    path, sentence = next(actions.sentences(details), ("", "Bad input."))
    return f"{path}: {sentence}" if path else sentence
