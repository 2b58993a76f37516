"""Tests wait for what happens, and how long that takes says how busy the machine is: they give up
late, so that whoever gives up has found a fault."""

import time

PATIENCE = 120  # seconds; a machine that is ten times slower needs less


def until(true, what="it did not come", seconds=PATIENCE):
    """Wait until `true()`, and return how long it took. AssertionError after so many seconds."""
    started = time.monotonic()
    while not true():
        passed = time.monotonic() - started
        assert passed < seconds, f"not within {seconds} s: {what}"
        # Some ask a database, with a connection of their own; the longer it takes the less often.
        time.sleep(min(0.01 + passed / 20, 0.1))
    return time.monotonic() - started
