"""The admin of the standalone site: the console, with its lists in the order staff need them."""

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.template.response import TemplateResponse

ORDER = (
    *("Webhook", "Event", "Delivery", "WebhookError", "Attempt", "Job"),
    *("EventType", "Account", "AccessToken", "Worker", "AuditEntry"),
)


class Console(AdminSite):
    index_template = "admin/webhooks_app/home.html"

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Of the stock pages too."""
        # Not before: the screens of the package register with this site.
        from webhooks_app.admin.door import found_or_refused, without_nul

        return without_nul(found_or_refused(super().admin_view(view, cacheable)))

    def index(self, request: HttpRequest, extra_context: Any = None) -> TemplateResponse:
        from webhooks_app.admin.door import seen

        page: TemplateResponse = seen(super().index)(request, extra_context)
        return page

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        apps: list[Any] = super().get_app_list(request, app_label)
        for app in apps:
            app["models"].sort(key=_place)
        return sorted(apps, key=lambda app: bool(app["app_label"] != "webhooks_app"))


def _place(model: Any) -> int:
    name = model["object_name"]
    return ORDER.index(name) if name in ORDER else len(ORDER)
