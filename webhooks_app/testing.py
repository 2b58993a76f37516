"""For the tests of host projects: a fake receiver, `drain()` and `assert_published()`, inside an
ordinary TestCase.

    from webhooks_app import actions
    from webhooks_app.testing import FakeReceiver, drain

    with FakeReceiver({"responses": []}) as receiver:
        actions.deliver(webhook, {"order": 4711})
        drain()
    assert receiver.requests[0].json == {"order": 4711}

Nothing touches the network; requests are built, judged and recorded by the real engine.
"""

import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Self, TypeVar, overload
from urllib.parse import parse_qs, urlsplit

from django.db import router
from django.utils import timezone

from . import conf
from .actions import encode
from .engine import calls, store
from .engine.bodies import Bodies
from .engine.http import bridge, message
from .engine.http.sender import Outcome, Request, Sender
from .engine.sending import verdict
from .engine.store import Asked, Claimed, Finished, Key, Want, microseconds
from .models import Delivery, Event, Webhook, site
from .models.webhook import OnDead, Order
from .rules import failures
from .rules.failures import Failure

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Received:
    """A request that a fake receiver got."""

    method: str
    url: str
    headers: dict[str, str]  # lower-case names
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


ACCESS_TOKEN = "access-token-of-the-test"  # noqa: S105  what OAuth brings a fake receiver

Answer = int | bytes | dict[str, Any] | Failure | Callable[[Received], Any]


