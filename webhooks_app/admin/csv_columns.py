"""What the CSV of each list holds: what its rows show, a column for each word of it, times in UTC.

No URL of a webhook: its path and query may hold secrets, so its host alone is told.
"""

from typing import Any

from ..models.delivery import db_now
from ..models.states import delivery_hold_reason
from ..presentation.looks import delivery_state, webhook_state
from ..rules import failures
from ..rules.hosts import host_of
from .export import Column


def _held(delivery: Any) -> str:
    pending = delivery.finished_at is None
    return delivery_hold_reason(delivery, db_now()) if pending else ""


def _next_try(delivery: Any) -> object:
    return None if delivery.finished_at or _held(delivery) else delivery.due_at


def _latency(webhook: Any, name: str) -> str:
    latency = webhook.chart.latency
    return getattr(latency, name) if latency else ""


WEBHOOKS: tuple[Column, ...] = (
    ("Id", lambda row: row.pk),
    ("Name", lambda row: row.name),
    ("Host", lambda row: host_of(row.url)),
    ("Account", lambda row: row.account.name),
    ("Health", lambda row: webhook_state(row, db_now()).word),
    ("Failing since, UTC", lambda row: row.health.failing_since),
    ("Success, last 24 h", lambda row: row.chart.rate),
    ("Calls, last 24 h", lambda row: row.chart.calls),
    ("Failed, last 24 h", lambda row: row.chart.failed),
    ("Half answered", lambda row: _latency(row, "median")),
    ("95 % answered", lambda row: _latency(row, "most")),
    ("Last error", lambda row: failures.title(row.health.last_error_kind)),
    ("Last error message", lambda row: row.health.last_error_message),
    ("Last error at, UTC", lambda row: row.health.last_error_at),
    ("Last success, UTC", lambda row: row.health.last_success_at),
    ("Waiting, at most 1,001 counted", lambda row: row.waiting or 0),
    ("Created, UTC", lambda row: row.created_at),
)
DELIVERIES: tuple[Column, ...] = (
    ("Id", lambda row: row.pk),
    ("State", lambda row: delivery_state(row, db_now()).word),
    ("Created, UTC", lambda row: row.created_at),
    ("Finished, UTC", lambda row: row.finished_at),
    ("Webhook", lambda row: row.webhook.name),
    ("Webhook id", lambda row: row.webhook_id),
    ("Account", lambda row: row.webhook.account.name),
    ("Event type", lambda row: row.type),
    ("Reference", lambda row: row.reference),
    ("Tries", lambda row: row.tries),
    ("Most tries", lambda row: row.max_tries),
    ("Last status", lambda row: row.last_status),
    ("Last error", lambda row: row.last_error),
    ("Next try, UTC", _next_try),
    ("Held", _held),
    ("Made by", lambda row: row.created_by),
)
ATTEMPTS: tuple[Column, ...] = (
    ("Id", lambda row: row.pk),
    ("Ended, UTC", lambda row: row.ended_at),
    ("Exchange", lambda row: row.get_exchange_display()),
    ("Webhook", lambda row: row.webhook.name),
    ("Webhook id", lambda row: row.webhook_id),
    ("Account", lambda row: row.webhook.account.name),
    ("Delivery", lambda row: row.delivery_id),
    ("Event type", lambda row: row.delivery.type if row.delivery else ""),
    ("Reference", lambda row: row.delivery.reference if row.delivery else ""),
    ("Try", lambda row: row.number),
    ("Status", lambda row: row.status),
    ("Error", lambda row: row.title),
    ("Message", lambda row: row.message),
    ("Took, ms", lambda row: row.duration_ms),
    ("Address", lambda row: row.address),
    ("Asked for by", lambda row: row.requested_by),
)
EVENTS: tuple[Column, ...] = (
    ("Id", lambda row: row.pk),
    ("Type", lambda row: row.type),
    ("Account", lambda row: row.account.name),
    ("Reference", lambda row: row.reference),
    ("Subject", lambda row: row.subject),
    ("Channels", lambda row: " ".join(row.channels)),
    ("Goes to", lambda row: row.matched),
    ("Filtered out", lambda row: row.filtered),
    ("Published, UTC", lambda row: row.created_at),
    ("Published by", lambda row: row.created_by),
)
AUDIT: tuple[Column, ...] = (
    ("When, UTC", lambda row: row.at),
    ("Who", lambda row: row.by),
    ("Door", lambda row: row.get_door_display()),
    ("Did", lambda row: row.did),
    ("To", lambda row: row.name),
    ("Kind", lambda row: row.kind),
    ("Its id", lambda row: row.target),
    ("Account", lambda row: row.account.name if row.account else ""),
)
ACCOUNTS: tuple[Column, ...] = (
    ("Account", lambda row: row.name),
    ("Contact", lambda row: row.contact_email),
    ("Created, UTC", lambda row: row.created_at),
)
TOKENS: tuple[Column, ...] = (
    ("Name", lambda row: row.name),
    ("First characters", lambda row: row.hint),
    ("Account", lambda row: row.account.name),
    ("Scope", lambda row: row.get_scope_display()),
    ("Created, UTC", lambda row: row.created_at),
    ("Expires, UTC", lambda row: row.expires_at),
    ("Revoked, UTC", lambda row: row.revoked_at),
    ("Last used, UTC", lambda row: row.last_used_at),
)
