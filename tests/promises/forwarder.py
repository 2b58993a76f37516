"""Stands between a worker and its database and can fall silent without closing anything."""

import asyncio
import threading

from tests.waiting import PATIENCE


class Forwarder:
    """Forwards a port of loopback to a socket file; `cut()` and `heal()`."""

    def __init__(self, target):
        self._target = target
        self._whole, self._cut_before = True, None

    def __enter__(self):
        started = threading.Event()

        async def serve():
            self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            started.set()
            await self._end.wait()
            server.close()
            lines = asyncio.all_tasks() - {asyncio.current_task()}
            for line in lines:
                line.cancel()
            await asyncio.gather(*lines, return_exceptions=True)

        self._thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
        self._thread.start()
        assert started.wait(PATIENCE)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(PATIENCE)

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
        lines, ways = [writer], []
        try:
            await self._passes()
            there_reader, there = await asyncio.open_unix_connection(self._target)
            lines.append(there)
            ways = [
                asyncio.create_task(self._pump(reader, there, True)),
                asyncio.create_task(self._pump(there_reader, writer, False)),
            ]
            await asyncio.wait(ways, return_when="FIRST_COMPLETED")
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for way in ways:
                way.cancel()
            for line in lines:
                line.transport.abort()
            closed = [line.wait_closed() for line in lines]
            await asyncio.gather(*ways, *closed, return_exceptions=True)

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
