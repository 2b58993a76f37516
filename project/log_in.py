"""What django-axes asks for: whose log-in failed, and what one reads after too many of them."""

import math
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from webhooks_app.api.errors import envelope
from webhooks_app.api.rendering import wants_html
from webhooks_app.api.throttling import client_address

TOO_MANY = "Too many log-ins failed from your address."


def address(request: HttpRequest) -> str | None:
    return client_address(request) or None


def user_name(request: HttpRequest, credentials: dict[str, Any] | None = None) -> str:
    """As it was typed, cut to what the column of failures holds."""
    given = credentials or {"username": request.POST.get("username", "")}
    return str(given.get("username") or "")[:255]


def locked_out(request: HttpRequest, response: Any = None, credentials: Any = None) -> HttpResponse:
    wait = settings.AXES_COOLOFF_TIME
    if wants_html(request):
        minutes = math.ceil(wait.total_seconds() / 60)
        answer = render(request, "locked_out.html", {"minutes": minutes}, status=429)
    else:
        answer = JsonResponse(envelope(429, TOO_MANY), status=429)
    answer["Retry-After"] = str(math.ceil(wait.total_seconds()))
    return answer
