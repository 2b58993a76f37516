import asyncio
import socket
import time

import pytest
import uvloop

from tests.certificates import client_context
from tests.engine.exchanges import request
from tests.receivers import StubResolver
from webhooks_app.engine import worker
from webhooks_app.engine.http.sender import Sender


@pytest.fixture
def drain(transactional_db, loopback, knobs):
    """Run a worker until nothing is due; returns how many exchanges it made."""
    return lambda **options: worker.run(until_empty=True, knobs=knobs, **options)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Runs a coroutine function with a Sender of its own: `run(f)`, `run(f, resolver=…)`."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run(scenario, **options):
        async def main():
            options.setdefault("resolver", StubResolver({}))
            sender = Sender(options.pop("resolver"), ssl_context=client_context, **options)
            try:
                return await scenario(sender)
            finally:
                await sender.close()
                await asyncio.sleep(0.01)  # aborted lines close in the next round of the loop

        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main())

    return run


@pytest.fixture
def post(run, loopback):
    """One exchange with a URL; the Outcome."""

    def post(url, body=b"{}", timeout=30.0, **options):
        return run(lambda sender: sender.send(request(url, body), timeout=timeout), **options)

    return post


@pytest.fixture
def full_backlog():
    """A port whose queue is full: further SYN packets are dropped, as by a firewall."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
            fillers.append(filler)
        time.sleep(0.1)
        yield server.getsockname()[1]
        for filler in fillers:
            filler.close()
