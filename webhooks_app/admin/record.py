"""The record of a delivery, to print, to save and to hand out. By POST: who took it is noted."""

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern

from ..models import AuditEntry, Delivery
from ..models.delivery import db_now
from ..presentation.record import WORDS, record_of
from .base import ConsoleAdmin, named

FORMS = {"page": "to print", "json": "as JSON", "text": "as text"}


class Recording(ConsoleAdmin):
    """Whoever may view deliveries may take the record of one."""

    def record_urls(self) -> list[URLPattern]:
        return [self.post_view("record", "record", self.record)]

    def record(self, request: HttpRequest, delivery: Delivery) -> HttpResponse:
        by = named(request)
        form = request.POST.get("as", "page")
        form = form if form in FORMS else "page"
        record = record_of(delivery, now=db_now(), by=by)
        AuditEntry.objects.note(by, f"Took the record {FORMS[form]}.", delivery)
        answer: Any
        if form == "json":
            answer = JsonResponse(record.as_json(), json_dumps_params={"indent": 2})
        elif form == "text":
            answer = HttpResponse(record.as_text(), content_type="text/plain; charset=utf-8")
        else:
            context = {
                **self.admin_site.each_context(request),
                "opts": self.opts,
                "media": self.media,
                "title": f"Record of delivery {delivery.pk}",
                "delivery": delivery,
                "record": record,
                "about": WORDS,
                "forms": [("json", "Save as JSON"), ("text", "Save as text")],
            }
            page = "admin/webhooks_app/delivery/record.html"
            answer = TemplateResponse(request, page, context)
        if form != "page":
            ending = {"json": "json", "text": "txt"}[form]
            name = f'attachment; filename="delivery-{delivery.pk}.{ending}"'
            answer["Content-Disposition"] = name
        answer["Cache-Control"] = "no-store"
        made: HttpResponse = answer
        return made
