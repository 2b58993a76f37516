"""How a webhook and a delivery do, and why one waits: the one table, in order of precedence.

The first row of WEBHOOKS that applies says how a webhook does; the first of them with a `reason`
says why its deliveries are held. Everything that asks reads this table: the worker's claim, the
API, the console and its counts, the commands, the metrics and the letters. What Python asks of a
row, which rows a query finds, what the claim's SQL says and what people read stand side by side,
and a test compares them.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from django.db.models import Count, Exists, Min, OuterRef, Q, QuerySet

from .. import conf
from ..rules.ids import timestamp
from . import site
from .delivery import Delivery
from .health import WebhookHealth
from .webhook import FAILING_AFTER, Order, Webhook


@dataclass(frozen=True, slots=True)
class State:
    """One way in which a webhook can do.

    `key` stands in addresses, `word` is for people. `of` is the model whose row tells it.
    `alternatives` are conditions on that row of which one suffices. `few`: each of them is answered
    by an index that holds few other rows. `reason` is what the API calls it where deliveries are
    held for it, `sentence` the same in words. `clear` is what the claim asks of the webhook's row,
    `h`, so that it is not in this state. `told`: noted by the worker that found it, and no reason
    for anybody else not to call. `asked`: whether any webhook can be in it, as the site is now.
    """

    key: str
    word: str
    of: type[Webhook] | type[WebhookHealth]
    applies: Callable[[Webhook, datetime], bool]
    alternatives: Callable[[datetime], tuple[Q, ...]]
    few: bool = True
    reason: str = ""
    sentence: str = ""
    clear: str = ""
    told: bool = False
    asked: Callable[[], bool] = lambda: True

    def sets(self, now: datetime) -> "list[QuerySet[Any]]":
        """Of the rows of `of` that are in it, deleted webhooks too: a set for each alternative."""
        rows: Any = self.of._default_manager
        return [rows.filter(condition).order_by() for condition in self.alternatives(now)]

    def keys(self, now: datetime) -> "QuerySet[Any]":
        """Of the webhooks in it, deleted ones too."""
        return _union(self.sets(now))

    def rows(self, now: datetime, path: str = "") -> Q:
        """All alternatives as one condition on `of`, or on what `path` leads from."""
        found = Q()
        for condition in self.alternatives(now):
            found |= _from(condition, path)
        return found

    def webhooks(self, now: datetime) -> Q:
        """`rows` as a condition on webhooks."""
        return self.rows(now, "" if self.of is Webhook else "health__")


def _from(condition: Q, path: str) -> Q:
    """The same condition on the rows that `path` leads from."""
    if not path:
        return condition
    lookups: Any = condition.children
    children = [
        _from(child, path) if isinstance(child, Q) else (path + child[0], child[1])
        for child in lookups
    ]
    return Q(*children, _connector=condition.connector, _negated=condition.negated)


def _union(sets: "list[QuerySet[Any]]") -> "QuerySet[Any]":
    first, *others = [rows.values("pk") for rows in sets]
    # As a list of a model a union is in its order from Django 6.1 on; as a set it has none.
    return first.union(*others).order_by() if others else first


def _stopped(key: str, word: str, reason: Webhook.Stopped, sentence: str) -> State:
    return State(
        key,
        word,
        Webhook,
        lambda webhook, now: webhook.stopped == reason,
        # The second is part of the first, in the words of the index.
        lambda now: (Q(stopped=reason) & ~Q(stopped=""),),
        reason=reason.value,
        sentence=sentence,
        clear="h.stopped = ''",
    )


# A stop that a newer version beside this one has written, in a word of its own.
UNKNOWN = "unknown"
_KNOWN_STOPS = frozenset(("", *Webhook.Stopped.values))  # which enums put together each time
EVERY = Q(pk__isnull=False)
# Of all webhooks at once, so its row comes first and, while it applies, no other is asked for. The
# claim's SQL says nothing of it: a worker looks for it before it looks for anything else.
SITE = State(
    "site",
    "Site held",
    Webhook,
    lambda webhook, now: site.is_held(),
    lambda now: (EVERY,),
    few=False,
    reason="site",
    sentence="The whole site is held: nothing is sent until its operator runs `webhooks "
    "release-all`.",
    asked=site.is_held,
)
WEBHOOKS = (
    SITE,
    _stopped("paused", "Paused", Webhook.Stopped.PAUSED, "The webhook is paused."),
    *(
        _stopped("stopped", "Stopped", reason, f"The webhook is stopped: {reason.label}.")
        for reason in (Webhook.Stopped.GONE, Webhook.Stopped.FAILING, Webhook.Stopped.BLOCKED)
    ),
    State(
        "stopped",
        "Stopped",
        Webhook,
        lambda webhook, now: webhook.stopped not in _KNOWN_STOPS,
        lambda now: (~Q(stopped="") & ~Q(stopped__in=Webhook.Stopped.values),),
        reason=UNKNOWN,
        sentence="The webhook is stopped for a reason that this version does not know: a newer one "
        "has written it. See which versions run (`webhooks status`; in the console, Our side), and "
        "bring all to the newest, which says the reason.",
        clear="h.stopped = ''",
    ),
    State(
        "unreadable",
        "Unreadable",
        WebhookHealth,
        lambda webhook, now: webhook.health.unreadable_since is not None,
        lambda now: (Q(unreadable_since__isnull=False),),
        reason="unreadable",
        sentence="A stored secret of the webhook cannot be read: the key that it was encrypted "
        "with is missing in WEBHOOKS_ENCRYPTION_KEYS of its worker. Give the key back and restart, "
        "or send token, headers and auth anew and rotate the signing secret.",
        told=True,
    ),
    State(
        "unverified",
        "Not verified",
        Webhook,
        lambda webhook, now: webhook.verified_at is None and conf.settings.verification_required,
        lambda now: (Q(verified_at__isnull=True),),
        reason="unverified",
        sentence="The webhook is not verified: its URL has not passed the challenge.",
        clear="h.verified_at IS NOT NULL",
        asked=lambda: conf.settings.verification_required,
    ),
    # Before the breaker, which opens because calls fail: it is no answer to why.
    State(
        "failing",
        "Failing",
        WebhookHealth,
        lambda webhook, now: webhook.health.failing,
        lambda now: (Q(failures_in_row__gte=FAILING_AFTER),),
    ),
    State(
        "breaker",
        "Resting",
        WebhookHealth,
        lambda webhook, now: webhook.health.is_resting(now),
        lambda now: (Q(breaker_until__isnull=False) & Q(breaker_until__gt=now),),
        reason="breaker",
        sentence="The webhook's breaker is open after many failures in a row.",
    ),
    # It is called, as often as it may be. Interactions and tests go all the same.
    State(
        "rate",
        "Limited",
        WebhookHealth,
        lambda webhook, now: webhook.health.is_limited(now),
        lambda now: (Q(rests_until__isnull=False) & Q(rests_until__gt=now),),
        reason="rate",
        sentence="More is due than may go out now, by the webhook's own rate limit or because its "
        "receiver asked for a pause (429, or 503 with Retry-After). It goes out by itself.",
        told=True,
    ),
    State(
        "unsteady",
        "Unsteady",
        WebhookHealth,
        lambda webhook, now: bool(webhook.health.failures_in_row or webhook.health.unsteady_since),
        lambda now: (Q(failures_in_row__gte=1), Q(unsteady_since__isnull=False)),
    ),
    State(
        "working",
        "Working",
        WebhookHealth,
        lambda webhook, now: webhook.health.last_success_at is not None,
        lambda now: (Q(last_success_at__isnull=False),),
        few=False,
    ),
    State("idle", "Nothing delivered yet", Webhook, lambda *_: True, lambda now: (Q(),), few=False),
)

HOLDS = tuple(state for state in WEBHOOKS if state.reason)
FAILING, BREAKER = (
    next(state for state in WEBHOOKS if state.key == key) for key in ("failing", "breaker")
)
RATE = "rate"
RECEIVER_ASKS = "Its receiver asked for a pause (429, or 503 with Retry-After)."
# Those in which nothing is delivered, the worst first. Each comes before all others in precedence.
SILENT = ("site", "failing", "unreadable", "breaker", "unverified", "stopped", "paused")
WORDS = {state.key: state.word for state in WEBHOOKS}

# The two reasons that are a delivery's own and not its webhook's. This one stands in its row, which
# is due FAR_AHEAD.
UNRECORDED = "unrecorded"
# It is due, and one before it in the same order waits for its next try, or for a person.
ORDER = "order"
FAR_AHEAD = datetime(9999, 1, 1, tzinfo=UTC)
# Each reason in a word or three, for lists: a webhook's own word where that says enough.
HELD_FOR = {state.reason: state.word.lower() for state in HOLDS} | {
    Webhook.Stopped.GONE.value: "stopped: gone",
    Webhook.Stopped.FAILING.value: "stopped: failing",
    Webhook.Stopped.BLOCKED.value: "stopped: one gave up",
    ORDER: "behind another",
    UNRECORDED: "not recorded",
}
SENTENCES = {state.reason: state.sentence for state in HOLDS} | {
    UNRECORDED: "What became of its last try could not be written down, so it is not sent again by "
    "itself. Retry it when the cause is mended.",
    ORDER: "It is sent in order, and the one before it waits for its next try. Retry or cancel "
    "that one to go on sooner.",
}


def _asked(states: Iterable[State] = WEBHOOKS, *, released: bool = False) -> list[State]:
    """Those that are asked about as the site is now; `released`: as it is when nobody holds it."""
    return [state for state in states if state.asked() and not (released and state is SITE)]


def asked_about() -> tuple[str, ...]:
    """The keys of the states that any webhook can be in as the site is now, with its settings: the
    conditions of this module are the same while these are."""
    return tuple(state.key for state in _asked())


_PENDING = Q(state=Delivery.State.PENDING, finished_at__isnull=True)
_UNRECORDED = Q(reason=UNRECORDED)


# --- of a row -----------------------------------------------------------------------------------


def of_webhook(webhook: Webhook, now: datetime) -> State:
    """How it does, by its row and its health as they were read; no secret is read for it."""
    return next(state for state in WEBHOOKS if state.applies(webhook, now))


def hold_reason(webhook: Webhook, now: datetime, *, told: bool = True) -> str:
    """Why it is not called now, one of SENTENCES; `""` when it is. Without `told`: why it may not.

    Of the row as it was read, with its health: no secret is read for it.
    """
    return next((s.reason for s in _holding(webhook, now) if told or not s.told), "")


def hold_reasons(webhook: Webhook, now: datetime) -> list[str]:
    """All that hold it, the first of them is `hold_reason`."""
    return [state.reason for state in _holding(webhook, now)]


def _holding(webhook: Webhook, now: datetime) -> Iterator[State]:
    return (state for state in HOLDS if state.applies(webhook, now))


def hold_ends_at(webhook: Webhook, reason: str) -> datetime | None:
    """When what holds it ends by itself, of the reasons of which that is known."""
    if reason == BREAKER.reason:
        return webhook.health.breaker_until
    return webhook.health.rests_until if reason == RATE else None


def hold_sentence(webhook: Webhook, reason: str) -> str:
    """One of SENTENCES as it is with this webhook, with its end where that is known."""
    until = hold_ends_at(webhook, reason)
    if until is None:
        return SENTENCES[reason]
    if reason != RATE:
        return f"{SENTENCES[reason]} One call is tried at {timestamp(until)}."
    if webhook.health.rests:
        return f"{RECEIVER_ASKS} Calls go on at {timestamp(until)}, with one at first."
    limit = f"its rate limit of {webhook.rate_limit} lets go"
    return f"More is due than {limit} before {timestamp(until)}."


def delivery_hold_reason(delivery: Delivery, now: datetime) -> str:
    """Why a pending one is not sent, its own reason or its webhook's, whichever comes first; `""`
    when it goes out."""
    reason = hold_reason(delivery.webhook, now)
    if delivery.reason == UNRECORDED and reason in ("", RATE):
        return UNRECORDED
    return ORDER if not reason and is_behind(delivery, now) else reason


def of_delivery(delivery: Delivery, now: datetime) -> str:
    """A key of DELIVERIES."""
    if delivery.state != Delivery.State.PENDING:
        return delivery.state
    if delivery_hold_reason(delivery, now):
        return "held"
    return "retrying" if delivery.tries else "waiting"


def is_behind(delivery: Delivery, now: datetime) -> bool:
    """Whether the order holds it. Asks, unless it was read by `with_behind` or is in no order."""
    if delivery.position is None or delivery.state != Delivery.State.PENDING:
        return False
    if delivery.behind is None:
        found = Delivery.objects.filter(_behind(now), pk=delivery.pk)
        delivery.behind = found.exists()
    return delivery.behind


def with_behind(rows: "QuerySet[Delivery]", now: datetime) -> "QuerySet[Delivery]":
    """The same rows, each with whether the order holds it: for whoever shows many."""
    return rows.annotate(**{"behind": _behind(now)})


def _holding_up(now: datetime) -> "QuerySet[Delivery]":
    """What holds others up that came after it: waits for its next try, or for a person."""
    return Delivery.objects.filter(
        Q(tries__gt=0) | _UNRECORDED,
        state=Delivery.State.PENDING,
        position__isnull=False,
        due_at__gt=now,
    )


def _behind(now: datetime) -> Q:
    """What the order holds. One line of its webhook, beside its keys, comes before all of those."""
    waits = _holding_up(now).filter(webhook=OuterRef("webhook"), position__lt=OuterRef("position"))
    own = Exists(waits.filter(ordering_key=OuterRef("ordering_key")))
    line = Exists(waits.filter(ordering_key__isnull=True))
    # Asked for each of the few: PostgreSQL would read all webhooks for those with an order.
    ordered = Webhook.objects.exclude(order=Order.NONE).as_owners()
    # In the words of the index of what is in line: `_PENDING` would have all that waits read.
    here = Q(state=Delivery.State.PENDING, position__isnull=False, due_at__lte=now)
    # Of very many without an order nothing more is asked.
    return here & ordered & (Q(own) | Q(line))


def _ordered(holds: Iterable[State], now: datetime) -> "QuerySet[Any]":
    """The keys of the webhooks that send in order and are held for none of these: of so few what
    waits is asked for, and not of all that waits who sends in order."""
    rows = Webhook.objects.exclude(order=Order.NONE)
    for state in holds:
        rows = rows.exclude(pk__in=state.keys(now))
    return rows.values("pk")


def behind(now: datetime, holds: Iterable[State] = ()) -> "QuerySet[Delivery]":
    """The deliveries that the order holds, of webhooks that are held for none of these. By the
    index of what is in line alone; of webhooks where nothing holds others up, nothing is asked."""
    rows = Delivery.objects.filter(webhook__in=_holding_up(now).values("webhook"))
    return rows.filter(_behind(now), webhook__in=_ordered(holds, now))


# --- as filters of webhooks ---------------------------------------------------------------------


def _split(keys: Iterable[str]) -> tuple[list[State], list[State]]:
    """The rows of the table with one of these keys, and those that come before them; none where
    the site is held, and all webhooks are in that state."""
    states = _asked()
    if states[0] is SITE:
        states = [SITE]
    own = [state for state in states if state.key in keys]
    return own, states[: states.index(own[0])] if own else []


def webhooks_in(key: str, now: datetime) -> Q:
    """The condition for a state; for `silent` that for all that deliver nothing."""
    keys = SILENT if key == "silent" else (key,)
    return among(keys, now) & _first_of(keys, now)


def stopped_since(moment: datetime, now: datetime) -> Q:
    """`stopped`, of those that were stopped from a moment on: by the index of since when."""
    return Q(stopped_at__gte=moment) & ~Q(stopped="") & _first_of(("stopped",), now)


def _first_of(keys: Iterable[str], now: datetime) -> Q:
    """That the first state which applies is one of these."""
    own, earlier = _split(keys)
    if not own:
        return Q(pk__in=[])
    found = Q()
    for state in own:
        found |= state.webhooks(now)
    for state in earlier:
        found &= ~state.webhooks(now)
    return found


def among(keys: Iterable[str], now: datetime) -> Q:
    """What the webhooks in some states have in common, where few are in them: an index each, so
    that nobody reads all webhooks to find them. The states themselves are to be asked for too."""
    own = [state for state in _asked() if state.key in keys]
    if not own or not all(state.few for state in own):
        return Q()
    return Q(pk__in=_union([rows for state in own for rows in state.sets(now)]))


def counted(key: str, now: datetime) -> "QuerySet[Any]":
    """The keys of the live webhooks in a state. Where few are in it, by indexes that hold the keys
    alone: to read a thousand rows from a disk takes long."""
    own, earlier = _split([key])
    if not own or not own[0].few:
        return Webhook.objects.live().filter(webhooks_in(key, now)).values("pk")
    deleted = Webhook.objects.filter(deleted_at__isnull=False)
    return _first_in(own, earlier, now, deleted)


def held_webhooks(now: datetime) -> "dict[str, QuerySet[Any]]":
    """The live webhooks that are not called, by the reason."""
    return _apart(Webhook.objects.live(), "pk__in", _asked(HOLDS), now)


def _apart(
    rows: "QuerySet[Any]", webhook: str, holds: list[State], now: datetime
) -> "dict[str, QuerySet[Any]]":
    """Of these rows, by the reason, those whose webhook (`webhook` looks it up among keys) is held
    for it."""
    if holds[:1] == [SITE]:
        return {s.reason: rows if s is SITE else rows.none() for s in holds}
    found: dict[str, QuerySet[Any]] = {}
    for place, state in enumerate(holds):
        # Of the few webhooks, not of all that waits for them, those in an earlier state are taken.
        found[state.reason] = rows.filter((webhook, _first_in([state], holds[:place], now)))
    return found


def _first_in(
    own: list[State], earlier: list[State], now: datetime, *taken: "QuerySet[Any]"
) -> "QuerySet[Any]":
    """The keys of the webhooks in some states and in none of those that come earlier, nor among
    what is `taken`."""
    found = [rows for state in own for rows in state.sets(now)]
    before = [rows for state in earlier for rows in state.sets(now)]
    for others in (*taken, *before):
        found = [rows.exclude(pk__in=others.values("pk")) for rows in found]
    return _union(found)


# --- as filters of deliveries -------------------------------------------------------------------

# What a delivery can be, in words. `pending` is the stored state behind waiting, retrying and held.
DELIVERIES = {
    "waiting": "Waiting",
    "retrying": "Retrying",
    "held": "Held",
    "delivered": "Delivered",
    "failed": "Gave up",
    "cancelled": "Cancelled",
}


def held(now: datetime, *, released: bool = False) -> Q:
    """The deliveries whose webhook is not called now. The webhooks are chosen once, not for each
    delivery, each reason by the index of the few that it holds for. `released`: would not be called
    when nobody held the site."""
    return _held_by(_asked(HOLDS, released=released), now)


def _held_by(holds: Iterable[State], now: datetime) -> Q:
    condition = Q()
    for state in holds:
        if state is SITE:
            return EVERY
        condition |= Q(webhook__in=state.keys(now))
    return condition


def _goes(now: datetime, released: bool) -> Q:
    holding = held(now, released=released)
    # The order is asked of each row that goes else, of the few that are counted or shown.
    return _PENDING & (Q(pk__in=[]) if holding is EVERY else ~holding & ~_behind(now))


def _in_order(now: datetime) -> Q:
    """`behind` as a condition: chosen once, and not for each delivery."""
    return Q(pk__in=behind(now).order_by().values("pk"))


def deliveries_in(key: str, now: datetime, *, released: bool = False) -> Q:
    """The condition for a key of DELIVERIES; `due` are those of waiting and retrying whose time has
    come, `later` those whose time has not; of `failed` all tries failed. `released` as in `held`.
    """
    match key:
        case "held":
            return _PENDING & (held(now, released=released) | _UNRECORDED | _in_order(now))
        case "waiting":
            return _goes(now, released) & ~_UNRECORDED & Q(tries=0)
        case "retrying":
            return _goes(now, released) & ~_UNRECORDED & Q(tries__gt=0)
        case "due":
            return _goes(now, released) & Q(due_at__lte=now)
        case "later":
            return _goes(now, released) & Q(due_at__gt=now, due_at__lt=FAR_AHEAD)
        case _:
            return Q(state=key)


def due(now: datetime, *, released: bool = False) -> "list[QuerySet[Delivery]]":
    """What could go out now, the oldest due first, in sets that lie apart: of webhooks without an
    order, which an index alone tells however many of the held come before, and of the others.
    `released` as in `held`."""
    holds = _asked(HOLDS, released=released)
    holding = _held_by(holds, now)
    if holding is EVERY:
        return []
    rows = Delivery.objects.filter(due_at__lte=now).order_by("due_at")
    plain = rows.filter(_PENDING).exclude(holding).exclude(webhook__in=_ordered((), now))
    # In the words of the index that begins with the webhook: of each of these few what is due.
    of_each = rows.filter(state=Delivery.State.PENDING, webhook__in=_ordered(holds, now))
    return [plain, of_each.exclude(_in_order(now))]


def retrying(now: datetime) -> "QuerySet[Any]":
    """The webhook of each delivery that is `retrying`, to be counted: first of those that go later,
    by an index alone."""
    holding = held(now)
    if holding is EVERY:
        return Delivery.objects.none()
    later = Delivery.objects.filter(_PENDING, due_at__gt=now, due_at__lt=FAR_AHEAD)
    sets = [later.exclude(holding), *due(now)]
    first, *others = [rows.order_by().filter(tries__gt=0).values("webhook_id") for rows in sets]
    return first.union(*others, all=True).order_by()


def count_due(now: datetime, most: int, *, released: bool = False) -> "tuple[int, datetime | None]":
    """How many deliveries could go out now, counted up to one more than `most`, and since when the
    oldest of them could (None: there is none). `released` as in `held`."""
    count, since = 0, []
    for rows in due(now, released=released):
        some = rows.values("due_at")[: most + 1]
        found = some.aggregate(count=Count("*"), since=Min("due_at"))
        count += found["count"]
        since += [found["since"]] if found["count"] else []
    return min(count, most + 1), min(since, default=None)


def held_deliveries(now: datetime, *, released: bool = False) -> "dict[str, QuerySet[Any]]":
    """The deliveries that are held, each by the one reason that `delivery_hold_reason` gives: its
    webhook's, or its own; `released` as in `held`."""
    # In the words of the index that begins with the webhook. What none of them is due after is said
    # for SQLite: without it all that was ever sent to a webhook could be read as well.
    pending = Delivery.objects.filter(state=Delivery.State.PENDING, due_at__lte=FAR_AHEAD)
    holds = _asked(HOLDS, released=released)
    found = _apart(pending, "webhook__in", holds, now)
    if RATE in found:
        found[RATE] = found[RATE].exclude(_UNRECORDED)
    if SITE in holds:
        return found | {reason: pending.none() for reason in (UNRECORDED, ORDER)}
    stopping = _held_by((state for state in holds if state.reason != RATE), now)
    found[UNRECORDED] = unrecorded().exclude(stopping)
    found[ORDER] = behind(now, holds)
    return found


