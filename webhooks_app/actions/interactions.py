"""Interactions that are made together: judged, sent, and recorded in one transaction. `interact` is
the same for one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.views.decorators.debug import sensitive_variables

from ..engine import calls, store
from ..engine.http import bridge
from ..engine.http.exchange import Outcome, Request
from ..engine.http.message import Changed, Unsendable
from ..engine.http.sender import Sender
from ..engine.kept_heads import KeptHeads
from ..fields import WrongKey
from ..models import Webhook
from .base import db_alias, refuse_while_held
from .calls import OUR_FAULT, answer_in, checked, is_probe
from .errors import ActionError, Busy, NotCallable


@dataclass(frozen=True, slots=True)
class ToInteract:
    """An interaction that is asked for. `webhook`: its row with its health, read at this moment."""

    webhook: Webhook
    interaction: Any
    by: str = ""


@dataclass(slots=True)
class Begun:
    """One that was judged. `result`: how it went, or that there was no slot for it; None until it
    has ended, or where it broke on a fault of ours."""

    call: calls.Interaction
    prepared: Request | Outcome = field(repr=False)  # with its secrets
    by: str
    result: Outcome | bridge.NoSlot | None = None
    runner: bridge.EngineLoop | None = None

    @property
    def is_lost(self) -> bool:
        """Whether it will never end."""
        return self.runner is not None and not self.runner.is_alive


class Beginnings:
    """Belongs to one thread. `locked_most`: seconds to wait for rows of somebody else,
    0 for as long as it takes."""

    def __init__(self, locked_most: float = 0.0) -> None:
        self._locked_most = locked_most
        self.forget()

    @sensitive_variables()
    def begin(self, asked: Sequence[ToInteract]) -> list[Begun | ActionError]:
        """Judge interactions as `interact` does. Where the caller has a transaction, it must have
        ended before any is sent."""
        free: set[str] = set()
        found = [self._judged(each, free) for each in asked]
        webhooks = [each.webhook for each in found if isinstance(each, calls.Interaction)]
        heads = self._heads.of(webhooks, db_alias())
        begun: list[Begun | ActionError] = []
        for each, call in zip(asked, found, strict=True):
            if isinstance(call, ActionError):
                begun.append(call)
                continue
            head = heads.get(call.webhook.pk)
            if head is None:
                begun.append(NotCallable("deleted"))
            elif isinstance(head, WrongKey):
                begun.append(NotCallable("unreadable"))
            elif isinstance(head, Changed):
                begun.append(Busy(OUR_FAULT))
            elif isinstance(head, Unsendable):
                begun.append(Begun(call, calls.unsent(head), each.by))
            else:
                begun.append(Begun(call, call.request(head), each.by))
        return begun

    def forget(self) -> None:
        """That transaction was undone."""
        self._heads = KeptHeads(self._locked_most)

    def _judged(self, asked: ToInteract, free: set[str]) -> calls.Interaction | ActionError:
        """`free`: webhooks of this group of which is known that any call may go to them."""
        webhook = asked.webhook
        try:
            interaction = checked(asked.interaction)
            refuse_while_held()
            probe = webhook.pk not in free and self._is_probe(webhook)
            if not probe:
                free.add(webhook.pk)
            return calls.Interaction(webhook, interaction, probe=probe)
        except ActionError as error:
            return error

    def _is_probe(self, webhook: Webhook) -> bool:
        if webhook.health.breaker_until is None:
            return is_probe(webhook)
        with store.transaction(db_alias(), self._locked_most):  # in which it takes that place
            return is_probe(webhook)


def send(begun: Sequence[tuple[Begun, Callable[[], None]]]) -> None:
    """Send what has begun, and wait for nothing. What stands beside each is called once it has
    ended, perhaps on another thread."""
    if not begun:
        return
    runner = bridge.engine()
    for each, ended in begun:
        each.runner = runner
        if runner is None:
            ended()
    if runner is not None:
        runner.start([_work(each, ended) for each, ended in begun])


def _work(begun: Begun, ended: Callable[[], None]) -> bridge.Work[Outcome]:
    webhook, prepared = begun.call.webhook, begun.prepared
    seconds = webhook.exchange_timeout

    async def work(sender: Sender) -> Outcome:
        if isinstance(prepared, Outcome):
            return prepared
        return await sender.send(prepared, timeout=seconds)

    def done(result: Outcome | bridge.NoSlot | None) -> None:
        begun.result = result
        ended()

    return bridge.Work(work, webhook.account_id, webhook.pk, done)


def conclude(
    ended: Sequence[Begun], *, locked_most: float = 0.0
) -> list[dict[str, Any] | ActionError]:
    """Record what has ended, all of it in one transaction. The answer to each: what the receiver
    says, or why that is not known. Raises IntegrityError when a webhook was removed meanwhile;
    nothing is recorded then. `locked_most`: seconds that it waits for rows of somebody else, 0 for
    as long as it takes."""
    told = {id(each): call for each in ended if (call := _ended(each)) is not None}
    recorded = calls.finish_all(list(told.values()), locked_most=locked_most)
    found = dict(zip(told, recorded, strict=True))
    return [_answer(each, found.get(id(each))) for each in ended]


def conclude_again(ended: Begun) -> dict[str, Any] | ActionError:
    """`conclude` for one for which that has failed; perhaps it is recorded all the same."""
    told = _ended(ended)
    return _answer(ended, None if told is None else calls.finish_again(told))


def _ended(begun: Begun) -> calls.Ended | None:
    """None where there is nothing to record."""
    if not isinstance(begun.result, Outcome) or begun.result.our_fault:
        return None
    return calls.Ended(begun.call, begun.result, begun.by)


def _answer(ended: Begun, recorded: calls.Recorded | None) -> dict[str, Any] | ActionError:
    if isinstance(ended.result, bridge.NoSlot):
        return Busy(str(ended.result))
    if recorded is None:
        return Busy(OUR_FAULT)
    try:
        return answer_in(*recorded)
    except ActionError as error:
        return error
