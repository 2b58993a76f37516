"""A pooler in transaction mode, as small as one can be: all clients share one session."""

import asyncio
import struct
import threading

from tests.waiting import PATIENCE

SSL_REQUEST, CANCEL_REQUEST, GSS_REQUEST = 80877103, 80877102, 80877104


class Pooler:
    """Between a port of loopback and a PostgreSQL's socket file.

    A transaction of one client at a time passes. `shares`: in one session for all; without it each
    client has a session of its own, as in session mode, until it is set. `admits_it`: tells its
    clients a process number of its own, as poolers do.
    """

    def __init__(self, target, user, database, *, shares=True, admits_it=True):
        self._target, self.shares, self._admits_it = target, shares, admits_it
        fields = f"user\0{user}\0database\0{database}\0\0".encode()
        self._hello = struct.pack("!ii", 8 + len(fields), 196608) + fields
        self._tasks = []

    def __enter__(self):
        started = threading.Event()

        async def serve():
            self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
            self._shared = await self._session()
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            started.set()
            await self._end.wait()
            server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await asyncio.sleep(0)  # what was aborted is closed in the next turn

        self._thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
        self._thread.start()
        assert started.wait(PATIENCE)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(PATIENCE)

    async def _session(self):
        session = Session(*await asyncio.open_unix_connection(self._target))
        session.writer.write(self._hello)
        while not session.greeting.endswith(b"Z\0\0\0\5I"):
            session.greeting += await message(session.reader)
        self._tasks.append(asyncio.create_task(session.listen()))
        return session

    async def _serve(self, reader, writer):
        own, client = None, Client(writer)
        try:
            while True:
                (length,) = struct.unpack("!i", await reader.readexactly(4))
                (code,) = struct.unpack("!i", (await reader.readexactly(length - 4))[:4])
                if code not in (SSL_REQUEST, GSS_REQUEST):
                    break
                writer.write(b"N")
            if code == CANCEL_REQUEST:
                return
            own = None if self.shares else await self._session()
            writer.write(self._greeting(own or self._shared))
            while (said := await message(reader))[:1] != b"X":
                if client.session is None:
                    session = self._shared if self.shares or own is None else own
                    await session.lock.acquire()
                    client.session, session.client = session, client
                client.session.say(said)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            if client.session is not None:
                client.session.client = None
                client.session.say(b"Q\0\0\0\x0dROLLBACK\0")
            if own is not None:
                own.writer.transport.abort()

    def _greeting(self, session):
        if not self._admits_it:
            return session.greeting
        at = session.greeting.index(b"K\0\0\0\x0c")
        return session.greeting[: at + 5] + b"\0\0\0\7" + session.greeting[at + 9 :]


class Client:
    def __init__(self, writer):
        self.writer = writer
        self.session = None  # while a transaction is open, or an answer awaited


class Session:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.lock = asyncio.Lock()
        self.greeting = b""
        self.client = None
        self._asked = 0

    def say(self, said):
        self._asked += said[:1] in b"QS"
        self.writer.write(said)

    async def listen(self):
        try:
            while answer := await message(self.reader):
                if self.client is not None and answer[:1] != b"A":
                    self.client.writer.write(answer)
                self._asked -= answer[:1] == b"Z"
                if answer[:1] == b"Z" and answer[5:] == b"I" and not self._asked:
                    if self.client is not None:
                        self.client.session = self.client = None
                    self.lock.release()
        except (OSError, asyncio.IncompleteReadError):
            if self.client is not None:
                self.client.writer.transport.abort()
        finally:
            self.writer.transport.abort()


async def message(reader):
    head = await reader.readexactly(5)
    (length,) = struct.unpack("!i", head[1:])
    return head + await reader.readexactly(length - 4)
