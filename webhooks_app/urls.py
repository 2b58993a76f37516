"""What a host project includes: `path("", include("webhooks_app.urls"))`.

Every path starts with webhooks or deliveries, and none ends in a slash; with one it is served
alike. Whatever else is asked for below the two is a JSON 404.
"""

from django.urls import URLPattern, re_path

from .api.base import UnknownPath
from .api.routes import ITEM, METHODS, served
from .api.views.calls import BreakerViewSet, CallViewSet, InteractionViewSet
from .api.views.deliveries import (
    BulkViewSet,
    DeliveryViewSet,
    ErrorViewSet,
    ReplayViewSet,
    WebhookDeliveriesViewSet,
)
from .api.views.secret import SecretViewSet
from .api.views.webhooks import SettingsViewSet, WebhookViewSet
from .api.views.why import TrialViewSet

app_name = "webhooks_app"

_WEBHOOK = "webhooks/<str:id>"
_DELIVERY = "deliveries/<str:id>"

urlpatterns: list[URLPattern] = [
    *served("webhooks", WebhookViewSet, {"get": "list", "post": "create"}, "webhooks"),
    *served(_WEBHOOK, WebhookViewSet, ITEM, "webhook"),
    *served(
        f"{_WEBHOOK}/settings",
        SettingsViewSet,
        {"get": "retrieve", "patch": "partial_update"},
        "settings",
    ),
    *served(f"{_WEBHOOK}/secret", SecretViewSet, {"get": "retrieve"}, "secret"),
    *served(f"{_WEBHOOK}/secret/rotate", SecretViewSet, {"post": "rotate"}, "rotate-secret"),
    *served(f"{_WEBHOOK}/secret/old", SecretViewSet, {"delete": "end_overlap"}, "old-secrets"),
    *served(f"{_WEBHOOK}/interactions", InteractionViewSet, {"post": "create"}, "interactions"),
    *served(
        f"{_WEBHOOK}/deliveries",
        WebhookDeliveriesViewSet,
        {"get": "list", "post": "create"},
        "webhook-deliveries",
    ),
    *served(f"{_WEBHOOK}/deliveries/bulk", BulkViewSet, {"post": "create"}, "bulk"),
    *served(f"{_WEBHOOK}/replay", ReplayViewSet, {"post": "create"}, "replay"),
    *served(f"{_WEBHOOK}/errors", ErrorViewSet, {"get": "list"}, "errors"),
    *served(f"{_WEBHOOK}/verify", CallViewSet, {"post": "verify"}, "verify"),
    *served(f"{_WEBHOOK}/close-breaker", BreakerViewSet, {"post": "close"}, "close-breaker"),
    *served(f"{_WEBHOOK}/test", CallViewSet, {"post": "test"}, "test"),
    *served(
        f"{_WEBHOOK}/subscriptions/test", TrialViewSet, {"post": "create"}, "subscriptions-test"
    ),
    *served(_DELIVERY, DeliveryViewSet, {"get": "retrieve"}, "delivery"),
    *served(f"{_DELIVERY}/attempts", DeliveryViewSet, {"get": "attempts"}, "attempts"),
    *served(f"{_DELIVERY}/retry", DeliveryViewSet, {"post": "retry"}, "retry"),
    *served(f"{_DELIVERY}/cancel", DeliveryViewSet, {"post": "cancel"}, "cancel"),
    re_path(
        r"^(?:webhooks|deliveries)(?P<id>(?:/[\s\S]*)?)\Z",
        UnknownPath.as_view(dict.fromkeys(METHODS, "nothing")),
    ),
]
