from dataclasses import dataclass

from django_domain_events import event


@event
@dataclass(frozen=True)
class OrderPlaced:
    order: str
