"""A worker that cannot go on ends, loudly and with a code that makes a supervisor start another."""

import sys

import pytest

from tests.promises.sink import Sink
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.slow

FILL = """
from webhooks_app import actions
from webhooks_app.models import Webhook
hooks = list(Webhook.objects.all())
for n in range(25):
    actions.deliver_many([(hook, {'n': n, 'text': 'x' * 16_000}) for hook in hooks * 2])
"""


@pytest.mark.once
@pytest.mark.skipif(sys.platform != "linux", reason="limits another process")
def test_a_worker_without_memory_ends_and_the_next_one_sends_everything(crew):
    import resource

    with Sink(delay=0.3) as sink:
        crew.webhooks(30, sink, cap=100)
        worker = crew.worker(concurrency=100)
        until(lambda: "ready" in worker.output, "it owns all")
        with open(f"/proc/{worker.pid}/statm") as file:
            size = int(file.read().split()[0]) * resource.getpagesize()
        most = size + 4 * 1024 * 1024
        resource.prlimit(worker.pid, resource.RLIMIT_AS, (most, most))
        crew.site.shell(FILL)

        # Whatever notices first: some library calls abort().
        assert worker.wait(PATIENCE) != 0
        sink.delay = 0.0
        crew.worker(concurrency=100)
        crew.drained()
        assert len(sink.by_ident()) == 1500
        assert crew.recorded_twice() == 0


BROKEN = {
    "a turn": "break_(reader.Reader, 'discover', 5)",
    "the database's thread": "break_(threads.OneThread, '_do', 20)",
    "the writing": "break_(writer.WriterProcess, 'write')",
    "an exchange": "break_(sender.Sender, 'send')",
    "a callback": "break_(tasks.Tasks, '_has_ended')",
    "upkeep": "break_(upkeep, 'turn')",
    "listening": "type(store.open('default')).listen = breaks",
    "the loop": (
        "knobs = Knobs(beat=0.05, still_most=40);sending.Sending._land = lambda *_: time.sleep(600)"
    ),
    "the way to the database": (
        "knobs = Knobs(answer_most=0.5, hung_up_most=0.5);"
        "reader.Reader.claim = lambda *_: time.sleep(600)"
    ),
}
SHORT = ("an exchange", "the loop")
RUN = """
import sys, time
import django
django.setup()
from webhooks_app.engine import reader, store, writer, sending, tasks, threads, worker
from webhooks_app.engine.http import sender
from webhooks_app.engine.maintenance import upkeep
from webhooks_app.engine.knobs import Knobs

def break_(where, name, after=0):
    whole, times = getattr(where, name), [0]
    def broken(*arguments, **options):
        times[0] += 1
        if times[0] > after:
            raise MemoryError
        return whole(*arguments, **options)
    setattr(where, name, broken)

async def breaks(*_):
    raise MemoryError

knobs = Knobs()
exec(sys.argv[1])
worker.run(forks=True, knobs=knobs)
"""


@pytest.mark.once
@pytest.mark.parametrize(
    "what",
    [what if what in SHORT else pytest.param(what, marks=pytest.mark.prove) for what in BROKEN],
)
def test_what_must_not_break_ends_the_worker_when_it_does(crew, what):
    with Sink() as sink:
        hooks = crew.webhooks(2, sink)
        crew.deliver(hooks, 2)
        worker = crew._start([sys.executable, "-c", RUN, BROKEN[what]])
        assert worker.wait(PATIENCE) == 1
        assert "cannot go on" in worker.output, worker.output
