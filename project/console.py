"""The admin of the standalone site: the console, with its lists in the order staff need them."""

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest

ORDER = (
    *("Webhook", "Delivery", "WebhookError", "Attempt", "Job"),
    *("Account", "AccessToken", "AuditEntry"),
)


class Console(AdminSite):
    index_template = "admin/webhooks_app/home.html"

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        apps: list[Any] = super().get_app_list(request, app_label)
        for app in apps:
            app["models"].sort(key=_place)
        return sorted(apps, key=lambda app: bool(app["app_label"] != "webhooks_app"))


def _place(model: Any) -> int:
    name = model["object_name"]
    return ORDER.index(name) if name in ORDER else len(ORDER)
