"""Ports for servers that are told which to take."""

import random
import socket
from contextlib import suppress


def free_port(in_a_row=1):
    """The first of so many free ports of 127.0.0.1. They lie below those that the system gives to
    connections: until the server has bound them nobody else gets them by chance."""
    while True:
        port = random.randrange(20_000, 32_000)
        if all(map(is_free, range(port, port + in_a_row))):
            return port


def is_free(port):
    with suppress(OSError), socket.socket() as probe:
        probe.bind(("127.0.0.1", port))
        return True
    return False
