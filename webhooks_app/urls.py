"""What a host project includes: `path("", include("webhooks_app.urls"))`.

Every path starts with webhooks or deliveries, and none ends in a slash; with one it is served
alike. Whatever else is asked for below the two is a JSON 404.
"""

from typing import Any

from django.urls import URLPattern, path, re_path

from .api.base import UnknownPath
from .api.views_calls import BreakerViewSet, CallViewSet, InteractionViewSet
from .api.views_deliveries import (
    BulkViewSet,
    DeliveryViewSet,
    ErrorViewSet,
    ReplayViewSet,
    WebhookDeliveriesViewSet,
)
from .api.views_secret import SecretViewSet
from .api.views_webhooks import SettingsViewSet, WebhookViewSet

app_name = "webhooks_app"

_ITEM = {"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}
_METHODS = ("get", "post", "put", "patch", "delete")


def _served(route: str, viewset: Any, methods: dict[str, str], name: str) -> list[URLPattern]:
    return [
        path(route, viewset.as_view(dict(methods)), name=name),
        path(f"{route}/", viewset.as_view(dict(methods), schema=None)),
    ]


_WEBHOOK = "webhooks/<str:id>"
_DELIVERY = "deliveries/<str:id>"

urlpatterns: list[URLPattern] = [
    *_served("webhooks", WebhookViewSet, {"get": "list", "post": "create"}, "webhooks"),
    *_served(_WEBHOOK, WebhookViewSet, _ITEM, "webhook"),
    *_served(
        f"{_WEBHOOK}/settings",
        SettingsViewSet,
        {"get": "retrieve", "patch": "partial_update"},
        "settings",
    ),
    *_served(f"{_WEBHOOK}/secret", SecretViewSet, {"get": "retrieve"}, "secret"),
    *_served(f"{_WEBHOOK}/secret/rotate", SecretViewSet, {"post": "rotate"}, "rotate-secret"),
    *_served(f"{_WEBHOOK}/secret/old", SecretViewSet, {"delete": "end_overlap"}, "old-secrets"),
    *_served(f"{_WEBHOOK}/interactions", InteractionViewSet, {"post": "create"}, "interactions"),
    *_served(
        f"{_WEBHOOK}/deliveries",
        WebhookDeliveriesViewSet,
        {"get": "list", "post": "create"},
        "webhook-deliveries",
    ),
    *_served(f"{_WEBHOOK}/deliveries/bulk", BulkViewSet, {"post": "create"}, "bulk"),
    *_served(f"{_WEBHOOK}/replay", ReplayViewSet, {"post": "create"}, "replay"),
    *_served(f"{_WEBHOOK}/errors", ErrorViewSet, {"get": "list"}, "errors"),
    *_served(f"{_WEBHOOK}/verify", CallViewSet, {"post": "verify"}, "verify"),
    *_served(f"{_WEBHOOK}/close-breaker", BreakerViewSet, {"post": "close"}, "close-breaker"),
    *_served(f"{_WEBHOOK}/test", CallViewSet, {"post": "test"}, "test"),
    *_served(_DELIVERY, DeliveryViewSet, {"get": "retrieve"}, "delivery"),
    *_served(f"{_DELIVERY}/attempts", DeliveryViewSet, {"get": "attempts"}, "attempts"),
    *_served(f"{_DELIVERY}/retry", DeliveryViewSet, {"post": "retry"}, "retry"),
    *_served(f"{_DELIVERY}/cancel", DeliveryViewSet, {"post": "cancel"}, "cancel"),
    re_path(
        r"^(?:webhooks|deliveries)(?P<id>(?:/[\s\S]*)?)\Z",
        UnknownPath.as_view(dict.fromkeys(_METHODS, "nothing")),
    ),
]
