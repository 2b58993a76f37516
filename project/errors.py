"""The site's own error answers: JSON, unless a browser asks for a page."""

import re
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import csrf, defaults
from django.views.debug import SafeExceptionReporterFilter

from webhooks_app.api.errors import envelope
from webhooks_app.api.rendering import wants_html


class AlwaysMasked(SafeExceptionReporterFilter):
    """Values marked as sensitive are masked in reports of errors under DEBUG as well, and so are
    the settings that may hold a password in an address."""

    hidden_settings = re.compile(
        SafeExceptionReporterFilter.hidden_settings.pattern + "|PROXY|LOCATION", re.IGNORECASE
    )

    def is_active(self, request: HttpRequest | None) -> bool:
        return True


def _handler(status: int, message: str, page: Callable[..., HttpResponse]) -> Any:
    def handle(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if wants_html(request):
            return page(request, *args, **kwargs)
        return JsonResponse(envelope(status, message), status=status)

    return handle


bad_request = _handler(400, "The request cannot be read.", defaults.bad_request)
permission_denied = _handler(403, "You may not do this.", defaults.permission_denied)
page_not_found = _handler(404, "There is nothing under this address.", defaults.page_not_found)
server_error = _handler(
    500, "Something went wrong on our side; it was logged.", defaults.server_error
)
csrf_failure = _handler(
    403, "This address takes forms of its own pages only (CSRF).", csrf.csrf_failure
)
