"""Our side: one page that says whether we keep up, and with whom."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import URLPattern

from ..models import Worker
from ..presentation.our_side import OurSide
from . import links
from .base import ReadOnlyAdmin


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    list_title = "Our side"

    def get_urls(self) -> list[URLPattern]:
        """The one page; a worker has none of its own."""
        return [place for place in super().get_urls() if str(place.name).endswith("_changelist")]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        if not self.has_view_permission(request):
            raise PermissionDenied
        ours = OurSide()
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": self.list_title,
            "ours": ours,
            "held": [
                (word, count, links.listing("webhook", state=state) if state else "")
                for word, state, count in ours.held
            ],
            "held_link": links.listing("delivery", state="held", created="any"),
            "due_link": links.listing("delivery", state="due", created="any"),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/webhooks_app/worker/our_side.html", context)
