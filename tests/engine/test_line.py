"""The promise of an order, where everything may come between everything else: what is stored late,
answers of all kinds, people, turns that fail, workers that vanish. The database is a list here; its
own answers are tested in `tests/store/test_heads.py`."""

from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from webhooks_app.engine.handover import Loaded
from webhooks_app.engine.knobs import Knobs
from webhooks_app.engine.lanes import Lanes
from webhooks_app.engine.line import Found
from webhooks_app.engine.store import Claimed
from webhooks_app.engine.store.common import heads
from webhooks_app.models.webhook import SLOTS

WEBHOOK = "5f" + "0" * 22
KEYS = st.sampled_from([None, "", "a", "b"])
KNOBS = Knobs(key_ahead=3, keys_at_once=2, keys_most=4, news_most=4)


@dataclass
class Row:
    """A delivery, as the database has it once it is committed."""

    id: str
    key: str | None
    position: int | None
    made: int  # when, by the steps of the story
    due: float
    is_planned: bool  # it joins the line when it is due
    committed: int | None = None
    tries: int = 0
    pending: bool = True
    has_ended: bool = False  # delivered, failed or cancelled at least once
    was_sent: bool = False

    def is_in_line(self, now):
        return self.committed is not None and self.pending and (self.due <= now or self.tries > 0)


