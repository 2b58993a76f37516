"""A stock Django admin over the same models, for the table of tasks: no option of any kind."""

from pathlib import Path

import django.contrib.admin
from django.apps import apps
from django.contrib.admin import AdminSite
from django.urls import path

FOLDER = Path(django.contrib.admin.__file__).parent / "templates"  # none of the console's own
site = AdminSite(name="admin")
models = apps.get_app_config("webhooks_app").get_models()
site.register([model for model in models if not model._meta.is_composite_pk])
urlpatterns = [path("admin/", site.urls)]
