"""A worker in a thread, for tests in which others act meanwhile."""

import asyncio
import threading

from tests.waiting import PATIENCE
from webhooks_app.engine import worker
from webhooks_app.engine.http.sender import Sender
from webhooks_app.engine.knobs import DEFAULT


class Running:
    def __init__(self, knobs=DEFAULT):
        self._knobs = knobs
        self.worker, self.started = None, threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        assert self.started.wait(PATIENCE)

    def _run(self):
        async def main():
            self.worker = worker.Worker(
                alias="default", sender=Sender(), concurrency=50, knobs=self._knobs
            )
            self.loop = asyncio.get_running_loop()
            await self.worker.run(self.started.set)

        asyncio.run(main())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.worker.stop)
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
