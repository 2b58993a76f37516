"""/schema and /docs: the OpenAPI description and its pages, without any outside host."""

from drf_spectacular.renderers import OpenApiJsonRenderer2, OpenApiYamlRenderer
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView


class SchemaView(SpectacularAPIView):
    """JSON; `Accept: application/vnd.oai.openapi` or `?format=yaml` asks for YAML."""

    renderer_classes = [OpenApiJsonRenderer2, OpenApiYamlRenderer]
    authentication_classes = []
    schema = None  # not part of the description itself


class DocsView(SpectacularSwaggerSplitView):
    """Swagger UI from the sidecar; no inline style or script, so `default-src 'self'` holds."""

    template_name = "docs.html"
    authentication_classes = []
    schema = None  # not part of the description itself
