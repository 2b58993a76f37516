"""How a worker paces itself: one value of it is handed to whoever is paced by it. An installation
has none of these to turn; its settings are in `conf`.

Durations are seconds, sizes are numbers of what stands beside them.
"""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    # --- who owns what ------------------------------------------------------------------------
    ownership_every: float = 0.3  # between looks at who owns what, who is held, what is open
    idle_most: float = 10.0  # without a word, after which the server ends a worker's session
    rest: float = 0.5  # for which the slots of a worker that vanished are left alone
    drain_most: float = 1.0  # after which a slot that is to go and stays busy is swapped
    heartbeat_every: float = 5.0
    heartbeat_held: float = 1.0  # while the site is held: somebody waits for what is under way
    files_every: float = 0.05  # between looks whether database and lock are the files there

    # --- what is due --------------------------------------------------------------------------
    # Between two questions to the database, unless something wakes it: while something flies,
    cycle_every: float = 0.02
    cycle_idle: float = 0.1  # while nothing does,
    cycle_ending: float = 0.005  # and of a worker that is to end when nothing is due
    look_every: float = 0.1
    overlap: timedelta = timedelta(milliseconds=250)  # how far back a look reaches
    reach_most: timedelta = timedelta(seconds=60)  # at the most, after a long SQLite transaction
    scan_every: float = 5.0
    scan_apart: int = 50  # times as long as a scan took: whoever has very much must not eat the day
    scan_latest: float = 60.0  # and no longer
    scan_first: int = 10  # webhooks in the first step of a scan; each takes a quarter more
    claim_most: int = 1000  # rows of one claim
    # Deliveries of deleted webhooks that one claim cancels, for which all others wait; the rest is
    # the upkeep's.
    cancelled_most: int = 100
    loads_most: int = 100  # webhooks that are loaded at once because something arrived for them

    # --- what waits in memory -----------------------------------------------------------------
    buffer_each: int = 250  # rows of one webhook
    # Rows of webhooks that fail, and as many of the others; below it more are claimed.
    buffer_low: int = 1000
    # Webhooks of one claim where so many wait for one: to load each of them takes half a
    # millisecond, and whoever is not among them waits for all of it.
    claimed_for: int = 100
    behind_most: int = 200_000  # webhooks that are remembered to fail, some 20 MB
    # After these seconds a webhook is loaded anew though its version is the same: somebody may have
    # written it past the models, by SQL or from a fixture.
    loaded_most: float = 60.0
    # Asked for at once: webhooks that wait, are held or have an open breaker; and what waits.
    webhooks_asked: int = 300
    rows_asked: int = 2000
    stopped_lately: timedelta = timedelta(seconds=2)  # a stop is looked for: it may commit late

    # --- what is sent in order ----------------------------------------------------------------
    key_ahead: int = 50  # rows of a key that are read at once;
    # those that are to go after others, of one webhook and of all, some 64 MB at the most
    ahead_each: int = 1000
    ahead_most: int = 4000
    keys_at_once: int = (
        1000  # of a webhook that a step of a scan finds, and that it may always keep
    )
    keys_most: int = (
        100_000  # that have news or wait, of all webhooks; then they are found by scans
    )
    keys_reminded: int = 300  # that wait and are asked again, at once
    news_most: int = 1000  # rows of a webhook that are looked at; then all its keys are
    adopt_every: float = 60.0  # between looks at a webhook for what has no position
    adopted_most: int = 2000  # at once

    # --- what flies ---------------------------------------------------------------------------
    slow_after: float = 0.1  # after which a call gives its place to others,
    slow_times: int = 10  # as long as no more than so many times the concurrency are slow
    # Of the calls that may be slow at once this share is for whoever comes; the rest is kept for
    # webhooks that are not slow.
    crowded_at: float = 0.8
    large_most: int = 32  # bodies that no claim brings along in memory, a MiB each at the most
    large_each: int = 4  # of one webhook
    fault_pause: float = 1.0  # of rest after a fault of our own
    jitter: float = 0.2  # ± of each delay of the retry schedule

    # --- breakers -----------------------------------------------------------------------------
    breaker_first: float = 30.0  # until the first probe; doubles with each that fails
    breaker_longest: float = 600.0
    breaker_news: float = 0.5  # by which one must be open longer than is known, to be news

    # --- rests that receivers ask for, and rates ----------------------------------------------
    rest_first: float = 1.0  # where it is not said for how long; doubles with each in a row
    rest_longest: float = 60.0
    rest_most: float = 3600.0  # of those that are asked for
    rest_told_apart: float = 1.0  # between two words of it; no shorter rest is told
    # For so long people are told that more waits than a rate lets go; said anew before its end.
    rest_told_ahead: float = 3.0

    # --- what is written ----------------------------------------------------------------------
    batch_most: int = 1000  # outcomes at once,
    batch_age: float = 0.02  # or after these seconds at the latest
    unwritten_most: int = 5000  # outcomes that wait; then nothing more is sent
    lock_most: float = 0.5  # a batch waits for a row that is locked; then it is parted,
    part_lock_most: float = 0.1  # and the outcomes of each webhook wait so long,
    parting_most: float = 0.5  # in all: the others wait meanwhile
    unrecorded_after: int = 3  # tries again to write an outcome; then its delivery is held
    again_first: float = 0.5  # between them,
    again_longest: float = 10.0
    again_apart: float = 1.0  # and between two of any webhooks

    # --- verifications ------------------------------------------------------------------------
    verifications_every: float = 0.25
    verified_at_once: int = 50  # that begin with one look
    verifying_most: int = 500  # that are under way, in all
    verifying_each: int = 100  # and of one account, so that its hanging ones leave room for others
    unreadable_again: float = 60.0  # until secrets that no key opened are tried again
    reopened_at_once: int = 100  # webhooks of which that is tried at once

    # --- when something is wrong --------------------------------------------------------------
    beat: float = 1.0  # between signs of life of the event loop
    still_most: int = 60  # of these missing the process ends; one that was frozen misses one
    answer_most: float = 30.0  # for one question; then the connection is broken and made again
    hung_up_most: float = 90.0  # for that; then this process ends
    # Turns that fail in a row last longer than the pause between heartbeats. Is it that the
    # database only reads, then no worker claims any more.
    failed_most: int = 6
    backoff_first: float = 0.1  # between tries to reach the database
    backoff_longest: float = 5.0
    start_tries: int = 6  # to reach it, of a worker that is to end by itself: about 3 seconds
    landing_most: float = 61.0  # what flies may take at the end: the longest timeout and a little

    # --- upkeep -------------------------------------------------------------------------------
    upkeep_every: float = 1.0
    # Of a turn, for the purge and for letters each: for longer nothing else waits for them.
    upkeep_share: float = 1.0
    notices_every: float = 5.0
    steadiness_every: float = 60.0
    accepted_every: float = 10.0
    purge_every: float = 3600.0

    @property
    def silence_most(self) -> float:
        """Without the database, after which nothing more is sent: well before the server ends the
        session, and with it the locks."""
        return self.idle_most / 2

    @property
    def write_again(self) -> float:
        """Until outcomes are written again: before another worker, which rests, claims what they
        are about."""
        return self.rest / 2

    def scan_pause(self, took: float) -> float:
        """Until what was scanned in so many seconds is scanned again."""
        return min(self.scan_apart * took, self.scan_latest)

    def breaker_pause(self, trips: int) -> float:
        """For which a breaker opens that did so as often before."""
        return min(self.breaker_first * 2 ** min(trips, 16), self.breaker_longest)

    def rest_pause(self, asked: int) -> float:
        """For which a lane rests that was asked to as often before, in a row."""
        return min(self.rest_first * 2 ** min(asked, 16), self.rest_longest)


DEFAULT = Knobs()
