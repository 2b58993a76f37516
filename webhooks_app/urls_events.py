"""Events and event types: `path("", include("webhooks_app.urls_events"))`, wherever a host project
likes, beside `webhooks_app.urls`.

Every path starts with events or event-types, and none ends in a slash; with one it is served alike.
Whatever else is asked for below the two is a JSON 404.
"""

from django.urls import URLPattern, re_path

from .api.base import UnknownPath
from .api.routes import ITEM, METHODS, served
from .api.views.event_types import EventTypesViewSet, EventTypeViewSet
from .api.views.events import EventsInBulkViewSet, EventsViewSet, EventViewSet
from .api.views.why import EventWebhooksViewSet

app_name = "webhooks_events"

_EVENT = "events/<str:id>"

urlpatterns: list[URLPattern] = [
    *served("events", EventsViewSet, {"get": "list", "post": "create"}, "events"),
    *served("events/bulk", EventsInBulkViewSet, {"post": "create"}, "events-bulk"),
    *served(_EVENT, EventViewSet, {"get": "retrieve", "delete": "destroy"}, "event"),
    *served(f"{_EVENT}/webhooks", EventWebhooksViewSet, {"get": "list"}, "event-webhooks"),
    *served("event-types", EventTypesViewSet, {"get": "list", "post": "create"}, "event-types"),
    *served("event-types/<str:id>", EventTypeViewSet, ITEM, "event-type"),
    re_path(
        r"^(?:events|event-types)(?P<id>(?:/[\s\S]*)?)\Z",
        UnknownPath.as_view(dict.fromkeys(METHODS, "nothing")),
    ),
]