class Story(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.rows: list[Row] = []
        self.step = 0
        self.now = 100.0
        self.order = "key"
        self.version = 0
        self.asked = []
        self.flying = []  # lane and claimed
        self.unwritten = []  # id, tries it had, due again at (None: ended)
        self.begin()

    def begin(self):
        """A worker that knows nothing."""
        self.lanes = Lanes(knobs=KNOBS)
        self.lanes.own(frozenset(range(SLOTS)))
        self.lanes.mark([WEBHOOK], None)
        self.load()

    @precondition(lambda self: self.version < 3)
    @rule()
    def reorder(self):
        self.tick()
        self.order = "key" if self.order == "webhook" else "webhook"
        self.version = 3
        self.load()

    def load(self):
        self.version += 1
        loaded = Loaded(self.version, 4, 1.0, "", None, order=self.order)
        self.lanes.load(WEBHOOK, loaded, self.now)

    @initialize(order=st.sampled_from(["key", "webhook"]))
    def choose(self, order):
        self.order = order
        self.load()

    def tick(self, seconds=0.01):
        self.step += 1
        self.now += seconds

    def row(self, ident):
        return next(row for row in self.rows if row.id == ident)

    # --- those who publish ----------------------------------------------------------------------

    @rule(key=KEYS, later=st.sampled_from([0, 0, 0, 5]))
    def make(self, key, later):
        """In a transaction that goes on; the position is drawn."""
        self.tick()
        number = len(self.rows) + 1
        key = None if self.order == "webhook" else (key or "")
        due, is_planned = self.now + later, later > 0
        self.rows.append(Row(f"{number:024x}", key, number, self.step, due, is_planned))

    @rule(keys=st.lists(KEYS, min_size=1, max_size=4))
    def publish(self, keys):
        """What is committed at once."""
        for key in keys:
            self.make(key, 0)
            self.commit(-1, found=True)

    @rule(which=st.integers(0), found=st.booleans())
    def commit(self, which, found):
        """A look finds it at once, or a scan does later."""
        if open_ := [row for row in self.rows if row.committed is None]:
            self.tick()
            row = open_[which % len(open_)]
            row.committed = self.step
            if found and row.due <= self.now:
                self.lanes.mark([WEBHOOK], row.due - 0.001)

    # --- the worker -----------------------------------------------------------------------------

    @rule()
    def ask(self):
        self.tick()
        self.asked = [self.answer(question) for question in self.lanes.lines.questions(self.now)]

    def answer(self, question):
        """As the database is now."""
        found = Found(question)
        there = [row for row in self.rows if row.committed is not None and row.pending]
        if question.since is not None:
            news = [row for row in there if question.since < row.due <= self.now]
            found.news = [(row.id, row.key) for row in news]
            if len(news) >= KNOBS.news_most:
                found.news = None
        if question.scan:
            keys = sorted({row.key for row in there if row.key is not None})
            keys = [key for key in keys if question.after is None or key > question.after]
            found.keys = keys[: KNOBS.keys_at_once]
            if len(found.keys) == KNOBS.keys_at_once:
                found.upto = found.keys[-1]
            if question.after is None and any(row.key is None for row in there):
                found.keys.insert(0, None)
        read = []
        for asked in question.asked:
            line = [row for row in there if row.key == asked.key and row.is_in_line(self.now)]
            read += sorted(line, key=lambda row: row.position)[: asked.room]
        claimed = ((self.claim(row), row.position, None) for row in read)
        found.heads = heads(question.asked, claimed, self.now)
        return found

    def claim(self, row):
        place = (row.due, row.id)
        return Claimed(row.id, WEBHOOK, row.tries, b"", "", "", place, self.version, key=row.key)

    @rule(fails=st.sampled_from([False, False, False, True]))
    def hear(self, fails):
        self.tick()
        if not fails:
            for found in self.asked:
                self.lanes.answer(found, self.now)
        self.asked = []

    @rule()
    def turn(self):
        """Twice: news first, then the heads of what has some."""
        for _ in range(2):
            self.ask()
            self.hear(fails=False)

    @rule(answer=st.sampled_from(["ok", "ok", "again"]))
    def work(self, answer):
        self.turn()
        for _ in range(3):
            self.send()
        if self.flying:
            self.land(0, answer)

    @rule()
    def send(self):
        self.tick()
        if (taken := self.lanes.take(self.now)) is None:
            return
        lane, claimed = taken
        row = self.row(claimed.id)
        if not row.was_sent:
            for other in self.rows:
                # What another order held is beside the keys, or has some: it comes first.
                same = other.key == row.key or None in (other.key, row.key)
                was_there = other.committed is not None and other.committed < row.made
                if same and was_there and not other.is_planned:
                    assert other.has_ended, f"{other} must come before {row}"
        row.was_sent = True
        assert claimed.key not in [flying.key for _, flying in self.flying]
        self.flying.append((lane, claimed))

    @precondition(lambda self: self.flying)
    @rule(which=st.integers(0), answer=st.sampled_from(["ok", "ok", "ok", "again", "dead", "ours"]))
    def land(self, which, answer):
        self.tick()
        lane, claimed = self.flying.pop(which % len(self.flying))
        if answer == "ours":
            self.lanes.our_fault(lane, claimed.id, self.now)
            return
        self.lanes.landed(lane, ok=answer == "ok", away=False, now=self.now)
        due = self.now + 1 if answer == "again" else None
        self.unwritten.append((claimed.id, claimed.tries, due))
        if due is None:
            self.row(claimed.id).has_ended = True
        self.lanes.lines.follow(lane, claimed, again=due is not None)

    @rule()
    def write(self):
        self.tick()
        for ident, tries, due in self.unwritten:
            row = self.row(ident)
            if row.pending and row.tries == tries:
                row.tries, row.pending = tries + 1, due is not None
                row.due = row.due if due is None else due
        written, self.unwritten = self.unwritten, []
        for ident, _, _ in written:
            self.lanes.recorded(WEBHOOK, ident)

    @rule()
    def scan(self):
        self.tick()
        self.lanes.mark([WEBHOOK], None)
        self.lanes.lines.remind()

    @rule()
    def wait(self):
        self.tick(1.5)

    @rule()
    def vanish(self):
        """Another worker takes over; what flies and is not written is forgotten."""
        self.tick()
        self.flying, self.unwritten, self.asked = [], [], []
        self.begin()

    # --- people ---------------------------------------------------------------------------------

    @rule(which=st.integers(0))
    def cancel(self, which):
        if there := [row for row in self.rows if row.committed is not None and row.pending]:
            self.tick()
            row = there[which % len(there)]
            row.pending, row.has_ended = False, True
            self.lanes.forget(WEBHOOK, {row.id})

    @rule(which=st.integers(0))
    def retry(self, which):
        if there := [row for row in self.rows if row.committed is not None]:
            self.tick()
            row = there[which % len(there)]
            row.due = self.now
            if not row.pending:
                row.pending, row.tries = True, 0
            self.lanes.mark([WEBHOOK], self.now - 0.001)

    @rule()
    def pause(self):
        self.tick()
        self.lanes.hold(WEBHOOK)

    @rule()
    def resume(self):
        self.tick()
        self.lanes.free(WEBHOOK)

    # --- what holds -----------------------------------------------------------------------------

    @invariant()
    def nothing_is_counted_twice(self):
        assert self.lanes.buffered >= 0
        lane = self.lanes.get(WEBHOOK)
        if lane is not None and lane.line is not None:
            waiting = len(lane.buffer) + lane.line.ahead
            assert (
                self.lanes.buffered
                == waiting
                == len(lane.known)
                - len(self.flying)
                - len({ident for ident, _, _ in self.unwritten})
            )

    def teardown(self):
        """Left alone, everything is sent."""
        for row in self.rows:
            row.committed = row.committed or self.step
        self.resume()
        self.hear(fails=True)
        for _ in range(30 + 10 * len(self.rows)):
            self.wait()
            self.scan()
            for _ in range(4):
                self.ask()
                self.hear(fails=False)
                for _ in range(4):
                    self.send()
                while self.flying:
                    self.land(which=0, answer="ok")
                self.write()
            if not any(row.pending for row in self.rows):
                break
        assert [row for row in self.rows if row.pending] == []


TestTheOrder = Story.TestCase
TestTheOrder.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a long story is better than none
    suppress_health_check=[HealthCheck.too_slow],
)


def test_keys_that_ended_after_all_was_forgotten_keep_no_line_from_looking():
    """As many as are looked through at once: what comes after them must still be found."""
    story = Story()
    story.choose(order="key")
    story.publish(keys=["a", "a", "b", "b"])
    story.turn()
    story.send()
    story.send()
    assert len(story.flying) == KNOBS.keys_at_once
    story.pause()
    story.land(which=0, answer="ok")
    story.land(which=0, answer="ok")
    story.write()
    story.teardown()