class FakeReceiver(Sender):
    """Answers every exchange of the process while it is entered.

    `answer`: a dict is 200 with that JSON, bytes are 200 with that body, a number is a status, a
    `rules.failures.Failure` is an exchange that broke off, a function is given the `Received` and
    returns one of those. Verification challenges are echoed unless `verifies` is false.
    """

    def __init__(self, answer: Answer = 200, *, verifies: bool = True) -> None:
        super().__init__()
        self.answer = answer
        self.verifies = verifies
        self.requests: list[Received] = []

    async def send(self, request: Request, *, timeout: float) -> Outcome:
        if request.access is not None:
            request = request.bearing(ACCESS_TOKEN)
        received = _received(request)
        self.requests.append(received)
        query = parse_qs(urlsplit(received.url).query)
        answer = self.answer
        if request.method == "GET" and self.verifies:
            answer = query["challenge"][0].encode()
        outcome = _outcome(answer(received) if callable(answer) else answer)
        outcome.secrets, outcome.rotated = request.secrets, request.rotated
        if outcome.status is not None:
            outcome.failure = failures.of_status(outcome.status, rotated=request.rotated)
        return outcome

    def run(
        self, work: Callable[[Sender], Coroutine[Any, Any, T]], *, account: int, webhook: str
    ) -> T:
        """What `engine.http.bridge` runs synchronous calls with, while this is entered."""
        return _result(work(self))

    def __enter__(self) -> Self:
        self._before = bridge.replace(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        bridge.replace(self._before)


def drain(*, rounds: int = 100) -> int:
    """Send everything that is due, on this thread's own connection, until nothing is.

    Returns the number of deliveries tried, none while the site is held. Needs an entered
    FakeReceiver. Raises AssertionError when something is still due after `rounds` rounds (a
    schedule of zeros never ends before).
    """
    runner = bridge.shared()
    assert isinstance(runner, FakeReceiver), "drain() needs an entered FakeReceiver"
    sent = 0
    if site.is_held():
        return sent
    for _ in range(rounds):
        _verify(runner)
        batch = _send(runner)
        if not batch:
            return sent
        sent += batch
    raise AssertionError(f"something is still due after {rounds} rounds")


def _verify(receiver: FakeReceiver) -> None:
    if not conf.settings.verification_required:
        return
    for webhook in Webhook.objects.live().filter(verification_due_at__isnull=False):
        calls.make(calls.Verification(webhook))


def _send(receiver: FakeReceiver) -> int:
    queue = store.open(router.db_for_write(Delivery))
    now = timezone.now()
    claimed = _due(queue, now)
    bodies = Bodies(queue)
    bodies.fill(claimed)
    finished: list[Finished] = []
    failed: set[tuple[str, Key]] = set()  # in order, to be tried again before the next one
    for row in claimed:
        webhook = Webhook.objects.get(pk=row.webhook_id)
        if webhook.order and (row.webhook_id, row.key) in failed:
            continue
        try:
            head = message.head(webhook)
            body = bodies.payload(row) if row.body is None else row.body
            request = message.post(
                head,
                request_id=row.id,
                now=now.timestamp(),
                body=body,
                event=row.of,
                sequence=row.sequence,
            )
            outcome = _result(receiver.send(request, timeout=webhook.exchange_timeout))
        except message.Unsendable as error:
            outcome = Outcome(started_at=now, failure=error.failure)
        stops = bool(webhook.order) and webhook.on_dead == OnDead.STOP
        url, at = message.without_token(webhook.url), microseconds.of(now)
        finished.append(verdict(row, url, outcome, at, 1.0, stops=stops))
        if finished[-1].finished_at is None or finished[-1].stops:
            failed.add((row.webhook_id, row.key))
    if finished:
        queue.finish(finished)
    return len(finished)


def _due(queue: store.Store, now: datetime) -> list[Claimed]:
    ids = queue.scan(now)[0]
    orders = dict(Webhook.objects.filter(pk__in=ids).exclude(order="").values_list("pk", "order"))
    wants = [Want(ident, 100, None) for ident in ids if ident not in orders]
    claimed = queue.claim(wants, now) if wants else []
    for ident, order in orders.items():
        queue.adopt(ident, 1000)
        keys = queue.keys(ident, None, 1000)
        # What another order held goes first.
        first = [key for key in keys if (key is None) == (order == Order.KEY)]
        asked = [Asked(ident, key, 100) for key in first or keys]
        claimed += [row for head in queue.heads(asked, now) for row in head.rows]
    return claimed


def _result(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits; without a loop, so answers may use the ORM."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        result: T = ended.value
        return result
    raise AssertionError("a fake receiver answers at once")


def _received(request: Request) -> Received:
    start, *lines = request.head.decode("utf-8").rstrip("\r\n").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    headers = {name.lower(): value for name, value in headers.items()}
    target = start.split(" ")[1]
    url = f"{request.scheme}://{headers['host']}{target}"
    return Received(request.method, url, headers, request.body)


def _outcome(answer: Any) -> Outcome:
    outcome = Outcome(started_at=datetime.now(UTC), duration_ms=1, address="192.0.2.1:443")
    if isinstance(answer, Failure):
        outcome.failure = answer
        return outcome
    outcome.status = answer if isinstance(answer, int) else 200
    if isinstance(answer, bytes):
        outcome.body = answer
    elif not isinstance(answer, int):
        outcome.body = json.dumps(answer).encode()
    return outcome


_ANY: Any = object()


@overload
def assert_published(  # type: ignore[overload-overlap]
    type: str, *, payload: Any = _ANY, times: Literal[0]
) -> None: ...
@overload
def assert_published(type: str, *, payload: Any = _ANY, times: int | None = None) -> Event: ...
def assert_published(type: str, *, payload: Any = _ANY, times: int | None = None) -> Event | None:
    """The newest event of this type, with exactly this payload if one is given; None where it was
    to be published 0 `times`. Raises AssertionError when there is none, or not so many `times`; it
    says what was published."""
    rows = list(Event.objects.filter(type=type).order_by("-pk"))
    bodies = [json.loads(bytes(event.payload)) for event in rows]
    if payload is not _ANY:
        wanted = json.loads(encode(payload))
        rows = [event for event, body in zip(rows, bodies, strict=True) if body == wanted]
    if not rows if times is None else len(rows) != times:
        what = f"with {payload!r}" if payload is not _ANY else "at all"
        others = sorted(Event.objects.order_by().values_list("type", flat=True).distinct()[:20])
        raise AssertionError(
            f"{type} was published {len(rows)} times {what}; payloads of that type: "
            f"{bodies[:5]!r}; all types: {', '.join(others) or 'none'}"
        )
    return rows[0] if rows else None


def make_due(**filters: Any) -> int:
    """Bring the next try of pending deliveries forward to now, as if the time had passed."""
    return (
        Delivery.objects.pending()
        .filter(**filters)
        .update(due_at=timezone.now() - timedelta(milliseconds=1))
    )
