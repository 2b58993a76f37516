"""Which of two forms a worker takes when, told to both sides of a measurement."""

from zlib import crc32


def signs(moment, seconds):
    """Whether that moment (monotonic seconds) lies in a turn in which calls are signed: by lot, or
    what comes in waves (claims, commits) would always meet the same."""
    return crc32(b"%d" % int(moment / seconds)) % 2 == 1
