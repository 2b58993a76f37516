"""/schema and /docs: the OpenAPI description of our API alone, and its pages, without any outside
host. They need the extra `docs`; what a host project sets for its own API is not touched."""

from functools import cache
from itertools import chain
from threading import Lock
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.utils.encoding import force_bytes
from django.utils.module_loading import import_string
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer2, OpenApiYamlRenderer
from drf_spectacular.settings import patched_settings
from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request
from rest_framework.views import APIView

from .. import __version__

SETTINGS = {
    "TITLE": "Webhooks API",
    "DESCRIPTION": "Outgoing webhooks: what is called, what was sent, and how it went. Every call "
    "carries an access token (*Authorize*), which the console makes (*Access tokens*), or "
    "`manage.py webhooks create-token`.",
    "VERSION": __version__,
    "OAS_VERSION": "3.1.1",
    "SCHEMA_PATH_PREFIX": "",
    "SORT_OPERATION_PARAMETERS": False,
    "COMPONENT_SPLIT_PATCH": False,
    "COMPONENT_SPLIT_REQUEST": False,
    "PREPROCESSING_HOOKS": [],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "webhooks_app.api.schema.exactly",
    ],
}
# In the order in which they are met, not by their letters.
TAGS = {"urls": ("webhooks", "deliveries"), "urls_events": ("events", "event-types")}
_one_at_a_time = Lock()  # drf-spectacular's settings are the process's


@cache
def description(prefix: str = "", *, events: bool = True) -> dict[str, Any]:
    """Of the API below a prefix of paths, events with it or not; made once a process."""
    servers = [{"url": prefix}] if prefix else []
    names = ("urls", "urls_events") if events else ("urls",)
    tags = [{"name": tag} for name in names for tag in TAGS[name]]
    with _one_at_a_time, patched_settings({**SETTINGS, "SERVERS": servers, "TAGS": tags}):
        served = [import_string(f"webhooks_app.{name}.urlpatterns") for name in names]
        generator = SchemaGenerator(patterns=list(chain.from_iterable(served)))
        made: dict[str, Any] = generator.get_schema(request=None, public=True)
    return made


@cache
def _written(prefix: str, events: bool, format: str) -> bytes:
    """Once a process, too: as YAML that takes a tenth of a second, and anybody may ask."""
    [renderer] = (one for one in SchemaView.renderer_classes if one.format == format)
    return force_bytes(renderer().render(description(prefix, events=events), renderer_context={}))


class Negotiation(DefaultContentNegotiation):
    """JSON for whoever asks for neither, a browser for one; never 406."""

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[Any, str]:
        try:
            chosen: tuple[Any, str] = super().select_renderer(request, renderers, format_suffix)
        except (NotAcceptable, Http404):
            return renderers[0], renderers[0].media_type
        return chosen


class SchemaView(APIView):
    """JSON; `Accept: application/vnd.oai.openapi` or `?format=yaml` asks for YAML."""

    renderer_classes = [OpenApiJsonRenderer2, OpenApiYamlRenderer]
    content_negotiation_class = Negotiation
    authentication_classes = []
    permission_classes = []
    throttle_classes = []
    versioning_class = None
    schema = None  # not part of the description itself

    def get(self, request: Request) -> HttpResponse:
        prefix = _prefix("webhooks_app:webhooks") or ""
        events = _prefix("webhooks_events:events") == prefix
        renderer: Any = request.accepted_renderer
        written = _written(prefix, events, renderer.format)
        return HttpResponse(written, content_type=renderer.media_type)


def _prefix(name: str) -> str | None:
    """Where an address stands; None where it is not included."""
    try:
        return reverse(name).rpartition("/")[0]
    except NoReverseMatch:
        return None


def docs(request: HttpRequest) -> HttpResponse:
    """Swagger UI from the sidecar; no inline style or script, so `default-src 'self'` holds."""
    return render(request, "webhooks_app/docs.html", {"title": SETTINGS["TITLE"]})
