"""The operators' console, one module a screen. Staff with the model permission see all accounts."""

from . import (
    accounts,
    attempts,
    audit,
    deliveries,
    event_types,
    events,
    jobs,
    tokens,
    webhooks,
    workers,
)

__all__ = [
    "accounts",
    "attempts",
    "audit",
    "deliveries",
    "event_types",
    "events",
    "jobs",
    "tokens",
    "webhooks",
    "workers",
]
