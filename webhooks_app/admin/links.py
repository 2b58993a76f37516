"""Where numbers lead: the list that holds exactly the rows that were counted."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from ..presentation.charts import Bar


def listing(model: str, **filters: Any) -> str:
    """The address of a list, filtered; moments as the API writes them, empty filters left out."""
    query = {name: _text(value) for name, value in filters.items() if value not in ("", None)}
    place = reverse(f"admin:webhooks_app_{model}_changelist")
    return f"{place}?{urlencode(query, safe=':')}" if query else place


def webhook(ident: str) -> str:
    """The page of a webhook."""
    return reverse("admin:webhooks_app_webhook_change", args=[ident])


def host(name: str) -> str:
    """The page of a host that webhooks call."""
    return reverse("admin:webhooks_app_webhook_host", args=[name])


def calls(model: str = "attempt", **filters: Any) -> str:
    """Deliveries and interactions, which rates and charts count; `webhookerror`: the failed."""
    return listing(model, exchange="calls", **filters)


def calls_of_bar(bar: Bar, webhook: str = "") -> str:
    return calls(webhook=webhook, since=bar.start, until=bar.end)


def failures_of_bar(bar: Bar, webhook: str = "") -> str:
    return calls("webhookerror", webhook=webhook, since=bar.start, until=bar.end)


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return str(value)
