"""The signals that end a process in order: Ctrl-C, what a service manager sends, a terminal that is
closed."""

import signal


def ends() -> list[signal.Signals]:
    """Not SIGHUP where it is ignored: `nohup` says that the end of a terminal means nothing."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    return numbers


def ignore_all() -> None:
    """For a child that ends when its parent does: signals to the whole group, or from a terminal,
    find the parent, which still has things to tell."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"):
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)
