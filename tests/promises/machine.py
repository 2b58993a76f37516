"""Whether a machine had room. What nobody waits for longer than a second is no promise of one whose
CPUs are taken by others: there a proof in seconds judges what is usual, not the longest."""

import psutil

OVERLOADED = 0.1  # of the CPUs' time, or less, was idle: a proof by itself leaves more


class Machine:
    """From now on."""

    def __init__(self):
        self._before = psutil.cpu_times()

    def idle(self):
        """The share of the CPUs' time in which they had nothing to do."""
        now = psutil.cpu_times()
        passed = [later - before for later, before in zip(now, self._before, strict=True)]
        return (now.idle - self._before.idle) / sum(passed)
