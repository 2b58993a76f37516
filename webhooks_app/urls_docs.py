"""The description of the API and its pages: `path("", include("webhooks_app.urls_docs"))`, wherever
a host project likes. It needs the extra `docs`, and `drf_spectacular_sidecar` in INSTALLED_APPS."""

from django.core.exceptions import ImproperlyConfigured
from django.urls import path

from .api.operations import only_read

try:
    from .api import docs
except ImportError as missing:
    raise ImproperlyConfigured(
        "webhooks_app.urls_docs needs drf-spectacular: pip install 'webhooks-console[docs]'."
    ) from missing

app_name = "webhooks_docs"

urlpatterns = [
    path("schema", only_read(docs.SchemaView.as_view()), name="schema"),
    path("docs", only_read(docs.docs), name="docs"),
]
