from django.contrib import admin
from django.urls import include, path

from . import docs, errors, health, metrics, views

urlpatterns = [
    path("", views.home, name="home"),
    path("readme", views.readme, name="readme"),
    path("favicon.ico", views.favicon),
    path("admin/", admin.site.urls),
    path("schema", errors.only_read(docs.SchemaView.as_view()), name="schema"),
    path("docs", errors.only_read(docs.DocsView.as_view()), name="docs"),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", metrics.metrics),
    path("", include("webhooks_app.urls")),
]

handler400 = errors.bad_request
handler403 = errors.permission_denied
handler404 = errors.page_not_found
handler500 = errors.server_error
