"""What a search in the list of deliveries means: an id, the owner's reference, or a text in the
payload. The first two are looked up everywhere; payloads are read, so many and no more."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import HttpRequest

from ..models import Delivery
from ..models.selection import payload_holds
from ..rules.ids import id_time, is_id

PAYLOADS_READ = 5_000


@dataclass(slots=True)
class Search:
    term: str
    by: str  # "", id, reference or payload
    edge: str = ""  # the oldest delivery whose payload was read, when there are older ones

    @property
    def everywhere(self) -> bool:
        return self.by in ("id", "reference")

    @property
    def back_to(self) -> datetime | None:
        return id_time(self.edge) if self.edge else None

    def rows(self, rows: Any) -> Any:
        """Of some deliveries those that are meant."""
        if self.by == "id":
            return rows.filter(pk=self.term) | rows.filter(webhook=self.term)
        if self.by == "reference":
            return rows.filter(reference=self.term, reference__gt="")
        if self.by == "payload":
            newest = rows.order_by("-pk").values_list("pk", flat=True)
            self.edge = newest[PAYLOADS_READ - 1 : PAYLOADS_READ].first() or ""
            if self.edge:
                rows = rows.filter(pk__gte=self.edge)
            return rows.filter(payload_holds(self.term))
        return rows


def search_of(request: HttpRequest) -> Search:
    """The search of a request, judged once."""
    found: Search | None = getattr(request, "_webhooks_search", None)
    if found is None:
        found = request._webhooks_search = _judged(request.GET.get("q", "").strip())  # type: ignore[attr-defined]
    return found


def _judged(term: str) -> Search:
    if not term or "\0" in term:
        return Search("", "")
    if is_id(term):
        return Search(term, "id")
    if Delivery.objects.filter(reference=term, reference__gt="").order_by().exists():
        return Search(term, "reference")
    return Search(term, "payload")
