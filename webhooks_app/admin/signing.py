"""The signing secret on the page of a webhook: since when it holds, rotated, its overlap ended."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, Subquery
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from .. import actions
from ..models import SigningKey, Webhook
from ..roles import may
from .base import ConsoleAdmin, named

# Seconds for which the old secret holds beside the new one, as the form offers them.
GRACES = {"86400": "1 day", "3600": "1 hour", "604800": "7 days", "0": "not at all"}

if TYPE_CHECKING:
    _Base = ConsoleAdmin
else:
    _Base = object


class Signing(_Base):
    """The part of the webhooks' admin that knows of signing secrets."""

    @staticmethod
    def signing_columns() -> dict[str, Subquery]:
        """What the page says of them, read along with the webhook."""
        keys = SigningKey.objects.filter(webhook=OuterRef("pk"))
        old = keys.usable().filter(expires_at__isnull=False).order_by("-expires_at")
        present = keys.filter(expires_at__isnull=True)
        return {
            "signed_since": Subquery(present.values("created_at")[:1]),
            "old_secrets_until": Subquery(old.values("expires_at")[:1]),
        }

    def signing_context(self, request: HttpRequest, webhook: Webhook) -> dict[str, Any]:
        return {
            "since": webhook.signed_since,  # type: ignore[attr-defined]
            "old_until": webhook.old_secrets_until,  # type: ignore[attr-defined]
            "may_rotate": may(request.user, "rotate_secret"),
            "graces": GRACES.items(),
        }

    def signing_urls(self) -> list[URLPattern]:
        return [
            self.post_view("rotate-secret", "rotate_secret", self.rotate_secret),
            self.post_view("end-overlap", "end_overlap", self.end_overlap),
        ]

    @method_decorator(sensitive_post_parameters("key"))
    @sensitive_variables()
    def rotate_secret(self, request: HttpRequest, webhook: Webhook) -> HttpResponse:
        if not may(request.user, "rotate_secret"):
            raise PermissionDenied
        grace, key = request.POST.get("grace", ""), request.POST.get("key", "").strip()
        try:
            if grace not in GRACES:
                raise actions.Invalid({"grace": ["Choose for how long the old secret holds."]})
            span = timedelta(seconds=int(grace))
            actions.rotate_secret(webhook, key or None, span, by=named(request))
        except actions.Invalid as error:
            for sentences in error.details.values():
                self.message_user(request, f"Not rotated: {sentences[0]}", messages.ERROR)
        except Webhook.DoesNotExist:
            self.message_user(request, "The webhook was deleted meanwhile.", messages.ERROR)
        else:
            words = "Rotated. Reveal the new secret and give it to the owner of the receiver."
            self.message_user(request, words, messages.SUCCESS)
        return self.to_page(webhook, "#signature")

    def end_overlap(self, request: HttpRequest, webhook: Webhook) -> HttpResponse:
        if not may(request.user, "end_overlap"):
            raise PermissionDenied
        try:
            actions.end_overlap(webhook, by=named(request))
        except Webhook.DoesNotExist:
            self.message_user(request, "The webhook was deleted meanwhile.", messages.ERROR)
        else:
            words = "The present secret alone signs from now on."
            self.message_user(request, words, messages.SUCCESS)
        return self.to_page(webhook, "#signature")
