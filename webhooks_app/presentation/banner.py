"""What the page of a webhook or a delivery says first: state, since when, why, what to do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.utils.html import format_html
from django.utils.safestring import SafeString

from .. import conf
from ..models import Delivery, Webhook, WebhookHealth
from ..models.delivery import advice_on, calls_from
from ..models.states import (
    ORDER,
    RECEIVER_ASKS,
    SENTENCES,
    UNKNOWN,
    UNRECORDED,
    delivery_hold_reason,
    hold_ends_at,
    hold_reason,
)
from ..rules import failures
from .charts import Chart
from .formatting import duration, moment, plain
from .last_error import ELSEWHERE, is_elsewhere
from .looks import State, delivery_state, webhook_state


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
    headline: SafeString | str
    recorded: str = ""  # the message as it was recorded; may quote a receiver
    answer: str = ""  # what the receiver answered then
    why: SafeString | str = ""
    advice: SafeString | str = ""
    rest: SafeString | str = ""  # that calls rest for a while, said beside the reason
    buttons: Sequence[Button] = field(default_factory=tuple)  # the first is the one to press
    filled: bool = True  # whether the first button is worth the one strong colour

    @property
    def tone(self) -> str:
        return self.state.tone


VERIFY = Button("verify", "Verify", busy="Calling {host}, {timeout} s at most…")
TEST = Button("test", "Send test", busy="Calling {host}, {timeout} s at most…")
PAUSE = Button("pause", "Pause…", note=True)
RESUME = Button("enable", "Resume")
CLOSE_BREAKER = Button("close-breaker", "Close breaker now")
CALL_AGAIN = Button("close-breaker", "Call again now")
CLEAR_ERROR = Button("clear-error", "Clear error")
RETRY = Button("retry", "Retry")
SKIP = Button(
    "cancel",
    "Skip…",
    confirm="Those behind it go on without it. It stays in the history, as failed.",
)
CANCEL = Button(
    "cancel", "Cancel…", confirm="It is given up and not sent, unless somebody retries it."
)


def webhook_banner(webhook: Webhook, now: datetime, calls: Chart) -> Banner:
    """`calls` are those of the time the page looks at."""
    health = webhook.health
    state = webhook_state(webhook, now)
    kind, message = health.last_error_kind, health.last_error_message
    elsewhere = bool(message) and is_elsewhere(webhook, getattr(webhook, "last_error_url", ""))
    if elsewhere:  # it says nothing of how the webhook does
        kind = message = ""
    title, why, advice = failures.title(kind), failures.why(kind), failures.advice(kind)
    first, headline = TEST, plain(state.word)
    since = _since(webhook.stopped_at)
    if state.key == "site":
        message, why = "", f"{SENTENCES['site']} Deliveries are kept and wait."
        headline, advice = plain("Held: the whole site calls nobody"), ""
        first = RESUME if webhook.stopped else PAUSE
    elif state.key == "paused":
        note = f", “{webhook.stopped_note}”" if webhook.stopped_note else ""
        headline = format_html("Paused by {}{}{}", webhook.stopped_by or "staff", since, note)
        why = "Deliveries are kept and wait; calls that want an answer are refused."
        advice = "Resume when the receiver is ready; the oldest go first."
        message, first = "", RESUME
    elif state.key == "stopped":
        headline = format_html("Stopped{}: {}", since, webhook.get_stopped_display())
        why = "Calls were stopped; deliveries are kept and wait."
        if webhook.stopped == Webhook.Stopped.GONE:
            advice = "Ask the owner for a new URL and resume it, or delete the webhook."
        elif webhook.stopped == Webhook.Stopped.BLOCKED:
            why = (
                "All tries of a delivery failed, and this webhook is to stop then, so that nothing "
                "overtakes it."
            )
            advice = (
                "Retry or skip what stands at the head of the line below, or resume the webhook "
                "without it."
            )
        elif webhook.stopped not in Webhook.Stopped.values:
            headline = format_html("Stopped{} by a newer version", since)
            why, advice = SENTENCES[UNKNOWN], "Resume it only when you know why it was stopped."
        first = RESUME
    elif state.key == "unreadable":
        headline = format_html("Unreadable{}: a key is missing", _since(health.unreadable_since))
        message, advice = "", ""
        why = f"{SENTENCES['unreadable']} Deliveries are kept and wait."
    elif state.key == "unverified":
        first = VERIFY
        if webhook.verification == "waiting":
            headline = plain("Not verified: the verification waits for the worker")
            why = "Nothing is sent until it has passed; deliveries are kept and wait."
            advice = "Wait a moment, or verify now."
        elif message:
            reason = lower(title.removeprefix("Verification: "))
            headline = format_html("Not verified: {}", reason)
        else:
            why, advice = "It has not passed the verification yet.", "Verify it."
    elif state.key == "breaker":
        until = health.breaker_until or now
        headline = format_html(
            "Resting until {} ({}): many calls failed", moment(until), duration(until - now)
        )
        first = CLOSE_BREAKER
    elif state.key == "rate":
        message, headline = "", _limited(webhook)
        why = "What waits goes out at that rate."
        advice = "Nothing needs to be done. Its settings have the limit."
        if health.rests:
            first = CALL_AGAIN
            why = f"{RECEIVER_ASKS} What waits loses no try; calls go on with one, then more."
            advice = "Nothing needs to be done. Its owner can let more calls in."
    elif state.key == "failing":
        length = f" ({duration(now - health.failing_since)})" if health.failing_since else ""
        reason = lower(title) or "the last calls failed"
        headline = format_html("Failing{}{}: {}", _since(health.failing_since), length, reason)
    elif state.key == "unsteady":
        count = health.failures_in_row
        last = "the last call failed" if count == 1 else f"the last {count} calls failed"
        if not count:
            last = "the last call succeeded"
            if message and health.last_error_at:
                last = f"the last {duration(now - health.last_error_at)} ago"
        if calls.failed:
            words = f"{calls.failed:,} of {calls.calls:,} calls failed in the last"
            headline = format_html("Unsteady: {} {}, {}", words, calls.span.words, last)
        else:
            headline = format_html("Unsteady: {}", last)
    elif state.key == "working":
        headline = format_html("Working: last success {}", moment(health.last_success_at or now))
        if calls.calls:
            words = f"{calls.delivered:,} of {calls.calls:,} delivered in the last"
            headline = format_html("Working: {} {}", words, calls.span.words)
        why, advice = "", ""
        if message:
            last = moment(health.last_error_at or now)
            why = format_html("The last error is of {}; it stays until somebody clears it.", last)
    elif message:
        headline = format_html("Nothing delivered yet: the last try failed, {}", lower(title))
    else:
        why = "No delivery or interaction has succeeded yet; tests do not count."
        advice = "Send a test to see the answer here, then its first delivery."
    if message and state.key != "working" and (addresses := calls_from(kind)):
        advice = f"{advice} {addresses}"
    others = [TEST, VERIFY, RESUME if webhook.stopped else PAUSE]
    rest: SafeString | str = ""
    if hold_reason(webhook, now) == "breaker":
        rest = _resting(health)
        others.insert(1, CLOSE_BREAKER)
    elif hold_reason(webhook, now) == "rate" and state.key != "rate":
        rest = _limited(webhook)
        if health.rests:
            others.insert(1, CALL_AGAIN)
    if elsewhere:
        met = format_html("The last error, of {}, {}.", moment(health.last_error_at), ELSEWHERE)
        why = format_html("{} {}", why, met) if why else met
    if health.last_error_at and not health.failures_in_row:  # while it fails, it is the reason
        others.append(CLEAR_ERROR)
    return Banner(
        state,
        headline,
        message,
        getattr(webhook, "last_answer", "") if message and state.key in ANSWERED else "",
        why,
        advice,
        rest,
        [first, *(button for button in others if button != first)],
        filled=state.key not in ("site", "working", "unreadable") and not _is_nothing(advice),
    )


ANSWERED = ("failing", "breaker", "unverified", "unsteady", "stopped")  # the answer says why


def _resting(health: WebhookHealth) -> SafeString:
    count = health.failures_in_row
    failed = f"{count:,} calls in a row failed, so calls rest" if count > 1 else "Calls rest"
    return format_html("{} until {}; then one is tried.", failed, moment(health.breaker_until))


def _limited(webhook: Webhook) -> SafeString:
    until = moment(webhook.health.rests_until)
    if webhook.health.rests:
        return format_html("Limited until {}: the receiver asked for a pause", until)
    words = "Limited until {}: more is due than its rate limit of {} lets go"
    return format_html(words, until, webhook.rate_limit or "before")


def _is_nothing(advice: str) -> bool:
    """Whether what is to be done is nothing: then no button asks to be pressed."""
    return advice.startswith("Nothing")


def _since(at: datetime | None) -> SafeString:
    return format_html(" since {}", moment(at)) if at else plain("")


def delivery_banner(delivery: Delivery, kind: str, now: datetime, page: str) -> Banner:
    """`kind` is the kind of failure of its last attempt, `""` when that succeeded; `page` the
    address of the page of its webhook."""
    state = delivery_state(delivery, now)
    message = delivery.last_error
    why, advice = failures.why(kind), advice_on(kind)
    tried = f"{delivery.tries} of {delivery.max_tries} tries failed"
    buttons = [RETRY, CANCEL]
    held = delivery_hold_reason(delivery, now)
    if delivery.state == Delivery.State.PENDING and held == ORDER:
        headline = plain("Held: the one before it, in its order, waits for its next try")
        why = "It is kept and goes out by itself after that one."
        advice = format_html('See <a href="{}#order">the head of the line</a>.', page)
        buttons = [CANCEL]
    elif delivery.state == Delivery.State.PENDING and held == UNRECORDED:
        headline = format_html("Held: what came of try {} is not recorded", delivery.tries + 1)
        why = SENTENCES[UNRECORDED]
    elif state.key == "held":
        held_by = webhook_state(delivery.webhook, now)
        headline = format_html("Held: the webhook is “{}”", lower(held_by.word))
        until = moment(hold_ends_at(delivery.webhook, held))
        if held == "breaker":
            headline = format_html("Held until {}: calls rest after many failures", until)
        elif held == "rate":
            asked = delivery.webhook.health.rests
            said = (
                "the receiver asked for a pause"
                if asked
                else "more waits than its rate limit lets go"
            )
            headline = format_html("Held until {}: {}", until, said)
        why = "It is kept and goes out by itself when the webhook may be called again."
        advice = format_html('See <a href="{}">the page of the webhook</a>.', page)
        if held_by.key == "site":
            headline, why, advice = plain("Held with the whole site"), SENTENCES["site"], ""
        buttons = [CANCEL]
    elif state.key == "waiting":
        late = delivery.due_at <= now
        word = "since" if late else "at"
        headline = format_html("Waiting: due {} {}", word, moment(delivery.due_at))
        why = "It has not been tried yet."
    elif state.key == "retrying":
        length = f" (in {duration(delivery.due_at - now)})" if delivery.due_at > now else ""
        due = moment(delivery.due_at)
        headline = format_html("Retrying: {}, next at {}{}", tried, due, length)
    elif state.key == "delivered":
        times = "at the first try" if delivery.tries <= 1 else f"at try {delivery.tries}"
        headline = format_html("Delivered {} {}", moment(delivery.finished_at or now), times)
        message = why = advice = ""
        buttons = [RETRY]
    elif state.key == "failed":
        headline = format_html("Gave up {}: {}", moment(delivery.finished_at or now), tried)
        why = " ".join(part for part in (_sentence(delivery.reason), why) if part)
    else:
        headline = format_html("Cancelled {}", moment(delivery.finished_at or now))
        why, advice = _sentence(delivery.reason), ""
        buttons = [RETRY]
    if state.key == "failed":
        buttons = [RETRY]
        if _holds_up(delivery):
            buttons = [RETRY, SKIP]
            blocks = delivery.webhook.stopped == Webhook.Stopped.BLOCKED
            stops = "is stopped for this" if blocks else "will stop for this once it is resumed"
            advice = f"{advice} Its webhook {stops}: retry it, or skip it.".lstrip()
    if delivery.webhook.deleted_at:
        buttons, advice = [], ""
    quiet = state.key in ("delivered", "waiting", "held", "cancelled")
    return Banner(
        state,
        headline,
        message,
        why=why,
        advice=advice,
        buttons=buttons,
        filled=not quiet and not _is_nothing(advice),
    )


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:].rstrip('.')}." if words else ""


def _holds_up(delivery: Delivery) -> bool:
    if not delivery.webhook.stopped:
        return False
    return Delivery.objects.filter(pk=delivery.pk).holding_up().exists()


def lower(title: str) -> str:
    """A title in the middle of a sentence; "TLS failed" and "DNS …" keep their capitals."""
    return title if title[:2].isupper() else title[:1].lower() + title[1:]


def busy_words(button: Button, webhook: Webhook, host: str) -> str:
    timeout = webhook.timeout or conf.settings.timeout
    return button.busy.format(host=host, timeout=f"{timeout:g}") if button.busy else ""