def unrecorded() -> "QuerySet[Delivery]":
    """The deliveries that wait for a person, because what came of their last try is not known."""
    # By the moment, too: SQLite knows nothing of an index that holds none yet, and would read all
    # that waits.
    return Delivery.objects.filter(_PENDING, _UNRECORDED, due_at=FAR_AHEAD)


# --- for the claim: what the webhook's own row says ---------------------------------------------
#
# A webhook is claimed for unless its row says that it is deleted or in one of these states. Of the
# others the worker that owns it knows by itself: it asks for the site first of all, it keeps the
# breaker, and it opens the secrets.

_IN_ROW = tuple(state for state in HOLDS if state.clear)


def may_be_claimed(row: Any) -> bool:
    """By the columns `deleted_at` and CLAIM_COLUMNS of a webhook: a row, or anything with those."""
    now = FAR_AHEAD  # none of them asks for the time
    return row.deleted_at is None and not any(state.applies(row, now) for state in _IN_ROW)


CLAIM_COLUMNS = ("stopped", "verified_at", "deleted_at")  # what `may_be_claimed` reads


def claim_sql() -> str:
    """`may_be_claimed` as SQL about the webhook's row `h`."""
    return _claim_sql(conf.settings.verification_required)


@lru_cache(maxsize=2)
def _claim_sql(verification_required: bool) -> str:
    states = [s for s in _IN_ROW if verification_required or s.key != "unverified"]
    return " AND ".join([*dict.fromkeys(s.clear for s in states), "h.deleted_at IS NULL"])


def unclaimed(now: datetime) -> Q:
    """The deliveries whose webhook may not be claimed for, deleted ones too."""
    condition = Q(webhook__in=Webhook.objects.filter(deleted_at__isnull=False).values("pk"))
    for state in _asked(_IN_ROW):
        condition |= Q(webhook__in=state.keys(now))
    return condition
