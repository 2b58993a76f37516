"""Stands between a worker and its database and can fall silent without closing anything."""

import asyncio
import threading


class Forwarder:
    """Forwards a port of loopback to a socket file; `cut()` and `heal()`."""

    def __init__(self, target):
        self._target = target
        self._whole, self._cut_before = True, None

    def __enter__(self):
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        started = threading.Event()

        async def serve():
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            started.set()
            await self._end.wait()
            server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        def run():
            self._loop.run_until_complete(serve())
            self._loop.close()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        assert started.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    def cut(self, before=b""):
        """From the moment a client says `before`, nothing passes any more, this word neither.
        Every line stays open, and new ones are accepted."""
        self._cut_before = before

    @property
    def is_cut(self):
        return not self._whole

    def heal(self):
        """New lines pass again. Those that were cut stay silent, and open."""
        self._whole, self._cut_before = True, None

    async def _serve(self, reader, writer):
        there = None
        try:
            await self._passes()
            there_reader, there = await asyncio.open_unix_connection(self._target)
            ways = [self._pump(reader, there, True), self._pump(there_reader, writer, False)]
            await asyncio.wait(map(asyncio.create_task, ways), return_when="FIRST_COMPLETED")
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for line in filter(None, (writer, there)):
                line.transport.abort()

    async def _pump(self, reader, writer, from_client):
        while data := await reader.read(65536):
            if from_client and self._cut_before is not None and self._cut_before in data:
                self._whole = False
            await self._passes()
            writer.write(data)
            await writer.drain()
        await self._passes()  # an end does not pass either

    async def _passes(self):
        if not self._whole:
            await asyncio.Event().wait()
