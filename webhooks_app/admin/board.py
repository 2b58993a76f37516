"""What the page of a webhook or a delivery says first: state, since when, why, what to do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from .. import conf
from ..models import Delivery, Webhook
from ..rules import failures
from ..templatetags.webhooks_console import duration, short_moment
from .states import State, delivery_state, health_of, webhook_state


@dataclass(frozen=True, slots=True)
class Button:
    """A verb of the page; its view has the same name."""

    verb: str
    label: str
    note: bool = False  # asks for a note first
    busy: str = ""  # what is said while it runs
    confirm: str = ""  # what is said before it is done


@dataclass(frozen=True, slots=True)
class Banner:
    state: State
    headline: str
    recorded: str = ""  # the message as it was recorded; may quote a receiver
    why: str = ""
    advice: str = ""
    buttons: Sequence[Button] = field(default_factory=tuple)  # the first is the one to press
    filled: bool = True  # whether the first button is worth the one strong colour

    @property
    def tone(self) -> str:
        return self.state.tone


VERIFY = Button("verify", "Verify", busy="Calling {host}, {timeout} s at most…")
TEST = Button("test", "Send test", busy="Calling {host}, {timeout} s at most…")
PAUSE = Button("pause", "Pause…", note=True)
ENABLE = Button("enable", "Enable")
CLOSE_BREAKER = Button("close-breaker", "Close breaker now")
CLEAR_ERROR = Button("clear-error", "Clear error")
RETRY = Button("retry", "Retry now")
SEND_AGAIN = Button("retry", "Send again")
CANCEL = Button(
    "cancel", "Cancel…", confirm="It is given up and not sent, unless somebody sends it again."
)


def webhook_banner(webhook: Webhook, now: datetime) -> Banner:
    health = health_of(webhook)
    state = webhook_state(webhook, now)
    kind, message = health.last_error_kind, health.last_error_message
    title, why, advice = failures.title(kind), failures.why(kind), failures.advice(kind)
    first = TEST
    if state.key == "paused":
        who = webhook.stopped_by or "staff"
        since = f" since {short_moment(webhook.stopped_at, now)}" if webhook.stopped_at else ""
        note = f", “{webhook.stopped_note}”" if webhook.stopped_note else ""
        headline = f"Paused by {who}{since}{note}"
        why = "Deliveries are kept and wait; calls that want an answer are refused."
        advice = "Enable it when the receiver is ready; the oldest go first."
        message, first = "", ENABLE
    elif state.key == "disabled":
        since = f" since {short_moment(webhook.stopped_at, now)}" if webhook.stopped_at else ""
        gone = webhook.stopped == Webhook.Stopped.GONE
        reason = "the receiver says it is gone (410)" if gone else "nothing but failure for 5 days"
        headline = f"Disabled{since}: {reason}"
        why = "Calls were stopped; deliveries are kept and wait."
        advice = "Ask the owner for a new URL and enable it, or delete the webhook."
        if not gone:
            advice = failures.advice(kind) or "Ask the owner, then enable it."
        first = ENABLE
    elif state.key == "unverified":
        first = VERIFY
        if webhook.verification == "waiting":
            headline = "Not verified: the verification waits for the worker"
            why = "Nothing is sent until it has passed; deliveries are kept and wait."
            advice = "Wait a moment, or verify now."
        elif message:
            headline = f"Not verified: {lower(title.removeprefix('Verification: '))}"
        else:
            headline = "Not verified"
            why, advice = "It has not passed the verification yet.", "Verify it."
    elif state.key == "breaker":
        until = health.breaker_until or now
        headline = (
            f"Paused by its breaker until {short_moment(until, now)} ({duration(until - now)})"
        )
        why = f"{health.failures_in_row:,} calls in a row failed; then one delivery is tried. {why}"
        advice = "Nothing, unless the owner says it works again: then close the breaker now."
        first = CLOSE_BREAKER
    elif state.key == "failing":
        since = ""
        if health.failing_since:
            length = duration(now - health.failing_since)
            since = f" since {short_moment(health.failing_since, now)} ({length})"
        headline = f"Failing{since}: {lower(title) or 'the last calls failed'}"
    elif state.key == "unsteady":
        count = health.failures_in_row
        calls = "the last call failed" if count == 1 else f"the last {count} calls failed"
        headline = f"Unsteady: {calls}"
    elif state.key == "working":
        headline = f"Working: last success {short_moment(health.last_success_at or now, now)}"
        why, advice = "", ""
        if message:
            last = short_moment(health.last_error_at or now, now)
            why = f"The last error is of {last}; it stays until somebody clears it."
    else:
        headline = "No calls yet"
        if not message:
            why, advice = "Nothing has been sent to it.", "Send a test to see the answer here."
    others = [TEST, VERIFY, ENABLE if webhook.stopped else PAUSE]
    if state.key == "breaker":
        others.append(CLOSE_BREAKER)
    if health.last_error_at:
        others.append(CLEAR_ERROR)
    return Banner(
        state,
        headline,
        message,
        why,
        advice,
        [first, *(button for button in others if button != first)],
        filled=state.key != "working",
    )


def delivery_banner(delivery: Delivery, kind: str, now: datetime) -> Banner:
    """`kind` is the kind of failure of its last attempt, `""` when that succeeded."""
    state = delivery_state(delivery, now)
    message = delivery.last_error
    why, advice = failures.why(kind), failures.advice(kind)
    tried = f"{delivery.tries} of {delivery.max_tries} tries failed"
    buttons = [RETRY, CANCEL]
    if state.key == "held":
        held_by = webhook_state(delivery.webhook, now)
        headline = f"Held: the webhook is “{lower(held_by.word)}”"
        why = "It is kept and goes out by itself when the webhook may be called again."
        advice = "See the page of the webhook."
        buttons = [CANCEL]
    elif state.key == "waiting":
        late = delivery.due_at <= now
        due = short_moment(delivery.due_at, now)
        headline = f"Waiting: due since {due}" if late else f"Waiting: due at {due}"
        why = "It has not been tried yet."
    elif state.key == "retrying":
        due = short_moment(delivery.due_at, now)
        length = f" (in {duration(delivery.due_at - now)})" if delivery.due_at > now else ""
        headline = f"Retrying: {tried}, next at {due}{length}"
    elif state.key == "delivered":
        times = "at the first try" if delivery.tries <= 1 else f"at try {delivery.tries}"
        headline = f"Delivered {short_moment(delivery.finished_at or now, now)} {times}"
        message = why = advice = ""
        buttons = [SEND_AGAIN]
    elif state.key == "failed":
        headline = f"Gave up {short_moment(delivery.finished_at or now, now)}: {tried}"
        why = " ".join(part for part in (delivery.reason, why) if part)
    else:
        headline = f"Cancelled {short_moment(delivery.finished_at or now, now)}"
        why, advice = delivery.reason, ""
        buttons = [SEND_AGAIN]
    if state.key == "failed":
        buttons = [RETRY]
    if delivery.webhook.deleted_at:
        buttons, advice = [], ""
    quiet = state.key in ("delivered", "waiting", "held", "cancelled")
    return Banner(state, headline, message, why, advice, buttons, filled=not quiet)


def lower(title: str) -> str:
    """A title in the middle of a sentence; "TLS failed" and "DNS …" keep their capitals."""
    return title if title[:2].isupper() else title[:1].lower() + title[1:]


def busy_words(button: Button, webhook: Webhook, host: str) -> str:
    timeout = webhook.timeout or conf.timeout()
    return button.busy.format(host=host, timeout=f"{timeout:g}") if button.busy else ""
