"""The nouns: account (who), webhook (what is called), event (what happened), subscription (who gets
it), delivery (what was sent), health."""

from .account import AccessToken, Account, FailedAuthentication
from .audit import Actor, AuditEntry
from .counter import Counter, Position
from .delivery import Attempt, Delivery, WebhookError
from .event import Event, EventBody, EventType
from .health import HourlyCount, HourlyTotal, WebhookHealth, Worker
from .job import Job
from .lag import HourlyLag
from .note import Note
from .notice import Notice
from .signing import SigningKey
from .site import SiteHold
from .subscription import Subscription
from .webhook import Header, Webhook

__all__ = [
    "AccessToken",
    "Account",
    "Actor",
    "Attempt",
    "AuditEntry",
    "Counter",
    "Delivery",
    "Event",
    "EventBody",
    "EventType",
    "FailedAuthentication",
    "Header",
    "HourlyCount",
    "HourlyLag",
    "HourlyTotal",
    "Job",
    "Note",
    "Notice",
    "Position",
    "SigningKey",
    "SiteHold",
    "Subscription",
    "Webhook",
    "WebhookError",
    "WebhookHealth",
    "Worker",
]
