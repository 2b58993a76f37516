"""What a search in the list of deliveries means: an id, the owner's reference, or a text in the
payload. The first two are looked up everywhere; of payloads so many are read (see `pages`)."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest

from ..models import Delivery, Event
from ..models.delivery_filters import payload_holds, unfit
from ..rules.ids import is_id


@dataclass(frozen=True, slots=True)
class Search:
    term: str
    by: str  # "", id, event, webhook, reference or payload

    @property
    def everywhere(self) -> bool:
        return self.by not in ("", "payload")

    def rows(self, rows: Any) -> Any:
        """Of some deliveries those that are meant."""
        match self.by:
            case "id":
                return rows.filter(pk=self.term)
            case "event":
                return rows.of_event(self.term)
            case "webhook":
                return rows.filter(webhook=self.term)
            case "reference":
                return rows.with_reference(self.term)
            case "payload":
                return rows.filter(payload_holds(self.term))
        return rows


def search_of(request: HttpRequest) -> Search:
    """The search of a request, judged once."""
    found: Search | None = getattr(request, "_webhooks_search", None)
    if found is None:
        found = request._webhooks_search = _judged(request.GET.get("q", "").strip())  # type: ignore[attr-defined]
    return found


def _judged(term: str) -> Search:
    if not term or unfit(term):
        return Search("", "")
    if is_id(term):
        for by, rows in (
            ("id", Delivery.objects.filter(pk=term)),
            ("event", Event.objects.filter(pk=term)),
        ):
            if rows.exists():
                return Search(term, by)
        return Search(term, "webhook")
    if Delivery.objects.with_reference(term).order_by().exists():
        return Search(term, "reference")
    return Search(term, "payload")
