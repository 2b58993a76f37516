"""The lines of a worker: of its lanes that send in order, what each asks the database, and what
goes after what. In memory, no I/O."""

from math import inf

from .knobs import Knobs
from .lane import Asking, Lane, some_in_turn
from .line import Found, Kept, Line, Question
from .store import Claimed


class Lines(Asking):
    """Every lane here has a line; those that ask have something to ask, perhaps."""

    def __init__(self, knobs: Knobs) -> None:
        super().__init__()
        self._knobs = knobs
        self._kept = Kept()
        self._waiting: dict[str, Lane] = {}  # with keys that wait for their next try, perhaps

    @property
    def ahead(self) -> int:
        """Rows in memory that are to go after others."""
        return self._kept.rows

    def put_in_order(self, lane: Lane, order: str) -> None:
        """A lane that is empty gets a line, another one, or none any more. What is under way comes
        first."""
        if lane.line is not None:
            lane.line.close()
        lane.line = Line(order, self._kept, self._knobs, lane.known) if order else None

    def drop(self, lane: Lane) -> None:
        """A lane is forgotten."""
        self.has_all(lane)
        self._waiting.pop(lane.webhook_id, None)
        if lane.line is not None:
            lane.line.close()

    # --- who asks -------------------------------------------------------------------------------

    def hungry(self, now: float) -> bool:
        """Whether `questions` would find something."""
        return any(_has_question(lane, now, now) for lane in self._asking.values())

    def scans_later(self, now: float) -> bool:
        """Whether the keys of some webhook are to be looked through, and were a moment ago."""
        return any(_has_question(lane, now, inf) for lane in self._asking.values())

    def remind(self) -> None:
        """Keys that wait are asked again, some of some lanes in turn: a person may have taken their
        heads away."""
        left = self._knobs.keys_reminded
        for webhook_id in list(self._waiting):
            lane = self._waiting.pop(webhook_id)
            if lane.line is None or not lane.line.waits:
                continue
            self._waiting[webhook_id] = lane  # the last one then
            left -= lane.line.remind(left)
            self.ask_for(lane)
            if left <= 0:
                break

    # --- questions and answers ------------------------------------------------------------------

    def questions(self, now: float) -> list[Question]:
        """Of some lines in turn."""
        found = []
        for lane in some_in_turn(self._asking, self._knobs.claimed_for):
            if not _may_ask(lane, now):
                continue
            line, version = _line(lane), lane.version_at(now)
            question = line.asks(lane.webhook_id, version, _keys_room(lane), now)
            if question is not None:
                found.append(question)
            elif not line.has_news:
                self.has_all(lane)
        return found

    def answer(self, lane: Lane, found: Found, now: float) -> None:
        """What was found for the line of a lane."""
        line = _line(lane)
        new = line.put(found, lane.known, now)
        lane.known.update(line.ids_ahead())
        lane.group.put(lane, new, now)
        if lane.rests(now):
            lane.group.empty(lane)
            self.ask_for(lane)
        if line.waits:
            self._waiting.setdefault(lane.webhook_id, lane)
        if not line.has_news:
            self.has_all(lane)

    # --- what becomes of it ---------------------------------------------------------------------

    def follow(self, lane: Lane, row: Claimed, *, again: bool) -> None:
        """What goes after one that has ended, or is tried `again` later."""
        line = _line(lane)
        following, forgotten = line.follow(row, again=again)
        lane.known.difference_update(forgotten)
        if following is not None:
            lane.group.follow(lane, following)
        self._ask_on(lane, line)

    def recorded(self, lane: Lane, delivery_id: str) -> None:
        """The database knows what became of a delivery."""
        line = _line(lane)
        line.recorded(delivery_id)
        self._ask_on(lane, line)

    def _ask_on(self, lane: Lane, line: Line) -> None:
        if line.has_news and not lane.held:
            self.ask_for(lane)


def _line(lane: Lane) -> Line:
    assert lane.line is not None
    return lane.line


def _may_ask(lane: Lane, now: float) -> bool:
    return lane.is_ours and not lane.rests(now)


def _has_question(lane: Lane, now: float, scans_at: float) -> bool:
    return _may_ask(lane, now) and _line(lane).has_question(_keys_room(lane), scans_at)


def _keys_room(lane: Lane) -> int:
    """For the heads of how many keys there is room, as far as it is worth a question."""
    group = lane.group
    room = group.room(lane)
    return 0 if group.is_full or room < group.worth_asking(lane) else room
