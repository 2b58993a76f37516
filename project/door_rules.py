"""What is judged and stored of a group of requests, as the API's views do for each by itself."""

from collections.abc import Callable, Mapping, Sequence

from webhooks_app import actions
from webhooks_app.actions.interactions import Beginnings
from webhooks_app.api import errors, throttling
from webhooks_app.api.authentication import TokenCaller, webhooks_of
from webhooks_app.models import AccessToken

from .door_requests import Asked, Interaction, OfWebhook, Single, SingleEvent


def judged(group: Sequence[Asked], tokens: Mapping[str, AccessToken]) -> list[Asked]:
    """Those of whom there is nothing to object to; the others have a `problem`."""
    group = _within(group, lambda each: each.address, throttling.address_counts)
    callers = {digest: TokenCaller.of(token) for digest, token in tokens.items()}
    for each in group:
        each.caller = callers[each.digest]
    group = _passing(group, lambda each: each.caller.check_account(each.query_params))
    group = _within(group, lambda each: each.caller.key, throttling.caller_counts)
    webhooks = webhooks_of({each.key for each in group if isinstance(each, OfWebhook)})
    return _passing(group, lambda each: each.judge(webhooks))


def accept(
    group: Sequence[Asked], beginnings: Beginnings, receivers_most: int | None = None
) -> None:
    """Store what they ask for, in the present transaction, but events with more receivers; and
    begin what they wait for."""
    deliveries = [each for each in group if isinstance(each, Single)]
    drafts = [each.drafts for each in deliveries]
    for each, answer in zip(deliveries, actions.accept(drafts), strict=True):
        each.answer = answer
    events = [each for each in group if isinstance(each, SingleEvent)]
    asked = [each.publication for each in events]
    published = actions.accept_events(asked, receivers_most=receivers_most)
    for event, stored in zip(events, published, strict=True):
        event.answer = stored
    calls = [each for each in group if isinstance(each, Interaction)]
    for call, begun in zip(calls, beginnings.begin([c.to_interact for c in calls]), strict=True):
        if isinstance(begun, actions.ActionError):
            call.problem = errors.foreseen(begun)
        else:
            call.begun, call.waits = begun, True


def _passing(group: Sequence[Asked], judge: Callable[[Asked], None]) -> list[Asked]:
    for each in group:
        try:
            judge(each)
        except Exception as error:
            each.problem = errors.foreseen(error)
            if each.problem is None:
                raise
    return [each for each in group if each.problem is None]


def _within(
    group: Sequence[Asked],
    key_of: Callable[[Asked], str],
    count: Callable[[str, int], throttling.Counted],
) -> list[Asked]:
    """Those within a limit, which counts all of a key at once."""
    by_key: dict[str, list[Asked]] = {}
    for each in group:
        by_key.setdefault(key_of(each), []).append(each)
    for key, those in by_key.items():
        within, refusal = count(key, len(those))
        for each in those[within:]:
            each.problem = refusal
    return [each for each in group if each.problem is None]
