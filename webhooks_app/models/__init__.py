"""The nouns: account (who), webhook (what is called), delivery (what was sent), health."""

from .account import AccessToken, Account, FailedAuthentication
from .audit import Actor, AuditEntry
from .counter import Counter
from .delivery import Attempt, Delivery, WebhookError
from .health import HourlyCount, HourlyTotal, WebhookHealth, Worker
from .job import Job
from .notice import Notice
from .signing import SigningKey
from .webhook import Header, Webhook

__all__ = [
    "AccessToken",
    "Account",
    "Actor",
    "Attempt",
    "AuditEntry",
    "Counter",
    "Delivery",
    "FailedAuthentication",
    "Header",
    "HourlyCount",
    "HourlyTotal",
    "Job",
    "Notice",
    "SigningKey",
    "Webhook",
    "WebhookError",
    "WebhookHealth",
    "Worker",
]
