from django.contrib import admin
from django.urls import include, path

from . import views

urlpatterns = [
    path("", views.home, name="home"),
    path("readme", views.readme, name="readme"),
    path("admin/", admin.site.urls),
    path("", include("webhooks_app.urls")),
]
