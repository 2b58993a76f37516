"""django-webhook as its README sets it up, everything else at its defaults."""

from base import *  # noqa: F403
from base import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "django_webhook"]
DJANGO_WEBHOOK = {"MODELS": ["orders.Order"]}
