"""The verbs: the public Python API. The REST API, the admin and the commands are thin doors to it.

(Not to be confused with a ModelAdmin's actions.) `interact`, `verify` and `test` call out and
raise RuntimeError inside `transaction.atomic`; all others only write rows, inside the caller's
transaction when there is one. `by` is the name of who asked, for the record: what people change is
noted as an AuditEntry in the same transaction (`models.Actor` names the door as well).

Every error of a verb's own is an ActionError; a DatabaseError comes through as Django raises it.
"""

from .accounts import delete_account
from .calls import ainteract, interact, test, verify
from .credentials import columns as judged_credentials
from .deliveries import (
    cancel,
    deliver,
    deliver_many,
    replay,
    replayable,
    retry,
    start_replay,
)
from .errors import (
    ActionError,
    Busy,
    Conflict,
    ExchangeFailed,
    Invalid,
    NotCallable,
    OlderWorkers,
    TooSoon,
    alone,
    sentences,
)
from .event_types import EXAMPLE_LIMIT, declare_event_type, expunge_event_type, update_event_type
from .events import (
    EVENTS_MOST,
    NewEvent,
    Publication,
    Published,
    accept_events,
    cancel_event,
    publish,
    publish_many,
)
from .intake import (
    KEY_LIMIT,
    ORDERING_KEY_LIMIT,
    PAYLOAD_LIMIT,
    REFERENCE_LIMIT,
    TYPE_LIMIT,
    Answer,
    Draft,
    accept,
    encode,
)
from .jobs import create_job, matching, pause_job, resume_job, set_pace, stop_job
from .limits import older_workers, tokens_problem, webhooks_problem, would_change
from .notes import add_note, notes_about, strike_note
from .reasons import Asked, Line, match, why, why_not
from .secrets import GRACE, GRACE_MOST, end_overlap, reveal_secret, rotate_secret, spelled
from .site import hold_all, release_all, site_hold
from .subscriptions import (
    judged_subscriptions,
    saved_subscriptions,
    set_subscriptions,
    subscriptions,
)
from .tokens import issue_token, revoke_token
from .trial import HISTORY_MOST, History, Trial, tried, tried_on_history
from .webhooks import (
    clear_error,
    close_breaker,
    create_webhook,
    delete_webhook,
    delivery_reason,
    enable,
    heads,
    hold_reason,
    pause,
    request_verification,
    restore_webhook,
    update_webhook,
)

__all__ = [
    "EVENTS_MOST",
    "EXAMPLE_LIMIT",
    "GRACE",
    "GRACE_MOST",
    "HISTORY_MOST",
    "KEY_LIMIT",
    "ORDERING_KEY_LIMIT",
    "PAYLOAD_LIMIT",
    "REFERENCE_LIMIT",
    "TYPE_LIMIT",
    "ActionError",
    "Answer",
    "Asked",
    "Busy",
    "Conflict",
    "Draft",
    "ExchangeFailed",
    "History",
    "Invalid",
    "Line",
    "NewEvent",
    "NotCallable",
    "OlderWorkers",
    "Publication",
    "Published",
    "TooSoon",
    "Trial",
    "accept",
    "accept_events",
    "add_note",
    "ainteract",
    "alone",
    "cancel",
    "cancel_event",
    "clear_error",
    "close_breaker",
    "create_job",
    "create_webhook",
    "declare_event_type",
    "delete_account",
    "delete_webhook",
    "deliver",
    "deliver_many",
    "delivery_reason",
    "enable",
    "encode",
    "end_overlap",
    "expunge_event_type",
    "heads",
    "hold_all",
    "hold_reason",
    "interact",
    "issue_token",
    "judged_credentials",
    "judged_subscriptions",
    "match",
    "matching",
    "notes_about",
    "older_workers",
    "pause",
    "pause_job",
    "publish",
    "publish_many",
    "release_all",
    "replay",
    "replayable",
    "request_verification",
    "restore_webhook",
    "resume_job",
    "retry",
    "reveal_secret",
    "revoke_token",
    "rotate_secret",
    "saved_subscriptions",
    "sentences",
    "set_pace",
    "set_subscriptions",
    "site_hold",
    "spelled",
    "start_replay",
    "stop_job",
    "strike_note",
    "subscriptions",
    "test",
    "tokens_problem",
    "tried",
    "tried_on_history",
    "update_event_type",
    "update_webhook",
    "verify",
    "webhooks_problem",
    "why",
    "why_not",
    "would_change",
]
