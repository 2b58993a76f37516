"""A session of PostgreSQL that lasts until the child of this process has ended, too.

A session ends when its socket is closed by the last process that has it open. The child is forked
before there is a session, and is never told of one: the session's socket is sent into a pair of
sockets that the child has inherited, and is not received there. The system keeps open what lies in
the pair, for as long as anybody has the pair.
"""

import os
import socket
from contextlib import suppress

_pair: tuple[socket.socket, socket.socket] | None = None


def share() -> None:
    """Before a fork: the sessions of this process that are kept end with its child, too."""
    global _pair
    if _pair is None:
        _pair = socket.socketpair()
        for end in _pair:
            end.setblocking(False)


def keep(descriptor: int) -> None:
    """The session with this socket is the one that lasts; no other does any more."""
    drop()
    if _pair is not None:
        socket.send_fds(_pair[0], [b"."], [descriptor])


def drop() -> None:
    """No session lasts longer than it is open in this process."""
    if _pair is not None:
        with suppress(BlockingIOError):  # none lies there
            for descriptor in socket.recv_fds(_pair[1], 1, 1)[1]:
                os.close(descriptor)
