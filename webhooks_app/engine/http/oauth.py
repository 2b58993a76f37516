"""Access tokens of webhooks (OAuth 2, client credentials): asked for through our own sender, kept
in memory by whoever calls, for a version of the webhook.

A token is asked for once, however many calls wait for it, and anew when it has lived four fifths of
its time; until it ends the calls meanwhile take the old one, also where no new one comes. A
receiver that refuses one (401) has it dropped, and the next call asks for another.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic

from ...rules import failures, oauth, redaction
from ...rules.failures import Failure
from .exchange import Asked, Outcome, Request, TokenCall

RENEWED_AT = 0.8  # of a token's time
KEPT_MOST = 4096  # webhooks
APART = 1.0  # seconds between two calls for a token of one webhook
AGAIN = 10.0  # seconds after which a call that brought no new token is made once more


Exchange = Callable[[Request, float], Awaitable[Outcome]]


@dataclass(slots=True)
class _Grant:
    """What is known of one webhook's version. Moments are monotonic seconds."""

    token: str = ""
    renew_at: float = 0.0
    ends_at: float = 0.0
    again_at: float = 0.0  # no call for a token before
    asking: "asyncio.Future[str | Failure] | None" = None

    def present(self, now: float) -> str:
        return self.token if now < self.ends_at else ""


class Tokens:
    """Belongs to an event loop. `exchange` sends a request, with a timeout in seconds."""

    def __init__(
        self, exchange: Exchange, *, apart: float = APART, clock: Callable[[], float] = monotonic
    ) -> None:
        self._exchange = exchange
        self._clock = clock
        self._apart = apart
        self._grants: dict[tuple[str, int], _Grant] = {}  # the one used last is the last

    async def send(self, request: Request, call: TokenCall, timeout: float) -> Outcome:
        """`request` with an access token; `timeout` seconds for each of the two exchanges."""
        began, started_at = monotonic(), datetime.now(UTC)
        grant = self._grant(call)
        token, asked = await self._token(grant, call, timeout)
        waited = round(1000 * (monotonic() - began))
        if isinstance(token, Failure):
            return Outcome(started_at, waited, failure=token, asked=asked)
        outcome = await self._exchange(request.bearing(token), timeout)
        outcome.asked, outcome.waited_ms = asked, waited
        if outcome.status == 401 and grant.token == token:
            grant.token = ""
        return outcome

    def _grant(self, call: TokenCall) -> _Grant:
        key = (call.webhook_id, call.version)
        grant = self._grants.pop(key, None) or _Grant()
        self._grants[key] = grant
        if len(self._grants) > KEPT_MOST:
            del self._grants[next(iter(self._grants))]
        return grant

    async def _token(
        self, grant: _Grant, call: TokenCall, timeout: float
    ) -> tuple[str | Failure, Asked | None]:
        """The access token, or why there is none; and the call that was made for it."""
        now = self._clock()
        present = grant.present(now)
        if present and (now < grant.renew_at or grant.asking is not None):
            return present, None
        if grant.asking is not None:
            return await asyncio.shield(grant.asking), None
        grant.asking = asking = asyncio.get_running_loop().create_future()
        found: str | Failure = failures.internal()  # for those who wait, if this is cancelled
        try:
            await asyncio.sleep(max(0.0, grant.again_at - now))
            grant.again_at = self._clock() + self._apart
            outcome = await self._exchange(call.request, timeout)
            found = self._noted(grant, outcome)
        finally:
            grant.asking = None
            asking.set_result(found)
        asked = (
            None if outcome.our_fault else Asked(call.webhook_id, call.url, outcome, monotonic())
        )
        return found, asked

    def _noted(self, grant: _Grant, outcome: Outcome) -> str | Failure:
        """The token that stands in the answer, which is kept, or the failure that the answer means.
        Nothing of the answer is left in the outcome."""
        now = self._clock()
        try:
            token = _token_of(outcome)
        except ValueError as problem:
            if outcome.status is not None:
                outcome.failure = Failure("oauth", str(problem))
            if present := grant.present(now):
                grant.renew_at = now + AGAIN
                return present
            if outcome.our_fault:
                return failures.internal()
            return failures.no_token(str(problem))
        finally:
            outcome.body = b""
            outcome.certificate_ends_at = None  # it is not the receiver's
        grant.token, grant.ends_at = token.text, now + token.seconds
        grant.renew_at = now + RENEWED_AT * token.seconds
        return token.text


def _token_of(outcome: Outcome) -> oauth.Token:
    """Raises ValueError with a line for the history."""
    failure = outcome.failure
    if failure is None:
        return oauth.read_token(outcome.body)
    word = oauth.error_word(outcome.body) if outcome.status is not None else ""
    if word:
        # An odd server may answer with what it was sent.
        raise ValueError(f"{redaction.masked(word, outcome.secrets)} (status {outcome.status})")
    raise ValueError(failure.message)
