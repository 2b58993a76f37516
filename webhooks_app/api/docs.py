"""/schema and /docs: the OpenAPI description of our API alone, and its pages, without any outside
host. They need the extra `docs`; what a host project sets for its own API is not touched."""

from functools import cache
from threading import Lock
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer2, OpenApiYamlRenderer
from drf_spectacular.settings import patched_settings
from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from .. import __version__

SETTINGS = {
    "TITLE": "Webhooks API",
    "DESCRIPTION": "Outgoing webhooks: what is called, what was sent, and how it went.",
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
_one_at_a_time = Lock()  # drf-spectacular's settings are the process's


@cache
def description(prefix: str = "") -> dict[str, Any]:
    """Of the API below a prefix of paths; made once a process."""
    servers = [{"url": prefix}] if prefix else []
    with _one_at_a_time, patched_settings({**SETTINGS, "SERVERS": servers}):
        generator = SchemaGenerator(urlconf="webhooks_app.urls")
        made: dict[str, Any] = generator.get_schema(request=None, public=True)
    return made


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

    def get(self, request: Request) -> Response:
        return Response(description(_prefix()))


def _prefix() -> str:
    """Where the API is included; `""` at the root, and where it is not."""
    try:
        return reverse("webhooks_app:webhooks").removesuffix("/webhooks")
    except NoReverseMatch:
        return ""


def docs(request: HttpRequest) -> HttpResponse:
    """Swagger UI from the sidecar; no inline style or script, so `default-src 'self'` holds."""
    return render(request, "webhooks_app/docs.html", {"title": SETTINGS["TITLE"]})
