from django.contrib import admin
from django.urls import include, path

from . import errors, views

urlpatterns = [
    path("", views.home, name="home"),
    path("favicon.ico", views.favicon),
    path("admin/", admin.site.urls),
    path("", include("webhooks_app.urls_docs")),
    path("", include("webhooks_app.urls_operations")),
    path("", include("webhooks_app.urls_events")),
    path("", include("webhooks_app.urls")),
]

handler400 = errors.bad_request
handler403 = errors.permission_denied
handler404 = errors.page_not_found
handler500 = errors.server_error
