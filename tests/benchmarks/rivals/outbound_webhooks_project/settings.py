"""django-outbound-webhooks at its defaults, with loopback allowed."""

from base import *  # noqa: F403
from base import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "django_domain_events", "django_outbound_webhooks"]
DJANGO_OUTBOUND_WEBHOOKS = {"ALLOW_PRIVATE_ADDRESSES": True}
