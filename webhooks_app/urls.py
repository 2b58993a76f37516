"""What a host project includes: `path("", include("webhooks_app.urls"))`."""

from django.urls import path

app_name = "webhooks_app"
urlpatterns: list = []
