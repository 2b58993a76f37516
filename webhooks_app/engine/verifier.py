"""The verifications of a worker: each webhook's challenge, sent once it is due."""

import asyncio
import logging
from collections.abc import Mapping

from django.db import DatabaseError

from ..fields import WrongKey
from . import calls
from .fetcher import Fetcher
from .http.exchange import Outcome
from .http.sender import Sender
from .knobs import Knobs
from .tasks import Tasks

log = logging.getLogger("webhooks")


class Verifier:
    """Belongs to the event loop."""

    def __init__(
        self, sender: Sender, fetcher: Fetcher, tasks: Tasks, wake: asyncio.Event, knobs: Knobs
    ) -> None:
        self._sender = sender
        self._fetcher = fetcher
        self._tasks = tasks
        self._wake = wake  # the worker's cycle: a webhook may be called now
        self._knobs = knobs
        self._under_way: dict[str, int] = {}  # webhooks and their accounts
        self._noting = asyncio.Lock()  # one at a time
        self.sent = 0

    @property
    def under_way(self) -> Mapping[str, int]:
        """Webhooks and their accounts."""
        return self._under_way

    def begin(self, call: calls.Verification) -> None:
        if call.webhook.pk not in self._under_way:
            self._under_way[call.webhook.pk] = call.webhook.account_id
            self._tasks.start(self._verify(call))

    async def _verify(self, call: calls.Verification) -> None:
        try:
            prepared = await self._fetcher.prepare(call)
            if not isinstance(prepared, Outcome):
                timeout = call.webhook.exchange_timeout
                prepared = await self._sender.send(prepared, timeout=timeout)
                self.sent += 1
            async with self._noting:  # many that time out at once would hold up the turns
                await self._fetcher.finish(call, prepared)
            self._wake.set()
        except WrongKey:
            log.debug("the secrets of webhook %s cannot be read", call.webhook.pk)
        except calls.OurFault:
            await asyncio.sleep(self._knobs.fault_pause)
        except DatabaseError as error:
            log.warning("a verification is not recorded (%s), it is asked for again", error)
        finally:
            del self._under_way[call.webhook.pk]
