"""Where names are completed as they are typed."""

from django.urls import reverse


def accounts_url() -> str:
    query = "?app_label=webhooks_app&model_name=webhook&field_name=account"
    return reverse("admin:autocomplete") + query


def webhooks_url() -> str:
    query = "?app_label=webhooks_app&model_name=delivery&field_name=webhook"
    return reverse("admin:autocomplete") + query
